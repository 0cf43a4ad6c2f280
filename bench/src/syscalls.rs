//! `pagewire-bench syscalls`: what decides between architectures of servers, as it scales.
//!
//! A process, a thread or a connection costs what the calls for it cost; some of these cost more the more
//! there is already. Each call is measured by itself beside a growing number of what it might depend on.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use memmap2::{Mmap, MmapMut};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};
use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        eventfd, poll,
    },
    net::{self, AddressFamily, SocketType},
};

use crate::{
    error::BenchError,
    figures::Figure,
    ladder::{Forker, raise_descriptor_limit},
    options::Common,
    output::print,
};

/// What processes, threads, mappings and sockets cost, the more of them there are
///
/// Nothing but this program's own processes and the loopback interface is touched. With --quick within half a
/// minute.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
}

/// What one call costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    median: Duration,
    p99: Duration,
}

/// One call, and what it is measured against.
struct Series {
    call: &'static str,
    against: &'static str,
    scales: &'static [usize],
    /// Makes as many as the scale says, then measures the call beside them.
    measure: fn(usize, Duration) -> io::Result<Cost>,
}

const SERIES: [Series; 12] = [
    Series { call: "fork", against: MEMORY, scales: MIBIBYTES, measure: fork_beside_memory },
    Series { call: "fork, exit, wait", against: MEMORY, scales: MIBIBYTES, measure: whole_fork },
    Series { call: "fork", against: "processes", scales: PROCESSES, measure: fork_beside_others },
    Series { call: "thread spawn", against: "threads", scales: MANY, measure: thread_spawn },
    Series { call: "mmap", against: "mappings", scales: MAPPINGS, measure: mmap },
    Series { call: "munmap", against: "mappings", scales: MAPPINGS, measure: munmap },
    Series { call: "socket", against: "descriptors", scales: MANY, measure: socket },
    Series { call: "bind", against: "bound sockets", scales: MANY, measure: bind },
    Series { call: "connect", against: "connections", scales: CONNECTIONS, measure: connect },
    Series { call: "accept", against: "connections", scales: CONNECTIONS, measure: accept },
    Series { call: "epoll_wait", against: "descriptors", scales: MANY, measure: epoll_wait },
    Series { call: "poll", against: "descriptors", scales: MANY, measure: poll_all },
];

const MEMORY: &str = "MiB of memory in use";
const MIBIBYTES: &[usize] = &[1, 16, 64, 256, 1024];
const PROCESSES: &[usize] = &[1, 100, 1000, 4000];
const MANY: &[usize] = &[1, 100, 1000, 10_000];
const MAPPINGS: &[usize] = &[1, 1000, 10_000, 60_000];
const CONNECTIONS: &[usize] = &[1, 100, 1000, 4000];

/// Measures all and prints it.
///
/// # Errors
///
/// When there is less room for processes, mappings or descriptors than is needed.
pub fn run(options: &Options) -> Result<(), BenchError> {
    raise_descriptor_limit();
    let time = Duration::from_millis(if options.common.quick { 150 } else { 1000 });
    print("What calls cost, median and 99th percentile, beside what there is already.")?;
    let mut all = Vec::new();
    for Series { call, against, scales, measure } in &SERIES {
        print(&format!("\n{call} beside {against}\n{against:>20}    median       p99   us"))?;
        let skipped = usize::from(options.common.quick);
        for &scale in &scales[..scales.len() - skipped] {
            let cost = measure(scale, time).map_err(|source| BenchError::Call { call, source })?;
            let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
            let (median, p99) = (micros(cost.median), micros(cost.p99));
            print(&format!("{scale:>20} {median:>9.2} {p99:>9.2}"))?;
            for (what, value) in [("median", median), ("p99", p99)] {
                let name = format!("syscalls/{call}/{scale} {against}/{what}");
                all.push(Figure { name, value, unit: "us" });
            }
        }
    }
    options.common.write(&all)
}

/// Samples `call`, which says how long it took, for `time`.
fn sample(time: Duration, mut call: impl FnMut() -> io::Result<Duration>) -> io::Result<Cost> {
    const LEAST: usize = 21;
    const MOST: usize = 100_000;
    let deadline = Instant::now() + time;
    let mut samples = Vec::new();
    while samples.len() < LEAST || (samples.len() < MOST && Instant::now() < deadline) {
        samples.push(call()?);
    }
    // The first has to fill caches.
    samples.remove(0);
    samples.sort_unstable();
    let at = |percent| samples[(samples.len() - 1) * percent / 100];
    Ok(Cost { median: at(50), p99: at(99) })
}

/// How long `call` takes. What it returns is dropped after that.
fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = call();
    (result, start.elapsed())
}

/// Memory in use. A mapping, since the allocator keeps what was allocated, and later forks would pay.
fn memory_of(mebibytes: usize) -> io::Result<MmapMut> {
    let mut memory = MmapMut::map_anon(mebibytes << 20)?;
    // Written to, for pages that only could be there cost nothing.
    memory.fill(1);
    Ok(memory)
}

fn end(process: Pid) -> io::Result<()> {
    waitpid(process, None)?;
    Ok(())
}

fn fork_beside_memory(mebibytes: usize, time: Duration) -> io::Result<Cost> {
    let (forker, _memory) = (Forker::new()?, memory_of(mebibytes)?);
    sample(time, || {
        let (child, time) = timed(|| forker.fork(|| Ok(())));
        end(child?).map(|()| time)
    })
}

fn whole_fork(mebibytes: usize, time: Duration) -> io::Result<Cost> {
    let (forker, _memory) = (Forker::new()?, memory_of(mebibytes)?);
    sample(time, || {
        let (ended, time) = timed(|| end(forker.fork(|| Ok(()))?));
        ended.map(|()| time)
    })
}

/// Processes that do nothing. Dropping it ends them.
struct Sleepers(Vec<Pid>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for &process in &self.0 {
            // They are our children and have not been waited for: the numbers are theirs.
            let _ = kill(process, Signal::SIGKILL);
        }
        for &process in &self.0 {
            let _ = end(process);
        }
    }
}

fn fork_beside_others(processes: usize, time: Duration) -> io::Result<Cost> {
    let forker = Forker::new()?;
    let mut sleepers = Sleepers(Vec::new());
    for _ in 1..processes {
        sleepers.0.push(forker.fork(|| {
            loop {
                thread::park();
            }
        })?);
    }
    sample(time, || {
        let (child, time) = timed(|| forker.fork(|| Ok(())));
        end(child?).map(|()| time)
    })
}

fn thread_spawn(threads: usize, time: Duration) -> io::Result<Cost> {
    const STACK_BYTES: usize = 64 << 10;
    let builder = || thread::Builder::new().stack_size(STACK_BYTES);
    let mut sleepers = Vec::new();
    for _ in 1..threads {
        let (end, until) = mpsc::channel::<()>();
        sleepers.push((end, builder().spawn(move || until.recv())?));
    }
    let cost = sample(time, || {
        let (thread, time) = timed(|| builder().spawn(|| ()));
        // It cannot have panicked.
        let _ = thread?.join();
        Ok(time)
    });
    for (end, thread) in sleepers {
        drop(end);
        let _ = thread.join();
    }
    cost
}

/// Mappings that the kernel cannot make one of, since neighbours allow different things.
fn mappings(count: usize) -> io::Result<Vec<(MmapMut, Mmap)>> {
    const PAGE_BYTES: usize = 4096;
    let pair = |_| {
        let read_only = MmapMut::map_anon(PAGE_BYTES)?.make_read_only()?;
        Ok((MmapMut::map_anon(PAGE_BYTES)?, read_only))
    };
    (0..count / 2).map(pair).collect()
}

/// Large enough not to be merged with what is beside it, and to be looked for.
const MAPPED_BYTES: usize = 1 << 20;

fn mmap(count: usize, time: Duration) -> io::Result<Cost> {
    let _others = mappings(count)?;
    sample(time, || {
        let (mapping, time) = timed(|| MmapMut::map_anon(MAPPED_BYTES));
        mapping.map(|_| time)
    })
}

fn munmap(count: usize, time: Duration) -> io::Result<Cost> {
    let _others = mappings(count)?;
    sample(time, || {
        let mut mapping = MmapMut::map_anon(MAPPED_BYTES)?;
        mapping[0] = 1;
        Ok(timed(|| drop(mapping)).1)
    })
}

fn stream_socket() -> io::Result<OwnedFd> {
    Ok(net::socket(AddressFamily::INET, SocketType::STREAM, None)?)
}

fn bound_socket() -> io::Result<OwnedFd> {
    let socket = stream_socket()?;
    net::bind(&socket, &ANY_PORT)?;
    Ok(socket)
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn several<T>(count: usize, make: impl Fn() -> io::Result<T>) -> io::Result<Vec<T>> {
    (1..count).map(|_| make()).collect()
}

fn socket(count: usize, time: Duration) -> io::Result<Cost> {
    let _others = several(count, stream_socket)?;
    sample(time, || {
        let (socket, time) = timed(stream_socket);
        socket.map(|_| time)
    })
}

fn bind(count: usize, time: Duration) -> io::Result<Cost> {
    let _others = several(count, bound_socket)?;
    sample(time, || {
        let socket = stream_socket()?;
        let (bound, time) = timed(|| net::bind(&socket, &ANY_PORT));
        Ok(bound.map(|()| time)?)
    })
}

/// A listener, its address, and both ends of as many connections to it.
type Connected = (OwnedFd, SocketAddr, Vec<(OwnedFd, OwnedFd)>);

fn connections(count: usize) -> io::Result<Connected> {
    let listener = bound_socket()?;
    net::listen(&listener, 128)?;
    let address = net::getsockname(&listener)?.try_into().map_err(|_| io::ErrorKind::Other)?;
    let connection = || {
        let client = stream_socket()?;
        net::connect(&client, &address)?;
        Ok((client, net::accept(&listener)?))
    };
    let all = several(count, connection)?;
    Ok((listener, address, all))
}

fn connect(count: usize, time: Duration) -> io::Result<Cost> {
    let (listener, address, _others) = connections(count)?;
    sample(time, || connect_once(&listener, address).map(|(connecting, _)| connecting))
}

fn accept(count: usize, time: Duration) -> io::Result<Cost> {
    let (listener, address, _others) = connections(count)?;
    sample(time, || connect_once(&listener, address).map(|(_, accepting)| accepting))
}

/// Makes a connection, and says how long connecting and accepting took.
fn connect_once(listener: &OwnedFd, address: SocketAddr) -> io::Result<(Duration, Duration)> {
    let client = stream_socket()?;
    let (connected, connecting) = timed(|| net::connect(&client, &address));
    connected?;
    let (server, accepting) = timed(|| net::accept(listener));
    // Reset, so that it leaves no port in TIME-WAIT.
    net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
    drop(client);
    drop(server?);
    Ok((connecting, accepting))
}

/// Descriptors that are never ready, and one that always is.
fn waited_for(count: usize) -> io::Result<Vec<OwnedFd>> {
    let make = |ready| Ok(eventfd(ready, rustix::event::EventfdFlags::CLOEXEC)?);
    let mut all = several(count, || make(0))?;
    all.push(make(1)?);
    Ok(all)
}

fn epoll_wait(count: usize, time: Duration) -> io::Result<Cost> {
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    let all = waited_for(count)?;
    for one in &all {
        epoll::add(&set, one, EventData::new_u64(0), EventFlags::IN)?;
    }
    let mut events: Vec<Event> = Vec::with_capacity(64);
    sample(time, || {
        events.clear();
        let (ready, time) = timed(|| epoll::wait(&set, spare_capacity(&mut events), None));
        Ok(ready.map(|_| time)?)
    })
}

fn poll_all(count: usize, time: Duration) -> io::Result<Cost> {
    let all = waited_for(count)?;
    let mut all: Vec<_> = all.iter().map(|one| PollFd::new(one, PollFlags::IN)).collect();
    sample(time, || {
        let (ready, time) = timed(|| poll(&mut all, None));
        Ok(ready.map(|_| time)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_without_the_first() {
        let mut nanos = (1..).map(Duration::from_nanos);
        let cost = sample(Duration::ZERO, || Ok(nanos.next().unwrap_or_default())).unwrap();
        assert_eq!(cost.median, Duration::from_nanos(11));
        assert_eq!(cost.p99, Duration::from_nanos(20));
    }

    #[test]
    fn sockets_and_waits_are_measured_at_any_scale() {
        let calls =
            [socket, bind, connect, accept, epoll_wait, poll_all, mmap, munmap, thread_spawn];
        for call in calls {
            for scale in [1, 2, 50] {
                assert!(call(scale, Duration::ZERO).unwrap().median > Duration::ZERO);
            }
        }
    }
}
