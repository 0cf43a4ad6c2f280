//! What runs out is refused, counted and comes back: TX ring, receive memory, the frame pool, the channel
//! between cores.

mod common;

use std::time::Duration;

use common::{
    Peer, Sent, config, limited,
    scene::{PEER_START, acknowledge, pattern},
};
use pagewire_driver::{Frame, Instant, MemoryConfig, MemoryPort, Port, memory_link};
use pagewire_stack::{
    ConnectionId, Event, Part, Transport,
    user::{DropCause, Mesh, UserStack},
};
use smoltcp::wire::TcpControl;

/// A stack on a small link, with a peer that acknowledges all that it gets in order.
struct Small {
    stack: UserStack<MemoryPort>,
    peer: Peer,
    now: Instant,
    events: Vec<Event>,
    /// The stack's next number that the peer has not got.
    next: u32,
    received: Vec<u8>,
}

impl Small {
    fn new(link: MemoryConfig, is_ipv6: bool) -> Self {
        let (near, far) = memory_link(link).unwrap();
        let (stack, peer) = (limited(near, |_| {}), Peer::new(far, is_ipv6));
        let now = Instant::from_millis(1_000);
        Self { stack, peer, now, events: Vec::new(), next: 0, received: Vec::new() }
    }

    /// Opens a connection, as often as its SYN has to be sent.
    fn open(&mut self) -> ConnectionId {
        for _ in 0..100 {
            self.peer.send(&Sent {
                control: TcpControl::Syn,
                sequence: PEER_START,
                ..Sent::default()
            });
            for _ in 0..5 {
                self.now += Duration::from_millis(50);
                self.stack.poll(self.now, &mut self.events);
                let answers = self.peer.receive();
                if let Some(answer) = answers.iter().find(|seen| seen.flags == "SA") {
                    self.next = answer.sequence.wrapping_add(1);
                    self.peer.send(&acknowledge(self.next));
                }
                if let Some(Event::Opened { id, .. }) = self.events.pop() {
                    return id;
                }
            }
        }
        panic!("never opened: {:?}", self.stack.counters());
    }

    /// A turn of the stack, and what the peer does about what comes.
    fn turn(&mut self, step: Duration) {
        self.now += step;
        self.stack.poll(self.now, &mut self.events);
        self.take();
    }

    fn take(&mut self) {
        let mut has_data = false;
        for seen in self.peer.receive() {
            if seen.payload.is_empty() {
                continue;
            }
            has_data = true;
            if seen.sequence == self.next {
                self.next = self.next.wrapping_add(seen.payload.len() as u32);
                self.received.extend(seen.payload);
            }
        }
        if has_data {
            self.peer.send(&acknowledge(self.next));
        }
    }

    /// Turns until that many bytes have come.
    fn until(&mut self, len: usize) {
        for _ in 0..40_000 {
            if self.received.len() >= len {
                break;
            }
            self.turn(Duration::from_millis(1));
        }
        assert_eq!(self.received, pattern(len), "{:?}", self.stack.counters());
    }
}

fn both(link: MemoryConfig, test: impl Fn(Small)) {
    for is_ipv6 in [false, true] {
        test(Small::new(link, is_ipv6));
    }
}

#[test]
fn a_full_transmit_ring_holds_back_and_loses_nothing() {
    let link = MemoryConfig { ring: 2, ..MemoryConfig::default() };
    both(link, |mut small| {
        let id = small.open();
        small.stack.submit(id, &mut vec![Part::Bytes(pattern(50_000))]).unwrap();
        // The peer does not look: the ring stays full, over turns in which more could be sent.
        for _ in 0..10 {
            small.stack.poll(small.now, &mut small.events);
        }
        assert_eq!(small.stack.port().credits(), 0);
        let sent = small.stack.counters().segments_sent;
        for _ in 0..10 {
            small.now += Duration::from_millis(1);
            small.stack.poll(small.now, &mut small.events);
        }
        assert_eq!(small.stack.counters().segments_sent, sent, "nothing is sent into a full ring");
        small.take();
        small.until(50_000);
        let counters = small.stack.counters();
        assert_eq!(counters.dropped(DropCause::NoFrame), 0, "{counters:?}");
        assert_eq!(small.stack.port().pool().available(), small.stack.port().pool().chunks());
    });
}

#[test]
fn a_retransmission_that_finds_no_frame_is_sent_when_there_is_one() {
    let link = MemoryConfig { ring: 8, ..MemoryConfig::default() };
    both(link, |mut small| {
        let id = small.open();
        small.stack.submit(id, &mut vec![Part::Bytes(pattern(20_000))]).unwrap();
        small.stack.poll(small.now, &mut small.events);
        // The first segment is lost; the peer says so while there are no frames.
        let first = small.peer.receive();
        assert!(first.len() > 1, "{first:?}");
        small.stack.poll(small.now, &mut small.events);
        for _ in 0..4 {
            small.peer.send(&acknowledge(small.next));
        }
        let pool = small.stack.port().pool().clone();
        let taken: Vec<Frame> = std::iter::from_fn(|| pool.allocate()).collect();
        for _ in 0..5 {
            small.now += Duration::from_millis(1);
            small.stack.poll(small.now, &mut small.events);
        }
        drop(taken);
        small.until(20_000);
    });
}

#[test]
fn an_exhausted_pool_drops_what_arrives_and_recovers() {
    both(MemoryConfig::default(), |mut small| {
        let id = small.open();
        let pool = small.stack.port().pool().clone();
        let mut taken = Vec::new();
        while let Some(frame) = pool.allocate() {
            taken.push(frame);
        }
        small.stack.submit(id, &mut vec![Part::Bytes(pattern(10_000))]).unwrap();
        let request = Sent { payload: b"GET", ..acknowledge(small.next) };
        small.peer.send(&request);
        for _ in 0..10 {
            small.turn(Duration::from_millis(1));
        }
        assert!(small.received.is_empty(), "there is nothing to send with");
        assert!(small.stack.port().counters().no_memory > 0, "counted below");
        drop(taken);
        small.until(10_000);
        assert_eq!(pool.available(), pool.chunks());
    });
}

#[test]
fn a_pool_of_a_few_chunks_is_slow_and_right() {
    both(MemoryConfig { chunks: 3, ..MemoryConfig::default() }, |mut small| {
        let id = small.open();
        small.stack.submit(id, &mut vec![Part::Bytes(pattern(30_000))]).unwrap();
        small.until(30_000);
    });
}

#[test]
fn a_reply_without_a_frame_is_counted_and_given_when_asked_again() {
    both(MemoryConfig { chunks: 1, ..MemoryConfig::default() }, |mut small| {
        // The one chunk holds what arrives while it is looked at, so there is none for an answer.
        small.peer.target_port = 81;
        let knock = Sent { control: TcpControl::Syn, ..Sent::default() };
        small.peer.send(&knock);
        small.stack.poll(small.now, &mut small.events);
        assert!(small.peer.receive().is_empty());
        assert_eq!(small.stack.counters().dropped(DropCause::NoFrame), 1);
        assert_eq!(small.stack.port().pool().available(), 1);
    });
}

#[test]
fn a_full_hop_channel_drops_counts_and_recovers() {
    let (near, far): (Vec<_>, Vec<_>) =
        (0..2).map(|_| memory_link(MemoryConfig::default()).unwrap()).unzip();
    let mut stacks: Vec<_> = near
        .into_iter()
        .zip(Mesh::new(2))
        .map(|(port, mesh)| UserStack::new(port, Instant::ZERO, config(1, Some(80), mesh)).unwrap())
        .collect();
    let mut far = far.into_iter();
    let (first, second) = (far.next().unwrap(), far.next().unwrap());
    let mut peer = Peer::new(first, false);
    let (mut now, mut events) = (Instant::from_millis(1_000), Vec::new());
    peer.send(&Sent {
        control: TcpControl::Syn,
        sequence: PEER_START,
        timestamps: Some((1, 0)),
        ..Sent::default()
    });
    let mut answer = None;
    while answer.is_none() {
        stacks[0].poll(now, &mut events);
        answer = peer.receive().pop();
    }
    let answer = answer.unwrap();
    let stamps = Some((2, answer.timestamps.unwrap().0));
    let ack = Sent { timestamps: stamps, ..acknowledge(answer.sequence.wrapping_add(1)) };
    peer.send(&ack);
    stacks[0].poll(now, &mut events);
    let Some(&Event::Opened { id, .. }) = events.first() else { panic!("{events:?}") };
    // From here on everything arrives at the other core, while the owner does not look.
    peer.port = second;
    for _ in 0..2_000 {
        peer.send(&ack);
        stacks[1].poll(now, &mut events);
    }
    let dropped = stacks[1].counters().dropped(DropCause::MeshFull);
    assert_eq!(stacks[1].counters().hopped_out + dropped, 2_000);
    assert!(dropped > 500, "{dropped}");
    for _ in 0..50 {
        stacks[0].poll(now, &mut events);
    }
    events.clear();
    peer.send(&Sent { payload: b"GET", ..ack });
    for _ in 0..4 {
        now += Duration::from_millis(1);
        for stack in &mut stacks {
            stack.poll(now, &mut events);
        }
    }
    assert_eq!(events, [Event::Received(id)]);
    assert_eq!(stacks[0].received(id), b"GET");
}
