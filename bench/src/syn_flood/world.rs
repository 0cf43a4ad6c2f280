//! One server core, honest clients and a flood, on a clock that is the core's own CPU time.
//!
//! Time goes on only by what the server's turns cost the thread, or jumps to the next arrival when the
//! server has nothing to do. So the server is as busy as it would be on a core of its own, and what the
//! clients and the flood's maker do in between costs nothing, as if they had cores of their own.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use hdrhistogram::Histogram;
use pagewire_driver::{Instant, MemoryConfig, MemoryPort, Port, Random, memory_link};
use pagewire_stack::{
    Close, ConnectionId, DiskPool, Event, EventBatch, Link, Neighbour, NetworkView, Part, Parts,
    Prefix, Refused, Route, Transport,
    user::{Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};

use super::port::{Flood, FloodedPort, Kind, router};
use crate::cpu::Stopwatch;

/// The address that is flooded.
pub const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The other served address.
pub const BYSTANDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The served port.
pub const PORT: u16 = 80;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// Connections that are kept open for requests.
const KEPT: usize = 256;
/// Bytes of an answer.
const ANSWER: usize = 200;
/// Operations that run at a time while the peak is looked for.
const AT_A_TIME: usize = 64;
/// Longest latency that is told apart.
const LONGEST_NS: u64 = 60_000_000_000;

/// What the honest clients have had.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it went on.
    pub time: Duration,
    /// Operations begun.
    pub offered: u64,
    /// Operations completed.
    pub completed: u64,
    /// Their latencies, from when they were due.
    pub latencies: Histogram<u64>,
    /// The server's longest turn.
    pub longest_turn: Duration,
}

impl Outcome {
    /// Operations completed a second.
    pub fn per_second(&self) -> f64 {
        self.completed as f64 / self.time.as_secs_f64()
    }

    /// The 99th percentile of the latency in µs.
    pub fn p99_us(&self) -> f64 {
        self.latencies.value_at_quantile(0.99) as f64 / 1_000.0
    }
}

/// How operations come.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// As soon as others are done.
    Closed,
    /// At this many a second, whatever becomes of them.
    Open(f64),
}

/// See the module.
pub struct World {
    server: UserStack<FloodedPort>,
    client: UserStack<MemoryPort>,
    pub flood: Rc<RefCell<Flood>>,
    pub now: Instant,
    target: Ipv4Addr,
    random: Random,
    /// Kept connections without an operation.
    idle: Vec<ConnectionId>,
    /// Operations due that wait for a kept connection.
    backlog: VecDeque<Instant>,
    running: HashMap<ConnectionId, Operation>,
    events: EventBatch,
    parts: Parts,
    completed: u64,
    latencies: Histogram<u64>,
    longest_turn: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    due: Instant,
    is_new: bool,
    received: usize,
}

impl World {
    /// Clients of `target` with their kept connections open.
    pub fn new(target: Ipv4Addr) -> io::Result<Self> {
        let config = MemoryConfig { chunks: 8_192, ring: 2_048, ..MemoryConfig::default() };
        let (near, far) = memory_link(config)?;
        let disk = DiskPool::start(1, 16)?;
        let (port, flood) = FloodedPort::new(near);
        let server_config = configuration(&[VICTIM, BYSTANDER], Some(PORT), &disk, true)?;
        let server = UserStack::new(port, Instant::ZERO, server_config)?;
        let ours: Vec<_> = (11..19).map(|host| Ipv4Addr::new(10, 0, 0, host)).collect();
        let client_config = configuration(&ours, None, &disk, false)?;
        let client = UserStack::new(far, Instant::ZERO, client_config)?;
        let mut world = Self {
            server,
            client,
            flood,
            now: Instant::from_millis(200_000),
            target,
            random: Random::new(1),
            idle: Vec::new(),
            backlog: VecDeque::new(),
            running: HashMap::new(),
            events: Vec::new(),
            parts: Vec::new(),
            completed: 0,
            latencies: histogram(),
            longest_turn: Duration::ZERO,
        };
        for _ in 0..KEPT {
            world.begin(world.now, true)?;
            for _ in 0..4 {
                world.serve();
                world.clients();
            }
        }
        world.now += Duration::from_millis(50);
        world.serve();
        world.clients();
        // What opened a connection that stays is no operation.
        if world.idle.len() < KEPT / 2 {
            return Err(io::Error::other("the kept connections do not open"));
        }
        Ok(world)
    }

    /// The server, for its counters.
    pub fn server(&self) -> &UserStack<FloodedPort> {
        &self.server
    }

    /// Lets operations come for `time`.
    pub fn run(&mut self, load: Load, time: Duration) -> io::Result<Outcome> {
        let (start, end) = (self.now, self.now + time);
        (self.completed, self.latencies, self.longest_turn) = (0, histogram(), Duration::ZERO);
        let (mut offered, mut next) = (0, self.now);
        while self.now < end {
            match load {
                Load::Closed => {
                    while self.running.len() + self.backlog.len() < AT_A_TIME {
                        self.begin_any(self.now)?;
                        offered += 1;
                    }
                }
                Load::Open(per_second) => {
                    while next <= self.now {
                        self.begin_any(next)?;
                        offered += 1;
                        next += self.pause(per_second);
                    }
                }
            }
            self.clients();
            if !self.serve() {
                let flood = self.flood.borrow().next();
                let open = matches!(load, Load::Open(_)).then_some(next);
                let soon = self.now + Duration::from_millis(1);
                let then = [flood, open, Some(soon)].into_iter().flatten().min();
                self.now = then.unwrap_or(soon).max(self.now);
            }
        }
        let latencies = std::mem::replace(&mut self.latencies, histogram());
        let (completed, longest_turn) = (self.completed, self.longest_turn);
        Ok(Outcome { time: self.now - start, offered, completed, latencies, longest_turn })
    }

    /// A pause between arrivals as chance has it (Poisson).
    fn pause(&mut self, per_second: f64) -> Duration {
        let uniform = ((self.random.bits() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        Duration::from_secs_f64(-uniform.ln() / per_second)
    }

    /// Half of the operations ask on a kept connection, half on one of their own.
    fn begin_any(&mut self, due: Instant) -> io::Result<()> {
        if self.random.chance(0.5) {
            return self.begin(due, true);
        }
        self.backlog.push_back(due);
        Ok(())
    }

    fn begin(&mut self, due: Instant, is_new: bool) -> io::Result<()> {
        let to = SocketAddr::new(IpAddr::V4(self.target), PORT);
        let id = match self.client.connect(self.now, to) {
            Ok(id) => id,
            // So many go unanswered that the clients are out of places: this one is lost.
            Err(Refused::Exhausted) => return Ok(()),
            Err(refused) => return Err(io::Error::other(refused)),
        };
        // The first connections stay.
        let is_new = is_new && self.idle.len() + self.running.len() >= KEPT;
        self.running.insert(id, Operation { due, is_new, received: 0 });
        Ok(())
    }

    /// The clients' turns, until they have taken all that has come.
    fn clients(&mut self) {
        loop {
            while !self.backlog.is_empty()
                && let Some(id) = self.idle.pop()
                && let Some(due) = self.backlog.pop_front()
            {
                self.running.insert(id, Operation { due, is_new: false, received: 0 });
                self.ask(id, b"K");
            }
            let before = self.client.port().counters().received;
            let mut events = std::mem::take(&mut self.events);
            self.client.poll(self.now, &mut events);
            for event in events.drain(..) {
                self.client_event(event);
            }
            self.events = events;
            if self.client.port().counters().received == before {
                return;
            }
        }
    }

    fn ask(&mut self, id: ConnectionId, request: &[u8]) {
        self.parts.push(Part::Bytes(request.to_vec()));
        let _ = self.client.submit(id, &mut self.parts);
        self.parts.clear();
    }

    fn client_event(&mut self, event: Event) {
        match event {
            Event::Opened { id, .. } => {
                let is_new = self.running.get(&id).is_some_and(|operation| operation.is_new);
                self.ask(id, if is_new { b"C" } else { b"K" });
            }
            Event::Received(id) => {
                let len = self.client.received(id).len();
                self.client.consume(id, len);
                let Some(operation) = self.running.get_mut(&id) else { return };
                operation.received += len;
                if operation.received < ANSWER {
                    return;
                }
                let operation = *operation;
                self.running.remove(&id);
                self.completed += 1;
                let latency = (self.now - operation.due).as_nanos();
                let latency = u64::try_from(latency).unwrap_or(LONGEST_NS).clamp(1, LONGEST_NS);
                self.latencies.saturating_record(latency);
                if !operation.is_new {
                    self.idle.push(id);
                }
            }
            Event::PeerClosed(id) => self.client.close(id, Close::AfterSent),
            Event::Closed(id, _) => {
                self.running.remove(&id);
                self.idle.retain(|&kept| kept != id);
            }
            Event::Sent(_) => {}
        }
    }

    /// A turn of the server. False if it had nothing to do.
    fn serve(&mut self) -> bool {
        let before = self.server.counters().segments_received;
        let sent = self.server.port().counters().sent;
        self.flood.borrow_mut().arrive(self.now);
        let mut events = std::mem::take(&mut self.events);
        let watch = Stopwatch::start();
        self.server.poll(self.now, &mut events);
        for event in events.drain(..) {
            let Event::Received(id) = event else { continue };
            let received = self.server.received(id);
            let (len, closes) = (received.len(), received.first() == Some(&b'C'));
            self.server.consume(id, len);
            let mut answer = self.server.buffer();
            answer.resize(ANSWER, b'a');
            self.parts.push(Part::Bytes(answer));
            let _ = self.server.submit(id, &mut self.parts);
            self.parts.clear();
            if closes {
                self.server.close(id, Close::AfterSent);
            }
        }
        let elapsed = watch.elapsed();
        self.longest_turn = self.longest_turn.max(elapsed);
        self.now += elapsed;
        self.events = events;
        self.server.counters().segments_received > before
            || self.server.port().counters().sent > sent
    }
}

/// How many frames a second the port and the stack can take at most: all are for another station.
pub fn port_limit(time: Duration) -> io::Result<f64> {
    let mut world = World::new(VICTIM)?;
    let start = world.now;
    world.flood.borrow_mut().set(start, Kind::Strangers, 1e9);
    let mut watch = Duration::ZERO;
    while watch < time {
        world.serve();
        watch = world.now - start;
    }
    let flood = world.flood.borrow();
    Ok((flood.offered - flood.lost) as f64 / watch.as_secs_f64())
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_NS, 3).unwrap_or_else(|_| unreachable!("bounds that are right"))
}

fn configuration(
    addresses: &[Ipv4Addr],
    listen: Option<u16>,
    disk: &DiskPool,
    has_router: bool,
) -> io::Result<UserConfig> {
    let served = |&address: &Ipv4Addr| {
        let prefix = Prefix::new(address.into(), 24).map_err(io::Error::other)?;
        Ok(ServedAddress { prefix, owned_alone: true })
    };
    let (sender, view) = crossbeam_channel::bounded(1);
    if has_router {
        let everything = Prefix::everything(Ipv4Addr::UNSPECIFIED.into());
        let route = Route {
            destination: everything,
            gateway: Some(GATEWAY.into()),
            interface: 1,
            source: None,
            metric: 0,
            mtu: None,
        };
        let view = NetworkView {
            link: Link { index: 1, mtu: 1_500, up: true, ..Link::default() },
            routes: vec![route],
            neighbours: vec![Neighbour { address: GATEWAY.into(), mac: router() }],
            ..NetworkView::default()
        };
        sender.send(view).map_err(io::Error::other)?;
    }
    Ok(UserConfig {
        addresses: addresses.iter().map(served).collect::<io::Result<_>>()?,
        listen,
        // As the product has it.
        limits: UserLimits { connections: 16_384, prepared: 8_192, ..UserLimits::default() },
        mesh: Mesh::new(1).remove(0),
        disk: disk.clone(),
        network: has_router.then_some(view),
        probe: None,
    })
}
