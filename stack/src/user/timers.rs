//! When a connection is looked at although nothing has happened to it.
//!
//! Each has one timer, for the earliest of what smoltcp wants and our own deadlines. It is only ever
//! brought forward: a timer that has become too early fires, the connection is looked at, and the timer
//! is set anew. That is far rarer than segments are, and spares every segment the wheel.

use pagewire_driver::{Instant, Port};

use super::{
    Phase, UserStack,
    flow_table::Flow,
    packet::flags,
    reply::{self, BareSegment},
    smoltcp_time,
};
use crate::CloseReason;

impl<P: Port> UserStack<P> {
    /// Lets connections whose timer has run out send, or gives them up.
    pub(super) fn expire_timers(&mut self, now: Instant) {
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(now, &mut expired);
        for slot in expired.drain(..) {
            let connection = &self.connections[slot as usize];
            let given_up =
                connection.deadline(&self.limits).is_some_and(|deadline| deadline <= now);
            match connection.phase {
                Phase::Vacant => {}
                Phase::Embryonic if given_up => {
                    self.counters.embryonic_expired += 1;
                    self.release(slot, CloseReason::TimedOut);
                }
                Phase::Closing if given_up && connection.unacknowledged_since.is_none() => {
                    // All is delivered; only the peer's FIN is missing.
                    self.abort(slot, CloseReason::Finished);
                }
                _ if given_up => self.abort(slot, CloseReason::TimedOut),
                _ => self.mark_ready(slot),
            }
        }
        self.expired = expired;
    }

    /// What follows a turn in which the socket had nothing to send.
    pub(super) fn rest(&mut self, now: Instant, slot: u32) {
        if let Phase::Aborting(reason) = self.connections[slot as usize].phase {
            return self.release(slot, reason);
        }
        let mut wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
        if wants.is_none() && self.connections[slot as usize].unacknowledged_since.is_some() {
            self.restart_probe(now, slot);
            wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
        }
        // "Now" from a socket that has just had nothing to send would make us spin.
        let soon = smoltcp_time(now) + smoltcp::time::Duration::from_millis(1);
        self.arm(now, slot, wants.map(|at| at.max(soon)));
    }

    /// Sets the timers of connections that have received something which the caller has had its chance
    /// to answer, and has not.
    pub(super) fn arm_unanswered(&mut self, now: Instant) {
        let mut unanswered = std::mem::take(&mut self.unanswered);
        for slot in unanswered.drain(..) {
            let connection = &self.connections[slot as usize];
            if connection.phase != Phase::Vacant && connection.unanswered {
                let wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
                self.arm(now, slot, wants);
            }
        }
        self.unanswered = unanswered;
    }

    /// Sees to it that the connection is looked at by when smoltcp wants it, and by its own deadline.
    pub(super) fn arm(&mut self, now: Instant, slot: u32, wants: Option<smoltcp::time::Instant>) {
        let connection = &mut self.connections[slot as usize];
        connection.unanswered = false;
        let deadline = connection.deadline(&self.limits);
        let wants = wants.map(|at| Instant::from_micros(at.total_micros().max(0).cast_unsigned()));
        if wants.is_some_and(|at| at <= now) {
            return self.mark_ready(slot);
        }
        if let Some(at) = [wants, deadline].into_iter().flatten().min() {
            self.wheel.bring_forward(slot, at);
        }
    }

    /// Starts the zero window probe of a socket that has bytes to send but no timer.
    ///
    /// smoltcp comes to this when its retransmission timer runs out while it takes the peer's window
    /// for closed, for instance because an older window update was overtaken. It starts the probe at an
    /// acknowledgement that finds the window closed, so it gets one.
    fn restart_probe(&mut self, now: Instant, slot: u32) {
        let connection = &self.connections[slot as usize];
        let flow = Flow { peer: connection.flow.local, local: connection.flow.peer };
        let bare = BareSegment {
            sequence: connection.sequence.receive_next,
            acknowledgement: connection.unacknowledged(),
            flags: flags::ACK,
            window: 0,
            timestamps: connection.sequence.recent_timestamp.map(|recent| (recent, 0)),
        };
        let mut packet = [0; 80];
        let len = reply::bare_segment(&mut packet, &flow, &bare);
        let mut device = self.scratch.device(&packet[..len]);
        self.arena.ingress(slot, &mut self.interface, smoltcp_time(now), &mut device);
    }
}
