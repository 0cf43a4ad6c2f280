//! A stack, a peer made by hand, and a virtual time: one segment in, the segments out.

use std::time::Duration;

use pagewire_driver::{Instant, MemoryConfig, MemoryPort, memory_link};
use pagewire_stack::{
    ConnectionId, Event, Part, Transport,
    user::{DropCause, UserLimits, UserStack},
};
use smoltcp::wire::TcpControl;

use super::{Peer, Seen, Sent, limited};

/// The peer's initial sequence number.
pub const PEER_START: u32 = u32::MAX - 500;

/// A stack, a peer, and the time.
pub struct Scene {
    pub stack: UserStack<MemoryPort>,
    pub peer: Peer,
    pub now: Instant,
    pub events: Vec<Event>,
}

impl Scene {
    /// A listening stack and its peer.
    pub fn new(is_ipv6: bool) -> Self {
        Self::with_limits(is_ipv6, |_| {})
    }

    /// The same with other limits.
    pub fn with_limits(is_ipv6: bool, set: impl Fn(&mut UserLimits)) -> Self {
        let (near, far) = memory_link(MemoryConfig::default()).unwrap();
        let (stack, peer) = (limited(near, set), Peer::new(far, is_ipv6));
        Self { stack, peer, now: Instant::from_millis(1_000), events: Vec::new() }
    }

    /// Lets the stack work until nothing more comes from it, and returns what came.
    pub fn turn(&mut self) -> Vec<Seen> {
        let (mut all, mut quiet) = (Vec::new(), 0);
        // Address resolution takes turns in which nothing is to be seen.
        while quiet < 3 {
            self.stack.poll(self.now, &mut self.events);
            let seen = self.peer.receive();
            quiet = if seen.is_empty() { quiet + 1 } else { 0 };
            all.extend(seen);
        }
        all
    }

    /// Sends a segment and returns what comes of it.
    pub fn send(&mut self, sent: Sent<'_>) -> Vec<Seen> {
        self.peer.send(&sent);
        self.turn()
    }

    /// Returns what comes at a later time.
    pub fn after(&mut self, time: Duration) -> Vec<Seen> {
        self.now += time;
        self.turn()
    }

    /// Completes a handshake with this window. Returns the connection and the stack's next sequence
    /// number.
    pub fn open(&mut self, window: u16) -> (ConnectionId, u32) {
        let answer = self.send(Sent {
            control: TcpControl::Syn,
            sequence: PEER_START,
            window,
            ..Sent::default()
        });
        let [syn_ack] = &answer[..] else { panic!("one SYN-ACK, not {answer:?}") };
        assert_eq!(syn_ack.flags, "SA");
        assert_eq!(syn_ack.acknowledgement, PEER_START.wrapping_add(1));
        let next = syn_ack.sequence.wrapping_add(1);
        assert_eq!(self.send(Sent { window, ..acknowledge(next) }), []);
        let Some(&Event::Opened { id, .. }) = self.events.first() else {
            panic!("opened, not {:?}", self.events)
        };
        self.events.clear();
        (id, next)
    }

    /// Submits that many bytes and returns what comes of it.
    pub fn submit(&mut self, id: ConnectionId, len: usize) -> Vec<Seen> {
        self.stack.submit(id, &mut vec![Part::Bytes(pattern(len))]).unwrap();
        self.turn()
    }

    /// How many frames were dropped for this cause.
    pub fn dropped(&self, cause: DropCause) -> u64 {
        self.stack.counters().dropped(cause)
    }
}

/// Bytes that tell their places.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|byte| (byte ^ (byte >> 8)) as u8).collect()
}

/// An acknowledgement of everything before `next` from a peer that has sent only its SYN.
pub fn acknowledge(next: u32) -> Sent<'static> {
    Sent { sequence: PEER_START.wrapping_add(1), acknowledgement: Some(next), ..Sent::default() }
}

/// The flags of each segment.
pub fn flags(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.flags.as_str()).collect()
}

/// Runs a test over both families with limits of its own.
pub fn both_limited(set: impl Fn(&mut UserLimits), test: impl Fn(Scene)) {
    test(Scene::with_limits(false, &set));
    test(Scene::with_limits(true, &set));
}

/// Runs a test over both families.
pub fn both(test: impl Fn(Scene)) {
    test(Scene::new(false));
    test(Scene::new(true));
}
