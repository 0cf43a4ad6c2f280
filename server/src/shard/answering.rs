//! Requests are answered, one after another on each connection.
//!
//! A request stays in the transport's receive buffer until its response is accepted, so a connection holds no
//! copy of it while it waits for a helper or for room.

use std::sync::Arc;

use pagewire_driver::Instant;
use pagewire_stack::{Close, ConnectionId, Part, Refused, Transport};

use super::{
    Shard,
    connection::{Peer, Reading},
    enter,
};
use crate::{
    access_log::Submitted,
    content::Resource,
    counters::Counter,
    http::{Status, worth_parsing},
    service::{Afterwards, Asked, Step, Then},
};

/// Responses queued on one connection before its further requests have to wait.
pub(super) const MOST_QUEUED: u32 = 32;

impl<T: Transport> Shard<T> {
    /// A helper has found what the request at the front of `id` wants.
    pub(super) fn resume(&mut self, id: ConnectionId, resource: &Arc<Resource>, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        if connection.reading == Reading::Resolving {
            connection.reading = Reading::Idle;
            self.step(id, now, Some(Arc::clone(resource)));
            self.proceed(id, now);
        }
    }

    /// Answers what `id` has received, as far as that goes.
    pub(super) fn proceed(&mut self, id: ConnectionId, now: Instant) {
        while let Some(connection) = self.connections.get(id) {
            let goes_on = match connection.reading {
                Reading::Resolving | Reading::Held | Reading::Over => false,
                Reading::Idle | Reading::Head { .. } | Reading::Body { .. } => {
                    self.step(id, now, None)
                }
            };
            if !goes_on {
                break;
            }
        }
        self.settle(id, now);
    }

    /// Answers one request, and says whether there may be more to answer now.
    fn step(&mut self, id: ConnectionId, now: Instant, found: Option<Arc<Resource>>) -> bool {
        let Some(connection) = self.connections.get(id) else { return false };
        if connection.queued >= MOST_QUEUED {
            connection.reading = Reading::Held;
            return false;
        }
        if self.reply.head.capacity() == 0 {
            self.reply.head = self.transport.buffer();
        }
        let bytes = self.transport.received(id);
        connection.asked_at.get_or_insert(now);
        let seen = connection.seen();
        // An empty line is no beginning of a request (RFC 9112 §2.2): some send one behind their content.
        let is_empty_line = bytes == b"\r\n";
        if bytes.is_empty() || is_empty_line {
            connection.reading = Reading::Idle;
            connection.asked_at = None;
            if is_empty_line {
                self.transport.consume(id, 2);
            }
            return false;
        }
        if seen > 0 && !worth_parsing(bytes, seen, self.service.limits()) {
            connection.wait_for_more(bytes);
            return false;
        }
        let asked = Asked { id, now, found, afterwards: self.afterwards };
        match self.service.step(bytes, &asked, &mut self.reply) {
            Step::Incomplete => {
                connection.wait_for_more(bytes);
                false
            }
            Step::Waiting => {
                self.counters.add(Counter::Waits, 1);
                connection.reading = Reading::Resolving;
                false
            }
            Step::Answered { consumed, status, then } => {
                let is_all = consumed == bytes.len();
                self.submit(id, consumed, status, then) && !is_all
            }
        }
    }

    /// Submits the reply, and says whether more requests may follow at once.
    pub(super) fn submit(
        &mut self,
        id: ConnectionId,
        consumed: usize,
        status: Status,
        then: Then,
    ) -> bool {
        let Some(connection) = self.connections.get(id) else { return false };
        let len = self.reply.parts.iter().map(Part::len).sum();
        let content_bytes = self.log.as_ref().map_or(0, |_| self.reply.content_bytes());
        match self.transport.submit(id, &mut self.reply.parts) {
            Ok(()) => {
                if let (Some(log), Some(asked_at)) = (&mut self.log, connection.asked_at) {
                    let received = self.transport.received(id);
                    // What is refused is not consumed.
                    let request = if consumed > 0 { &received[..consumed] } else { received };
                    log.submitted(
                        id,
                        &Submitted {
                            date: self.service.date().text(),
                            request,
                            status: status.code(),
                            content_bytes,
                            asked_at,
                        },
                    );
                }
                self.counters.add_response(status, len);
                connection.submitted += len;
                connection.queued += 1;
                let asked_at = connection.asked_at.take();
                connection.answering_since = connection.answering_since.or(asked_at);
                connection.reading = Reading::Idle;
                connection.deadline = None;
                let how = match then {
                    Then::GoOn => {
                        self.transport.consume(id, consumed);
                        return true;
                    }
                    Then::Conclude => Close::Concluded,
                    Then::Close => Close::AfterSent,
                };
                // The transport drops the request with what else has come.
                connection.reading = Reading::Over;
                self.transport.close(id, how);
                return false;
            }
            Err(Refused::Busy) if self.transport.pending(id) > 0 => {
                connection.reading = Reading::Held;
            }
            Err(_) => {
                connection.reading = Reading::Over;
                self.transport.close(id, Close::Now);
            }
        }
        // Not sent after all: the head's buffer serves again.
        if let Some(Part::Bytes(head)) = self.reply.parts.drain(..).next() {
            self.reply.head = head;
            self.reply.head.clear();
        }
        false
    }

    /// Closes `id` if nothing more is to come, or sets what it must do next.
    pub(super) fn settle(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        let is_last = match connection.reading {
            Reading::Idle => connection.peer == Peer::Closed || self.afterwards == Afterwards::End,
            Reading::Head { .. } | Reading::Body { .. } => connection.peer == Peer::Closed,
            Reading::Resolving | Reading::Held | Reading::Over => false,
        };
        if is_last {
            connection.reading = Reading::Over;
            self.transport.close(id, Close::AfterSent);
        }
        let pending = self.transport.pending(id);
        if connection.set_deadline(now, pending, &self.timeouts) {
            enter(&mut self.wheel, connection);
        }
    }
}
