//! However much is due at once, a turn has an end: what is left comes in the next ones.

mod common;

use std::time::Duration;

use common::{
    Sent,
    scene::{PEER_START, both_limited},
};
use pagewire_stack::Transport;
use smoltcp::wire::TcpControl;

/// Connections whose timers run out together.
const CONNECTIONS: u16 = 2_000;
/// More than a turn looks at, because of timers: a little above what the stack allows itself.
const MOST: u64 = 300;

#[test]
fn timers_of_many_connections_take_turns() {
    both_limited(
        |limits| {
            let most = usize::from(CONNECTIONS) + 1;
            (limits.connections, limits.connections_per_source) = (most, most);
            (limits.embryonic, limits.embryonic_per_source) = (most, most);
        },
        |mut scene| {
            for port in 0..CONNECTIONS {
                scene.peer.source_port = 40_000 + port;
                let control = TcpControl::Syn;
                scene.send(Sent { control, sequence: PEER_START, ..Sent::default() });
            }
            assert_eq!(scene.stack.connections(), usize::from(CONNECTIONS));
            // A core that was held up: all are to be answered again, and have been for long.
            scene.now += Duration::from_secs(5);
            let mut answers = 0;
            for _ in 0..100 {
                let before = scene.stack.counters().timers;
                scene.stack.poll(scene.now, &mut scene.events);
                answers += scene.peer.receive().len();
                let looked_at = scene.stack.counters().timers - before;
                assert!(looked_at <= MOST, "{looked_at}");
            }
            assert_eq!(scene.stack.counters().timers, CONNECTIONS.into());
            assert_eq!(answers, usize::from(CONNECTIONS));
        },
    );
}
