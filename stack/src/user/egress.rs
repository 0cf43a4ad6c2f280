//! The send side of a turn: by turns, as far as there are frames.
//!
//! A frame is secured before smoltcp is asked for a segment, so nothing that it believes sent is lost
//! here.

use std::cell::Cell;

use pagewire_driver::{Flush, Instant, Port};
use smoltcp::socket::tcp::{CongestionControl, Socket};

use super::{Phase, UserStack, emit::Emitted, mesh::SHARD_BITS, smoltcp_time};
use crate::{CloseReason, disk::Answer};

/// Most segments that one connection sends before the next one's turn.
const SEGMENTS_PER_TURN: usize = 32;

thread_local! {
    /// The timestamp that sockets send (RFC 7323). smoltcp asks a plain function for it, so each turn
    /// leaves it here.
    static TIMESTAMP: Cell<u32> = const { Cell::new(0) };
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
            socket.set_congestion_control(CongestionControl::Cubic);
        });
    }

    /// Gives every connection that may have something to send its turn.
    pub(super) fn send_ready(&mut self, now: Instant) {
        for _ in 0..self.ready.len() {
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
        for sent in 0..SEGMENTS_PER_TURN {
            if self.port.credits() == 0 {
                // Who has had a frame goes behind those who have had none.
                return if sent == 0 { Turn::NoFrame } else { Turn::Again };
            }
            self.enqueue(now, slot);
            let mut device = self.scratch.device(&[]);
            self.arena.egress(slot, &mut self.interface, smoltcp_time(now), &mut device);
            match self.emit(now, slot) {
                Emitted::Sent if self.is_done(now, slot) => return Turn::Done,
                Emitted::Sent => {}
                Emitted::Nothing => {
                    self.rest(now, slot);
                    return Turn::Done;
                }
                Emitted::Abort(reason) => {
                    self.abort(slot, reason);
                    return Turn::Again;
                }
            }
        }
        Turn::Again
    }

    /// Whether a connection that has just sent a segment has no further one. Its timer is set then.
    fn is_done(&mut self, now: Instant, slot: u32) -> bool {
        let connection = &self.connections[slot as usize];
        let closes = connection.phase == Phase::Closing && !connection.fin_queued;
        if connection.tx.unqueued() > 0 || closes || matches!(connection.phase, Phase::Aborting(_))
        {
            return false;
        }
        let wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
        let is_done = wants.is_none_or(|at| at > smoltcp_time(now));
        if is_done {
            self.arm(now, slot, wants);
        }
        is_done
    }

    /// Lets the socket have as much of what there is to send as it takes and the disk has ready.
    fn enqueue(&mut self, now: Instant, slot: u32) {
        loop {
            let connection = &mut self.connections[slot as usize];
            let (offset, unqueued) = (connection.tx.enqueued(), connection.tx.unqueued());
            if unqueued == 0 {
                break;
            }
            if offset >= connection.resident_end && !self.make_resident(now, slot, offset) {
                break;
            }
            let connection = &mut self.connections[slot as usize];
            let most = (connection.resident_end - offset).min(unqueued);
            let taken = self.arena.with(slot, |socket| {
                let take = |room: &mut [u8]| {
                    let len = usize::try_from(most).map_or(room.len(), |most| most.min(room.len()));
                    (len, len)
                };
                socket.send(take).unwrap_or(0)
            });
            if taken == 0 {
                break;
            }
            connection.tx.enqueue(taken);
            connection.unacknowledged_since.get_or_insert(now);
        }
        self.after_enqueue(now, slot);
    }

    fn after_enqueue(&mut self, now: Instant, slot: u32) {
        let largest_segment = self.port.capabilities().mtu as u64 - 40;
        let connection = &mut self.connections[slot as usize];
        if matches!(connection.phase, Phase::Embryonic | Phase::Connecting) {
            return;
        }
        let sent = connection.offset_of(connection.sequence.sent_end).unwrap_or(0);
        let unsent = (connection.tx.enqueued() + connection.tx.unqueued()).saturating_sub(sent);
        // In LAST-ACK smoltcp heeds no window updates, so a half-closed peer gets the FIN by itself.
        let closes = connection.phase == Phase::Closing
            && !connection.fin_queued
            && connection.tx.unqueued() == 0
            && (unsent == 0 || !connection.peer_closed);
        if closes {
            connection.fin_queued = true;
            connection.unacknowledged_since.get_or_insert(now);
        }
        self.arena.with(slot, |socket| {
            // Full segments while there is more to come; the tail at once.
            socket.set_nagle_enabled(unsent >= largest_segment);
            if closes {
                socket.close();
            }
        });
    }

    /// Makes sure that the byte at `offset` can be had without waiting for the disk. False if it
    /// cannot yet; the connection becomes ready again when it can.
    fn make_resident(&mut self, now: Instant, slot: u32, offset: u64) -> bool {
        let connection = &mut self.connections[slot as usize];
        if connection.awaits_disk {
            return false;
        }
        let Some((range, start)) = connection.tx.file_at(offset) else {
            connection.resident_end = connection.tx.end_of_bytes(offset);
            return true;
        };
        let range_end = range.start + range.len;
        if range_end > range.object.len() {
            self.abort(slot, CloseReason::ContentChanged);
            return false;
        }
        let id = crate::ConnectionId { slot, generation: connection.generation };
        match self.residency.request(now, id, &range.object, start..range_end) {
            Answer::Resident { end } => {
                connection.resident_end = offset + end.min(range_end) - start;
                true
            }
            Answer::Pending => {
                connection.awaits_disk = true;
                false
            }
        }
    }

    /// Takes the helpers' answers.
    pub(super) fn receive_completions(&mut self, now: Instant) {
        while let Some(completion) = self.residency.completed(now) {
            let Some(slot) = self.slot_of(completion.id) else { continue };
            let connection = &mut self.connections[slot as usize];
            match (std::mem::take(&mut connection.awaits_disk), completion.result) {
                (true, Ok(())) => self.mark_ready(slot),
                (true, Err(reason)) => self.abort(slot, reason),
                (false, _) => {}
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
