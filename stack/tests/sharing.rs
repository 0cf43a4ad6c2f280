//! How connections of one core share what there is.

mod common;

use common::{
    Sent, listening,
    scene::{PEER_START, acknowledge, pattern},
};
use pagewire_driver::{Instant, MemoryConfig, Port, memory_link};
use pagewire_stack::{Event, Part, Transport};
use smoltcp::wire::TcpControl;

#[test]
fn connections_take_turns_although_frames_come_back_one_by_one() {
    let (near, far) =
        memory_link(MemoryConfig { chunks: 512, ring: 4, ..MemoryConfig::default() }).unwrap();
    let mut stack = listening(near);
    let mut peer = common::Peer::new(far, false);
    let (mut now, mut events) = (Instant::from_millis(1_000), Vec::new());
    for source_port in [40_000, 40_001] {
        peer.source_port = source_port;
        peer.send(&Sent { control: TcpControl::Syn, sequence: PEER_START, ..Sent::default() });
        let mut seen = Vec::new();
        while seen.is_empty() {
            stack.poll(now, &mut events);
            seen = peer.receive();
        }
        peer.send(&acknowledge(seen[0].sequence.wrapping_add(1)));
        stack.poll(now, &mut events);
    }
    for event in &events {
        let Event::Opened { id, .. } = *event else { panic!("opened, not {event:?}") };
        stack.submit(id, &mut vec![Part::Bytes(pattern(1 << 20))]).unwrap();
    }
    // Acknowledges all that comes, so that neither ever has to wait for its window.
    let mut bytes = [0; 2];
    for _ in 0..200 {
        now += std::time::Duration::from_micros(100);
        stack.poll(now, &mut events);
        for seen in peer.receive() {
            let sequence = seen.sequence.wrapping_add(seen.payload.len() as u32);
            peer.source_port = seen.target_port;
            peer.send(&acknowledge(sequence));
            bytes[usize::from(seen.target_port - 40_000)] += seen.payload.len();
        }
    }
    assert!(bytes.iter().all(|&each| each > bytes.iter().sum::<usize>() / 3), "{bytes:?}");
    assert!(stack.port().counters().sent > 100);
}
