//! A shard over a scripted transport, with a real directory and real helpers.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use pagewire_driver::{Instant, Waker};
use pagewire_stack::{
    Close, CloseReason, ConnectionId, DiskPool, Event, EventBatch, Part, Parts, Refused, Transport,
};
use tempfile::TempDir;

use crate::{
    content::{CacheLimits, Catalogue, Content},
    counters::{Counter, Counters},
    http::Limits,
    service::Service,
    shard::{Shard, Timeouts},
};

/// A transport whose peer is the test.
pub struct Script {
    pub connections: BTreeMap<ConnectionId, Line>,
    pub events: EventBatch,
    pub waker: Waker,
    pub is_listening: bool,
}

#[derive(Default)]
pub struct Line {
    pub input: Vec<u8>,
    /// As text.
    pub output: String,
    pub pending: u64,
    /// Responses taken before `Busy`.
    pub room: usize,
    pub closing: Option<Close>,
}

impl Transport for Script {
    fn poll(&mut self, _now: Instant, events: &mut EventBatch) {
        events.append(&mut self.events);
        self.connections.retain(|&id, line| {
            let reason = match line.closing {
                Some(Close::AfterSent | Close::Concluded) if line.pending == 0 => {
                    CloseReason::Finished
                }
                Some(Close::Now) => CloseReason::Aborted,
                _ => return true,
            };
            events.push(Event::Closed(id, reason));
            false
        });
    }

    fn received(&mut self, id: ConnectionId) -> &[u8] {
        self.connections.get(&id).map_or(&[], |line| &line.input)
    }

    fn consume(&mut self, id: ConnectionId, len: usize) {
        self.connections.get_mut(&id).unwrap().input.drain(..len);
    }

    fn buffer(&mut self) -> Vec<u8> {
        Vec::with_capacity(512)
    }

    fn submit(&mut self, id: ConnectionId, parts: &mut Parts) -> Result<(), Refused> {
        let line = self.connections.get_mut(&id).ok_or(Refused::Gone)?;
        if line.closing.is_some() {
            return Err(Refused::Gone);
        }
        if line.room == 0 {
            return Err(Refused::Busy);
        }
        line.room -= 1;
        for part in parts.drain(..) {
            line.pending += part.len();
            let bytes = match &part {
                Part::Bytes(bytes) => bytes,
                Part::File(range) => {
                    let end = range.start + range.len;
                    &range.object.memory().unwrap()[range.start as usize..end as usize]
                }
            };
            line.output += std::str::from_utf8(bytes).unwrap();
        }
        Ok(())
    }

    fn pending(&self, id: ConnectionId) -> u64 {
        self.connections.get(&id).map_or(0, |line| line.pending)
    }

    fn connect(
        &mut self,
        _now: Instant,
        _to: std::net::SocketAddr,
    ) -> Result<ConnectionId, Refused> {
        Err(Refused::NoRoute)
    }

    fn close(&mut self, id: ConnectionId, how: Close) {
        if let Some(line) = self.connections.get_mut(&id) {
            line.closing = Some(how);
            line.input.clear();
        }
    }

    fn stop_listening(&mut self) {
        self.is_listening = false;
    }

    fn connections(&self) -> usize {
        self.connections.len()
    }

    fn wait(&mut self, _now: Instant, _deadline: Option<Instant>) {}

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

pub const ID: ConnectionId = ConnectionId { slot: 3, generation: 1 };
pub const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

pub struct Fixture {
    pub shard: Shard<Script>,
    pub now: Instant,
    _directory: TempDir,
}

impl Fixture {
    /// A server of the files `a` (5 bytes) and `b/index.html`, with one connection open.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "abcde").unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        fs::write(directory.path().join("b/index.html"), "index").unwrap();
        let waker = Waker::new().unwrap();
        let catalogue = Arc::new(Catalogue::of_directory(directory.path()).unwrap());
        let helpers = DiskPool::start(1, 64).unwrap();
        let content = Content::new(catalogue, helpers, CacheLimits::default(), waker.clone());
        let now = Instant::from_millis(1_000);
        let service = Service::new(content, Limits::default(), now, SystemTime::now());
        let transport =
            Script { connections: BTreeMap::new(), events: Vec::new(), waker, is_listening: true };
        let counters = Arc::new(Counters::default());
        let shard = Shard::new(transport, service, Timeouts::default(), counters, now);
        let mut fixture = Self { shard, now, _directory: directory };
        fixture.open(ID);
        fixture
    }

    pub fn open(&mut self, id: ConnectionId) {
        self.open_from(id, 1);
    }

    pub fn open_from(&mut self, id: ConnectionId, host: u8) {
        let address = ([127, 0, 0, host], 1).into();
        self.shard.transport.connections.insert(id, Line { room: 1_000, ..Line::default() });
        self.event(Event::Opened { id, peer: address, local: address });
    }

    pub fn line(&mut self) -> &mut Line {
        self.shard.transport.connections.get_mut(&ID).expect("the connection is open")
    }

    pub fn is_open(&self) -> bool {
        self.shard.transport.connections.contains_key(&ID)
    }

    pub fn event(&mut self, event: Event) {
        self.shard.transport.events.push(event);
        self.turn();
    }

    pub fn turn(&mut self) {
        self.shard.turn(self.now);
    }

    pub fn receive(&mut self, text: &str) {
        self.line().input.extend_from_slice(text.as_bytes());
        self.event(Event::Received(ID));
    }

    /// Waits for helpers until the output has `count` responses in all.
    pub fn await_responses(&mut self, count: usize) {
        for _ in 0..30_000 {
            if self.statuses().len() >= count {
                return;
            }
            thread::sleep(Duration::from_millis(1));
            self.turn();
        }
        panic!("{:?}", self.statuses());
    }

    pub fn statuses(&mut self) -> Vec<u16> {
        let heads = self.line().output.split("HTTP/1.1 ").skip(1);
        heads.map(|head| head[..3].parse().unwrap()).collect()
    }

    /// Everything queued has been sent.
    pub fn sent(&mut self) {
        self.line().pending = 0;
        self.event(Event::Sent(ID));
    }

    /// Time passes, in steps as a running shard would see it.
    pub fn pass(&mut self, duration: Duration) {
        for _ in 0..20 {
            self.now += duration / 20;
            self.turn();
        }
        self.turn();
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.shard.counters.get(counter)
    }
}
