//! What a segment has changed: bytes received and acknowledged, states entered, and what the caller is
//! to be told.

use std::time::Duration;

use pagewire_driver::{Instant, Port};
use smoltcp::socket::tcp::State;

use super::{
    Phase, UserStack,
    connection::SequenceState,
    handshake::SynOptions,
    packet::{Segment, flags},
    reply::{self, BareSegment},
    smoltcp_time,
};
use crate::{CloseReason, Event};

/// How often a connection's next hop is told to have delivered something: well within the time for which
/// a neighbour is trusted.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);

impl SequenceState {
    /// Takes the peer's initial sequence number and timestamp from its SYN.
    pub(super) fn begin_receiving(&mut self, syn: &Segment<'_>) {
        self.initial_received = syn.sequence;
        self.offered = SynOptions::of(syn);
        self.peer_window = syn.window();
        self.receive_next = syn.sequence.wrapping_add(1);
        self.recent_timestamp = syn.timestamps.map(|(tsval, _)| tsval);
    }
}

impl<P: Port> UserStack<P> {
    /// Takes over what the socket has received, reports what has changed, and sets the timer.
    pub(super) fn settle(&mut self, now: Instant, slot: u32) {
        let (state, fresh, unsent) = self.drain(slot);
        match state {
            // A reset during the handshake.
            State::Listen => return self.release(slot, CloseReason::Reset),
            State::Closed => {
                let reason = self.reason(slot, unsent);
                return self.release(slot, reason);
            }
            _ => {}
        }
        self.report_opened(now, slot, state);
        let connection = &mut self.connections[slot as usize];
        let id = connection.id(slot);
        connection.asked |= fresh;
        if fresh && connection.phase == Phase::Open {
            self.events.push(Event::Received(id));
        }
        if has_fin(state) && !connection.holds_back && !connection.peer_closed {
            connection.peer_closed = true;
            if connection.phase == Phase::Open {
                self.events.push(Event::PeerClosed(id));
            }
            // The FIN is acknowledged at once.
            self.mark_ready(slot);
        }
        let connection = &mut self.connections[slot as usize];
        let acknowledged = connection.tx.enqueued() - unsent as u64;
        if connection.tx.acknowledge(acknowledged, &mut self.part_buffers) {
            super::trim(&mut self.part_buffers);
            // A FIN is yet to be acknowledged; that it is ends the connection or shows below.
            let waits = unsent > 0 || connection.fin_queued;
            connection.unacknowledged_since = waits.then_some(now);
            let is_told = matches!(connection.phase, Phase::Open | Phase::Closing);
            if connection.tx.pending() == 0 && is_told {
                self.events.push(Event::Sent(id));
            }
            self.confirm_next_hop(now, slot);
        }
        let connection = &mut self.connections[slot as usize];
        if state == State::FinWait2 && connection.unacknowledged_since.take().is_some() {
            // Our FIN is acknowledged: the time for the peer's begins.
            connection.since = now;
        }
        if state == State::TimeWait {
            return self.enter_time_wait(now, slot);
        }
        self.note_idle(now, slot);
        let connection = &mut self.connections[slot as usize];
        if connection.tx.unqueued() > 0 || connection.phase != Phase::Open {
            return self.mark_ready(slot);
        }
        if fresh {
            // Most likely there will be an answer at once, which sets the timer.
            connection.unanswered = true;
            self.unanswered.push(slot);
        } else if connection.tx.pending() > 0 || connection.holds_back {
            let wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
            self.arm(now, slot, wants);
        }
    }

    /// Says now and then that the connection's next hop delivers.
    fn confirm_next_hop(&mut self, now: Instant, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if now - connection.delivered < CONFIRM_INTERVAL {
            return;
        }
        connection.delivered = now;
        let peer = connection.peer_ip();
        if let Some(next_hop) = self.next_hop(peer) {
            self.neighbors.confirm(now, next_hop);
        }
    }

    /// Moves received bytes from the socket to where the caller sees them, as far as there is room.
    /// Returns the socket's state, whether there were any, and how many bytes the socket still holds
    /// unacknowledged.
    fn drain(&mut self, slot: u32) -> (State, bool, usize) {
        let connection = &mut self.connections[slot as usize];
        let (limit, discards) = (self.limits.head, connection.discards());
        let spare = &mut self.head_buffers;
        let before = connection.sequence.drained;
        let (state, unsent, waiting) = self.arena.with(slot, |socket| {
            while socket.can_recv() {
                let room =
                    if discards { usize::MAX } else { limit - connection.unconsumed().len() };
                let taken = socket.recv(|bytes| {
                    let len = bytes.len().min(room);
                    if !discards {
                        if connection.received.capacity() == 0 {
                            connection.received = spare.pop().unwrap_or_default();
                        }
                        connection.received.extend_from_slice(&bytes[..len]);
                    }
                    (len, len)
                });
                let Ok(1..) = taken else { break };
                let taken = taken.unwrap_or(0) as u32;
                connection.sequence.drained = connection.sequence.drained.wrapping_add(taken);
            }
            (socket.state(), socket.send_queue(), socket.recv_queue())
        });
        connection.holds_back = waiting > 0;
        let state_numbers = &mut connection.sequence;
        state_numbers.has_end = has_fin(state);
        state_numbers.receive_next = state_numbers
            .initial_received
            .wrapping_add(1)
            .wrapping_add(state_numbers.drained)
            .wrapping_add(waiting as u32)
            .wrapping_add(u32::from(has_fin(state)));
        (state, state_numbers.drained != before, unsent)
    }

    fn report_opened(&mut self, now: Instant, slot: u32, state: State) {
        let connection = &mut self.connections[slot as usize];
        if matches!(state, State::SynReceived | State::SynSent) {
            return;
        }
        match connection.phase {
            Phase::Embryonic => {
                self.counters.accepted += 1;
                self.admission.establish(now, slot, connection.flow.peer.ip().into());
            }
            Phase::Connecting => self.counters.connected += 1,
            _ => return,
        }
        let we_asked = connection.phase == Phase::Connecting;
        connection.phase = Phase::Open;
        let (id, flow) = (connection.id(slot), connection.flow);
        if we_asked {
            // The peer waits for its SYN to be acknowledged, whether the caller has something to say
            // or not.
            self.mark_ready(slot);
        }
        self.events.push(Event::Opened { id, peer: flow.peer, local: flow.local });
    }

    /// Why a socket that is now closed is closed.
    fn reason(&self, slot: u32, unsent: usize) -> CloseReason {
        let connection = &self.connections[slot as usize];
        match connection.phase {
            Phase::Aborting(reason) => reason,
            Phase::Connecting => CloseReason::Unreachable,
            // LAST-ACK has ended with everything acknowledged.
            _ if connection.fin_queued
                && connection.peer_closed
                && connection.tx.unqueued() == 0
                && unsent == 0 =>
            {
                CloseReason::Finished
            }
            _ => CloseReason::Reset,
        }
    }

    /// Both sides have closed, we first: the slot is free, the 4-tuple is not yet.
    fn enter_time_wait(&mut self, now: Instant, slot: u32) {
        let tsval = self.timestamp(now);
        let connection = &self.connections[slot as usize];
        let (flow, numbers) = (connection.flow, connection.sequence);
        let bare = BareSegment {
            sequence: numbers.sent_end,
            acknowledgement: numbers.receive_next,
            flags: flags::ACK,
            window: 0,
            timestamps: numbers.recent_timestamp.map(|recent| (tsval, recent)),
        };
        self.send_own(now, flow.peer.ip(), |packet| reply::bare_segment(packet, &flow, &bare));
        let last = (bare.sequence, bare.acknowledgement);
        self.time_wait.add(now, flow, last, numbers.recent_timestamp);
        self.release(slot, CloseReason::Finished);
    }
}

/// Whether the peer's FIN has been received in this state.
fn has_fin(state: State) -> bool {
    matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}
