//! The user-level stack against a peer made by hand: one segment in, the segments out, at a virtual
//! time, over both families.

mod common;

use std::time::Duration;

use common::{
    Sent,
    scene::{PEER_START, Scene, acknowledge, both, flags, pattern},
};
use pagewire_stack::{Close, CloseReason, Event, Part, Transport, user::DropCause};
use smoltcp::wire::TcpControl;

#[test]
fn data_is_delivered_and_an_answer_carries_the_acknowledgement() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        let quiet =
            scene.send(Sent { payload: b"GET", control: TcpControl::Psh, ..acknowledge(next) });
        assert_eq!(quiet, [], "the acknowledgement waits for the answer");
        assert_eq!(scene.events, [Event::Received(id)]);
        assert_eq!(scene.stack.received(id), b"GET");
        scene.stack.consume(id, 3);
        assert_eq!(scene.stack.received(id), b"");
        let answer = scene.submit(id, 10);
        assert_eq!(answer.len(), 1);
        assert_eq!(answer[0].payload, pattern(10));
        assert_eq!(answer[0].acknowledgement, PEER_START.wrapping_add(4));
        scene.events.clear();
        let sequence = PEER_START.wrapping_add(4);
        scene.send(Sent { sequence, ..acknowledge(next.wrapping_add(10)) });
        assert_eq!(scene.events, [Event::Sent(id)]);
        assert_eq!(scene.stack.pending(id), 0);
    });
}

#[test]
fn an_unanswered_request_is_acknowledged_within_40_ms() {
    both(|mut scene| {
        let (_, next) = scene.open(60_000);
        scene.send(Sent { payload: b"GET", ..acknowledge(next) });
        let seen = scene.after(Duration::from_millis(40));
        assert_eq!(flags(&seen), ["A"]);
        assert_eq!(seen[0].acknowledgement, PEER_START.wrapping_add(4));
    });
}

#[test]
fn a_closed_port_resets_with_the_right_numbers() {
    both(|mut scene| {
        scene.peer.target_port = 81;
        let seen = scene.send(Sent { control: TcpControl::Syn, sequence: 700, ..Sent::default() });
        assert_eq!(flags(&seen), ["RA"]);
        assert_eq!((seen[0].sequence, seen[0].acknowledgement), (0, 701));
        let seen = scene.send(Sent { acknowledgement: Some(900), ..Sent::default() });
        assert_eq!(flags(&seen), ["R"]);
        assert_eq!(seen[0].sequence, 900);
        let seen = scene.send(Sent { control: TcpControl::Rst, ..Sent::default() });
        assert_eq!(seen, [], "a reset is never answered");
    });
}

#[test]
fn only_the_exact_reset_ends_a_connection() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        let reset = |sequence| Sent { control: TcpControl::Rst, sequence, ..Sent::default() };
        let seen = scene.send(reset(PEER_START.wrapping_add(5)));
        assert_eq!(flags(&seen), ["A"], "inside the window: a challenge");
        assert_eq!(seen[0].sequence, next);
        assert_eq!(seen[0].acknowledgement, PEER_START.wrapping_add(1));
        assert_eq!(scene.send(reset(PEER_START.wrapping_sub(9_000))), []);
        assert_eq!(scene.dropped(DropCause::InexactReset), 2);
        scene.send(reset(PEER_START.wrapping_add(1)));
        assert_eq!(scene.events, [Event::Closed(id, CloseReason::Reset)]);
        assert_eq!(scene.stack.connections(), 0);
    });
}

#[test]
fn a_syn_on_a_live_connection_is_challenged() {
    both(|mut scene| {
        let (_, next) = scene.open(60_000);
        let syn = Sent { control: TcpControl::Syn, sequence: 5, ..Sent::default() };
        let far = scene.send(syn);
        assert_eq!(flags(&far), ["A"]);
        assert_eq!(far[0].sequence, next);
        assert_eq!(scene.stack.connections(), 1);
        assert_eq!(scene.send(syn), [], "challenges are rate-limited");
    });
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_changes_nothing() {
    both(|mut scene| {
        let (id, next) = scene.open(1_000);
        // A window of 1,000 lets 1,000 of 5,000 bytes out; the rest is queued.
        let sent: usize = scene.submit(id, 5_000).iter().map(|seen| seen.payload.len()).sum();
        assert!(sent <= 1_000);
        scene.send(acknowledge(next.wrapping_add(4_000)));
        assert_eq!(scene.dropped(DropCause::BadAcknowledgement), 1);
        assert_eq!(scene.stack.pending(id), 5_000);
    });
}

#[test]
fn a_closed_window_is_probed_and_the_rest_follows_when_it_opens() {
    both(|mut scene| {
        let (id, next) = scene.open(0);
        let mut probes = scene.submit(id, 100);
        for _ in 0..4 {
            probes.extend(scene.after(Duration::from_millis(500)));
        }
        assert!(!probes.is_empty(), "the window is probed");
        for probe in &probes {
            assert_eq!((probe.sequence, &probe.payload[..]), (next, &pattern(1)[..]));
        }
        let rest = scene.send(Sent { window: 1_000, ..acknowledge(next.wrapping_add(1)) });
        let bytes: Vec<u8> = rest.iter().flat_map(|seen| seen.payload.clone()).collect();
        assert_eq!(bytes, pattern(100)[1..]);
    });
}

#[test]
fn a_tiny_window_gets_everything_in_tiny_pieces() {
    both(|mut scene| {
        let (id, next) = scene.open(7);
        let mut bytes: Vec<u8> = Vec::new();
        let mut seen = scene.submit(id, 100);
        for _ in 0..1_000 {
            for segment in &seen {
                assert!(segment.payload.len() <= 7);
                let offset = segment.sequence.wrapping_sub(next) as usize;
                bytes.truncate(offset);
                bytes.extend(&segment.payload);
            }
            if bytes.len() == 100 {
                break;
            }
            let so_far = next.wrapping_add(bytes.len() as u32);
            seen = scene.send(Sent { window: 7, ..acknowledge(so_far) });
            seen.extend(scene.after(Duration::from_millis(10)));
        }
        assert_eq!(bytes, pattern(100));
    });
}

#[test]
fn a_peer_that_half_closes_still_gets_its_answer() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        let seen =
            scene.send(Sent { control: TcpControl::Fin, payload: b"GET", ..acknowledge(next) });
        assert_eq!(scene.events, [Event::Received(id), Event::PeerClosed(id)]);
        assert!(seen.iter().all(|seen| seen.flags == "A"));
        let answer = scene.submit(id, 50);
        assert_eq!(answer[0].payload, pattern(50));
        assert_eq!(answer[0].acknowledgement, PEER_START.wrapping_add(5));
        scene.stack.close(id, Close::AfterSent);
        let fin = scene.turn();
        assert_eq!(flags(&fin), ["FA"]);
        scene.events.clear();
        let last = next.wrapping_add(51);
        let sequence = PEER_START.wrapping_add(5);
        assert_eq!(scene.send(Sent { sequence, ..acknowledge(last) }), []);
        assert_eq!(scene.events, [Event::Closed(id, CloseReason::Finished)]);
        assert_eq!(scene.stack.connections(), 0);
    });
}

#[test]
fn closing_first_ends_in_time_wait_without_a_slot() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        scene.stack.submit(id, &mut vec![Part::Bytes(pattern(10))]).unwrap();
        scene.stack.close(id, Close::AfterSent);
        let seen = scene.turn();
        assert_eq!(seen.last().map(|seen| &*seen.flags), Some("FA"));
        let last = next.wrapping_add(11);
        assert_eq!(scene.send(acknowledge(last)), []);
        let fin = Sent { control: TcpControl::Fin, ..acknowledge(last) };
        let answer = scene.send(fin);
        assert_eq!(flags(&answer), ["A"]);
        let ending = [Event::Sent(id), Event::Closed(id, CloseReason::Finished)];
        assert_eq!(scene.events, ending);
        assert_eq!(scene.stack.connections(), 0);
        let again = scene.send(fin);
        assert_eq!(flags(&again), ["A"], "a FIN that comes again is acknowledged again");
        assert_eq!(
            (again[0].sequence, again[0].acknowledgement),
            (last, PEER_START.wrapping_add(2))
        );
        let sequence = PEER_START.wrapping_add(5_000);
        let syn = Sent { control: TcpControl::Syn, sequence, ..Sent::default() };
        assert_eq!(flags(&scene.send(syn)), ["SA"], "a newer SYN opens the 4-tuple again");
    });
}

#[test]
fn aborting_resets_the_peer() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        scene.stack.close(id, Close::Now);
        let seen = scene.turn();
        assert_eq!(flags(&seen), ["RA"]);
        assert_eq!(seen[0].sequence, next);
        assert_eq!(scene.events, [Event::Closed(id, CloseReason::Aborted)]);
        assert_eq!(scene.stack.received(id), b"", "the id is void");
    });
}

#[test]
fn a_handshake_that_is_not_completed_frees_its_slot_silently() {
    both(|mut scene| {
        scene.send(Sent { control: TcpControl::Syn, sequence: 9, ..Sent::default() });
        assert_eq!(scene.stack.connections(), 1);
        for _ in 0..12 {
            let seen = scene.after(Duration::from_secs(1));
            assert!(seen.iter().all(|seen| seen.flags == "SA"));
        }
        assert_eq!(scene.stack.connections(), 0);
        assert_eq!(scene.events, []);
        assert_eq!(scene.stack.counters().embryonic_expired, 1);
    });
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    both(|mut scene| {
        let (id, _) = scene.open(60_000);
        scene.submit(id, 10);
        for _ in 0..40 {
            scene.after(Duration::from_secs(1));
        }
        assert_eq!(scene.events, [Event::Closed(id, CloseReason::TimedOut)]);
        assert_eq!(scene.stack.connections(), 0);
    });
}

#[test]
fn unconsumed_bytes_close_the_window_and_consuming_opens_it() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        let mut sequence = PEER_START.wrapping_add(1);
        let mut window = 4_096;
        let payload = [7; 1_000];
        let mut delivered = 0;
        for _ in 0..60 {
            let len = payload.len().min(usize::from(window));
            if len == 0 {
                break;
            }
            let sent = Sent { sequence, payload: &payload[..len], ..acknowledge(next) };
            let mut seen = scene.send(sent);
            seen.extend(scene.after(Duration::from_millis(50)));
            let last = seen.last().expect("an acknowledgement");
            (sequence, window) = (last.acknowledgement, last.window);
            delivered += len;
        }
        assert_eq!(window, 0);
        assert_eq!(scene.stack.received(id).len(), 16_384, "the head limit");
        assert_eq!(delivered, 16_384 + 4_096, "and the receive window behind it");
        scene.stack.consume(id, 16_384);
        let seen = scene.turn();
        assert_eq!(seen.last().map(|seen| seen.window), Some(4_096));
        assert_eq!(scene.stack.received(id).len(), 4_096);
    });
}

#[test]
fn frames_that_lie_are_dropped_and_counted() {
    let mut scene = Scene::new(false);
    let good = scene.peer.frame(&Sent { control: TcpControl::Syn, ..Sent::default() });
    let broken = |at: usize, bits: u8| {
        let mut frame = good.clone();
        frame[at] ^= bits;
        frame
    };
    let cases = [
        (good[..10].to_vec(), DropCause::MalformedFrame),
        (broken(5, 1), DropCause::NotForUs),
        (broken(13, 1), DropCause::UnknownProtocol),
        (good[..40].to_vec(), DropCause::MalformedPacket),
        (broken(24, 1), DropCause::BadChecksum),
        (broken(40, 1), DropCause::BadChecksum),
    ];
    for (number, (frame, cause)) in cases.into_iter().enumerate() {
        let before = scene.dropped(cause);
        scene.peer.send_raw(&frame);
        assert_eq!(scene.turn(), [], "case {number}");
        assert_eq!(scene.dropped(cause), before + 1, "case {number}: {cause}");
    }
    assert_eq!(scene.stack.connections(), 0);
}
