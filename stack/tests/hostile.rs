//! Whatever frames arrive, in whatever order: no panic, no frame lost, no slot beyond the limit.

mod common;

use std::time::Duration;

use common::{Peer, Sent, listening};
use pagewire_driver::{Instant, MemoryConfig, memory_link};
use pagewire_stack::{Event, Part, Transport};
use proptest::prelude::*;
use smoltcp::wire::TcpControl;

/// One frame, and how it is spoilt.
#[derive(Clone, Debug)]
struct Hostile {
    control: u8,
    sequence: u32,
    acknowledgement: Option<u32>,
    window: u16,
    payload: usize,
    port: u16,
    flip: Option<(usize, u8)>,
    cut: Option<usize>,
    wait_ms: u64,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    // Numbers near each other, so that many are plausible, and a few that are far away.
    let near = || prop_oneof![8 => 0u32..5_000, 1 => any::<u32>(), 1 => (u32::MAX - 3_000)..];
    let shape = (0u8..5, near(), prop::option::of(near()), any::<u16>(), 0usize..1_400, 0u16..4);
    let spoil = (
        prop::option::weighted(0.2, (0usize..200, any::<u8>())),
        prop::option::weighted(0.1, 0usize..100),
        0u64..400,
    );
    (shape, spoil).prop_map(|(shape, (flip, cut, wait_ms))| {
        let (control, sequence, acknowledgement, window, payload, port) = shape;
        Hostile { control, sequence, acknowledgement, window, payload, port, flip, cut, wait_ms }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_stack_survives_any_frames(frames in prop::collection::vec(hostile(), 1..80), is_ipv6: bool) {
        let (near, far) = memory_link(MemoryConfig::default()).unwrap();
        let pools = [near.pool().clone(), far.pool().clone()];
        let mut stack = listening(near);
        let mut peer = Peer::new(far, is_ipv6);
        let (mut now, mut events, mut last) = (Instant::ZERO, Vec::new(), 0);
        let payload = vec![b'x'; 1_400];
        for one in frames {
            peer.source_port = 40_000 + one.port;
            let mut frame = peer.frame(&Sent {
                control: match one.control {
                    0 => TcpControl::Syn,
                    1 => TcpControl::Fin,
                    2 => TcpControl::Rst,
                    3 => TcpControl::Psh,
                    _ => TcpControl::None,
                },
                sequence: one.sequence,
                // Relative to what the stack sent last, so that handshakes complete.
                acknowledgement: one.acknowledgement.map(|number| number.wrapping_add(last)),
                window: one.window,
                payload: &payload[..one.payload],
                ..Sent::default()
            });
            if let Some((at, bits)) = one.flip {
                let at = at % frame.len();
                frame[at] ^= bits;
            }
            frame.truncate(one.cut.unwrap_or(usize::MAX));
            if !frame.is_empty() {
                peer.send_raw(&frame);
            }
            now += Duration::from_millis(one.wait_ms);
            for _ in 0..3 {
                stack.poll(now, &mut events);
                for event in events.drain(..) {
                    if let Event::Received(id) = event {
                        let half = stack.received(id).len() / 2;
                        stack.consume(id, half);
                        let _ = stack.submit(id, &mut vec![Part::Bytes(vec![b'y'; 3_000])]);
                    }
                }
                for seen in peer.receive() {
                    last = seen.sequence.wrapping_add(u32::from(seen.flags.contains('S')));
                }
            }
            prop_assert!(stack.connections() <= 64);
        }
        drop((stack, peer));
        for pool in pools {
            prop_assert_eq!(pool.available(), pool.chunks());
        }
    }

    #[test]
    fn a_stack_survives_any_bytes(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 1..20),
        ethertype in 0usize..4,
    ) {
        let (near, far) = memory_link(MemoryConfig::default()).unwrap();
        let mut stack = listening(near);
        let mut peer = Peer::new(far, false);
        for mut frame in frames {
            if frame.len() > 14 {
                frame[..6].copy_from_slice(&common::STACK_MAC);
                let types = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]];
                frame[12..14].copy_from_slice(&types[ethertype]);
            }
            peer.send_raw(&frame);
        }
        stack.poll(Instant::ZERO, &mut Vec::new());
        prop_assert_eq!(stack.connections(), 0);
    }
}
