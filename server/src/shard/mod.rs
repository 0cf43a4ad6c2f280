//! One core's server: the loop that turns a transport's events into requests answered.
//!
//! Written once for every [`Transport`]. A turn is: poll, handle events, take the helpers' answers,
//! look at deadlines; then sleep until something is due.

mod admission;
mod answering;
pub mod change;
mod connection;
pub mod inquiry;
mod patience;
#[cfg(test)]
mod tests;
mod wheel;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pagewire_driver::{Clock, Instant};
use pagewire_stack::{Close, CloseReason, ConnectionId, Event, EventBatch, Observe, Transport};

use self::{
    admission::Admission,
    change::Changes,
    connection::{Connection, Peer, Reading, Table},
    inquiry::{Inbox, Question},
    wheel::{Tick, Wheel},
};
pub use self::{admission::ConnectionLimits, patience::Timeouts};
use crate::{
    access_log::Recorder,
    counters::{Counter, Counters},
    service::{Afterwards, Reply, Service},
    stop::{Duty, Order},
};

/// Connections that one turn looks at because of their deadlines.
const MOST_DUE: usize = 256;
/// How often a shard that has nothing left to do in a drain looks whether others have.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
        let mut coming = events.drain(..).peekable();
        while let Some(event) = coming.next() {
            // A client that goes on acknowledges a response with its next request.
            if let Event::Sent(id) = event
                && coming.peek() == Some(&Event::Received(id))
            {
                self.sent(id, now);
            } else {
                self.handle(event, now);
            }
        }
        drop(coming);
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
                self.sent(id, now);
                self.proceed(id, now);
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

    /// All that was submitted on `id` is sent.
    fn sent(&mut self, id: ConnectionId, now: Instant) {
        self.log.iter_mut().for_each(|log| log.sent(id, now));
        let Some(connection) = self.connections.get(id) else { return };
        connection.queued = 0;
        if let Some(since) = connection.answering_since.take() {
            self.counters.latency.record(now - since);
        }
        if connection.reading == Reading::Held {
            connection.reading = Reading::Idle;
        }
    }

    /// Looks at the connections whose deadline may have passed. Where many have in one moment, some are left
    /// for the next turns.
    fn look_at_deadlines(&mut self, now: Instant) {
        if self.due.is_empty() {
            self.wheel.advance(now, &mut self.due);
        }
        for _ in 0..MOST_DUE {
            let Some((tick, id)) = self.due.pop() else { return };
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
    }
}

impl<T: Observe> Shard<T> {
    /// Serves until told to stop. A drain ends when the last connection has, of all shards.
    pub fn run(&mut self, clock: &Clock, mut duty: Duty, idle: Idle) {
        let mut look_again = None;
        loop {
            let now = clock.now();
            if self.service.date().is_stale(now) {
                self.service.date().refresh(now, SystemTime::now());
            }
            self.turn(now);
            self.counters.add(Counter::Turns, 1);
            let heard = duty.hear();
            if let Some(change) = self.changes.after(heard.announcements()) {
                self.adopt(&change, now);
            }
            match heard.order() {
                Order::Serve => {}
                Order::Drain => {
                    self.drain(now);
                    if self.transport.connections() == 0 {
                        if duty.done() {
                            return;
                        }
                        look_again = Some(now + LOOK_AGAIN);
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
                let left = (!self.due.is_empty()).then_some(now);
                let due = [left, self.wheel.next(), self.admission.next(), flush, look_again];
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
