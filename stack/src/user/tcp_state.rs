//! One connection's TCP state as plain numbers: for people who look at a server, and all that it takes to
//! hand a live connection to another stack.

use pagewire_driver::Port;
use smoltcp::socket::tcp::State;

use super::{RecoverySnapshot, UserStack, observe::state_of};
use crate::{ConnectionId, ConnectionState};

/// The state of a connection at the end of the last turn (RFC 9293 section 3.3.1). Sequence numbers are
/// those on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpState {
    /// The state.
    pub state: ConnectionState,
    /// SND.UNA: the first number that the peer has not acknowledged.
    pub send_unacknowledged: u32,
    /// SND.NXT: behind the highest number ever sent.
    pub send_next: u32,
    /// RCV.NXT: the next number expected from the peer.
    pub receive_next: u32,
    /// The window that the peer offered last, in bytes, scaled.
    pub send_window: u32,
    /// The window that we offer, in bytes.
    pub receive_window: u32,
    /// By how many bits the peer's windows are shifted; none if scaling was not agreed on.
    pub send_scale: Option<u8>,
    /// The same of ours.
    pub receive_scale: Option<u8>,
    /// Largest segment that the peer takes, in bytes, options included.
    pub peer_mss: u16,
    /// Whether selective acknowledgements were agreed on.
    pub sack: bool,
    /// Whether timestamps were agreed on. They count milliseconds.
    pub timestamps: bool,
    /// The timestamp that a segment sent now carries. The offset of a clock that goes on with it is this
    /// minus that clock.
    pub timestamp: u32,
    /// The peer's latest timestamp, if there are any.
    pub recent_timestamp: Option<u32>,
    /// What the sender has learned of the path.
    pub recovery: RecoverySnapshot,
    /// Bytes submitted and not yet acknowledged.
    pub queued: u64,
    /// Bytes received and not yet consumed.
    pub unconsumed: usize,
}

impl<P: Port> UserStack<P> {
    /// The TCP state of a connection; none for an id that is void.
    pub fn tcp_state(&mut self, id: ConnectionId) -> Option<TcpState> {
        let slot = self.slot_of(id)?;
        let (state, receive_window) = self
            .arena
            .with(slot, |socket| (socket.state(), socket.recv_capacity() - socket.recv_queue()));
        let connection = &self.connections[slot as usize];
        let numbers = &connection.sequence;
        let is_open = !matches!(state, State::SynSent | State::SynReceived);
        Some(TcpState {
            state: state_of(state),
            send_unacknowledged: if is_open {
                connection.unacknowledged()
            } else {
                numbers.initial_sent
            },
            send_next: numbers.sent_end,
            receive_next: numbers.receive_next,
            send_window: u32::from(numbers.peer_window)
                << if is_open { numbers.offered.window_scale.unwrap_or(0) } else { 0 },
            receive_window: receive_window as u32,
            send_scale: numbers.offered.window_scale,
            receive_scale: numbers.offered.window_scale.map(|_| 0),
            peer_mss: numbers.offered.mss,
            sack: numbers.offered.sack_permitted,
            timestamps: numbers.recent_timestamp.is_some(),
            timestamp: self.timestamp(self.now),
            recent_timestamp: numbers.recent_timestamp,
            recovery: connection.sender.snapshot(),
            queued: connection.tx.pending(),
            unconsumed: connection.unconsumed().len(),
        })
    }
}
