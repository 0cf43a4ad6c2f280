//! How many connections there may be, of one source and in all, and which are closed when it gets tight.
//!
//! This holds on every transport; one that can refuse a handshake does so before. A source that has its
//! share gets no more connections. When nearly all of a shard's connections are in use, those that have
//! been idle, or have been at one request, for more than a moment are closed, a few at a time in turn:
//! whoever takes part in the conversation is not disturbed, however many others keep silent.

use std::{collections::HashMap, time::Duration};

use pagewire_driver::Instant;
use pagewire_stack::{Close, ConnectionId, Source, Transport};

use super::{
    Shard,
    connection::{Connection, Duty, Reading},
};
use crate::counters::Counter;

/// How often a shard that is short of room looks for connections to close.
const INTERVAL: Duration = Duration::from_millis(50);

/// How many it looks at each time.
const LOOKS: usize = 128;

/// How long a connection may be idle then, or at one request.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many connections a shard may have.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// In all; the transport keeps to it.
    pub connections: usize,
    /// Of one source.
    pub per_source: usize,
}

/// What a shard knows of the connections it has let in.
#[derive(Debug)]
pub(super) struct Admission {
    limits: ConnectionLimits,
    /// Sources that have connections, so no more of them than of those.
    sources: HashMap<Source, usize>,
    /// When to look for connections to close; nothing while there is room.
    next: Option<Instant>,
    /// The slot to look at next.
    cursor: usize,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(ConnectionLimits { connections: usize::MAX, per_source: usize::MAX })
    }
}

impl Admission {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self { limits, sources: HashMap::new(), next: None, cursor: 0 }
    }

    /// Whether one more of this source is let in.
    fn enter(&mut self, source: Source) -> bool {
        let count = self.sources.entry(source).or_default();
        let has_room = *count < self.limits.per_source;
        *count += usize::from(has_room);
        has_room
    }

    /// Takes note that one of this source is gone.
    pub(super) fn leave(&mut self, source: Source) {
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// When [`Shard::relieve`] is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether seven eighths of what may be there are.
    fn is_tight(&self, connections: usize) -> bool {
        connections > self.limits.connections - self.limits.connections / 8
    }
}

impl Connection {
    /// Whether it only takes up room.
    fn loiters(&self, now: Instant, idle: Duration) -> bool {
        match (self.reading, self.deadline, self.began) {
            (Reading::Idle, Some((Duty::Ask, at)), _) => at + PATIENCE <= now + idle,
            (Reading::Head { .. } | Reading::Body { .. }, _, Some(began)) => {
                began + PATIENCE <= now
            }
            _ => false,
        }
    }
}

impl<T: Transport> Shard<T> {
    /// Takes a connection that has opened.
    pub(super) fn admit(&mut self, id: ConnectionId, source: Source, now: Instant) {
        if !self.admission.enter(source) {
            self.counters.add(Counter::SourceRefused, 1);
            return self.transport.close(id, Close::Now);
        }
        self.connections.insert(id, source);
        self.settle(id, now);
    }

    /// Makes room if there is little.
    pub(super) fn relieve(&mut self, now: Instant) {
        if !self.admission.is_tight(self.transport.connections()) {
            self.admission.next = None;
            return;
        }
        if self.admission.next.is_some_and(|next| now < next) {
            return;
        }
        self.admission.next = Some(now + INTERVAL);
        let start = self.admission.cursor;
        self.admission.cursor = start.wrapping_add(LOOKS);
        let idle = self.timeouts.idle;
        let loitering: Vec<_> = self
            .connections
            .round(start, LOOKS)
            .filter(|connection| connection.loiters(now, idle))
            .map(|connection| connection.id)
            .collect();
        for id in loitering {
            // What it has been sent and not taken is a matter for its own deadline.
            if self.transport.pending(id) > 0 {
                continue;
            }
            self.counters.add(Counter::Relieved, 1);
            if let Some(connection) = self.connections.get(id) {
                connection.reading = Reading::Over;
            }
            self.transport.close(id, Close::AfterSent);
            self.settle(id, now);
        }
    }
}
