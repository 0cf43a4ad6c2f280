//! Files that change under a transfer: only their own connections suffer, and no response is completed
//! with bytes of neither version.

use std::{io::Write, os::unix::fs::FileExt};

use pagewire_stack::{CloseReason, Event};

use super::{
    Harness,
    world::{End, Pair, World, file_of, pattern, range, whole},
};

/// Larger than what two ends can buffer, so that the end of the file is still to be read when the
/// first bytes have arrived.
const LARGE: usize = 32 << 20;

pub fn a_file_cut_short_ends_its_own_transfer_only<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(LARGE);
    let (file, object) = file_of(&bytes);
    let other = world.open();
    let pair = world.open();
    world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
    let mut received = world.read(End::Client, pair.client, 300_000);
    file.as_file().set_len(1_000_000).unwrap();
    received.extend(world.read_to_end(End::Client, pair.client));
    refused_to_complete(world, pair, received.len());
    world.echo(other);
    world.close_all(&[other]);
}

pub fn a_file_cut_inside_its_last_page_is_not_completed<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(LARGE);
    let (file, object) = file_of(&bytes);
    let pair = world.open();
    world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
    let mut received = world.read(End::Client, pair.client, 300_000);
    file.as_file().set_len(LARGE as u64 - 7).unwrap();
    received.extend(world.read_to_end(End::Client, pair.client));
    refused_to_complete(world, pair, received.len());
    assert!(bytes.starts_with(&received), "bytes that the file never held");
    world.close_all(&[]);
}

pub fn a_file_rewritten_in_place_is_not_completed<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(LARGE);
    let (file, object) = file_of(&bytes);
    let pair = world.open();
    world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
    let mut received = world.read(End::Client, pair.client, 300_000);
    file.as_file().write_all_at(b"other bytes", LARGE as u64 / 2).unwrap();
    received.extend(world.read_to_end(End::Client, pair.client));
    refused_to_complete(world, pair, received.len());
    world.close_all(&[]);
}

pub fn a_file_replaced_or_unlinked_is_sent_to_its_end<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(LARGE);
    let (file, object) = file_of(&bytes);
    let pair = world.open();
    world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
    let mut received = world.read(End::Client, pair.client, 300_000);
    let mut replacement = tempfile::NamedTempFile::new().unwrap();
    replacement.write_all(b"something else").unwrap();
    replacement.persist(file.path()).unwrap();
    received.extend(world.read(End::Client, pair.client, LARGE / 2));
    file.close().unwrap();
    received.extend(world.read(End::Client, pair.client, LARGE - received.len()));
    assert!(received == bytes);
    world.until("Sent", |world| world.count(End::Server, Event::Sent(pair.server)) == 1);
    world.close_all(&[pair]);
}

pub fn a_range_beyond_its_object_is_not_completed<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(100_000);
    for len in [7_000, 100_000] {
        let (_file, object) = file_of(&bytes[..len]);
        let pair = world.open();
        let parts = vec![range(&object, 5_000, len as u64)];
        world.submit(End::Server, pair.server, parts).unwrap();
        let received = world.read_to_end(End::Client, pair.client);
        assert!(received.len() < len);
        assert_eq!(world.closing(End::Server, pair.server), CloseReason::ContentChanged);
    }
    world.close_all(&[]);
}

pub fn a_cold_file_arrives_whole<H: Harness>(world: &mut World<H>) {
    for len in [100_000, 6 << 20] {
        let bytes = pattern(len);
        let (file, object) = file_of(&bytes);
        file.as_file().sync_all().unwrap();
        rustix::fs::fadvise(file.as_file(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let pair = world.open();
        world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
        assert!(world.read(End::Client, pair.client, len) == bytes);
        world.close_all(&[pair]);
    }
}

fn refused_to_complete<H: Harness>(world: &mut World<H>, pair: Pair, received: usize) {
    assert!(received < LARGE, "the response was completed");
    assert_eq!(world.closing(End::Server, pair.server), CloseReason::ContentChanged);
    assert_eq!(world.closing(End::Client, pair.client), CloseReason::Reset);
    assert_eq!(world.count(End::Server, Event::Sent(pair.server)), 0);
}
