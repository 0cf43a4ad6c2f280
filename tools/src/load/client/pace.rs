//! When requests and connections are started, and when it is over.

use std::time::Duration;

use pagewire_driver::Instant;
use pagewire_stack::{Close, ConnectionId, Part, Refused, Transport};

use super::{
    Client,
    connection::{Pending, State},
};
use crate::load::tally::Cause;

/// How often counts are handed over.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// How long to leave a server alone that has refused a connection: more each time.
pub(super) const BACK_OFF_LEAST: Duration = Duration::from_millis(1);
const BACK_OFF_MOST: Duration = Duration::from_millis(100);

/// Most connections of a core that are opening at once. A server's queue of those to be accepted has
/// room for more.
const OPENING_MOST: usize = 256;

/// The same before the first is open: the server's link address may have to be found.
pub(super) const OPENING_FIRST: usize = 16;

/// How long a server that was never reached is tried.
const PATIENCE_AT_FIRST: Duration = Duration::from_secs(1);

/// How long a server may take to close a connection that it announced to close.
const FINISHING_MOST: Duration = Duration::from_secs(1);

/// A request that is due within this is waited for awake: sleeping is less precise.
const PRECISION: Duration = Duration::from_micros(5);

impl<T: Transport> Client<T> {
    /// Starts what may be started now.
    pub(super) fn start_due(&mut self, now: Instant) {
        if self.task.close {
            while self.may_connect(now) && !self.is_all_issued() {
                let due = match &mut self.schedule {
                    Some(schedule) => schedule.take_due(now.min(self.end)),
                    None => Some(now),
                };
                let Some(intended) = due else { break };
                let path = self.picker.next(&self.task.workload);
                self.issued += 1;
                self.outstanding += 1;
                self.connect(now, Some(Pending { path, intended }));
            }
            return;
        }
        while self.may_connect(now) {
            self.connect(now, None);
        }
        while !self.idle.is_empty() && !self.is_all_issued() {
            let Some(schedule) = &mut self.schedule else { break };
            let Some(intended) = schedule.take_due(now.min(self.end)) else { break };
            self.send_from_idle(now, intended);
        }
    }

    fn may_connect(&self, now: Instant) -> bool {
        self.alive < self.task.connections
            && self.opening < self.opening_max
            && self.alive + self.finishing < self.task.slots()
            && now >= self.retry_at
    }

    fn is_all_issued(&self) -> bool {
        self.task.requests_max.is_some_and(|most| self.issued >= most)
    }

    fn connect(&mut self, now: Instant, request: Option<Pending>) {
        match self.transport.connect(now, self.task.target) {
            Ok(id) => {
                self.table.insert(id, now).pending.extend(request);
                self.alive += 1;
                self.opening += 1;
            }
            Err(refused) => {
                self.outstanding -= u64::from(request.is_some());
                self.connect_failed(
                    now,
                    if refused == Refused::NoRoute { Cause::NoRoute } else { Cause::Exhausted },
                );
            }
        }
    }

    /// A connection could not be had.
    pub(super) fn connect_failed(&mut self, now: Instant, cause: Cause) {
        self.tally.fail(cause);
        self.refusals += 1;
        self.retry_at = now + self.back_off;
        self.back_off = (self.back_off * 2).min(BACK_OFF_MOST);
    }

    /// A connection is there.
    pub(super) fn connect_succeeded(&mut self, now: Instant) {
        self.tally.opened += 1;
        self.opening -= 1;
        self.opening_max = (self.opening_max * 2).min(OPENING_MOST);
        self.back_off = BACK_OFF_LEAST;
        self.refusals = 0;
        self.up_at = now;
    }

    /// Sends a request that is due on the connection that has been free for longest.
    fn send_from_idle(&mut self, now: Instant, intended: Instant) {
        while let Some(id) = self.idle.pop_front() {
            let Some(connection) = self.table.get(id) else { continue };
            connection.listed = false;
            if connection.state == State::Open {
                self.send(id, now, 1, intended);
                self.offer(id);
                return;
            }
        }
        // Nobody can take it: the schedule goes on, and so does its wait.
        if let Some(schedule) = &mut self.schedule {
            schedule.give_back();
        }
    }

    /// Has an open connection asked again: at once in a closed loop, by the schedule in an open one.
    pub(super) fn ask_again(&mut self, id: ConnectionId, now: Instant) {
        if self.schedule.is_some() {
            return self.offer(id);
        }
        let Some(connection) = self.table.get(id) else { return };
        let mut count = self.task.pipeline.saturating_sub(connection.pending.len()) as u64;
        if let Some(most) = self.task.requests_max {
            count = count.min(most - self.issued);
        }
        if count > 0 && self.sending {
            self.send(id, now, count, now);
        }
    }

    /// Lists a connection as one that can take a request, if it can.
    fn offer(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.get(id)
            && connection.state == State::Open
            && connection.pending.len() < self.task.pipeline
            && !std::mem::replace(&mut connection.listed, true)
        {
            self.idle.push_back(id);
        }
    }

    /// Starts `count` requests on an open connection.
    fn send(&mut self, id: ConnectionId, now: Instant, count: u64, intended: Instant) {
        let Some(connection) = self.table.get(id) else { return };
        if connection.pending.is_empty() {
            connection.heard = now;
        }
        let mut bytes = self.transport.buffer();
        for _ in 0..count {
            let path = self.picker.next(&self.task.workload);
            bytes.extend_from_slice(self.task.texts.get(path));
            connection.pending.push_back(Pending { path, intended });
        }
        self.issued += count;
        self.outstanding += count;
        self.submit(id, bytes);
    }

    /// Sends what the connection was opened for.
    pub(super) fn send_first(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get(id) else { return };
        let Some(&Pending { path, .. }) = connection.pending.front() else { return };
        let mut bytes = self.transport.buffer();
        bytes.extend_from_slice(self.task.texts.get(path));
        self.submit(id, bytes);
    }

    fn submit(&mut self, id: ConnectionId, bytes: Vec<u8>) {
        self.parts.push(Part::Bytes(bytes));
        if self.transport.submit(id, &mut self.parts).is_err() {
            // It is going, and says why when it is gone.
            self.parts.clear();
            self.transport.close(id, Close::Now);
        }
    }

    /// Looks after connections that have been silent for too long.
    pub(super) fn sweep(&mut self, now: Instant) {
        let timeout = self.task.timeout;
        self.sweep_at = now + (timeout / 8).clamp(Duration::from_millis(1), SECOND / 10);
        let late: Vec<_> = self
            .table
            .iter()
            .filter(|connection| {
                let silent = now.since(connection.heard);
                match connection.state {
                    State::Vacant => false,
                    State::Opening => silent >= timeout,
                    State::Open => silent >= timeout && !connection.pending.is_empty(),
                    State::Finishing => silent >= FINISHING_MOST,
                }
            })
            .map(|connection| (connection.id, connection.state))
            .collect();
        for (id, state) in late {
            match state {
                State::Opening => {
                    self.not_opened(id, now, Cause::ConnectTimeout);
                    self.transport.close(id, Close::Now);
                }
                State::Open => self.break_off(id, now, Cause::Timeout),
                State::Vacant | State::Finishing => self.transport.close(id, Close::Now),
            }
        }
        let open = self.alive - self.opening;
        let never = self.up_at == self.start;
        let patience = if never { PATIENCE_AT_FIRST.min(timeout) } else { timeout };
        if open == 0 && self.refusals > 0 && now.since(self.up_at) >= patience && self.sending {
            self.gave_up = true;
            self.hurries = true;
            self.end = now;
        }
    }

    /// Whether the run is over. Also ends the sending when it is time.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if self.is_all_issued() {
            if self.sending && self.outstanding == 0 {
                self.sending = false;
                self.end = now;
            }
        } else if self.sending && now >= self.end {
            self.sending = false;
            self.count_unsent();
        }
        if self.sending && now < self.end {
            return false;
        }
        self.outstanding == 0 || self.hurries || now >= self.end + self.task.timeout
    }

    /// Counts the requests that were due and never found a connection.
    fn count_unsent(&mut self) {
        let Some(schedule) = &mut self.schedule else { return };
        let most = self.task.requests_max.map_or(u64::MAX, |most| most - self.issued);
        for (intended, count) in schedule.take_all_due(self.end, most) {
            self.tally.unsent += count;
            self.tally.record(self.end.since(intended), count);
        }
    }

    /// Sleeps until something is due.
    pub(super) fn wait(&mut self) {
        let now = self.clock.now();
        let mut deadline = self.sweep_at.min(self.hand_over_at);
        if self.sending {
            deadline = deadline.min(self.end);
            if self.may_connect(now.max(self.retry_at)) && self.schedule.is_none() {
                deadline = deadline.min(self.retry_at);
            }
            if let Some(schedule) = &self.schedule
                && (!self.idle.is_empty() || self.may_connect(now))
            {
                if schedule.next() <= now + PRECISION {
                    return;
                }
                deadline = deadline.min(schedule.next());
            }
        } else {
            deadline = deadline.min(self.end + self.task.timeout);
        }
        self.transport.wait(now, Some(deadline));
    }
}
