//! How many connections there may be, of one source and in all, and which are closed when it gets tight.
//!
//! This holds on every transport; one that can refuse a handshake does so before. A source that has its
//! share gets no more connections. When three quarters of a shard's connections are in use, those that have
//! been idle or at one request for more than a moment, or take next to nothing of what is sent to them,
//! are closed, a few at a time in turn: whoever takes part in the conversation is not disturbed, however
//! many others loiter.

use std::time::Duration;

use pagewire_driver::Instant;
use pagewire_stack::{Close, ConnectionId, Source, Transport, user::SourceMap};

use super::{
    Shard,
    connection::{Connection, Duty, Reading},
};
use crate::counters::Counter;

/// How often a shard that is short of room looks for connections to close.
const INTERVAL: Duration = Duration::from_millis(50);

/// How many it looks at each time.
const LOOKS: usize = 128;

/// How long a connection may be idle, or at one request, when it begins to get tight...
const PATIENCE_MOST: Duration = Duration::from_secs(2);

/// ...and when there is no room at all: still more than the round trips of a handshake and a request.
const PATIENCE_LEAST: Duration = Duration::from_millis(500);

/// How long one may take next to nothing of what is sent to it: more than a lost segment costs.
const PATIENCE_TAKING: Duration = Duration::from_secs(1);

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
    /// How many connections sources have, so there are no more of them than of those. Nothing if one may have
    /// all.
    sources: Option<SourceMap<usize>>,
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
        let is_counted = limits.per_source < limits.connections;
        let sources = is_counted.then(|| SourceMap::new(limits.connections));
        Self { limits, sources, next: None, cursor: 0 }
    }

    /// Whether one more of this source is let in.
    fn enter(&mut self, source: Source) -> bool {
        let Some(sources) = &mut self.sources else { return true };
        // There is room for as many sources as the transport lets connections be.
        let Some(count) = sources.get_or_insert(source) else { return false };
        let has_room = *count < self.limits.per_source;
        *count += usize::from(has_room);
        has_room
    }

    /// Takes note that one of this source is gone.
    pub(super) fn leave(&mut self, source: Source) {
        let Some(sources) = &mut self.sources else { return };
        if let Some(count) = sources.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(source);
            }
        }
    }

    /// When [`Shard::relieve`] is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it may soon get tight: half of the room is taken.
    fn is_filling(&self, connections: usize) -> bool {
        connections > self.limits.connections / 2
    }

    /// How long one may loiter among so many. Nothing while a quarter of the room is free: then that
    /// is for the timeouts to say.
    fn patience(&self, connections: usize) -> Option<Duration> {
        let quarter = self.limits.connections / 4;
        let free = self.limits.connections.saturating_sub(connections);
        let between = PATIENCE_MOST.saturating_sub(PATIENCE_LEAST);
        let patience = || PATIENCE_LEAST + between.mul_f64(free as f64 / quarter as f64);
        (free < quarter).then(patience)
    }
}

impl Connection {
    /// Takes note of whether it takes what is sent to it, with so many bytes not yet sent.
    fn glance(&mut self, now: Instant, pending: u64, min_rate: u64) {
        let (at, then) = self.glance;
        let taken = self.submitted - pending;
        let least = min_rate.max(1) as f64 * (now - at).as_secs_f64();
        if (taken - then) as f64 >= least {
            self.glance = (now, taken);
        }
    }

    /// Whether it only takes up room.
    fn loiters(&self, now: Instant, patience: Duration, idle: Duration) -> bool {
        match (self.reading, self.deadline, self.began()) {
            (_, Some((Duty::Take, _)), _) => self.glance.0 + patience.max(PATIENCE_TAKING) <= now,
            (Reading::Idle, Some((Duty::Ask, at)), _) => at + patience <= now + idle,
            (_, _, Some(began)) => began + patience <= now,
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
        // Those that are told to close may be there for a little longer.
        let mut left = self.transport.connections();
        if !self.admission.is_filling(left) {
            self.admission.next = None;
            return;
        }
        if self.admission.next.is_some_and(|next| now < next) {
            return;
        }
        self.admission.next = Some(now + INTERVAL);
        let slots = self.connections.slots();
        let start = self.admission.cursor;
        let end = start + LOOKS.min(slots);
        self.admission.cursor = end.checked_rem(slots).unwrap_or(0);
        for index in start..end {
            let Some(id) = self.connections.id_at(index) else { continue };
            let pending = self.transport.pending(id);
            let patience = self.admission.patience(left);
            let Some(connection) = self.connections.get(id) else { continue };
            connection.glance(now, pending, self.timeouts.min_rate);
            let idle = self.timeouts.idle;
            if !patience.is_some_and(|patience| connection.loiters(now, patience, idle)) {
                continue;
            }
            left = left.saturating_sub(1);
            self.counters.add(Counter::Relieved, 1);
            connection.reading = Reading::Over;
            connection.deadline = None;
            self.transport.close(id, if pending > 0 { Close::Now } else { Close::AfterSent });
        }
    }
}
