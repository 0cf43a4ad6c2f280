//! How long a connection may take for what, and what becomes of one that takes longer.
//!
//! A connection has one duty at a time: to ask, to complete the head of a request, to go on with its
//! content, or to take what is sent to it. The first two have a deadline; the last two are judged at
//! the end of each period by what has come or gone in it, so that a client that is slow without end
//! does not hold its slot for ever, and one that is slow but steady keeps it.

use std::time::Duration;

use pagewire_driver::Instant;
use pagewire_stack::{Close, ConnectionId, Transport};

use super::{
    Shard,
    connection::{Connection, Duty, Reading},
};
use crate::{counters::Counter, http::Status, service::Then};

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request, from its first byte to its last.
    pub head: Duration,
    /// For a whole request, from its first byte to its last.
    pub request: Duration,
    /// Without asking anything.
    pub idle: Duration,
    /// For what `min_rate` says of the content of a request.
    pub body: Duration,
    /// For what `min_rate` says of what is sent to it.
    pub send: Duration,
    /// Bytes a second that must come of a request's content, or be taken of what is sent, on the average
    /// of each period, as long as there are so many.
    pub min_rate: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            request: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            body: Duration::from_secs(10),
            send: Duration::from_secs(30),
            min_rate: 256,
        }
    }
}

impl Timeouts {
    fn of(&self, duty: Duty) -> Duration {
        match duty {
            Duty::Ask => self.idle,
            Duty::Complete => self.head,
            Duty::Deliver => self.body,
            Duty::Take => self.send,
        }
    }

    /// Bytes that a period of this duty must bring. At least one: silence is never enough.
    fn least(&self, duty: Duty) -> u64 {
        let millis = u64::try_from(self.of(duty).as_millis()).unwrap_or(u64::MAX);
        (self.min_rate.saturating_mul(millis) / 1_000).max(1)
    }
}

impl Connection {
    /// Takes note that `bytes` are the beginning of a request.
    pub(super) fn wait_for_more(&mut self, bytes: &[u8]) {
        let seen = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let in_body = matches!(self.reading, Reading::Body { .. })
            || memchr::memmem::find(bytes, b"\r\n\r\n").is_some();
        self.reading = if in_body { Reading::Body { seen } } else { Reading::Head { seen } };
    }

    /// What it must do next.
    fn duty(&self, pending: u64) -> Option<Duty> {
        match self.reading {
            _ if pending > 0 => Some(Duty::Take),
            Reading::Idle => Some(Duty::Ask),
            Reading::Head { .. } => Some(Duty::Complete),
            Reading::Body { .. } => Some(Duty::Deliver),
            Reading::Resolving | Reading::Held | Reading::Over => None,
        }
    }

    /// Sets by when it must do what, with so many bytes not yet sent to it. False if that is as before.
    pub(super) fn set_deadline(&mut self, now: Instant, pending: u64, timeouts: &Timeouts) -> bool {
        let duty = self.duty(pending);
        if duty == self.deadline.map(|(duty, _)| duty) {
            return false;
        }
        self.deadline = duty.map(|duty| {
            let least = timeouts.least(duty);
            self.owed = match duty {
                // What is there now counts; what is queued later does not make it late.
                Duty::Take => {
                    let taken = self.submitted - pending;
                    self.glance = (now, taken);
                    taken.saturating_add(least).min(self.submitted)
                }
                _ => (self.seen() as u64).saturating_add(least),
            };
            let at = now + timeouts.of(duty);
            match (duty, self.began()) {
                (Duty::Deliver, Some(began)) => (duty, at.min(began + timeouts.request)),
                _ => (duty, at),
            }
        });
        true
    }
}

impl<T: Transport> Shard<T> {
    /// `id` has had its time for `duty`.
    pub(super) fn call_to_account(&mut self, id: ConnectionId, duty: Duty, now: Instant) {
        let pending = self.transport.pending(id);
        let Some(connection) = self.connections.get(id) else { return };
        connection.deadline = None;
        match duty {
            Duty::Ask => {
                self.counters.add(Counter::IdleTimeouts, 1);
                connection.reading = Reading::Over;
                self.transport.close(id, Close::AfterSent);
            }
            Duty::Complete => self.time_out(id, Counter::HeadTimeouts),
            Duty::Deliver => {
                let is_over =
                    connection.began().is_some_and(|at| now - at >= self.timeouts.request);
                if is_over || (connection.seen() as u64) < connection.owed {
                    self.time_out(id, Counter::BodyTimeouts);
                }
            }
            Duty::Take => {
                if connection.submitted - pending < connection.owed {
                    self.counters.add(Counter::SendTimeouts, 1);
                    connection.reading = Reading::Over;
                    return self.transport.close(id, Close::Now);
                }
            }
        }
        self.settle(id, now);
    }

    /// Answers a request that does not come whole.
    fn time_out(&mut self, id: ConnectionId, counter: Counter) {
        self.counters.add(counter, 1);
        self.service.refuse(Status::RequestTimeout, &mut self.reply);
        self.submit(id, 0, Status::RequestTimeout, Then::Close);
    }
}
