//! Files that change between the first and the last time that their bytes are sent by the user-level
//! stack.

mod common;

use std::{io::Write, os::unix::fs::FileExt, thread, time::Duration};

use common::{
    Seen,
    scene::{Scene, acknowledge, both, pattern},
};
use pagewire_stack::{
    CloseReason, ConnectionId, Event, FileObject, FileRange, Observe, Part, Transport,
};

/// Larger than what is held in memory, and few segments.
const LEN: usize = 12_000;

/// Submits a file and returns it with the segments that come at once.
fn send_file(scene: &mut Scene, id: ConnectionId) -> (tempfile::NamedTempFile, Vec<Seen>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&pattern(LEN)).unwrap();
    let object = FileObject::load(file.reopen().unwrap()).unwrap();
    let range = FileRange { object, start: 0, len: LEN as u64 };
    scene.stack.submit(id, &mut vec![Part::File(range)]).unwrap();
    let mut seen = Vec::new();
    for _ in 0..20_000 {
        seen.extend(scene.turn());
        let Some(last) = seen.last() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let next = last.sequence.wrapping_add(last.payload.len() as u32);
        if seen.iter().map(|seen| seen.payload.len()).sum::<usize>() == LEN {
            return (file, seen);
        }
        seen.extend(scene.send(acknowledge(next)));
    }
    panic!("the file was not sent");
}

#[test]
fn what_is_sent_again_is_what_was_opened() {
    both(|mut scene| {
        let (id, start) = scene.open(60_000);
        let (_file, _) = send_file(&mut scene, id);
        let again = scene.after(Duration::from_secs(4));
        assert!(again.iter().any(|seen| !seen.payload.is_empty()), "it is sent again");
        for seen in again {
            let at = seen.sequence.wrapping_sub(start) as usize;
            assert!(seen.payload == pattern(LEN)[at..at + seen.payload.len()], "at {at}");
        }
    });
}

#[test]
fn what_is_sent_again_is_waited_for_if_it_is_no_longer_in_memory() {
    both(|mut scene| {
        let (id, start) = scene.open(60_000);
        let (file, _) = send_file(&mut scene, id);
        let waits = disk_waits(&scene);
        // The kernel takes its pages; what it holds then is the same in others.
        let file = file.as_file();
        let changed = file.metadata().unwrap().modified().unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(&pattern(LEN), 0).unwrap();
        file.set_modified(changed).unwrap();
        let mut again = scene.after(Duration::from_secs(4));
        for _ in 0..20_000 {
            if !again.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(2));
            again = scene.turn();
        }
        assert_eq!(disk_waits(&scene), waits + 1);
        assert!(again.iter().any(|seen| !seen.payload.is_empty()), "it is sent again");
        for seen in again {
            let at = seen.sequence.wrapping_sub(start) as usize;
            assert!(seen.payload == pattern(LEN)[at..at + seen.payload.len()], "at {at}");
        }
    });
}

/// For how many windows of files a connection has waited.
fn disk_waits(scene: &Scene) -> u64 {
    let mut waits = None;
    scene.stack.figures(&mut |figure, value| {
        if figure.name == "disk_waits" {
            waits = Some(value);
        }
    });
    waits.unwrap()
}

#[test]
fn a_response_that_lacks_a_segment_is_not_completed_from_a_changed_file() {
    both(|mut scene| {
        let (id, _) = scene.open(60_000);
        let (file, _) = send_file(&mut scene, id);
        scene.events.clear();
        // The last byte has been sent; what is not acknowledged is to be sent again.
        file.as_file().write_all_at(&[0xee; LEN], 0).unwrap();
        let again = scene.after(Duration::from_secs(4));
        assert!(again.iter().all(|seen| seen.payload.is_empty()), "bytes of another version");
        assert!(again.iter().any(|seen| seen.flags.contains('R')), "{again:?}");
        assert!(scene.events.contains(&Event::Closed(id, CloseReason::ContentChanged)));
    });
}

#[test]
fn a_response_that_lacks_a_segment_is_not_completed_from_a_file_cut_inside_its_page() {
    both(|mut scene| {
        let (id, _) = scene.open(60_000);
        let (file, _) = send_file(&mut scene, id);
        file.as_file().set_len(LEN as u64 - 100).unwrap();
        let again = scene.after(Duration::from_secs(4));
        assert!(again.iter().all(|seen| seen.payload.is_empty()), "zeros that no version has");
    });
}
