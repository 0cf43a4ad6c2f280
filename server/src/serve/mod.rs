//! A running server: its shards on their cores, and how they are stopped.

mod descriptors;
mod kernel;
mod launch;
mod link_watch;
mod neighbourhood;
mod reload;
mod trouble;
mod upkeep;
mod xdp;

pub use self::trouble::{Loss, Trouble};

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use pagewire_driver::Waker;
use pagewire_stack::{DiskReads, Prefix};

use crate::{
    access_log::AccessLog,
    config::{Config, Fallback, KernelConfig, TransportConfig},
    control::observer::{About, ObservedShard, Observer, Whole},
    counters::{Counter, Counters},
    failure::Failure,
    privilege::{Confinement, Keeper},
    shard::{change::Handover, inquiry::Question},
    stop::Stop,
};

/// How long shards may take to end once they are told to do so at once.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    shards: Vec<RunningShard>,
    stop: Stop,
    ended: Receiver<usize>,
    behind: Option<xdp::Behind>,
    never: Receiver<Loss>,
    trouble: Arc<Trouble>,
    /// Room for a request in the transports, in bytes.
    request_bytes: usize,
    access_log: Option<AccessLog>,
    disk: DiskReads,
}

/// A shard on its thread.
struct RunningShard {
    core: usize,
    /// What the kernel calls its thread.
    thread_id: i32,
    waker: Waker,
    counters: Arc<Counters>,
    questions: Sender<Question>,
    change: Handover,
    /// Ends with what the transport has counted, for people.
    thread: JoinHandle<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = self.shards.len();
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("shards", &shards)
            .finish()
    }
}

/// What a server has done.
#[derive(Debug)]
pub struct Summary {
    /// By shard.
    pub shards: Vec<ShardSummary>,
    /// What was done before the shards, for people; empty where there is nothing.
    pub steering: String,
}

/// What one shard has done.
#[derive(Debug)]
pub struct ShardSummary {
    /// The core it ran on.
    pub core: usize,
    /// What it has counted.
    pub counters: Arc<Counters>,
    /// What its transport has counted, for people.
    pub transport: String,
}

impl Server {
    /// Starts serving, with what this process may do. When this returns, connections are accepted.
    ///
    /// # Errors
    ///
    /// Any [`Failure`]; nothing is left running then.
    pub fn start(config: &Config) -> Result<Self, Failure> {
        Self::start_by(config, &Keeper::none(Confinement::Free), &Arc::default(), &[])
    }

    /// The same, with what `keeper` may do. What happens to the interface goes to `trouble`; from the first
    /// frame on nothing is heard of sources that are `denied`, if the user-level stack serves.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_by(
        config: &Config,
        keeper: &Keeper,
        trouble: &Arc<Trouble>,
        denied: &[Prefix],
    ) -> Result<Self, Failure> {
        let mut server = match &config.transport {
            TransportConfig::Kernel(kernel) => kernel::start(config, kernel, keeper)?,
            TransportConfig::Xdp(xdp) => {
                match (xdp::start(config, xdp, keeper, trouble, denied), &xdp.fallback) {
                    (Err(failure), Some(fallback)) if failure.is_want_of_xdp() => {
                        fall_back(config, fallback, keeper, failure)?
                    }
                    (started, _) => started?,
                }
            }
        };
        let is_xdp_wanted = matches!(config.transport, TransportConfig::Xdp(_));
        trouble.fallback_is(is_xdp_wanted && !server.is_on_xdp());
        server.trouble = Arc::clone(trouble);
        Ok(server)
    }

    /// Whether the user-level stack serves, rather than the kernel's TCP.
    pub fn is_on_xdp(&self) -> bool {
        self.behind.is_some()
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The turns that each shard has made so far; none for one that has ended.
    pub fn turns(&self) -> impl Iterator<Item = Option<u64>> {
        let turns = |shard: &RunningShard| shard.counters.get(Counter::Turns);
        self.shards.iter().map(move |shard| (!shard.thread.is_finished()).then(|| turns(shard)))
    }

    /// What each shard has counted so far.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.shards.iter().map(|shard| &*shard.counters)
    }

    /// What can be seen of it, also by other threads.
    pub fn observer(&self) -> Observer {
        let observed = |shard: &RunningShard| ObservedShard {
            core: shard.core,
            thread_id: shard.thread_id,
            counters: Arc::clone(&shard.counters),
            questions: shard.questions.clone(),
            waker: shard.waker.clone(),
        };
        let about = About {
            transport: if self.behind.is_some() { "xdp" } else { "kernel" },
            addresses: self.addresses.clone(),
        };
        let steering = self.behind.as_ref().map(xdp::Behind::steering);
        let log = self.access_log.as_ref().map(AccessLog::counters);
        let shards = self.shards.iter().map(observed).collect();
        let (trouble, disk) = (Arc::clone(&self.trouble), self.disk.clone());
        Observer::new(about, shards, Whole { steering, log, disk, trouble })
    }

    /// Opens the access log anew by its name, after it was renamed.
    pub fn reopen_logs(&self) {
        self.access_log.iter().for_each(AccessLog::reopen);
    }

    /// Ready when a shard has ended, which none does by itself.
    pub fn ended(&self) -> &Receiver<usize> {
        &self.ended
    }

    /// Says why this server cannot go on, once it cannot for what has happened to its interface.
    pub fn lost(&self) -> &Receiver<Loss> {
        self.behind.as_ref().map_or(&self.never, xdp::Behind::lost)
    }

    /// Asks for a drain: responses under way are finished, then connections and shards end.
    pub fn drain(&self) {
        self.stop.drain();
        self.wake();
    }

    /// Asks for the end at once: connections are reset.
    pub fn halt(&self) {
        self.stop.halt();
        self.wake();
    }

    /// Ends the sleep of every shard.
    pub fn wake(&self) {
        for shard in &self.shards {
            shard.waker.wake();
        }
    }

    /// Whether all shards have ended.
    pub fn is_over(&self) -> bool {
        self.shards.iter().all(|shard| shard.thread.is_finished())
    }

    /// Waits until all shards have ended or `deadline` has passed, and says which.
    pub fn wait_ended(&self, deadline: Instant) -> bool {
        while !self.is_over() {
            match self.ended.recv_deadline(deadline) {
                // The last thing a thread does is to say so; it is over in a moment.
                Ok(_) | Err(RecvTimeoutError::Disconnected) => std::thread::yield_now(),
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
        true
    }

    /// Ends what still runs, and says what was done.
    ///
    /// # Errors
    ///
    /// [`Failure::Shard`] if a shard has failed or does not end.
    pub fn finish(mut self) -> Result<Summary, Failure> {
        self.halt();
        if !self.wait_ended(Instant::now() + LAST_MOMENTS) {
            // Detached: whoever joins one that hangs, hangs too.
            self.shards.clear();
            return Err(Failure::Shard("a shard that does not end".to_owned()));
        }
        let steering = self.behind.as_ref().map(xdp::Behind::summary).unwrap_or_default();
        let shards =
            std::mem::take(&mut self.shards).into_iter().enumerate().map(|(number, shard)| {
                let transport =
                    shard.thread.join().map_err(|_| Failure::Shard(format!("shard {number}")))?;
                Ok::<_, Failure>(ShardSummary {
                    core: shard.core,
                    counters: shard.counters,
                    transport,
                })
            });
        Ok(Summary { shards: shards.collect::<Result<_, _>>()?, steering })
    }
}

/// Serves by the kernel those of the addresses that it has, for `failure` keeps the user-level stack from it.
/// If it has none, `failure` stands.
fn fall_back(
    config: &Config,
    fallback: &Fallback,
    keeper: &Keeper,
    failure: Failure,
) -> Result<Server, Failure> {
    let has = |address: &SocketAddr| match TcpListener::bind(SocketAddr::new(address.ip(), 0)) {
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
        Ok(_) => true,
    };
    let (listen, missing): (Vec<_>, Vec<_>) = fallback.kernel.listen.iter().copied().partition(has);
    if listen.is_empty() {
        return Err(failure);
    }
    tracing::warn!("no AF_XDP, the kernel's TCP serves instead: {failure}");
    for address in missing {
        tracing::warn!("{address} is not served, as the kernel does not have it");
    }
    let kernel = KernelConfig { listen, ..fallback.kernel.clone() };
    let transport = TransportConfig::Kernel(kernel.clone());
    let config = Config { cores: fallback.cores.clone(), transport, ..config.clone() };
    kernel::start(&config, &kernel, keeper)
}

/// A server that is given up ends at once.
impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
        for shard in self.shards.drain(..) {
            let _ = shard.thread.join();
        }
    }
}

/// Those counts that are not zero, for people.
fn summary_of<const N: usize>(counts: [(&str, u64); N]) -> String {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
