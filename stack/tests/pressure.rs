//! A user-level stack that has more callers than room: SYN cookies, limits, and who goes first.

mod common;

use std::{net::IpAddr, time::Duration};

use common::{
    Seen, Sent,
    scene::{PEER_START, Scene, acknowledge, both_limited, flags, pattern},
};
use pagewire_stack::{CloseReason, ConnectionId, Event, Transport, user::DropCause};
use smoltcp::wire::TcpControl;

fn syn() -> Sent<'static> {
    Sent { control: TcpControl::Syn, sequence: PEER_START, ..Sent::default() }
}

/// Sends a SYN from a port and returns the answer.
fn knock(scene: &mut Scene, port: u16, syn: Sent<'_>) -> Seen {
    scene.peer.source_port = port;
    let mut answer = scene.send(syn);
    assert_eq!(flags(&answer), ["SA"]);
    answer.remove(0)
}

/// Opens a connection from a port.
fn open_from(scene: &mut Scene, port: u16) -> (ConnectionId, u32) {
    scene.peer.source_port = port;
    scene.open(60_000)
}

/// Another source on the link: another address, in IPv6 of another /64.
fn neighbour_of(address: IpAddr) -> IpAddr {
    let text = if address.is_ipv4() { "10.0.0.3" } else { "fe80::3" };
    text.parse().unwrap()
}

/// The connections that were closed, and why.
fn closed(scene: &Scene) -> Vec<(ConnectionId, CloseReason)> {
    let closed = |event: &Event| match *event {
        Event::Closed(id, reason) => Some((id, reason)),
        _ => None,
    };
    scene.events.iter().filter_map(closed).collect()
}

#[test]
fn beyond_the_embryonic_limit_a_handshake_costs_no_slot_before_its_ack() {
    both_limited(
        |limits| limits.embryonic = 2,
        |mut scene| {
            for port in 40_000..40_002 {
                knock(&mut scene, port, syn());
            }
            assert_eq!((scene.stack.connections(), scene.stack.counters().cookies_sent), (2, 0));
            for port in 40_002..40_102 {
                knock(&mut scene, port, syn());
            }
            assert_eq!((scene.stack.connections(), scene.stack.counters().cookies_sent), (2, 100));
            let (id, next) = open_from(&mut scene, 50_000);
            assert_eq!(scene.stack.counters().cookies_accepted, 1);
            assert_eq!(scene.stack.connections(), 3);
            let request = Sent { payload: b"GET", ..acknowledge(next) };
            scene.send(request);
            assert_eq!(scene.events, [Event::Received(id)]);
            let answer = scene.submit(id, 1_500);
            let bytes: Vec<u8> = answer.iter().flat_map(|seen| seen.payload.clone()).collect();
            assert_eq!(bytes, pattern(1_500));
            assert!(answer.iter().all(|seen| seen.payload.len() <= 1_000), "the peer's MSS");
        },
    );
}

#[test]
fn the_request_itself_may_bring_the_cookie_back() {
    both_limited(
        |limits| limits.embryonic = 0,
        |mut scene| {
            let answer = knock(&mut scene, 40_000, syn());
            scene.send(Sent { payload: b"GET", ..acknowledge(answer.sequence.wrapping_add(1)) });
            let [Event::Opened { id, .. }, Event::Received(_)] = scene.events[..] else {
                panic!("opened and received, not {:?}", scene.events)
            };
            assert_eq!(scene.stack.received(id), b"GET");
        },
    );
}

#[test]
fn scale_and_sack_come_back_with_the_timestamp_and_are_given_up_without_one() {
    both_limited(
        |limits| limits.embryonic = 0,
        |mut scene| {
            let offer = Sent { window_scale: Some(7), sack_permitted: true, ..syn() };
            let plain = knock(&mut scene, 40_000, offer);
            assert_eq!((plain.window_scale, plain.sack_permitted), (None, false));
            let stamped = Sent { timestamps: Some((900, 0)), ..offer };
            let answer = knock(&mut scene, 40_001, stamped);
            assert_eq!((answer.window_scale, answer.sack_permitted), (Some(0), true));
            let (tsval, echo) = answer.timestamps.unwrap();
            assert_eq!(echo, 900);
            // 10 << 7 bytes are more than one segment, 10 are not.
            let next = answer.sequence.wrapping_add(1);
            scene.send(Sent {
                window: 10,
                timestamps: Some((901, tsval)),
                payload: b"GET",
                ..acknowledge(next)
            });
            let Event::Opened { id, .. } = scene.events[0] else { panic!("{:?}", scene.events) };
            let sent: usize = scene.submit(id, 10_000).iter().map(|seen| seen.payload.len()).sum();
            assert!((1_000..=1_280).contains(&sent), "{sent}");
        },
    );
}

#[test]
fn a_forged_or_stale_cookie_opens_nothing() {
    both_limited(
        |limits| limits.embryonic = 0,
        |mut scene| {
            let answer = knock(&mut scene, 40_000, syn());
            let next = answer.sequence.wrapping_add(1);
            for bit in 0..32 {
                let seen = scene.send(acknowledge(next ^ 1 << bit));
                assert_eq!(flags(&seen), ["R"], "bit {bit}");
            }
            scene.peer.source_port = 40_001;
            assert_eq!(flags(&scene.send(acknowledge(next))), ["R"], "another flow");
            assert_eq!(scene.stack.counters().cookies_failed, 33);
            scene.peer.source_port = 40_000;
            scene.now += Duration::from_secs(129);
            assert_eq!(flags(&scene.send(acknowledge(next))), ["R"], "too late");
            assert_eq!(scene.events, []);
            assert_eq!(scene.stack.connections(), 0);
        },
    );
}

#[test]
fn a_full_stack_lets_the_oldest_idle_connection_go_for_who_has_answered() {
    both_limited(
        |limits| limits.connections = 4,
        |mut scene| {
            let mut open = Vec::new();
            for port in 40_000..40_004 {
                open.push(open_from(&mut scene, port));
                scene.now += Duration::from_secs(2);
            }
            // The first one asks something, the second one has bytes in flight.
            scene.peer.source_port = 40_000;
            scene.send(Sent { payload: b"GET", ..acknowledge(open[0].1) });
            scene.stack.consume(open[0].0, 3);
            scene.submit(open[1].0, 10);
            scene.events.clear();
            for port in 41_000..41_100 {
                knock(&mut scene, port, syn());
            }
            assert_eq!(scene.events, [], "a SYN alone displaces nobody");
            for (oldest, port) in [(2, 42_000), (3, 42_001)] {
                let answer = knock(&mut scene, port, syn());
                let seen = scene.send(acknowledge(answer.sequence.wrapping_add(1)));
                assert_eq!(flags(&seen), ["RA"], "to the one that goes");
                assert_eq!(seen[0].sequence, open[oldest].1);
                assert_eq!(scene.events[0], Event::Closed(open[oldest].0, CloseReason::Displaced));
                assert!(matches!(scene.events[1], Event::Opened { .. }));
                scene.events.clear();
                let Some(id) = scene.stack.counters().idle_evicted.checked_sub(1) else {
                    panic!("counted")
                };
                // The newcomer is busy from now on.
                let sequence = PEER_START.wrapping_add(1);
                let next = answer.sequence.wrapping_add(1);
                scene.send(Sent { sequence, payload: b"GET", ..acknowledge(next) });
                scene.events.clear();
                assert!(id < 2);
            }
            scene.peer.source_port = 43_000;
            assert_eq!(scene.send(syn()), [], "all are busy");
            assert_eq!(scene.dropped(DropCause::NoSlot), 1);
            assert_eq!(scene.stack.connections(), 4);
        },
    );
}

#[test]
fn more_idle_connections_than_allowed_lose_the_oldest() {
    both_limited(
        |limits| limits.idle = 2,
        |mut scene| {
            let first = open_from(&mut scene, 40_000).0;
            scene.now += Duration::from_secs(2);
            open_from(&mut scene, 40_001);
            scene.now += Duration::from_secs(2);
            let answer = knock(&mut scene, 40_002, syn());
            scene.send(acknowledge(answer.sequence.wrapping_add(1)));
            assert!(scene.events.contains(&Event::Closed(first, CloseReason::Displaced)));
            assert_eq!(scene.stack.connections(), 2);
        },
    );
}

#[test]
fn one_source_keeps_no_more_idle_connections_than_its_share_and_others_keep_theirs() {
    both_limited(
        |limits| limits.idle_per_source = 2,
        |mut scene| {
            let ours = scene.peer.address;
            scene.peer.address = neighbour_of(ours);
            let other = open_from(&mut scene, 40_000).0;
            scene.peer.address = ours;
            let (first, next) = open_from(&mut scene, 40_001);
            let second = open_from(&mut scene, 40_002).0;
            // A request is pending on the first one: it is not idle.
            scene.peer.source_port = 40_001;
            let request = Sent { payload: b"GET", ..acknowledge(next) };
            scene.send(request);
            scene.stack.consume(first, 3);
            scene.events.clear();
            let third = open_from(&mut scene, 40_003).0;
            assert_eq!(scene.stack.counters().idle_over_share, 0);
            let answer = knock(&mut scene, 40_004, syn());
            let seen = scene.send(acknowledge(answer.sequence.wrapping_add(1)));
            assert_eq!(flags(&seen), ["RA"], "to the one that goes");
            assert_eq!(closed(&scene), [(second, CloseReason::Displaced)]);
            // With its answer acknowledged the first one is idle again, and the third the oldest.
            scene.submit(first, 10);
            scene.peer.source_port = 40_001;
            let sequence = PEER_START.wrapping_add(4);
            scene.send(Sent { sequence, ..acknowledge(next.wrapping_add(10)) });
            let both = [(second, CloseReason::Displaced), (third, CloseReason::Displaced)];
            assert_eq!(closed(&scene), both);
            assert_eq!(scene.stack.counters().idle_over_share, 2);
            assert_eq!(scene.stack.counters().idle_evicted, 0);
            assert_eq!(scene.stack.connections(), 3);
            assert!(scene.stack.tcp_state(other).is_some(), "another source's");
        },
    );
}

#[test]
fn one_source_gets_no_more_than_its_share_and_others_are_served() {
    both_limited(
        |limits| limits.connections_per_source = 3,
        |mut scene| {
            for port in 40_000..40_003 {
                open_from(&mut scene, port);
            }
            scene.peer.source_port = 40_003;
            assert_eq!(scene.send(syn()), []);
            assert_eq!(scene.dropped(DropCause::SourceLimit), 1);
            scene.peer.address = neighbour_of(scene.peer.address);
            open_from(&mut scene, 40_003);
            assert_eq!(scene.stack.connections(), 4);
        },
    );
}

#[test]
fn one_source_with_too_many_handshakes_gets_cookies_and_others_slots() {
    both_limited(
        |limits| limits.embryonic_per_source = 2,
        |mut scene| {
            for port in 40_000..40_010 {
                knock(&mut scene, port, syn());
            }
            assert_eq!((scene.stack.connections(), scene.stack.counters().cookies_sent), (2, 8));
        },
    );
}

#[test]
fn what_ends_is_no_longer_counted() {
    both_limited(
        |limits| (limits.connections_per_source, limits.embryonic) = (2, 2),
        |mut scene| {
            for round in 0..20 {
                let ids = [40_000, 40_001].map(|port| (port, open_from(&mut scene, port + round)));
                for (port, _) in ids {
                    scene.peer.source_port = port + round;
                    let sequence = PEER_START.wrapping_add(1);
                    scene.send(Sent { control: TcpControl::Rst, sequence, ..Sent::default() });
                }
                scene.events.clear();
                assert_eq!(scene.stack.connections(), 0, "round {round}");
            }
            assert_eq!(scene.dropped(DropCause::SourceLimit), 0);
            assert_eq!(scene.stack.counters().cookies_sent, 0);
        },
    );
}
