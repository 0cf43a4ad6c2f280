//! How connections of the user-level stack end when segments are lost, late or crossing.

mod common;

use std::time::Duration;

use common::{
    Sent,
    scene::{PEER_START, acknowledge, both, flags, pattern},
};
use pagewire_stack::{Close, CloseReason, Event, Transport};
use smoltcp::wire::TcpControl;

#[test]
fn a_fin_that_is_not_acknowledged_with_the_data_is_waited_for() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        scene.after(Duration::from_secs(20));
        scene.submit(id, 10);
        scene.stack.close(id, Close::AfterSent);
        assert_eq!(flags(&scene.turn()), ["FA"]);
        assert_eq!(scene.send(acknowledge(next.wrapping_add(10))), []);
        let again = scene.after(Duration::from_millis(500));
        assert_eq!(flags(&again), ["FA"], "no reset");
        assert_eq!(again[0].sequence, next.wrapping_add(10));
        let last = next.wrapping_add(11);
        scene.send(Sent { control: TcpControl::Fin, ..acknowledge(last) });
        let ending = [Event::Sent(id), Event::Closed(id, CloseReason::Finished)];
        assert_eq!(scene.events, ending);
    });
}

#[test]
fn a_peer_has_the_whole_linger_time_to_close_too() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        scene.after(Duration::from_secs(20));
        scene.submit(id, 10);
        scene.stack.close(id, Close::AfterSent);
        scene.turn();
        assert_eq!(scene.send(acknowledge(next.wrapping_add(11))), []);
        for _ in 0..4 {
            assert_eq!(scene.after(Duration::from_secs(1)), [], "no reset");
        }
        assert_eq!(flags(&scene.after(Duration::from_secs(2))), ["RA"]);
        let ending = [Event::Sent(id), Event::Closed(id, CloseReason::Finished)];
        assert_eq!(scene.events, ending);
    });
}

#[test]
fn a_lost_fin_is_sent_again_whatever_is_acknowledged_meanwhile() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        scene.submit(id, 10);
        let acknowledged = acknowledge(next.wrapping_add(10));
        scene.send(acknowledged);
        scene.stack.close(id, Close::AfterSent);
        assert_eq!(flags(&scene.turn()), ["FA"]);
        // What a peer says to segments that come twice.
        for _ in 0..5 {
            assert_eq!(scene.send(acknowledged), []);
        }
        let again = scene.after(Duration::from_millis(1_500));
        assert_eq!(flags(&again), ["FA"]);
        assert_eq!(again[0].sequence, next.wrapping_add(10));
    });
}

#[test]
fn a_window_that_opens_after_the_peer_has_closed_is_used_at_once() {
    both(|mut scene| {
        let (id, next) = scene.open(1_000);
        let fin = Sent { control: TcpControl::Fin, window: 1_000, ..acknowledge(next) };
        scene.send(fin);
        scene.stack.submit(id, &mut vec![pagewire_stack::Part::Bytes(pattern(3_000))]).unwrap();
        scene.stack.close(id, Close::AfterSent);
        let (mut at, mut seen) = (0, scene.turn());
        let sequence = PEER_START.wrapping_add(2);
        while seen.last().is_none_or(|last| last.flags != "FA") {
            let sent: usize = seen.iter().map(|seen| seen.payload.len()).sum();
            assert!(sent > 0, "stalls at {at}");
            at += sent;
            let shut = Sent { sequence, window: 0, ..acknowledge(next.wrapping_add(at as u32)) };
            assert_eq!(scene.send(shut), []);
            seen = scene.send(Sent { window: 1_000, ..shut });
        }
        scene.send(Sent { sequence, ..acknowledge(next.wrapping_add(3_001)) });
        assert_eq!(scene.events.last(), Some(&Event::Closed(id, CloseReason::Finished)));
    });
}
