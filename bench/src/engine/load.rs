//! Requests over all connections in random order, batch by batch, and what the stack spends on them.

use std::time::{Duration, Instant as Clock};

use pagewire_driver::{Instant, Random};

use super::{EngineError, app::App, clients::Clients};
use crate::cpu::Stopwatch;

/// Requests that are in the stack's queue together.
const BATCH: usize = 32;
/// Time on the stack's clock, at most, in which every connection has its turn: clients acknowledge an answer
/// with their next request, as they do within 40 ms, so no answer is sent twice meanwhile.
const ROUND: Duration = Duration::from_millis(20);
/// How long an answer may take that a helper has to be asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a stretch of load has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Requests answered.
    pub requests: usize,
    /// CPU time of the stack's turns.
    pub busy: Duration,
    /// Time by the clock, the clients' work included.
    pub wall: Duration,
}

impl Spent {
    /// Requests for each second of the stack's own time.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.busy.as_secs_f64()
    }

    /// Requests for each second by the clock.
    pub fn wall_rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// Nanoseconds of the stack's own time for each request.
    pub fn nanos(&self) -> f64 {
        1e9 / self.rate()
    }

    /// Adds another stretch.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.busy += other.busy;
        self.wall += other.wall;
    }
}

/// A stack with its clients, and the order in which they ask.
pub struct Load<'a, A> {
    app: A,
    clients: Clients,
    request: &'a [u8],
    order: Vec<u32>,
    next: usize,
    now: Instant,
    /// How far the clock goes on with each batch.
    pace: Duration,
}

impl<'a, A: App> Load<'a, A> {
    /// Opens all connections.
    pub fn open(mut app: A, mut clients: Clients, request: &'a [u8]) -> Result<Self, EngineError> {
        let mut now = Instant::from_millis(1);
        clients.open(&mut app, &mut now)?;
        let batches = clients.count().div_ceil(BATCH) as u32;
        let pace = (ROUND / batches).min(Duration::from_micros(20));
        Ok(Self { app, clients, request, order: Vec::new(), next: 0, now, pace })
    }

    /// Opens all connections again.
    pub fn reopen(&mut self) -> Result<(), EngineError> {
        self.clients.open(&mut self.app, &mut self.now)
    }

    /// Closes all connections, the clients first.
    pub fn close(&mut self) -> Result<(), EngineError> {
        self.clients.close(&mut self.app, &mut self.now)
    }

    /// Lets the stack do what is left to do when nobody asks anything.
    pub fn rest(&mut self) {
        // It gives memory back in pieces, of more slots than this.
        for _ in 0..self.clients.count().div_ceil(512) {
            self.app.turn(self.now);
        }
    }

    /// A request on each connection, and its answer acknowledged, so that all memory is in place and helpers
    /// have found the file.
    pub fn warm_up(&mut self) -> Result<(), EngineError> {
        let count = self.clients.count();
        self.order = (0..count as u32).collect();
        let mut random = Random::new(7);
        for last in (1..count).rev() {
            self.order.swap(last, random.below(last as u64 + 1) as usize);
        }
        for _ in 0..count.div_ceil(BATCH) {
            let first = self.next;
            let (answered, _) = self.batch()?;
            for &index in &self.order[first..first + answered] {
                self.clients.acknowledge(index as usize);
            }
            self.clients.flush(self.now);
            self.app.turn(self.now);
        }
        Ok(())
    }

    /// Asks until the stack's turns have taken `time`.
    pub fn run(&mut self, time: Duration) -> Result<Spent, EngineError> {
        let (mut spent, start) = (Spent::default(), Clock::now());
        while spent.busy < time {
            let (requests, busy) = self.batch()?;
            spent.requests += requests;
            spent.busy += busy;
        }
        spent.wall = start.elapsed();
        Ok(spent)
    }

    /// One request on each of the next connections. Returns how many, and what the stack spent.
    fn batch(&mut self) -> Result<(usize, Duration), EngineError> {
        let end = (self.next + BATCH).min(self.order.len());
        let batch = &self.order[self.next..end];
        self.next = if end == self.order.len() { 0 } else { end };
        for &index in batch {
            self.clients.request(index as usize, self.request);
        }
        self.clients.flush(self.now);
        let start = Stopwatch::start();
        self.app.turn(self.now);
        self.app.turn(self.now);
        let mut spent = start.elapsed();
        let mut answers = self.clients.collect(self.now).1;
        // The first request for a file waits for a helper.
        let patience = Clock::now();
        while answers < batch.len() {
            let start = Stopwatch::start();
            self.app.turn(self.now);
            spent += start.elapsed();
            answers += self.clients.collect(self.now).1;
            if patience.elapsed() > PATIENCE {
                let text = format!("{answers} of {} requests answered", batch.len());
                return Err(EngineError::Broken(text));
            }
        }
        self.now += self.pace;
        Ok((batch.len(), spent))
    }
}
