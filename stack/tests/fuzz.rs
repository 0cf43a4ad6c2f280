//! Fuzzing of a live stack: an input is a short program for a peer, an application and a clock.
//!
//! Whatever it does: no panic, every frame of the stack well-formed, bytes as they were submitted, no
//! connection beyond the limit, and all memory back at the end. Inputs are kept in `__fuzz__` beside
//! this file; how to run this for longer, or with coverage, is told in ARCHITECTURE.md.

mod common;

use std::{collections::VecDeque, time::Duration};

use common::{Peer, Sent, frames, limited};
use pagewire_driver::{Instant, MemoryConfig, MemoryPort, memory_link};
use pagewire_stack::{Close, ConnectionId, Event, Part, Transport, user::UserStack};
use smoltcp::wire::TcpControl;

/// Most connections of the stack.
const CONNECTIONS: usize = 8;
/// Longest input that is run to its end.
const STEPS: usize = 200;

struct World {
    stack: UserStack<MemoryPort>,
    peer: Peer,
    now: Instant,
    events: Vec<Event>,
    open: VecDeque<ConnectionId>,
    /// What the peer has sent last and has seen last.
    sequence: u32,
    acknowledged: u32,
    stamp: u32,
}

impl World {
    fn new(is_ipv6: bool, embryonic: usize) -> Self {
        let (near, far) =
            memory_link(MemoryConfig { chunks: 256, ..MemoryConfig::default() }).unwrap();
        let stack = limited(near, |limits| {
            limits.connections = CONNECTIONS;
            limits.embryonic = embryonic;
        });
        Self {
            stack,
            peer: Peer::new(far, is_ipv6),
            now: Instant::from_millis(1_000),
            events: Vec::new(),
            open: VecDeque::new(),
            sequence: u32::MAX - 200,
            acknowledged: 0,
            stamp: 0,
        }
    }

    fn step(&mut self, bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
        let mut next = || bytes.next();
        let what = next()?;
        match what % 16 {
            0..=8 => self.segment([next()?, next()?, next()?, next()?, next()?]),
            9 => {
                self.peer.source_port = 40_000 + u16::from(next()? % 16);
                (self.sequence, self.acknowledged) = (u32::MAX - 200, 0);
            }
            10 => self.now += Duration::from_millis(1 << (next()? % 15)),
            11 => self.application(next()?),
            12 => {
                let kind = next()?;
                let (kind, code) = [(3, 4), (3, 3), (11, 0), (2, 0), (1, 4)][usize::from(kind % 5)];
                let mtu = u32::from(next()?) * 16;
                let number = self.acknowledged.wrapping_add(u32::from(next()?)).wrapping_sub(3);
                let frame = frames::icmp_error(&self.peer, (kind, code, mtu), number);
                self.peer.send_raw(&frame);
            }
            13 => {
                let len = usize::from(next()?);
                let frame: Vec<u8> =
                    common::STACK_MAC.into_iter().chain((0..len).map_while(|_| next())).collect();
                self.peer.send_raw(&frame);
            }
            14 => {
                let mut frame = self.peer.frame(&Sent::default());
                let place = usize::from(next()?) % frame.len();
                frame[place] ^= next()?;
                self.peer.send_raw(&frame);
            }
            _ => {}
        }
        self.turn();
        Some(())
    }

    fn segment(&mut self, [kind, seq, ack, len, window]: [u8; 5]) {
        let control = match kind & 7 {
            0 => TcpControl::Syn,
            1 => TcpControl::Fin,
            2 => TcpControl::Rst,
            _ => TcpControl::None,
        };
        // Near where it should be, most often exactly there.
        let near = |number: u32, offset: u8| match offset {
            0..=127 => number,
            128..=191 => number.wrapping_add(u32::from(offset - 128)),
            192..=250 => number.wrapping_sub(u32::from(offset - 191)),
            _ => number.wrapping_add(u32::from(offset) << 23),
        };
        let payload = vec![b'x'; usize::from(len) * 4];
        let is_syn = control == TcpControl::Syn;
        let sent = Sent {
            control,
            sequence: near(self.sequence, seq),
            acknowledgement: (!is_syn || kind & 8 > 0).then(|| near(self.acknowledged, ack)),
            window: u16::from(window) << (kind >> 6),
            payload: if len > 200 { &payload } else { &payload[..usize::from(len % 3)] },
            timestamps: (kind & 16 > 0).then_some((u32::from(seq), self.stamp)),
            mss: (kind & 32 > 0).then_some(u16::from(window) * 8),
            window_scale: (kind & 32 > 0 && is_syn).then_some(window % 16),
            sack_permitted: kind & 64 > 0 && is_syn,
        };
        let occupied = sent.payload.len() as u32 + u32::from(matches!(kind & 7, 0 | 1));
        self.sequence = sent.sequence.wrapping_add(occupied);
        self.peer.send(&sent);
    }

    fn application(&mut self, what: u8) {
        let Some(id) = self.open.pop_front() else { return };
        self.open.push_back(id);
        match what % 8 {
            0..=2 => {
                let bytes = vec![b'y'; usize::from(what) * 40];
                let _ = self.stack.submit(id, &mut vec![Part::Bytes(bytes)]);
            }
            3 | 4 => {
                let len = self.stack.received(id).len();
                self.stack.consume(id, len / usize::from(what / 64 + 1));
            }
            5 | 6 => self.stack.close(id, Close::AfterSent),
            _ => self.stack.close(id, Close::Now),
        }
    }

    fn turn(&mut self) {
        for _ in 0..2 {
            self.stack.poll(self.now, &mut self.events);
            for event in self.events.drain(..) {
                match event {
                    Event::Opened { id, .. } => self.open.push_back(id),
                    Event::Closed(id, _) => self.open.retain(|&open| open != id),
                    _ => {}
                }
            }
            // Which verifies checksums and lengths.
            for seen in self.peer.receive() {
                assert!(seen.payload.iter().all(|&byte| byte == b'y'));
                if seen.target_port == self.peer.source_port && seen.flags != "R" {
                    let control = u32::from(seen.flags.contains(['S', 'F']));
                    let len = seen.payload.len() as u32 + control;
                    self.acknowledged = seen.sequence.wrapping_add(len);
                }
                self.stamp = seen.timestamps.map_or(self.stamp, |(stamp, _)| stamp);
            }
        }
        assert!(self.stack.connections() <= CONNECTIONS);
        for &id in &self.open {
            let state = self.stack.tcp_state(id).expect("an open connection has a state");
            let sent = state.send_next.wrapping_sub(state.send_unacknowledged);
            assert!(sent < 1 << 21, "{state:?}");
        }
    }
}

fn run(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else { return };
    let mut world = World::new(first & 1 > 0, usize::from(first >> 6));
    let pools = [world.stack.port().pool().clone(), world.peer.port.pool().clone()];
    let mut bytes = rest.iter().copied();
    for _ in 0..STEPS {
        if world.step(&mut bytes).is_none() {
            break;
        }
    }
    // All that was opened can be closed, and then nothing is left.
    for id in std::mem::take(&mut world.open) {
        world.stack.close(id, Close::Now);
    }
    for _ in 0..4 {
        world.now += Duration::from_secs(20);
        world.turn();
        for id in std::mem::take(&mut world.open) {
            world.stack.close(id, Close::Now);
        }
    }
    assert_eq!(world.stack.connections(), 0, "{:?}", world.stack.counters());
    drop(world);
    for pool in pools {
        assert_eq!(pool.available(), pool.chunks());
    }
}

fn programs(time: Duration) {
    bolero::check!().with_test_time(time).with_max_len(800).for_each(|input: &[u8]| run(input));
}

/// How long a fuzz test takes: `PAGEWIRE_FUZZ_SECONDS`, or as long as CI allows.
fn time() -> Duration {
    let seconds = std::env::var("PAGEWIRE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

#[test]
fn a_live_stack_bears_any_program() {
    programs(time());
}

#[test]
#[ignore = "minutes; for ./dev soak"]
fn a_live_stack_bears_any_program_for_minutes() {
    programs(Duration::from_mins(5));
}
