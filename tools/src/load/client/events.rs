//! What happens to connections, and what it means for the requests on them.

use pagewire_driver::Instant;
use pagewire_stack::{Close, CloseReason, ConnectionId, Event, Transport};

use super::{
    Client,
    connection::{Fault, Reader, State, Step},
};
use crate::load::tally::Cause;

/// How reading ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// The connection can go on.
    GoesOn,
    /// The server takes no more requests on it.
    Ends,
    /// What came is no response.
    Broken,
}

impl<T: Transport> Client<T> {
    pub(super) fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Opened { id, .. } => self.opened(id, now),
            Event::Received(id) => self.received(id, now),
            Event::PeerClosed(id) => self.peer_closed(id, now),
            Event::Sent(_) => {}
            Event::Closed(id, reason) => self.closed(id, now, reason),
        }
    }

    fn opened(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get(id) else { return };
        if connection.state != State::Opening {
            return;
        }
        connection.state = State::Open;
        connection.heard = now;
        self.connect_succeeded(now);
        if self.task.close {
            self.send_first(id);
        } else {
            self.ask_again(id, now);
        }
    }

    /// Reads all that a connection has received.
    fn received(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get(id) else { return };
        if connection.state != State::Open {
            return self.transport.consume(id, usize::MAX);
        }
        connection.heard = now;
        let bytes = self.transport.received(id);
        let mut reader = Reader {
            heads: &mut self.heads,
            references: &self.task.references,
            expect: self.task.expect,
        };
        let mut used = 0;
        let outcome = loop {
            let (more, step) = connection.step(&bytes[used..], &mut reader);
            used += more;
            match step {
                Step::More => break Outcome::GoesOn,
                Step::Broken => break Outcome::Broken,
                Step::Done { fault, keep_alive } => {
                    let Some(request) = connection.pending.pop_front() else {
                        break Outcome::Broken;
                    };
                    self.outstanding -= 1;
                    match fault {
                        None => {
                            self.tally.answered += 1;
                            self.tally.late += u64::from(now > self.end);
                            self.tally.record(now.since(request.intended), 1);
                        }
                        Some(Fault::Status(status)) => {
                            *self.tally.statuses.entry(status).or_default() += 1;
                            self.tally.fail(Cause::Status);
                        }
                        Some(Fault::Length) => self.tally.fail(Cause::Length),
                        Some(Fault::Content) => self.tally.fail(Cause::Content),
                    }
                    if !keep_alive || self.task.close {
                        break Outcome::Ends;
                    }
                }
            }
        };
        self.tally.received_bytes += used as u64;
        self.transport.consume(id, used);
        match outcome {
            Outcome::GoesOn => self.ask_again(id, now),
            Outcome::Ends => self.retire(id, now),
            Outcome::Broken => self.break_off(id, now, Cause::Malformed),
        }
    }

    fn peer_closed(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get(id) else { return };
        connection.peer_closed = true;
        match connection.state {
            State::Vacant | State::Opening => {}
            State::Finishing => self.transport.close(id, Close::AfterSent),
            State::Open => self.retire(id, now),
        }
    }

    fn closed(&mut self, id: ConnectionId, now: Instant, reason: CloseReason) {
        let Some(connection) = self.table.get(id) else { return };
        match connection.state {
            State::Vacant => {}
            State::Finishing => self.finishing -= 1,
            State::Opening => {
                let cause = match reason {
                    CloseReason::TimedOut => Cause::ConnectTimeout,
                    _ => Cause::Refused,
                };
                self.not_opened(id, now, cause);
                self.finishing -= 1;
            }
            State::Open => {
                let cause = match reason {
                    CloseReason::Finished => connection.cause_of_close(),
                    CloseReason::TimedOut => Cause::Timeout,
                    _ => Cause::Reset,
                };
                self.give_up_requests(id, cause);
                self.alive -= 1;
            }
        }
        if let Some(connection) = self.table.get(id) {
            connection.state = State::Vacant;
        }
    }

    /// A connection will not be established. It is left to its end.
    pub(super) fn not_opened(&mut self, id: ConnectionId, now: Instant, cause: Cause) {
        let Some(connection) = self.table.get(id) else { return };
        self.outstanding -= connection.pending.len() as u64;
        connection.pending.clear();
        connection.state = State::Finishing;
        connection.heard = now;
        self.alive -= 1;
        self.opening -= 1;
        self.finishing += 1;
        self.connect_failed(now, cause);
    }

    /// Has no more asked of a connection that the server ends, and closes it once the server has: who
    /// closes first keeps the port in TIME-WAIT.
    fn retire(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get(id) else { return };
        let (peer_closed, cause) = (connection.peer_closed, connection.cause_of_close());
        if !self.give_up_requests(id, cause) && !self.task.close {
            self.tally.ended += 1;
        }
        self.let_finish(id, now);
        if peer_closed {
            self.transport.close(id, Close::AfterSent);
        }
    }

    /// Cuts a connection that is of no use any more.
    pub(super) fn break_off(&mut self, id: ConnectionId, now: Instant, cause: Cause) {
        if !self.give_up_requests(id, cause) {
            self.tally.fail(cause);
        }
        self.let_finish(id, now);
        self.transport.close(id, Close::Now);
    }

    fn let_finish(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get(id) else { return };
        connection.state = State::Finishing;
        connection.heard = now;
        self.alive -= 1;
        self.finishing += 1;
    }

    /// Counts the requests on a connection as failed, and says whether there were any. Those behind the
    /// first have not begun to be answered.
    fn give_up_requests(&mut self, id: ConnectionId, cause: Cause) -> bool {
        let Some(connection) = self.table.get(id) else { return false };
        let count = connection.pending.len();
        connection.pending.clear();
        self.outstanding -= count as u64;
        for number in 0..count {
            let behind = if cause == Cause::ShortBody { Cause::Closed } else { cause };
            self.tally.fail(if number == 0 { cause } else { behind });
        }
        count > 0
    }
}
