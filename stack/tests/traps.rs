//! Weak points of the engine that are known, each with the test that it is guarded from outside. Those
//! that show on the wire are cases of `scripts/traps.script`; these need more than one segment's notice.

mod common;

use std::{cell::RefCell, rc::Rc, time::Duration};

use common::{
    Sent, limited,
    scene::{PEER_START, Scene, acknowledge, both, both_limited, flags, pattern},
};
use pagewire_driver::{
    Burst, Flush, Frame, Instant, MemoryConfig, MemoryPort, Port, PortCapabilities, PortCounters,
    Waker, memory_link,
};
use pagewire_stack::{Close, Event, Part, Transport};
use smoltcp::wire::TcpControl;

/// A receive buffer beyond 65,535 bytes would let a peer panic the engine.
#[test]
fn a_window_beyond_what_the_field_holds_is_cut_and_may_be_filled() {
    both_limited(
        |limits| (limits.receive_window, limits.head) = (1 << 20, 1 << 20),
        |mut scene| {
            let (id, next) = scene.open(60_000);
            let payload = pattern(1_000);
            for index in 0..200u32 {
                let sequence = PEER_START.wrapping_add(1 + index * 1_000);
                let seen = scene.send(Sent { sequence, payload: &payload, ..acknowledge(next) });
                assert!(seen.iter().all(|seen| seen.window > 0));
            }
            assert_eq!(scene.stack.received(id).len(), 200_000);
        },
    );
}

/// A port that notes what it is asked to wait for.
struct Noting(MemoryPort, Rc<RefCell<Vec<Option<Instant>>>>);

impl Port for Noting {
    fn capabilities(&self) -> &PortCapabilities {
        self.0.capabilities()
    }
    fn counters(&self) -> PortCounters {
        self.0.counters()
    }
    fn receive(&mut self, now: Instant, burst: &mut Burst) {
        self.0.receive(now, burst);
    }
    fn credits(&self) -> usize {
        self.0.credits()
    }
    fn allocate(&mut self) -> Option<Frame> {
        self.0.allocate()
    }
    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        self.0.transmit(frame)
    }
    fn flush(&mut self, now: Instant) -> Flush {
        self.0.flush(now)
    }
    fn wait(&mut self, _now: Instant, deadline: Option<Instant>) {
        self.1.borrow_mut().push(deadline);
    }
    fn waker(&self) -> Waker {
        self.0.waker()
    }
}

/// "Now" from the engine is a time of zero: neither a reason to sleep for ever nor to spin for ever.
#[test]
fn what_is_in_flight_is_waited_for_until_a_time_to_come_and_an_idle_connection_for_ever() {
    let (near, far) = memory_link(MemoryConfig::default()).unwrap();
    let noted = Rc::new(RefCell::new(Vec::new()));
    let mut stack = limited(Noting(near, Rc::clone(&noted)), |_| {});
    let mut peer = common::Peer::new(far, false);
    let (now, mut events) = (Instant::from_millis(1_000), Vec::new());
    let mut settle = |stack: &mut pagewire_stack::user::UserStack<Noting>| {
        for _ in 0..5 {
            stack.poll(now, &mut events);
        }
        noted.borrow_mut().clear();
        stack.wait(now, None);
        (noted.borrow_mut().pop().expect("it sleeps"), std::mem::take(&mut events))
    };
    peer.send(&Sent { control: TcpControl::Syn, sequence: PEER_START, ..Sent::default() });
    stack.poll(now, &mut Vec::new());
    stack.poll(now, &mut Vec::new());
    peer.receive();
    let (deadline, _) = settle(&mut stack);
    let answer = peer.receive().pop().expect("a SYN-ACK");
    assert!(deadline.is_some_and(|at| at > now), "a SYN-ACK is in flight: {deadline:?}");
    let next = answer.sequence.wrapping_add(1);
    peer.send(&acknowledge(next));
    let (_, events) = settle(&mut stack);
    let Some(&Event::Opened { id, .. }) = events.first() else { panic!("{events:?}") };
    stack.submit(id, &mut vec![Part::Bytes(pattern(10))]).unwrap();
    let (deadline, _) = settle(&mut stack);
    assert!(deadline.is_some_and(|at| at > now), "bytes are in flight: {deadline:?}");
}

/// The engine sends one segment a call.
#[test]
fn a_turn_sends_as_many_segments_as_the_windows_allow() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        let first = scene.submit(id, 60_000);
        assert!(first.len() >= 2, "RFC 5681 section 3.1: at least two, not {}", first.len());
        let mut so_far = next;
        for _ in 0..6 {
            let before = so_far;
            for seen in scene.send(acknowledge(so_far)) {
                so_far = so_far.max(seen.sequence.wrapping_add(seen.payload.len() as u32));
            }
            assert!(so_far >= before);
        }
    });
}

/// With Nagle off the engine sends what is left of its window as small segments.
#[test]
fn all_segments_of_an_answer_but_the_last_are_full() {
    both(|mut scene| {
        let (id, mut next) = scene.open(60_000);
        let (mut lens, mut total) = (Vec::new(), 0);
        let mut seen = scene.submit(id, 50_500);
        for _ in 0..2_000 {
            for one in &seen {
                let fresh = if one.sequence == next { one.payload.len() as u32 } else { 0 };
                next = next.wrapping_add(fresh);
            }
            lens.extend(seen.iter().map(|one| one.payload.len()).filter(|&len| len > 0));
            total = lens.iter().sum();
            if total >= 50_500 {
                break;
            }
            seen = scene.send(acknowledge(next));
            seen.extend(scene.after(Duration::from_millis(5)));
        }
        assert_eq!(total, 50_500, "nothing is sent twice");
        let small = lens.iter().filter(|&&len| len < 1_000).count();
        assert!(small <= 1, "{small} of {} are small: {lens:?}", lens.len());
    });
}

/// The engine remembers four holes. What comes beyond them is not lost, for it comes again.
#[test]
fn more_holes_than_are_remembered_are_filled_by_what_comes_again() {
    both(|mut scene| {
        let (id, next) = scene.open(60_000);
        let all = pattern(1_400);
        let send = |scene: &mut Scene, index: usize| {
            let sequence = PEER_START.wrapping_add(1 + index as u32 * 100);
            let payload = &all[index * 100..][..100];
            scene.send(Sent { sequence, payload, ..acknowledge(next) })
        };
        for index in (1..14).step_by(2) {
            send(&mut scene, index);
        }
        for index in (0..14).chain(0..14) {
            send(&mut scene, index);
        }
        assert_eq!(scene.stack.received(id), all);
    });
}

/// An engine's socket that is used again keeps what the last connection has agreed on.
#[test]
fn a_slot_used_again_remembers_no_congestion_of_the_last_connection() {
    both_limited(
        |limits| limits.connections = 1,
        |mut scene| {
            let mut first_flights = Vec::new();
            for port in [40_000, 40_001] {
                scene.peer.source_port = port;
                let (id, next) = scene.open(60_000);
                first_flights.push(scene.submit(id, 30_000).len());
                // Losses, and the end.
                for _ in 0..3 {
                    scene.send(acknowledge(next));
                }
                scene.after(Duration::from_secs(3));
                scene.stack.close(id, Close::Now);
                assert!(flags(&scene.turn()).contains(&"RA"));
                scene.events.clear();
            }
            assert_eq!(first_flights[0], first_flights[1]);
        },
    );
}

/// The engine has no memory of link addresses without Ethernet: ours has.
#[test]
fn an_open_connection_follows_its_peer_to_another_link_address() {
    let mut scene = Scene::new(false);
    let (id, _) = scene.open(60_000);
    let arp = |mac: u8| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, mac];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, mac, 10, 0, 0, 2]);
        frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        frame
    };
    scene.peer.send_raw(&arp(7));
    scene.stack.poll(scene.now, &mut scene.events);
    scene.stack.submit(id, &mut vec![Part::Bytes(pattern(10))]).unwrap();
    scene.stack.poll(scene.now, &mut scene.events);
    scene.stack.poll(scene.now, &mut scene.events);
    let frames = scene.peer.receive_raw();
    let data = frames.iter().find(|frame| frame.len() >= 64).expect("a segment");
    assert_eq!(data[..6], [2, 0, 0, 0, 0, 7]);
}
