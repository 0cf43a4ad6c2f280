//! When a connection is looked at although nothing has happened to it.
//!
//! Each has one timer, for the earliest of what its sender or its handshake wants, an acknowledgement that is
//! owed, and our own deadlines. It is only ever brought forward: a timer that has become too early fires, the
//! connection is looked at, and the timer is set anew. That is far rarer than segments are, and spares every
//! segment the wheel. The timer that was there before stays in the wheel, and serves again when it is the
//! earliest; what neither of the two earliest is, and fires nevertheless, is ignored.

use std::time::Duration;

use pagewire_driver::{Instant, Port, prefetch, stages};

use super::{
    Phase, UserStack,
    connection::{Moment, NEVER},
    recovery::Expired,
    smoltcp_time,
    timer_wheel::{FIRING, Tick},
};
use crate::CloseReason;

/// How long an acknowledgement may wait for something to go with (RFC 1122 section 4.2.3.2 allows 500 ms).
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(10);
/// Timers of the wheel for each slot, beyond which those that are to be ignored are thrown out.
const MOST_TIMERS: usize = 4;
/// How many connections are looked at in one turn because of their timers; more wait for the next.
const LOOKED_AT: usize = 256;

/// Timers of the wheel for so many slots beyond which it is swept. While it is, it gains no more than one for
/// each chunk that is looked at.
pub const fn most_timers(slots: usize) -> usize {
    MOST_TIMERS * (slots + 64)
}

impl<P: Port> UserStack<P> {
    /// Lets connections whose timer has run out send, or gives them up. In stages, as a burst is handled: where
    /// several have run out, their memory is waited for together.
    pub(super) fn expire_timers(&mut self, now: Instant) {
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(now, LOOKED_AT * FIRING, &mut expired);
        for [far, halfway, near, present] in stages(expired.len()) {
            let at = |place: Option<usize>| self.connections.get(expired[place?].0 as usize);
            if let Some(connection) = at(far) {
                prefetch(connection);
            }
            if let Some(place) = far {
                // Of those whose time has really come most send something.
                self.port.prefetch(place);
            }
            if let Some(connection) = at(halfway) {
                connection.prefetch_sent();
            }
            if let Some(connection) = at(near) {
                connection.sender.prefetch_records();
            }
            if let Some(place) = present {
                self.timer_ran_out(now, expired[place]);
            }
        }
        expired.clear();
        self.expired = expired;
    }

    /// Fetches what the next ticks will need, a stage in each tick. Where few timers run out in each, nothing
    /// else could be done while one is waited for.
    pub(super) fn look_ahead(&self) {
        self.wheel.prefetch(2);
        for slot in self.wheel.slots(1) {
            if let Some(connection) = self.connections.get(slot as usize) {
                prefetch(connection);
            }
        }
        for slot in self.wheel.slots(0) {
            if let Some(connection) = self.connections.get(slot as usize) {
                connection.prefetch_sent();
            }
        }
    }

    fn timer_ran_out(&mut self, now: Instant, (slot, tick): (u32, Tick)) {
        let is_pressed = self.is_pressed();
        // A slot that was given back may have left timers.
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let [first, second] = connection.armed;
        if tick != first {
            return;
        }
        connection.armed = [second, NEVER];
        self.counters.timers += 1;
        let deadline = connection.deadline(&self.limits);
        let given_up = deadline.is_some_and(|deadline| deadline <= now);
        match connection.phase {
            Phase::Vacant => {}
            Phase::Embryonic if given_up => {
                self.counters.embryonic_expired += 1;
                self.release(slot, CloseReason::TimedOut);
            }
            Phase::Closing if given_up && connection.unacknowledged_since == Moment::NONE => {
                // All is delivered; only the peer's FIN is missing.
                self.abort(slot, CloseReason::Finished);
            }
            Phase::Embryonic if is_pressed => {
                // It is for the peer to ask again. A flood's handshakes have begun in one moment, and
                // would all be answered again in one.
                if let Some(deadline) = deadline {
                    self.look_by(slot, deadline);
                }
            }
            _ if given_up => self.abort(slot, CloseReason::TimedOut),
            Phase::Open | Phase::Closing => self.expire_sender(now, slot),
            _ => self.mark_ready(slot),
        }
    }

    /// Does what an open connection's sender has waited for.
    fn expire_sender(&mut self, now: Instant, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let unsent = connection.tx.unqueued() > 0;
        match connection.sender.expire(now, unsent, &mut self.flights) {
            Expired::Timeout => self.counters.timeouts += 1,
            Expired::Tail => self.counters.tail_probes += 1,
            Expired::Window => self.counters.window_probes += 1,
            Expired::Reordering | Expired::Nothing => {}
        }
        self.mark_ready(slot);
    }

    /// Sees to it that the connection is looked at by then. The wheel is touched only if that is earlier
    /// than it knows.
    pub(super) fn look_by(&mut self, slot: u32, at: Instant) {
        let connection = &mut self.connections[slot as usize];
        let [first, _] = connection.armed;
        let tick = self.wheel.tick_for(at);
        if tick >= first {
            return;
        }
        connection.armed = [tick, first];
        self.wheel.add(slot, tick);
        if self.wheel.len() > most_timers(self.connections.len()) {
            let connections = &self.connections;
            self.wheel.sweep(|slot, tick| {
                let connection = connections.get(slot as usize);
                connection.is_some_and(|connection| connection.armed.contains(&tick))
            });
        }
    }

    /// What follows a turn of a handshake. Its timers are smoltcp's: a second at first, then twice as long
    /// each time (RFC 6298).
    pub(super) fn rest_in_handshake(&mut self, now: Instant, slot: u32) {
        let wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
        let wants = wants.map(|at| Instant::from_micros(at.total_micros().max(0).cast_unsigned()));
        let deadline = self.connections[slot as usize].deadline(&self.limits);
        // "Now" from a socket that has just had its turn would make us spin.
        let soon = now + Duration::from_millis(1);
        if let Some(at) = [wants.map(|at| at.max(soon)), deadline].into_iter().flatten().min() {
            self.look_by(slot, at);
        }
    }

    /// Sees to it that what was received is acknowledged in time, where the caller has had its chance to
    /// answer and has not.
    pub(super) fn arm_unanswered(&mut self, now: Instant) {
        let mut unanswered = std::mem::take(&mut self.unanswered);
        for slot in unanswered.drain(..) {
            let connection = &mut self.connections[slot as usize];
            if !std::mem::take(&mut connection.unanswered) || connection.phase == Phase::Vacant {
                continue;
            }
            let told = connection.sequence.receive_told;
            let owed = connection.sequence.receive_next.wrapping_sub(told);
            if owed > self.port.capabilities().mtu as u32 {
                // More than one segment (RFC 9293 section 3.8.6.3).
                connection.speaks = true;
                self.mark_ready(slot);
            } else {
                self.owe_acknowledgement(now, slot);
            }
        }
        self.unanswered = unanswered;
    }

    /// Sees to it that what was received is acknowledged in time, and all else that is due.
    pub(super) fn owe_acknowledgement(&mut self, now: Instant, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if connection.owes_acknowledgement() {
            connection.acknowledge_by.set_first(now + ACKNOWLEDGE_WITHIN);
        }
        self.arm(now, slot);
    }

    /// Sees to it that an open connection is looked at when something is due.
    pub(super) fn arm(&mut self, now: Instant, slot: u32) {
        let connection = &self.connections[slot as usize];
        let others = [connection.acknowledge_by.get(), connection.deadline(&self.limits)];
        let others = others.into_iter().flatten().min();
        // Most often the wheel comes up earlier than anything can be due.
        let earliest =
            connection.sender.timer_after().min(others.unwrap_or(Instant::from_nanos(u64::MAX)));
        if connection.armed[0] <= self.wheel.tick_for(earliest) {
            return;
        }
        let unsent = connection.tx.unqueued() > 0;
        let dues = [connection.sender.timer(unsent), others];
        if let Some(at) = dues.into_iter().flatten().min() {
            self.look_by(slot, at.max(now));
        }
    }
}
