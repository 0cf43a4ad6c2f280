//! The user-level stack: smoltcp over one queue, with everything around it that smoltcp has not.
//!
//! One [`UserStack`] runs on one core and owns one [`Port`] and all connections whose packets arrive
//! there. smoltcp does the handshake, reception and closing, one socket at a time, and never sees the
//! stream that we send; the files here find the socket, guard it, decide what is sent and when, gather it,
//! and speak with the link. A turn ([`poll`]):
//!
//! 1. `egress`: connections that may have something to send, by turns, as far as there are frames.
//! 2. `ingress`: messages of other cores and a burst of frames; parse, find, guard, smoltcp, settle.
//! 3. Timers, neighbours, the disk's answers.
//! 4. `egress` again, for answers that arose in between, and one flush.
//!
//! What is deliberately absent: threads, locks, clocks, IP fragments, and any copy of a file's bytes.
//!
//! [`poll`]: crate::Transport::poll

mod admission;
mod arena;
mod checksum;
mod config;
mod connection;
mod cookie;
mod copy_sum;
mod counters;
mod device;
mod egress;
mod emit;
mod expected;
mod flow_table;
#[cfg(test)]
mod fuzz_tests;
mod gather;
mod guard;
mod handshake;
mod head;
mod icmp_error;
mod idle_sources;
mod ingress;
mod isn;
mod link;
mod listener;
mod mesh;
mod neighbor;
mod observe;
mod packet;
pub mod recovery;
mod reply;
mod resolution;
mod segments;
mod sequence;
mod settle;
mod simultaneous;
mod source_map;
mod tcp_state;
mod time_wait;
mod timer_wheel;
mod timers;
mod transport;
mod tx_map;

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    io,
};

use crossbeam_channel::{Receiver, Sender};
use pagewire_driver::{Burst, Instant, Port};
use smoltcp::{iface::Interface, wire::IpCidr};

use self::{
    admission::Admission,
    arena::Arena,
    connection::{Connection, Phase},
    cookie::Cookies,
    device::Scratch,
    flow_table::{FlowKey, FlowTable},
    guard::ChallengeBudget,
    head::HeadPool,
    idle_sources::IdleSources,
    isn::IsnGenerator,
    mesh::Questions,
    neighbor::Neighbors,
    recovery::FlightPool,
    time_wait::TimeWait,
    timer_wheel::{Tick, TimerWheel},
    tx_map::PartPool,
};
use crate::{CloseReason, Event, NetworkView, disk::Residency, pages};

pub use self::{
    config::{MOST_ADDRESSES, ServedAddress, UserConfig, UserLimits},
    counters::{DropCause, UserCounters},
    mesh::{MOST_SHARDS, Mesh},
    recovery::RecoverySnapshot,
    source_map::SourceMap,
    tcp_state::TcpState,
};

/// A TCP/IP stack on one queue. See the module.
pub struct UserStack<P: Port> {
    port: P,
    burst: Burst,
    now: Instant,

    addresses: Vec<ServedAddress>,
    listen: Option<u16>,
    limits: UserLimits,

    scratch: Scratch,
    interface: Interface,
    cidrs: Vec<IpCidr>,
    isn: IsnGenerator,
    cookies: Cookies,
    /// Until when an ACK of no connection may be one of a cookie that was damaged or forged.
    cookies_until: Option<Instant>,
    admission: Admission,
    /// Connections with nothing pending.
    idle: usize,
    idle_sources: IdleSources,
    challenges: ChallengeBudget,

    arena: Arena,
    connections: Vec<Connection>,
    /// Where slots begin to count their uses: beyond what any id of an earlier connection says.
    first_generation: u32,
    vacant: Vec<u32>,
    /// So many of the first slots are vacant without being listed there.
    unlisted: u32,
    flow_key: FlowKey,
    flows: FlowTable,
    time_wait: TimeWait,
    next_port: u16,
    next_address: usize,

    wheel: TimerWheel,
    expired: Vec<(u32, Tick)>,
    ready: VecDeque<u32>,
    unanswered: Vec<u32>,

    mesh: Mesh,
    questions: Questions,
    neighbors: Neighbors,
    flights: FlightPool,
    network: NetworkView,
    network_updates: Option<Receiver<NetworkView>>,
    probe: Option<Sender<std::net::IpAddr>>,
    residency: Residency,

    part_pool: PartPool,
    heads: HeadPool,
    events: Vec<Event>,
    counters: UserCounters,
    back_pressure: bool,
}

/// Slots whose memory is given back when no connection is left.
const WORTH_GIVING_BACK: usize = 16_384;
/// Slots that are given back in one turn.
const GIVEN_BACK_AT_ONCE: usize = 1_024;

impl<P: Port> UserStack<P> {
    /// A stack on `port`. `now` is the present on the clock that [`poll`](crate::Transport::poll) will
    /// be called with.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no or too many addresses; whatever `mmap` says for the connections' memory.
    pub fn new(port: P, now: Instant, config: UserConfig) -> io::Result<Self> {
        let UserConfig { addresses, listen, limits, mesh, disk, network, probe } = config;
        if addresses.is_empty() || addresses.len() > MOST_ADDRESSES {
            let text = format!("a stack needs 1 to {MOST_ADDRESSES} addresses");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let cidrs: Vec<IpCidr> = addresses
            .iter()
            .map(|served| IpCidr::new(served.address().into(), served.prefix.length()))
            .collect();
        let mut scratch = Scratch::new(port.capabilities().mtu);
        let secret = RandomState::new();
        let random = |number: u64| secret.hash_one(number);
        // Only where they are limited.
        let counted = if limits.idle_per_source < usize::MAX { limits.connections } else { 0 };
        let interface = isn::interface(random(0), &cidrs, &mut scratch);
        mesh.set_waker(port.waker());
        let residency = Residency::new(&disk, port.waker());
        let arena = Arena::new(limits.connections, limits.receive_window)?;
        let connections = pages::reserve(limits.connections);
        let wheel = TimerWheel::new(now, timers::most_timers(limits.connections) / 14 * 15);
        let prepared = limits.prepared.min(limits.connections);
        arena.populate(prepared);
        pages::populate(&connections, prepared);
        wheel.populate(timers::most_timers(prepared));
        Ok(Self {
            port,
            burst: Burst::new(),
            now,
            addresses,
            listen,
            limits,
            scratch,
            interface,
            cidrs,
            isn: IsnGenerator::new(),
            cookies: Cookies::new(),
            cookies_until: None,
            admission: Admission::new(limits.connections),
            idle: 0,
            idle_sources: IdleSources::new(counted),
            challenges: ChallengeBudget::new(random(6)),
            arena,
            connections,
            first_generation: 0,
            vacant: Vec::with_capacity(limits.connections),
            unlisted: 0,
            flow_key: FlowKey::new([random(1), random(2), random(3), random(4)]),
            flows: FlowTable::new(limits.connections),
            time_wait: TimeWait::new(),
            next_port: random(5) as u16,
            next_address: MOST_ADDRESSES,
            wheel,
            expired: Vec::new(),
            ready: VecDeque::new(),
            unanswered: Vec::new(),
            mesh,
            questions: Questions::default(),
            neighbors: Neighbors::default(),
            flights: FlightPool::default(),
            network: NetworkView::default(),
            network_updates: network,
            probe,
            residency,
            part_pool: PartPool::default(),
            heads: HeadPool::default(),
            events: Vec::new(),
            counters: UserCounters::default(),
            back_pressure: false,
        })
    }

    /// What this stack has counted.
    pub fn counters(&self) -> &UserCounters {
        &self.counters
    }

    /// The port below.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// A free slot for a new connection.
    fn take_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.vacant.pop() {
            return Some(slot);
        }
        if self.unlisted > 0 {
            self.unlisted -= 1;
            return Some(self.unlisted);
        }
        if self.arena.len() >= self.arena.capacity() {
            return None;
        }
        self.arena.add_slot();
        let generation = self.first_generation;
        self.connections.push(Connection { generation, ..Connection::vacant() });
        Some(self.arena.len() as u32 - 1)
    }

    /// Frees a slot, and tells the caller why if it knows the connection.
    fn release(&mut self, slot: u32, reason: CloseReason) {
        let connection = &mut self.connections[slot as usize];
        if connection.is_known() {
            self.events.push(Event::Closed(connection.id(slot), reason));
            self.counters.closed += 1;
        }
        connection.tx.clear(&mut self.part_pool);
        connection.sender.clear(&mut self.flights);
        self.heads.give(connection.head.take());
        connection.phase = Phase::Vacant;
        let source = connection.peer_ip().into();
        self.idle -= usize::from(std::mem::take(&mut connection.idle));
        self.idle_sources.leave(slot, source);
        self.admission.end(slot, source);
        connection.generation = connection.generation.wrapping_add(1);
        self.flows.remove(connection.hash, slot);
        self.arena.close(slot);
        self.vacant.push(slot);
    }

    /// Whether a slot for a new connection can be had.
    fn has_vacant_slot(&self) -> bool {
        !self.vacant.is_empty() || self.unlisted > 0 || self.arena.len() < self.arena.capacity()
    }

    /// Whether memory of slots is being given back: no connection is left, and nobody holds a slot.
    fn is_giving_back(&self) -> bool {
        let is_worth_it = self.connections.len() >= WORTH_GIVING_BACK || self.unlisted > 0;
        is_worth_it && self.flows.len() == 0 && self.ready.is_empty() && self.unanswered.is_empty()
    }

    /// Gives the memory of connections back once the last of many is gone, some of it in each turn.
    fn give_back(&mut self) {
        if !self.is_giving_back() {
            return;
        }
        self.vacant.clear();
        let left = self.connections.len().saturating_sub(GIVEN_BACK_AT_ONCE);
        self.unlisted = left as u32;
        let used = self.connections[left..].iter().map(|connection| connection.generation).max();
        self.first_generation = self.first_generation.max(used.unwrap_or(0));
        pages::truncate(&mut self.connections, left);
        self.arena.truncate(left);
        if left == 0 {
            self.vacant = Vec::with_capacity(self.limits.connections);
            self.wheel.give_back();
            self.admission.give_back();
            self.idle_sources.give_back();
            self.part_pool = PartPool::default();
            self.heads = HeadPool::default();
            pages::give_back_small();
        }
    }

    /// Puts a connection into the list of those that may have something to send.
    fn mark_ready(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.ready {
            connection.ready = true;
            self.ready.push_back(slot);
        }
    }

    /// The connection's slot, if the id is not void.
    fn slot_of(&self, id: crate::ConnectionId) -> Option<u32> {
        let connection = self.connections.get(id.slot as usize)?;
        (connection.generation == id.generation && connection.is_known()).then_some(id.slot)
    }
}

/// smoltcp's time for ours.
fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.micros()).unwrap_or(i64::MAX))
}
