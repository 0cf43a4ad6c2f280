//! Every way to end, seen from both sides, and that it leaves nothing behind.

use pagewire_stack::{Close, CloseReason, Event, Part, Refused, Transport};

use super::{
    Harness,
    world::{End, World, file_of, pattern, whole},
};

pub fn close_after_sent_delivers_everything_first<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(9 << 20);
    let (_file, object) = file_of(&bytes);
    let pair = world.open();
    world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
    world.close(End::Server, pair.server, Close::AfterSent);
    assert!(world.read_to_end(End::Client, pair.client) == bytes);
    world.close(End::Client, pair.client, Close::AfterSent);
    assert_eq!(world.closing(End::Server, pair.server), CloseReason::Finished);
    assert_eq!(world.closing(End::Client, pair.client), CloseReason::Finished);
    world.close_all(&[]);
}

/// Neither a file nor a few bytes are cut off by an end that waits for nothing more from the peer.
pub fn a_concluded_connection_delivers_everything_first<H: Harness>(world: &mut World<H>) {
    for len in [5, 9 << 20] {
        let bytes = pattern(len);
        let (_file, object) = file_of(&bytes);
        let pair = world.open();
        world.send(End::Client, pair.client, b"the last request");
        assert_eq!(world.read(End::Server, pair.server, 16), b"the last request");
        world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
        world.close(End::Server, pair.server, Close::Concluded);
        assert!(world.read_to_end(End::Client, pair.client) == bytes);
        world.close(End::Client, pair.client, Close::AfterSent);
        assert_eq!(world.closing(End::Server, pair.server), CloseReason::Finished);
        assert_eq!(world.closing(End::Client, pair.client), CloseReason::Finished);
    }
    world.close_all(&[]);
}

pub fn an_end_from_the_client_leaves_the_server_free_to_answer<H: Harness>(world: &mut World<H>) {
    let pair = world.open();
    world.send(End::Client, pair.client, b"bye");
    world.close(End::Client, pair.client, Close::AfterSent);
    world.until("the end", |world| world.count(End::Server, Event::PeerClosed(pair.server)) == 1);
    assert_eq!(world.take(End::Server, pair.server), b"bye");
    world.send(End::Server, pair.server, &pattern(100_000));
    world.until("Sent", |world| world.count(End::Server, Event::Sent(pair.server)) == 1);
    world.close(End::Server, pair.server, Close::AfterSent);
    assert_eq!(world.closing(End::Server, pair.server), CloseReason::Finished);
    assert_eq!(world.closing(End::Client, pair.client), CloseReason::Finished);
    world.close_all(&[]);
}

pub fn bytes_that_arrive_while_closing_do_not_reset<H: Harness>(world: &mut World<H>) {
    let pair = world.open();
    world.send(End::Server, pair.server, b"no more, please");
    world.close(End::Server, pair.server, Close::AfterSent);
    world.send(End::Client, pair.client, &pattern(300_000));
    assert_eq!(world.read_to_end(End::Client, pair.client), b"no more, please");
    world.until("Sent", |world| world.pending(End::Client, pair.client) == 0);
    assert_eq!(world.closed(End::Client, pair.client), None);
    world.close(End::Client, pair.client, Close::AfterSent);
    assert_eq!(world.closing(End::Server, pair.server), CloseReason::Finished);
    assert_eq!(world.closing(End::Client, pair.client), CloseReason::Finished);
}

pub fn close_now_is_a_reset_for_the_peer<H: Harness>(world: &mut World<H>) {
    for (end, other) in [(End::Server, End::Client), (End::Client, End::Server)] {
        let pair = world.open();
        world.echo(pair);
        let (id, peer) = match end {
            End::Server => (pair.server, pair.client),
            End::Client => (pair.client, pair.server),
        };
        world.close(end, id, Close::Now);
        assert_eq!(world.closing(end, id), CloseReason::Aborted);
        assert_eq!(world.closing(other, peer), CloseReason::Reset);
    }
    world.close_all(&[]);
}

pub fn a_peer_that_vanishes_mid_transfer_is_a_reset<H: Harness>(world: &mut World<H>) {
    let bytes = pattern(24 << 20);
    let (_file, object) = file_of(&bytes);
    let pair = world.open();
    world.submit(End::Server, pair.server, vec![whole(&object)]).unwrap();
    world.read(End::Client, pair.client, 100_000);
    world.close(End::Client, pair.client, Close::Now);
    assert_eq!(world.closing(End::Server, pair.server), CloseReason::Reset);
    assert_eq!(world.closing(End::Client, pair.client), CloseReason::Aborted);
    world.close_all(&[]);
}

pub fn an_old_id_does_nothing<H: Harness>(world: &mut World<H>) {
    let old = world.open();
    world.close(End::Server, old.server, Close::Now);
    assert!(world.harness.server().received(old.server).is_empty());
    world.closing(End::Server, old.server);
    world.closing(End::Client, old.client);
    let pair = world.open();
    assert_ne!((pair.server, pair.client), (old.server, old.client));
    world.send(End::Client, pair.client, b"for the second connection");
    world.until("bytes", |world| world.count(End::Server, Event::Received(pair.server)) > 0);
    for (end, id) in [(End::Server, old.server), (End::Client, old.client)] {
        assert!(world.take(end, id).is_empty());
        assert_eq!(world.submit(end, id, vec![Part::Bytes(vec![1])]), Err(Refused::Gone));
        assert_eq!(world.pending(end, id), 0);
        world.close(end, id, Close::Now);
        world.close(end, id, Close::AfterSent);
    }
    assert_eq!(world.read(End::Server, pair.server, 25), b"for the second connection");
    world.echo(pair);
    world.close_all(&[pair]);
}

pub fn a_closing_connection_takes_no_more<H: Harness>(world: &mut World<H>) {
    let pair = world.open();
    world.close(End::Server, pair.server, Close::AfterSent);
    let parts = vec![Part::Bytes(b"late".to_vec())];
    assert_eq!(world.submit(End::Server, pair.server, parts), Err(Refused::Gone));
    assert!(world.read_to_end(End::Client, pair.client).is_empty());
    world.close_all(&[pair]);
}

pub fn a_refused_connect_is_unreachable<H: Harness>(world: &mut World<H>) {
    let (now, address) = (world.harness.now(), world.harness.closed_address());
    let id = world.harness.client().connect(now, address).unwrap();
    assert_eq!(world.closing(End::Client, id), CloseReason::Unreachable);
    assert_eq!(world.log(End::Client).len(), 1, "only Closed is reported");
    world.close_all(&[]);
}

/// The server has sent its end; the client goes silent without its own. The linger time is bounded,
/// so the slot comes back.
pub fn a_peer_that_never_closes_is_given_up<H: Harness>(world: &mut World<H>) {
    let pair = world.open();
    world.close(End::Server, pair.server, Close::AfterSent);
    world.until("giving up", |world| world.closed(End::Server, pair.server).is_some());
    assert_eq!(world.harness.server().connections(), 0);
    world.close(End::Client, pair.client, Close::Now);
    world.closing(End::Client, pair.client);
}

pub fn thousands_of_connections_leave_no_slot_in_use<H: Harness>(world: &mut World<H>) {
    for wave in 0..40 {
        let pairs: Vec<_> = (0..50).map(|_| world.open()).collect();
        for pair in &pairs {
            world.send(End::Client, pair.client, b"question");
        }
        for pair in &pairs {
            assert_eq!(world.read(End::Server, pair.server, 8), b"question");
            world.send(End::Server, pair.server, b"answer");
        }
        for pair in &pairs {
            assert_eq!(world.read(End::Client, pair.client, 6), b"answer");
        }
        if wave % 4 == 3 {
            for pair in &pairs {
                world.close(End::Client, pair.client, Close::Now);
            }
            for pair in &pairs {
                assert_eq!(world.closing(End::Server, pair.server), CloseReason::Reset);
            }
        } else {
            world.close_all(&pairs);
        }
    }
    world.close_all(&[]);
    let slots = world.log(End::Server).iter().filter_map(|event| match event {
        Event::Opened { id, .. } => Some(id.slot),
        _ => None,
    });
    assert!(slots.max().unwrap() < 200, "slots are not reused");
}
