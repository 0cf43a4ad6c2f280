//! One core's client: the loop that keeps a server busy over any transport.
//!
//! A turn is: poll, read what has come, ask again, look after the silent ones; then sleep until
//! something is due. A closed loop asks again as soon as a connection is free; an open loop when the
//! schedule says so. With a connection for each request, a request is started by connecting, and its
//! latency includes that.
//!
//! - `connection`: one connection and the reading of responses.
//! - `events`: what happens to connections.
//! - `pace`: when requests and connections are started, and when it is over.

mod connection;
mod events;
mod pace;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pagewire_driver::Instant;
use pagewire_stack::{Close, ConnectionId, Event, EventBatch, Parts, Transport};

pub(super) use self::connection::HEAD_MAX;
use self::connection::{State, Table};
use super::{
    clock::Clock,
    content::References,
    requests::{Picker, Texts, Workload},
    response::Heads,
    schedule::Schedule,
    tally::Tally,
};

/// What one core is to do.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub target: SocketAddr,
    pub workload: Arc<Workload>,
    pub texts: Arc<Texts>,
    pub references: Arc<References>,
    /// Its number, of how many.
    pub index: usize,
    pub cores: usize,
    /// Its own share of connections and of requests.
    pub connections: usize,
    pub requests_max: Option<u64>,
    /// Open loop: requests a second of all cores together.
    pub rate_per_s: Option<f64>,
    pub duration: Duration,
    pub timeout: Duration,
    /// A connection for each request.
    pub close: bool,
    pub pipeline: usize,
    pub expect: u16,
    pub seed: u64,
}

impl Task {
    /// Connections that its transport must have room for: those in use, and as many again that wait
    /// for their end.
    pub(super) fn slots(&self) -> usize {
        self.connections + self.connections.max(FINISHING_LEAST)
    }
}

/// Room for connections that wait for their end, at least.
const FINISHING_LEAST: usize = 1_024;

/// How long connections may take to end in order when the run is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a core's run ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// From the first request to the end of sending, or to the last response if all were answered.
    pub window: Duration,
    /// No connection could be had for so long that it was given up.
    pub gave_up: bool,
    /// Requests started, and how many there were to be.
    pub requests: u64,
    pub missing: u64,
}

/// See the module.
pub(super) struct Client<T: Transport> {
    transport: T,
    clock: Clock,
    task: Task,
    table: Table,
    heads: Heads,
    picker: Picker,
    schedule: Option<Schedule>,
    /// Connections that can take a request, in an open loop.
    idle: VecDeque<ConnectionId>,
    parts: Parts,

    start: Instant,
    end: Instant,
    /// Whether requests are still started.
    sending: bool,
    gave_up: bool,
    /// Whether the run ends without waiting for responses under way.
    hurries: bool,
    /// Requests started, and those among them without an outcome.
    issued: u64,
    outstanding: u64,
    /// Connections opening or open, those still opening, and those that wait for their end.
    alive: usize,
    opening: usize,
    finishing: usize,
    /// How many may be opening at once: few at first, until the way is known.
    opening_max: usize,
    /// No connection is opened before this.
    retry_at: Instant,
    back_off: Duration,
    /// Failures to connect since one succeeded, and when that was.
    refusals: u64,
    up_at: Instant,

    sweep_at: Instant,
    hand_over_at: Instant,
    tally: Tally,
}

impl<T: Transport> Client<T> {
    /// A client that begins when it is [`run`](Self::run).
    pub(super) fn new(transport: T, clock: Clock, task: Task) -> Self {
        Self {
            transport,
            clock,
            table: Table::default(),
            heads: Heads::new(task.workload.paths().len()),
            picker: task.workload.picker(task.seed, task.index, task.cores),
            schedule: None,
            idle: VecDeque::new(),
            parts: Parts::new(),
            start: Instant::ZERO,
            end: Instant::ZERO,
            sending: true,
            gave_up: false,
            hurries: false,
            issued: 0,
            outstanding: 0,
            alive: 0,
            opening: 0,
            finishing: 0,
            opening_max: pace::OPENING_FIRST,
            retry_at: Instant::ZERO,
            back_off: pace::BACK_OFF_LEAST,
            refusals: 0,
            up_at: Instant::ZERO,
            sweep_at: Instant::ZERO,
            hand_over_at: Instant::ZERO,
            tally: Tally::default(),
            task,
        }
    }

    /// The transport below.
    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    /// Loads the server from `start` until the task is done or `stop` is set. Hands over what it has counted every
    /// second, and at the end.
    pub(super) fn run(
        &mut self,
        start: Instant,
        stop: &AtomicBool,
        hand_over: &mut dyn FnMut(Tally),
    ) -> Ended {
        let task = &self.task;
        self.start = start;
        self.end = self.start + task.duration;
        self.up_at = self.start;
        self.hand_over_at = self.start + pace::SECOND;
        let schedule = |rate| Schedule::new(self.start, rate, task.index, task.cores);
        self.schedule = task.rate_per_s.map(schedule);
        let mut events = EventBatch::new();
        let mut now = self.start;
        while !self.is_over(now) {
            self.wait();
            self.transport.poll(self.clock.now(), &mut events);
            now = self.clock.now();
            for event in events.drain(..) {
                self.handle(event, now);
            }
            if self.sending {
                self.start_due(now);
                if stop.load(Ordering::Relaxed) {
                    (self.end, self.hurries) = (now, true);
                }
            }
            if now >= self.sweep_at {
                self.sweep(now);
            }
            if now >= self.hand_over_at {
                self.hand_over_at += pace::SECOND;
                hand_over(std::mem::take(&mut self.tally));
            }
        }
        self.tally.unfinished = self.outstanding;
        hand_over(std::mem::take(&mut self.tally));
        self.say_farewell(&mut events);
        Ended {
            window: self.end.min(now).since(self.start),
            gave_up: self.gave_up,
            requests: self.issued,
            missing: self.task.requests_max.map_or(0, |most| most - self.issued),
        }
    }

    /// Closes all connections in order, as far as the server goes along, and then those that are left.
    /// A server that is left with connections would refuse new ones from the same ports.
    fn say_farewell(&mut self, events: &mut EventBatch) {
        for (how, patience) in [(Close::AfterSent, FAREWELL), (Close::Now, FAREWELL / 4)] {
            let deadline = self.clock.now() + patience;
            for connection in self.table.iter() {
                self.transport.close(connection.id, how);
            }
            loop {
                let now = self.clock.now();
                self.transport.poll(now, events);
                for event in events.drain(..) {
                    if let Event::Closed(id, _) = event
                        && let Some(connection) = self.table.get(id)
                    {
                        connection.state = State::Vacant;
                    }
                }
                if self.transport.connections() == 0 || now >= deadline {
                    break;
                }
                self.transport.wait(now, Some(deadline));
            }
        }
    }
}
