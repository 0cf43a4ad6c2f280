//! One core's server: the loop that turns a transport's events into requests answered.
//!
//! Written once for every [`Transport`]. A turn is: poll, handle events, take the helpers' answers,
//! look at deadlines; then sleep until something is due. A request stays in the transport's receive
//! buffer until its response is accepted, so a connection holds no copy of it while it waits for a
//! helper or for room.

mod admission;
pub mod change;
mod connection;
pub mod inquiry;
mod patience;
#[cfg(test)]
mod tests;
mod wheel;

use std::{fmt, sync::Arc, time::SystemTime};

use pagewire_driver::{Clock, Instant};
use pagewire_stack::{
    Close, CloseReason, ConnectionId, Event, EventBatch, Observe, Part, Refused, Transport,
};

use self::{
    admission::Admission,
    change::Changes,
    connection::{Connection, Peer, Reading, Table},
    inquiry::{Inbox, Question},
    wheel::{Tick, Wheel},
};
pub use self::{admission::ConnectionLimits, patience::Timeouts};
use crate::{
    access_log::{Recorder, Submitted},
    content::Resource,
    counters::{Counter, Counters},
    http::{Status, worth_parsing},
    service::{Afterwards, Asked, Reply, Service, Step, Then},
    stop::{Order, Stop},
};

/// Responses queued on one connection before its further requests have to wait.
const MOST_QUEUED: u32 = 32;

/// What a shard does when there is nothing to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Idle {
    /// It sleeps until there is.
    Sleep,
    /// It looks again at once.
    Spin,
}

/// A server on one core.
pub struct Shard<T: Transport> {
    transport: T,
    service: Service,
    timeouts: Timeouts,
    connections: Table,
    wheel: Wheel,
    admission: Admission,
    counters: Arc<Counters>,
    afterwards: Afterwards,
    events: EventBatch,
    due: Vec<(Tick, ConnectionId)>,
    reply: Reply,
    inbox: Inbox,
    changes: Changes,
    log: Option<Recorder>,
}

impl<T: Transport> fmt::Debug for Shard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("connections", &self.transport.connections()).finish()
    }
}

impl<T: Transport> Shard<T> {
    /// A server for what `service` has, on `transport`, from `now` on.
    pub fn new(
        transport: T,
        service: Service,
        timeouts: Timeouts,
        counters: Arc<Counters>,
        now: Instant,
    ) -> Self {
        Self {
            transport,
            service,
            timeouts,
            connections: Table::default(),
            wheel: Wheel::new(now),
            admission: Admission::default(),
            counters,
            afterwards: Afterwards::GoOn,
            events: EventBatch::new(),
            due: Vec::new(),
            reply: Reply::default(),
            inbox: Inbox::default(),
            changes: Changes::default(),
            log: None,
        }
    }

    /// The same shard, which answers what it is asked there.
    #[must_use]
    pub fn with_inbox(self, inbox: Inbox) -> Self {
        Self { inbox, ..self }
    }

    /// The same shard, which logs requests there.
    #[must_use]
    pub fn with_log(self, log: Option<Recorder>) -> Self {
        Self { log, ..self }
    }

    /// The same shard, which lets no more connections be held than that.
    #[must_use]
    pub fn with_limits(self, limits: ConnectionLimits) -> Self {
        Self { admission: Admission::new(limits), ..self }
    }

    /// The transport below.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Does all that is due at `now`.
    pub fn turn(&mut self, now: Instant) {
        let mut events = std::mem::take(&mut self.events);
        self.transport.poll(now, &mut events);
        for event in &events {
            self.connections.prefetch(event.id());
        }
        for event in events.drain(..) {
            self.handle(event, now);
        }
        self.events = events;
        while let Some(answered) = self.service.content().answered() {
            for id in answered.waiting {
                self.resume(id, &answered.resource, now);
            }
        }
        self.look_at_deadlines(now);
        self.relieve(now);
    }

    /// Takes no more connections, and no more requests than those under way. Connections end with their
    /// next response, idle ones at once.
    pub fn drain(&mut self, now: Instant) {
        if self.afterwards == Afterwards::End {
            return;
        }
        self.afterwards = Afterwards::End;
        self.transport.stop_listening();
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.settle(id, now);
        }
    }

    /// Cuts all connections.
    fn halt(&mut self, now: Instant) {
        for id in self.connections.ids() {
            self.transport.close(id, Close::Now);
        }
        self.turn(now);
    }

    fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Opened { id, peer, .. } => {
                self.counters.add(Counter::Opened, 1);
                self.log.iter_mut().for_each(|log| log.opened(id, peer));
                self.admit(id, peer.ip().into(), now);
            }
            Event::Received(id) => self.proceed(id, now),
            Event::PeerClosed(id) => {
                if let Some(connection) = self.connections.get(id) {
                    connection.peer = Peer::Closed;
                    self.proceed(id, now);
                }
            }
            Event::Sent(id) => {
                self.log.iter_mut().for_each(|log| log.sent(id, now));
                if let Some(connection) = self.connections.get(id) {
                    connection.queued = 0;
                    if let Some(since) = connection.answering_since.take() {
                        self.counters.latency.record(now - since);
                    }
                    if connection.reading == Reading::Held {
                        connection.reading = Reading::Idle;
                    }
                    self.proceed(id, now);
                }
            }
            Event::Closed(id, reason) => {
                if reason == CloseReason::Finished
                    && let Some(connection) = self.connections.get(id)
                    && let Some(since) = connection.answering_since
                {
                    self.counters.latency.record(now - since);
                }
                if let Some(connection) = self.connections.remove(id) {
                    self.admission.leave(connection.source);
                }
                self.counters.add_closed(reason);
                self.log.iter_mut().for_each(|log| log.closed(id, reason, now));
            }
        }
    }

    /// A helper has found what the request at the front of `id` wants.
    fn resume(&mut self, id: ConnectionId, resource: &Arc<Resource>, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        if connection.reading == Reading::Resolving {
            connection.reading = Reading::Idle;
            self.step(id, now, Some(Arc::clone(resource)));
            self.proceed(id, now);
        }
    }

    /// Answers what `id` has received, as far as that goes.
    fn proceed(&mut self, id: ConnectionId, now: Instant) {
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
            connection.began = None;
            if is_empty_line {
                self.transport.consume(id, 2);
            }
            return false;
        }
        if seen > 0 && !worth_parsing(bytes, seen, self.service.limits()) {
            connection.wait_for_more(bytes, now);
            return false;
        }
        let asked = Asked { id, now, found, afterwards: self.afterwards };
        match self.service.step(bytes, &asked, &mut self.reply) {
            Step::Incomplete => {
                connection.wait_for_more(bytes, now);
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
    fn submit(&mut self, id: ConnectionId, consumed: usize, status: Status, then: Then) -> bool {
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
                connection.began = None;
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
    fn settle(&mut self, id: ConnectionId, now: Instant) {
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

    fn look_at_deadlines(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for (tick, id) in due.drain(..) {
            let Some(connection) = self.connections.get(id) else { continue };
            if connection.entry != Some(tick) {
                continue;
            }
            connection.entry = None;
            match connection.deadline {
                Some((duty, at)) if at <= now => self.call_to_account(id, duty, now),
                _ => enter(&mut self.wheel, connection),
            }
        }
        self.due = due;
    }
}

impl<T: Observe> Shard<T> {
    /// Serves until told to stop. A drain ends when the last connection has.
    pub fn run(&mut self, clock: &Clock, stop: &Stop, idle: Idle) {
        loop {
            let now = clock.now();
            if self.service.date().is_stale(now) {
                self.service.date().refresh(now, SystemTime::now());
            }
            self.turn(now);
            self.counters.add(Counter::Turns, 1);
            let heard = stop.hear();
            if let Some(change) = self.changes.after(heard.announcements()) {
                self.adopt(&change, now);
            }
            match heard.order() {
                Order::Serve => {}
                Order::Drain => {
                    self.drain(now);
                    if self.transport.connections() == 0 {
                        return;
                    }
                }
                Order::Halt => return self.halt(now),
            }
            self.log.iter_mut().for_each(|log| log.flush_due(now));
            if let Some(question) = self.inbox.next() {
                self.answer(question, now);
            }
            if idle == Idle::Sleep && self.inbox.is_empty() {
                let flush = self.log.as_ref().and_then(Recorder::deadline);
                let due = [self.wheel.next(), self.admission.next(), flush];
                self.transport.wait(now, due.into_iter().flatten().min());
            }
        }
    }

    fn answer(&mut self, question: Question, now: Instant) {
        let content = self.service.content().counters();
        inquiry::answer(question, now, &mut self.transport, &mut self.connections, &content);
    }
}

/// Sees to it that the wheel comes up for `connection` no later than its deadline.
fn enter(wheel: &mut Wheel, connection: &mut Connection) {
    let Some((_, at)) = connection.deadline else { return };
    let tick = wheel.tick_for(at);
    if connection.entry.is_none_or(|entry| tick < entry) {
        connection.entry = Some(tick);
        wheel.insert(tick, connection.id);
    }
}
