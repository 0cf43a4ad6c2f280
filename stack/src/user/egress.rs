//! The send side of a turn: by turns, as far as there are frames.
//!
//! smoltcp is asked only for handshakes, acknowledgements and resets. What a connection sends of its stream,
//! and sends again, its sender decides, and `segments` makes frames of it. Frames are counted before anything
//! is taken for sent.

use std::{cell::Cell, ops::Range};

use pagewire_driver::{Flush, Instant, Port};
use smoltcp::socket::tcp::{CongestionControl, Socket};

use super::{
    Phase, UserStack,
    connection::Moment,
    mesh::SHARD_BITS,
    recovery::{Cause, Chance},
    segments::Batch,
    smoltcp_time,
};
use crate::{CloseReason, disk::Answer};

/// Most segments that one connection sends before the next one's turn.
const SEGMENTS_PER_TURN: usize = 32;
/// Most connections that have their turn before the stack looks at what has arrived.
const MOST_TURNS: usize = 1_024;
/// Most of the helpers' answers that one turn takes.
const MOST_COMPLETIONS: usize = 256;

thread_local! {
    /// The timestamp that sockets send (RFC 7323). smoltcp asks a plain function for it, so each turn
    /// leaves it here.
    static TIMESTAMP: Cell<u32> = const { Cell::new(0) };
}

/// What bytes are wanted for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    /// To be sent for the first time: what follows them is wanted next.
    On,
    /// To be sent again.
    Again,
}

/// How a connection's turn ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    /// It has nothing to send for now.
    Done,
    /// It has used up its share.
    Again,
    /// There are no frames for it, not even one.
    NoFrame,
}

impl<P: Port> UserStack<P> {
    /// The timestamp of a moment: milliseconds, the low bits replaced by our shard's number.
    pub(super) fn timestamp(&self, now: Instant) -> u32 {
        (now.millis() as u32) >> SHARD_BITS << SHARD_BITS | u32::from(self.mesh.shard())
    }

    /// Sets what sockets send as timestamps from here on.
    pub(super) fn set_timestamp(&self, now: Instant) {
        TIMESTAMP.set(self.timestamp(now));
    }

    /// Puts a fresh socket into a slot.
    pub(super) fn open_socket(&mut self, slot: u32) {
        self.arena.open(slot);
        self.arena.with(slot, |socket| {
            socket.set_tsval_generator(Some(|| TIMESTAMP.get()));
            socket.set_congestion_control(CongestionControl::None);
            // When to acknowledge is decided in `timers`.
            socket.set_ack_delay(None);
        });
    }

    /// Gives every connection that may have something to send its turn.
    pub(super) fn send_ready(&mut self, now: Instant) {
        for _ in 0..self.ready.len().min(MOST_TURNS) {
            let Some(slot) = self.ready.pop_front() else { return };
            let connection = &mut self.connections[slot as usize];
            connection.ready = false;
            if connection.phase == Phase::Vacant {
                continue;
            }
            match self.send_turn(now, slot) {
                Turn::Done => {}
                Turn::Again => self.mark_ready(slot),
                Turn::NoFrame => {
                    // It keeps its place.
                    self.connections[slot as usize].ready = true;
                    self.ready.push_front(slot);
                    return;
                }
            }
        }
    }

    /// Hands the port what was sent in this turn.
    pub(super) fn flush(&mut self, now: Instant) {
        self.back_pressure = self.port.flush(now) == Flush::BackPressure;
        self.counters.back_pressure += u64::from(self.back_pressure);
    }

    fn send_turn(&mut self, now: Instant, slot: u32) -> Turn {
        if self.port.credits() == 0 {
            return Turn::NoFrame;
        }
        match self.connections[slot as usize].phase {
            Phase::Vacant => Turn::Done,
            Phase::Embryonic | Phase::Connecting => {
                self.ask_socket(now, slot);
                self.emit(now, slot);
                self.rest_in_handshake(now, slot);
                Turn::Done
            }
            Phase::Aborting(reason) => {
                self.ask_socket(now, slot);
                self.emit(now, slot);
                self.release(slot, reason);
                Turn::Done
            }
            Phase::Open | Phase::Closing => self.send_stream(now, slot),
        }
    }

    /// Lets the socket say something, into the scratch memory.
    fn ask_socket(&mut self, now: Instant, slot: u32) {
        self.connections[slot as usize].speaks = false;
        let mut device = self.scratch.device(&[]);
        self.arena.egress(slot, &mut self.interface, smoltcp_time(now), &mut device);
    }

    /// The turn of an open connection: its stream as far as its sender allows, or a bare acknowledgement.
    fn send_stream(&mut self, now: Instant, slot: u32) -> Turn {
        let mut left = SEGMENTS_PER_TURN;
        loop {
            let most = left.min(self.port.credits());
            if most == 0 {
                return Turn::Again;
            }
            let ready = self.ready_bytes(now, slot, most);
            let connection = &mut self.connections[slot as usize];
            if matches!(connection.phase, Phase::Aborting(_)) {
                return Turn::Again;
            }
            let used = match connection.sender.next(now, ready) {
                Chance::Fresh { len } => self.send_fresh(now, slot, len, most),
                Chance::Again { offset, len, .. }
                    if !self.may_send_again(now, slot, offset, len) =>
                {
                    break;
                }
                Chance::Again { offset, len, cause } => {
                    self.send_again(now, slot, (offset, len, cause), most)
                }
                Chance::Nothing | Chance::Later(_) if self.may_finish(slot) => {
                    self.send_fresh(now, slot, 0, most)
                }
                Chance::Nothing => break,
                Chance::Later(at) => {
                    self.look_by(slot, at);
                    break;
                }
            };
            match used {
                Ok(0) => return Turn::Again,
                Ok(_) if !self.connections[slot as usize].wants_turn() => break,
                Ok(used) => left -= used.min(left),
                Err(reason) => {
                    self.abort(slot, reason);
                    return Turn::Again;
                }
            }
        }
        self.acknowledge_if_due(now, slot);
        self.arm(now, slot);
        let connection = &mut self.connections[slot as usize];
        connection.unanswered &= connection.owes_acknowledgement();
        Turn::Done
    }

    /// How many bytes that were never sent can be sent without waiting for the disk: all there are, or
    /// whole segments. Asked for every turn, for what is in memory now may not be so later.
    fn ready_bytes(&mut self, now: Instant, slot: u32, most: usize) -> u64 {
        let connection = &self.connections[slot as usize];
        let (offset, unsent) = (connection.tx.enqueued(), connection.tx.unqueued());
        if unsent == 0 {
            return 0;
        }
        let mss = u64::from(connection.sender.mss());
        let wanted = offset + unsent.min(mss * most as u64);
        let ready = self.make_resident(now, slot, offset..wanted, Reading::On) - offset;
        if ready > 0 {
            let connection = &mut self.connections[slot as usize];
            connection.unacknowledged_since.set_first(now);
        }
        if ready >= unsent { unsent } else { ready - ready % mss }
    }

    /// Whether all has been sent but the FIN that the caller wants.
    fn may_finish(&self, slot: u32) -> bool {
        let connection = &self.connections[slot as usize];
        connection.phase == Phase::Closing
            && !connection.fin_queued
            && connection.tx.unqueued() == 0
    }

    /// Sends up to `len` bytes for the first time, in at most `most` segments, and the FIN behind the last
    /// byte. Returns how many segments that were.
    fn send_fresh(
        &mut self,
        now: Instant,
        slot: u32,
        len: u64,
        most: usize,
    ) -> Result<usize, CloseReason> {
        let connection = &mut self.connections[slot as usize];
        let mss = u64::from(connection.sender.mss());
        let len = len.min(mss * most as u64);
        let fin = connection.phase == Phase::Closing
            && !connection.fin_queued
            && len == connection.tx.unqueued();
        if fin {
            connection.fin_queued = true;
            connection.unacknowledged_since.set_first(now);
            self.arena.with(slot, Socket::close);
        }
        let connection = &self.connections[slot as usize];
        if fin || connection.speaks || !self.acknowledge_along(slot) {
            // What it has to say goes with what is sent.
            self.ask_socket(now, slot);
            self.absorb(slot);
            self.connections[slot as usize].sequence.tell();
        }
        let connection = &mut self.connections[slot as usize];
        connection.acknowledge_by = Moment::NONE;
        let offset = connection.tx.enqueued();
        let batch = Batch { offset, len, fin, is_fresh: true };
        self.send_batch(now, slot, &batch)?;
        let connection = &mut self.connections[slot as usize];
        connection.tx.enqueue(len as usize);
        connection.sender.sent_fresh(now, len, fin, &mut self.flights);
        connection.sequence.sent_end = connection.sequence_of(connection.sender.sent());
        Ok((len.div_ceil(mss) as usize).max(1))
    }

    /// Acknowledges what was received with the next segment, without the socket: asking it takes longer
    /// than all else that a small answer needs, and of what has passed it by it does not know. The window
    /// ends where the socket's does, so the peer sends nothing that it does not expect. False when so
    /// little is left of the window that it must be opened.
    fn acknowledge_along(&mut self, slot: u32) -> bool {
        let least = self.limits.receive_window as u32 / 2;
        let numbers = &mut self.connections[slot as usize].sequence;
        if numbers.window() >= least {
            numbers.tell();
            return true;
        }
        numbers.receive_next == numbers.receive_told
    }

    /// Whether a stretch can be sent again without waiting for the disk: since it was sent first, its pages
    /// may have been given to others.
    fn may_send_again(&mut self, now: Instant, slot: u32, offset: u64, len: u32) -> bool {
        let end = (offset + u64::from(len)).min(self.connections[slot as usize].tx.submitted());
        self.make_resident(now, slot, offset..end, Reading::Again) >= end
    }

    /// Sends a stretch again that its sender wants. Returns how many segments that were; zero if there are
    /// no frames for it.
    fn send_again(
        &mut self,
        now: Instant,
        slot: u32,
        (offset, len, cause): (u64, u32, Cause),
        most: usize,
    ) -> Result<usize, CloseReason> {
        let connection = &self.connections[slot as usize];
        let end = offset + u64::from(len);
        let fin = end > connection.tx.submitted();
        let len = u64::from(len) - u64::from(fin);
        let used = (len.div_ceil(connection.sender.mss().into()) as usize).max(1);
        if used > most {
            return Ok(0);
        }
        self.send_batch(now, slot, &Batch { offset, len, fin, is_fresh: false })?;
        let timestamp = self.timestamp(now);
        self.connections[slot as usize].sender.sent_again(now, timestamp);
        self.counters.count_again(cause);
        Ok(used)
    }

    /// Acknowledges what was received, if it is time, and lets the socket say what else it has to.
    fn acknowledge_if_due(&mut self, now: Instant, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let is_due = connection.acknowledge_by.is_past(now);
        if !connection.speaks && !is_due {
            return;
        }
        connection.acknowledge_by = Moment::NONE;
        let owes = connection.owes_acknowledgement();
        if owes && self.acknowledge_along(slot) {
            self.connections[slot as usize].speaks = false;
            self.counters.segments_sent += 1;
            return self.acknowledge_again(now, slot);
        }
        self.ask_socket(now, slot);
        if !self.emit(now, slot) && owes {
            self.connections[slot as usize].sequence.tell();
            self.counters.segments_sent += 1;
            self.acknowledge_again(now, slot);
        }
    }

    /// Sees to it that the bytes of the stream that are `wanted` can be had without waiting for the disk,
    /// and returns up to where they can. If that is less, the connection becomes ready again when more can.
    fn make_resident(
        &mut self,
        now: Instant,
        slot: u32,
        wanted: Range<u64>,
        reading: Reading,
    ) -> u64 {
        let connection = &mut self.connections[slot as usize];
        let mut at = wanted.start;
        while at < wanted.end.min(connection.disk_awaited_at) {
            let Some((range, start)) = connection.tx.file_at(at) else {
                let end = connection.tx.end_of_bytes(at);
                if end <= at {
                    // Outside the map: whoever gathers it finds that out.
                    return wanted.end;
                }
                at = end;
                continue;
            };
            let range_end = range.start + range.len;
            if range_end > range.object.len() {
                self.abort(slot, CloseReason::ContentChanged);
                break;
            }
            let id = crate::ConnectionId { slot, generation: connection.generation };
            let end = match reading {
                Reading::On => range_end,
                Reading::Again => range_end.min(start + wanted.end - at),
            };
            match self.residency.request(now, id, &range.object, start..end) {
                Answer::Resident { end } => at += end.min(range_end) - start,
                Answer::Pending => connection.disk_awaited_at = at,
            }
        }
        at
    }

    /// Takes the helpers' answers.
    pub(super) fn receive_completions(&mut self, now: Instant) {
        for _ in 0..MOST_COMPLETIONS {
            let Some(completion) = self.residency.completed(now) else { return };
            let Some(slot) = self.slot_of(completion.id) else { continue };
            let connection = &mut self.connections[slot as usize];
            if std::mem::replace(&mut connection.disk_awaited_at, u64::MAX) == u64::MAX {
                continue;
            }
            match completion.result {
                Ok(()) => self.mark_ready(slot),
                Err(reason) => self.abort(slot, reason),
            }
        }
    }

    /// Gives up a connection: it is reset when next it has its turn.
    pub(super) fn abort(&mut self, slot: u32, reason: CloseReason) {
        self.connections[slot as usize].phase = Phase::Aborting(reason);
        self.arena.with(slot, Socket::abort);
        self.mark_ready(slot);
    }
}
