//! What a segment has changed: bytes received and acknowledged, states entered, and what the caller is
//! to be told.

use std::time::Duration;

use pagewire_driver::{Instant, Port};
use smoltcp::socket::tcp::State;

use super::{
    Phase, UserStack,
    connection::{Moment, SequenceState},
    handshake::SynOptions,
    packet::{Segment, flags},
    recovery::Ack,
    reply::{self, BareSegment},
};
use crate::{CloseReason, ConnectionId, Event};

/// How often a connection's next hop is told to have delivered something: well within the time for which
/// a neighbour is trusted.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);

/// What an acknowledgement has brought about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Nothing that was submitted is left to be acknowledged.
    pub all_sent: bool,
    /// Our FIN is acknowledged.
    pub finished: bool,
}

impl SequenceState {
    /// Takes the peer's initial sequence number and timestamp from its SYN.
    pub(super) fn begin_receiving(&mut self, syn: &Segment<'_>) {
        self.initial_received = syn.sequence;
        self.offered = SynOptions::of(syn);
        self.peer_window = syn.window();
        self.receive_next = syn.sequence.wrapping_add(1);
        self.receive_told = self.receive_next;
        self.early_end = None;
        self.recent_timestamp = syn.timestamps.map(|(tsval, _)| tsval);
    }
}

impl<P: Port> UserStack<P> {
    /// Takes over what the socket has received, reports what has changed, and sets the timer.
    pub(super) fn settle(&mut self, now: Instant, slot: u32, progress: Progress) {
        let (state, fresh) = self.drain(slot);
        match state {
            // A reset during the handshake.
            State::Listen => return self.release(slot, CloseReason::Reset),
            State::Closed => {
                let reason = self.reason(slot);
                return self.release(slot, reason);
            }
            _ => {}
        }
        self.report_opened(now, slot, state);
        let id = self.connections[slot as usize].id(slot);
        self.report_received(slot, fresh, progress);
        let connection = &mut self.connections[slot as usize];
        if has_fin(state) && !connection.holds_back && !connection.peer_closed {
            connection.peer_closed = true;
            if connection.phase == Phase::Open {
                self.events.push(Event::PeerClosed(id));
            }
            // The FIN is acknowledged at once.
            self.connections[slot as usize].speaks = true;
            self.mark_ready(slot);
        }
        // smoltcp may have refused the segment that acknowledged our FIN.
        match (state, self.connections[slot as usize].fin_acknowledged()) {
            (State::TimeWait, _) | (State::Closing, true) => {
                return self.enter_time_wait(now, slot);
            }
            (State::LastAck, true) => return self.release(slot, CloseReason::Finished),
            _ => {}
        }
        self.rest(now, slot, fresh);
    }

    /// Tells the caller what a segment has brought: that all is sent, and that there is something to read.
    pub(super) fn report_received(&mut self, slot: u32, fresh: bool, progress: Progress) {
        let connection = &mut self.connections[slot as usize];
        let id = connection.id(slot);
        connection.asked |= fresh;
        if progress.all_sent {
            // Before what is received: that is answered, most likely, and then more is to be sent.
            self.report_sent(id);
        }
        if fresh && self.connections[slot as usize].phase == Phase::Open {
            self.events.push(Event::Received(id));
        }
    }

    /// What follows a segment that leaves the connection open: its turn, or its timer.
    pub(super) fn rest(&mut self, now: Instant, slot: u32, fresh: bool) {
        self.note_idle(now, slot);
        let connection = &mut self.connections[slot as usize];
        if connection.wants_turn() {
            return self.mark_ready(slot);
        }
        if fresh {
            // Most likely there will be an answer at once, which sets the timer.
            connection.unanswered = true;
            self.unanswered.push(slot);
        } else {
            self.owe_acknowledgement(now, slot);
        }
    }

    /// Takes what a segment of an open connection acknowledges.
    pub(super) fn take_acknowledgement(
        &mut self,
        now: Instant,
        slot: u32,
        segment: &Segment<'_>,
    ) -> Progress {
        let mut progress = Progress::default();
        let connection = &mut self.connections[slot as usize];
        let Some(offset) = connection.offset_of(segment.acknowledgement) else { return progress };
        let scale = connection.sequence.offered.window_scale.unwrap_or(0);
        let mut blocks = [const { 0..0 }; 4];
        let mut count = 0;
        if connection.sequence.offered.sack_permitted {
            for (start, end) in segment.sack_blocks() {
                let (start, end) = (connection.offset_of(start), connection.offset_of(end));
                if let (Some(start), Some(end)) = (start, end)
                    && start < end
                {
                    blocks[count] = start..end;
                    count += 1;
                }
            }
        }
        let ack = Ack {
            offset,
            window: u32::from(segment.window()) << scale,
            sequence: segment.sequence,
            blocks: &blocks[..count],
            echo: segment.timestamps.map(|(_, echo)| echo),
            has_data: segment.sequence_len() > 0,
            is_marked: segment.has(flags::ECE) && connection.marks.is_some(),
        };
        let was_finished = connection.fin_acknowledged();
        let done = connection.sender.on_ack(now, &ack, &mut self.flights);
        if let Some(marks) = &mut connection.marks {
            marks.reduced |= done.is_reduced;
        }
        self.counters.recoveries += u64::from(done.is_reduced);
        self.counters.recoveries_undone += u64::from(done.is_undone);
        if done.bytes == 0 {
            return progress;
        }
        let all = connection.sender.acknowledged();
        if connection.tx.acknowledge(all, &mut self.part_pool) {
            progress.all_sent = connection.tx.pending() == 0;
        }
        let connection = &mut self.connections[slot as usize];
        let is_finished = connection.fin_acknowledged();
        let waits = connection.tx.pending() > 0 || (connection.fin_queued && !is_finished);
        connection.unacknowledged_since = if waits { Moment::at(now) } else { Moment::NONE };
        progress.finished = is_finished && !was_finished;
        if progress.finished {
            // The time for the peer's FIN begins.
            connection.since = now;
        }
        self.confirm_next_hop(now, slot);
        progress
    }

    /// Tells the caller that everything is sent, if it still has the connection that it knew as `id`.
    pub(super) fn report_sent(&mut self, id: ConnectionId) {
        if let Some(slot) = self.slot_of(id)
            && matches!(self.connections[slot as usize].phase, Phase::Open | Phase::Closing)
        {
            self.events.push(Event::Sent(id));
        }
    }

    /// What follows an acknowledgement that the socket need not hear of.
    pub(super) fn settle_acknowledgement(&mut self, now: Instant, slot: u32) {
        self.note_idle(now, slot);
        let connection = &self.connections[slot as usize];
        if connection.wants_turn() {
            self.mark_ready(slot);
        } else if connection.tx.pending() > 0 || connection.fin_queued {
            self.arm(now, slot);
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
    /// Returns the socket's state and whether there were any.
    fn drain(&mut self, slot: u32) -> (State, bool) {
        let connection = &mut self.connections[slot as usize];
        let (limit, discards) = (self.limits.head, connection.discards());
        let heads = &mut self.heads;
        let before = connection.sequence.drained;
        let (state, waiting) = self.arena.with(slot, |socket| {
            while socket.can_recv() {
                let room =
                    if discards { usize::MAX } else { limit - connection.unconsumed().len() };
                let taken = socket.recv(|bytes| {
                    let len = bytes.len().min(room);
                    if !discards {
                        let head = connection.head.get_or_insert_with(|| heads.take());
                        head.extend(&bytes[..len]);
                    }
                    (len, len)
                });
                let Ok(1..) = taken else { break };
                let taken = taken.unwrap_or(0) as u32;
                connection.sequence.drained = connection.sequence.drained.wrapping_add(taken);
            }
            (socket.state(), socket.recv_queue())
        });
        connection.holds_back = waiting > 0;
        let state_numbers = &mut connection.sequence;
        state_numbers.has_end = has_fin(state);
        state_numbers.receive_next = state_numbers
            .initial_received
            .wrapping_add(1)
            .wrapping_add(state_numbers.drained)
            .wrapping_add(state_numbers.passed)
            .wrapping_add(waiting as u32)
            .wrapping_add(u32::from(has_fin(state)));
        state_numbers.forget_early();
        (state, state_numbers.drained != before)
    }

    fn report_opened(&mut self, now: Instant, slot: u32, state: State) {
        let connection = &mut self.connections[slot as usize];
        if matches!(state, State::SynReceived | State::SynSent) {
            return;
        }
        match connection.phase {
            Phase::Embryonic => {
                self.counters.accepted += 1;
                self.admission.establish(now, slot, connection.peer_ip().into());
            }
            Phase::Connecting => self.counters.connected += 1,
            _ => return,
        }
        let we_asked = connection.phase == Phase::Connecting;
        connection.phase = Phase::Open;
        connection.begin_sending(now, self.port.capabilities().mtu);
        let (id, flow) = (connection.id(slot), connection.flow.flow());
        if we_asked {
            // The peer waits for its SYN to be acknowledged, whether the caller has something to say
            // or not.
            self.connections[slot as usize].speaks = true;
            self.mark_ready(slot);
        }
        self.events.push(Event::Opened { id, peer: flow.peer, local: flow.local });
    }

    /// Why a socket that is now closed is closed.
    fn reason(&self, slot: u32) -> CloseReason {
        let connection = &self.connections[slot as usize];
        match connection.phase {
            Phase::Aborting(reason) => reason,
            Phase::Connecting => CloseReason::Unreachable,
            // LAST-ACK has ended with everything acknowledged.
            _ if connection.fin_queued
                && connection.peer_closed
                && connection.tx.pending() == 0 =>
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
        let (flow, numbers) = (connection.flow.flow(), connection.sequence);
        let bare = BareSegment {
            sequence: numbers.sent_end,
            acknowledgement: numbers.receive_next,
            flags: flags::ACK,
            window: 0,
            timestamps: numbers.recent_timestamp.map(|recent| (tsval, recent)),
        };
        self.send_own(now, flow.peer.ip(), |packet| reply::bare_segment(packet, &flow, &bare));
        let last = (bare.sequence, bare.acknowledgement);
        let hash = self.flow_key.hash(&flow);
        self.time_wait.add(now, (flow, hash), last, numbers.recent_timestamp);
        self.release(slot, CloseReason::Finished);
    }
}

/// Whether the peer's FIN has been received in this state.
fn has_fin(state: State) -> bool {
    matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}
