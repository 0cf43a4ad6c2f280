//! The raw exchange: as many frames of the same size as the user stack exchanged, with nothing above the
//! driver. What it costs is the least that any stack on `AF_XDP` could cost on this machine.
//!
//! The server's end looks at nothing and answers every frame with so many others. The client's keeps a
//! window open, as the connections of a closed loop do. Where the client is what limits the user stack, it
//! sends no faster than that: a core that is asked more often wakes more seldom, and then each request costs less.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, OwnedFd},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use pagewire_driver::{Burst, Clock, Flush, Port, Served, Steering, XdpConfig, XdpError, XdpPort};

use super::{
    account::{Meter, Server},
    cell::{Cell, Wire},
    exchange::{Debt, Exchange, Pace, whole},
    trial::{Measured, Stage},
    wire::Link,
};
use crate::{
    ends::End,
    error::BenchError,
    pps::packet::{Fate, Template},
};

/// The port on both ends, and their addresses, which no kernel owns.
const PORT: u16 = 80;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 102);

/// How long it runs before it counts.
const WARM_UP: Duration = Duration::from_millis(200);

/// The longest sleep, and how long a frame may be under way before it is taken for lost.
const NAP: Duration = Duration::from_millis(1);
const LOST: Duration = Duration::from_millis(10);

/// The most exchanges under way: more than the rings hold change nothing.
const MOST_UNDER_WAY: usize = 256;

/// What both threads share.
#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Frames that the client has received.
    received: AtomicU64,
}

/// A thread with its queue: the queue's number and socket, and the thread's id.
type Opened = Result<(u32, OwnedFd, i32), XdpError>;

/// What is exchanged.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The frames of a request.
    pub exchange: Exchange,
    /// Requests a second; as many as can be if it is none.
    pub rate: Option<f64>,
    /// For how long it counts.
    pub time: Duration,
}

impl Plan {
    /// What `run`, one of the user stack's, has exchanged. Nothing if that is nothing.
    pub fn of(run: &Measured, wire: Wire, time: Duration) -> Option<Self> {
        let exchange = Exchange::of(run)?;
        Some(Self { exchange, rate: (wire == Wire::Offloads).then(|| run.rate()), time })
    }
}

/// Exchanges frames as `plan` says, as many at once as `cell` has connections.
pub fn run(stage: &Stage, link: &Link, cell: &Cell, plan: &Plan) -> Result<Measured, BenchError> {
    let exchange = &plan.exchange;
    stage.check()?;
    let mut steerings = [steer(link, &link.server, SERVER)?, steer(link, &link.client, CLIENT)?];
    let (server, client) = ((link.server.mac, SERVER), (link.client.mac, CLIENT));
    let request = Template::new(exchange.request_bytes, client, server, PORT, Fate::Steered);
    let response = Template::new(exchange.response_bytes, server, client, PORT, Fate::Steered);
    let window = cell.connections.min(MOST_UNDER_WAY) as f64 * exchange.requests;
    let rate = plan.rate.map(|rate| rate * exchange.requests);
    let shared = Shared::default();
    thread::scope(|scope| {
        // Whatever happens, the threads are told to end before the scope waits for them.
        let _end = EndThreads(&shared);
        let (opened, sockets) = channel();
        let mut ids = [0; 2];
        for (index, end) in [&link.server, &link.client].into_iter().enumerate() {
            let (opened, shared) = (opened.clone(), &shared);
            let answers = exchange.answers();
            let work = move |port: &mut XdpPort| match index {
                0 => answer(port, &response, answers, shared),
                _ => ask(port, &request, Asking { answers, window, rate }, shared),
            };
            scope.spawn(move || {
                link.lab().within(end.side, || with_port(end, &opened, work)).ok();
            });
            let lost = || BenchError::system("start a thread")(io::Error::other("it ended"));
            let (queue, socket, id) = sockets.recv().map_err(|_| lost())??;
            steerings[index].register(queue, socket.as_fd())?;
            ids[index] = id;
        }
        for (steering, end) in steerings.iter_mut().zip([&link.server, &link.client]) {
            link.lab().within(end.side, || steering.attach(&end.interface))??;
        }
        let meter = Meter::new(link, Server::Thread(ids[0]))?;
        let measure = || observe(link, &meter, plan, &shared);
        link.at_client(measure)?
    })
}

struct EndThreads<'a>(&'a Shared);

impl Drop for EndThreads<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

fn steer(link: &Link, end: &End, address: Ipv4Addr) -> Result<Steering, BenchError> {
    let served = [Served { address: IpAddr::V4(address), port: PORT, owned_alone: true }];
    Ok(link.lab().within(end.side, || Steering::load(&served))??)
}

fn observe(
    link: &Link,
    meter: &Meter<'_>,
    plan: &Plan,
    shared: &Shared,
) -> Result<Measured, BenchError> {
    link.place()?;
    thread::sleep(WARM_UP);
    link.place()?;
    let read = || Ok::<_, BenchError>((shared.received.load(Ordering::Relaxed), meter.read()?));
    let (start, (received, before)) = (Instant::now(), read()?);
    thread::sleep(plan.time);
    let (received_after, after) = read()?;
    let requests = whole((received_after - received) as f64 / plan.exchange.responses) as u64;
    let spent = after.since(&before);
    Ok(Measured { time: start.elapsed(), requests, spent, ..Measured::default() })
}

fn with_port(end: &End, opened: &Sender<Opened>, work: impl FnOnce(&mut XdpPort)) {
    if let Some(&core) = end.cores.first() {
        core_affinity::set_for_current(core);
    }
    let open = || {
        let port = XdpPort::open(&XdpConfig::new(&end.interface, 0))?;
        let socket = port.as_fd().try_clone_to_owned();
        let action = "duplicate an AF_XDP socket".into();
        let socket = socket.map_err(|source| XdpError::System { action, source })?;
        Ok((port, socket))
    };
    match open() {
        Ok((mut port, socket)) => {
            let id = rustix::thread::gettid().as_raw_nonzero().get();
            // Nobody listens any more if the other queue could not be opened; then it is the end.
            let _ = opened.send(Ok((0, socket, id)));
            work(&mut port);
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    }
}

/// The server's part: for each frame so many others.
fn answer(port: &mut XdpPort, response: &Template, answers: f64, shared: &Shared) {
    let clock = Clock::start();
    let mut burst = Burst::new();
    let mut debt = Debt::new(answers);
    while !shared.over.load(Ordering::Relaxed) {
        let now = clock.now();
        port.receive(now, &mut burst);
        debt.incur(burst.len());
        drop(burst.drain());
        let due = debt.due();
        let sent = response.send(port, due);
        (0..sent).for_each(|_| debt.pay());
        let flushed = port.flush(now);
        if flushed == Flush::Taken {
            port.wait(now, Some(now + NAP));
        }
    }
}

/// How the client's part asks.
#[derive(Clone, Copy, Debug)]
struct Asking {
    /// Frames that come for each that is sent.
    answers: f64,
    /// Frames that may be under way.
    window: f64,
    /// Frames a second, at most.
    rate: Option<f64>,
}

/// The client's part: frames as window and rate allow.
fn ask(port: &mut XdpPort, request: &Template, asking: Asking, shared: &Shared) {
    let Asking { answers, window, rate } = asking;
    let clock = Clock::start();
    let mut pace = rate.map(|rate| Pace::new(rate, clock.now()));
    let mut burst = Burst::new();
    // What may be sent: the window at first, then so much for each frame that comes.
    let mut debt = Debt::new(1.0 / answers);
    let refill = whole(window.max(1.0 / answers).max(1.0));
    let mut open = Debt::new(1.0);
    open.incur(refill);
    let mut heard = clock.now();
    while !shared.over.load(Ordering::Relaxed) {
        let now = clock.now();
        port.receive(now, &mut burst);
        if !burst.is_empty() {
            heard = now;
            let count = burst.len() as u64;
            // This thread alone writes it.
            shared
                .received
                .store(shared.received.load(Ordering::Relaxed) + count, Ordering::Relaxed);
            debt.incur(burst.len());
            drop(burst.drain());
        }
        let allowed = pace.as_mut().map_or(usize::MAX, |pace| pace.due(now));
        let sent = request.send(port, (open.due() + debt.due()).min(allowed));
        if let Some(pace) = &mut pace {
            pace.sent(sent);
        }
        for _ in 0..sent {
            if open.due() > 0 {
                open.pay();
            } else {
                debt.pay();
            }
        }
        if now.since(heard) > LOST {
            // Frames were lost, or it has just begun: the window opens again.
            debt.forgive();
            open.forgive();
            open.incur(refill);
            heard = now;
        }
        if port.flush(now) == Flush::Taken {
            if pace.is_some() {
                // The next frame is due before a sleep would end; whoever receives for us may run.
                thread::yield_now();
            } else {
                port.wait(now, Some(now + NAP));
            }
        }
    }
}
