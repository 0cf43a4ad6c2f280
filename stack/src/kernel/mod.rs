//! The kernel's TCP behind the [`Transport`] seam: epoll, sendfile, one listener per core.
//!
//! Each core has its own epoll set, its own `SO_REUSEPORT` listening sockets and all the connections
//! that they accept. Connections are watched edge-triggered and registered once, so that neither a
//! full socket nor a full head buffer costs a system call to stop or resume watching; a turn takes one
//! `epoll_wait`, and a request one recv and one sendmsg or sendfile. A connection for one request is
//! accepted, read, answered and closed without epoll ever hearing of it, its end in the answer's last
//! segment. What comes in one turn is read first and answered then: measured, that costs up to a tenth
//! less than answering each at once. Nothing that a core calls waits for the disk.
//!
//! - `config`, `counters`: what it can be told, and what it tells.
//! - `listener`: accepting.
//! - `connection`: one connection's life; `receive` and `send` are its two directions.
//! - `observe`, `tcp_info`: what it and its connections tell.
//! - `core`: what connections share; `slots`: their table; `socket`: the calls that make sockets.
//! - `transport`: the seam itself.

mod config;
mod connection;
mod core;
mod counters;
mod listener;
mod observe;
mod receive;
mod send;
mod slots;
mod socket;
mod tcp_info;
mod transport;

use std::{
    collections::VecDeque,
    fmt, mem,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

pub use config::{KernelConfig, KernelError};
pub use counters::{ClosedCounters, KernelCounters};
use pagewire_driver::{Instant, Waker};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
};

use self::{
    connection::{Connection, Next},
    core::Core,
    listener::{Accepted, Listeners},
    slots::Slots,
};
use crate::{
    CloseReason, ConnectionId, DiskPool, Event, EventBatch,
    disk::{Completion, Residency},
};

/// Most events taken from the kernel in one turn.
const EVENTS_MAX: usize = 512;

/// The slot number in tokens that are not a connection's; above every connection limit.
const NO_SLOT: u32 = u32::MAX;

/// The waker's token. Listeners have `NO_SLOT` and count up from generation 0.
const WAKER_TOKEN: u64 = u64::MAX;

/// What connections are watched for.
const CONNECTION_EVENTS: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// One core's share of the kernel's TCP.
pub struct KernelStack {
    config: KernelConfig,
    congestion_control: String,
    epoll: OwnedFd,
    /// Events fetched from epoll and not yet looked at.
    fetched: Vec<epoll::Event>,
    /// `wait` has fetched; the next `poll` need not.
    is_fresh: bool,
    listeners: Listeners,
    accepted: Vec<Accepted>,
    slots: Slots<Connection>,
    /// Connections with something to do.
    ready: VecDeque<ConnectionId>,
    /// Ended, and not yet reported.
    ended: Vec<(ConnectionId, CloseReason)>,
    core: Core,
    waker: Waker,
    /// The waker was seen by `poll`: the next `wait` must not sleep.
    is_woken: bool,
    /// How often it was asked to connect.
    dialled: usize,
    /// Accepted, and not yet watched: many are over before they have to be.
    unwatched: Vec<ConnectionId>,
    /// The time of the last `poll`.
    now: Instant,
}

impl KernelStack {
    /// A stack without listeners, whose files are brought into memory by `disk`.
    ///
    /// # Errors
    ///
    /// [`KernelError`]: congestion control or descriptors.
    pub fn new(config: KernelConfig, disk: &DiskPool) -> Result<Self, KernelError> {
        let failed = |source| KernelError::System { doing: "set up epoll", source };
        let congestion_control =
            socket::check_congestion_control(config.congestion_control.as_deref())?;
        let waker = Waker::new().map_err(failed)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        epoll::add(&epoll, &waker, EventData::new_u64(WAKER_TOKEN), EventFlags::IN)
            .map_err(|errno| failed(errno.into()))?;
        let limit = config.connections_max.clamp(1, NO_SLOT - 1);
        Ok(Self {
            congestion_control,
            epoll,
            fetched: Vec::with_capacity(EVENTS_MAX),
            is_fresh: false,
            listeners: Listeners::default(),
            accepted: Vec::new(),
            slots: Slots::new(limit),
            ready: VecDeque::new(),
            ended: Vec::new(),
            core: Core::new(&config, Residency::new(disk, waker.clone())),
            waker,
            is_woken: false,
            dialled: 0,
            unwatched: Vec::new(),
            now: Instant::ZERO,
            config,
        })
    }

    /// Listens on `address`, beside the stacks of other cores that do, and says which it became: for
    /// port 0 the kernel chooses one.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn listen(&mut self, address: SocketAddr) -> Result<SocketAddr, KernelError> {
        let congestion_control = self.config.congestion_control.as_deref();
        let socket = socket::listen(address, self.config.backlog, congestion_control)?;
        let id = ConnectionId { slot: NO_SLOT, generation: self.listeners.len() as u32 };
        self.listeners.listen(&self.epoll, socket, token(id))
    }

    /// The congestion control that its connections use, as the kernel says.
    pub fn congestion_control(&self) -> &str {
        &self.congestion_control
    }

    /// What it has counted.
    pub fn counters(&self) -> KernelCounters {
        let residency = self.core.residency.counters();
        KernelCounters { residency, ..self.core.counters }
    }

    /// Asks the kernel what has happened, waiting at most `timeout`, or for ever.
    fn fetch(&mut self, timeout: Option<Duration>) {
        self.watch_accepted();
        self.fetched.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // EINTR, the only error that a sound call has, leaves `fetched` empty.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut self.fetched), timeout.as_ref());
    }

    /// Notes what was fetched.
    fn note_fetched(&mut self) {
        let mut fetched = mem::take(&mut self.fetched);
        for event in fetched.drain(..) {
            // The struct is packed.
            let (token, flags) = ({ event.data }.u64(), event.flags);
            if token == WAKER_TOKEN {
                self.waker.clear();
                self.is_woken = true;
            } else if !self.listeners.note(token) {
                let id = id_of(token);
                if self.slots.get_mut(id).is_some_and(|connection| connection.note(flags)) {
                    self.list(id);
                }
            }
        }
        self.fetched = fetched;
    }

    /// Has a connection looked at in the next turn.
    fn list(&mut self, id: ConnectionId) {
        if let Some(connection) = self.slots.get_mut(id)
            && !mem::replace(&mut connection.listed, true)
        {
            self.ready.push_back(id);
        }
    }

    fn take_disk_answers(&mut self, now: Instant) {
        while let Some(Completion { id, result }) = self.core.residency.completed(now) {
            match (result, self.slots.get_mut(id)) {
                (_, None) => {}
                (Err(reason), Some(_)) => self.end(id, reason),
                (Ok(()), Some(connection)) => {
                    connection.outgoing.disk_answered();
                    self.list(id);
                }
            }
        }
    }

    fn accept(&mut self, now: Instant, events: &mut EventBatch) {
        self.listeners.resume(now, &self.epoll);
        let room = self.slots.limit() - self.slots.used();
        let counters = &mut self.core.counters;
        self.listeners.accept(now, &self.epoll, room, counters, &mut self.accepted);
        let mut accepted = mem::take(&mut self.accepted);
        for Accepted { socket, peer, local } in accepted.drain(..) {
            if let Some(id) = self.slots.insert(Connection::accepted(socket)) {
                events.push(Event::Opened { id, peer, local });
                self.unwatched.push(id);
                self.list(id);
            }
        }
        self.accepted = accepted;
    }

    /// Watches those accepted that are still there. What came before that is told by the next fetch.
    fn watch_accepted(&mut self) {
        let mut accepted = mem::take(&mut self.unwatched);
        for id in accepted.drain(..) {
            if self.slots.get(id).is_some() && !self.watch(id) {
                self.core.counters.accept_failed += 1;
                self.end(id, CloseReason::Aborted);
            }
        }
        self.unwatched = accepted;
    }

    /// Has epoll tell about a connection, and says whether it does. It has ENOMEM, and the limit
    /// `fs.epoll.max_user_watches`.
    fn watch(&self, id: ConnectionId) -> bool {
        let data = EventData::new_u64(token(id));
        self.slots.get(id).is_some_and(|connection| {
            epoll::add(&self.epoll, connection.socket(), data, CONNECTION_EVENTS).is_ok()
        })
    }

    fn turn(&mut self, id: ConnectionId, now: Instant, events: &mut EventBatch) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        connection.listed = false;
        match connection.turn(id, now, &mut self.core, events) {
            Ok(Next::Wait) => {}
            Ok(Next::Again) => self.list(id),
            Err(reason) => self.end(id, reason),
        }
    }

    fn expire_lingering(&mut self, now: Instant) {
        while let Some((_, id)) = self.core.lingering.pop_front_if(|(at, _)| *at <= now) {
            if self.slots.get(id).is_some_and(Connection::is_lingering) {
                self.core.counters.linger_expired += 1;
                self.end(id, CloseReason::Finished);
            }
        }
    }

    /// Where the next connection to `to` comes from, if that is for us to choose.
    fn local_address(&mut self, to: SocketAddr) -> Option<IpAddr> {
        let of_family = |address: &&IpAddr| address.is_ipv4() == to.is_ipv4();
        let ours = self.config.local_addresses.iter().filter(of_family);
        let count = ours.clone().count();
        self.dialled = self.dialled.wrapping_add(1);
        ours.copied().nth(self.dialled.checked_rem(count)?)
    }

    /// Closes the socket; the end is reported by the next `poll`.
    fn end(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(mut connection) = self.slots.take(id) else { return };
        connection.incoming.consume(usize::MAX, &mut self.core);
        if matches!(
            reason,
            CloseReason::Aborted | CloseReason::ContentChanged | CloseReason::ContentUnreadable
        ) {
            socket::reset_on_close(connection.socket());
        }
        self.core.counters.closed.count(reason);
        self.ended.push((id, reason));
    }

    fn report_ended(&mut self, events: &mut EventBatch) {
        for (id, reason) in self.ended.drain(..) {
            self.slots.free(id);
            events.push(Event::Closed(id, reason));
        }
    }

    /// When something is due that the kernel does not tell.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let lingering = self.core.lingering.front().map(|(at, _)| *at);
        [lingering, self.listeners.deadline(), self.core.residency.deadline(now)]
            .into_iter()
            .flatten()
            .min()
    }
}

impl fmt::Debug for KernelStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelStack")
            .field("listeners", &self.listeners)
            .field("connections", &self.slots.used())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// What epoll carries for a connection.
fn token(id: ConnectionId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.slot)
}

fn id_of(token: u64) -> ConnectionId {
    ConnectionId { slot: token as u32, generation: (token >> 32) as u32 }
}
