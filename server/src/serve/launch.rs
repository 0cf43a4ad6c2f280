//! Starting a shard on its own thread and core.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use core_affinity::CoreId;
use crossbeam_channel::{Receiver, Sender};
use pagewire_driver::{Clock, Instant, Waker};
use pagewire_stack::{DiskPool, Observe};

use super::{RunningShard, Server, xdp::Behind};
use crate::{
    access_log::{AccessLog, Recorder},
    config::Config,
    content::{Catalogue, Content},
    counters::Counters,
    failure::Failure,
    privilege::Keeper,
    service::Service,
    shard::{
        ConnectionLimits, Shard,
        change::{self, Changes},
        inquiry::Inbox,
    },
    stop::Stop,
};

/// Jobs that helpers may have waiting, for each core.
const QUEUED_JOBS_EACH: usize = 1024;

/// A transport that can say what it has counted.
pub(super) trait Summarize {
    /// What it has counted, for people.
    fn summary(&self) -> String;
}

/// What all shards share while they are started.
pub(super) struct Launch<'a> {
    config: &'a Config,
    keeper: &'a Keeper,
    catalogue: Arc<Catalogue>,
    pub(super) helpers: DiskPool,
    clock: Clock,
    stop: Stop,
    access_log: Option<AccessLog>,
    ended: (Sender<usize>, Receiver<usize>),
    shards: Vec<RunningShard>,
}

impl<'a> Launch<'a> {
    /// Opens what is served and starts the helpers.
    pub(super) fn new(config: &'a Config, keeper: &'a Keeper) -> Result<Self, Failure> {
        let catalogue = Arc::new(Catalogue::open(&config.live.sites)?);
        let queue = QUEUED_JOBS_EACH * config.cores.len().max(1);
        let helpers = DiskPool::start(config.disk_threads, queue)
            .map_err(|source| Failure::System { what: "start helper threads", source })?;
        let access_log = config.observation.access_log.as_ref();
        let access_log = access_log.map(|log| AccessLog::start(log, config.cores.len()));
        let access_log =
            access_log.transpose().map_err(|error| Failure::Other(error.to_string()))?;
        Ok(Self {
            config,
            keeper,
            catalogue,
            helpers,
            access_log,
            clock: Clock::start(),
            stop: Stop::default(),
            ended: crossbeam_channel::unbounded(),
            shards: Vec::new(),
        })
    }

    /// Says in the log what the shard last started runs on.
    pub(super) fn describe(&self, on: &str) {
        if let Some(shard) = self.shards.last() {
            tracing::info!("shard {} on core {}: {on}", self.shards.len() - 1, shard.core);
        }
    }

    /// What wakes the shard last started.
    pub(super) fn waker(&self) -> Option<Waker> {
        self.shards.last().map(|shard| shard.waker.clone())
    }

    /// Starts the next shard. `build` makes its transport, on the shard's thread, and something to
    /// tell whoever starts it.
    pub(super) fn shard<T, E>(
        &mut self,
        build: impl FnOnce(Instant) -> Result<(T, E), Failure> + Send + 'static,
    ) -> Result<E, Failure>
    where
        T: Observe + Summarize,
        E: Send + 'static,
    {
        let number = self.shards.len();
        let core = self.config.cores[number];
        let counters = Arc::new(Counters::default());
        let (questions, inbox) = Inbox::new();
        let (change, changes) = change::channel();
        let (report, reported) = crossbeam_channel::bounded(1);
        let seed = Seed {
            config: self.config.clone(),
            catalogue: Arc::clone(&self.catalogue),
            helpers: self.helpers.clone(),
            clock: self.clock,
            counters: Arc::clone(&counters),
            inbox,
            changes,
            log: self.access_log.as_ref().and_then(|log| log.recorder(Arc::clone(&counters))),
        };
        let (duty, idle) = (self.stop.duty(), self.config.idle());
        let end = End { number, ended: self.ended.0.clone() };
        let confine = self.keeper.confine();
        let run = move || {
            let _end = end;
            if !core_affinity::set_for_current(CoreId { id: core }) {
                tracing::warn!("shard {number} could not be pinned to core {core}");
            }
            let clock = seed.clock;
            let grown = seed.grow(build).and_then(|grown| confine.apply().map(|()| grown));
            let mut shard = match grown {
                Ok((shard, waker, told)) => {
                    let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
                    let _ = report.send(Ok((thread_id, waker, told)));
                    shard
                }
                Err(failure) => {
                    let _ = report.send(Err(failure));
                    return String::new();
                }
            };
            shard.run(&clock, duty, idle);
            shard.transport().summary()
        };
        let thread = self.keeper.spawn(format!("shard-{number}"), run)?;
        let (thread_id, waker, told) =
            reported.recv().map_err(|_| Failure::Shard(format!("shard {number}")))??;
        let shard = RunningShard { core, thread_id, waker, counters, questions, change, thread };
        self.shards.push(shard);
        Ok(told)
    }

    /// The server, all of whose shards have started.
    pub(super) fn finish(mut self, addresses: Vec<SocketAddr>, behind: Option<Behind>) -> Server {
        Server {
            addresses,
            behind,
            access_log: self.access_log.take(),
            disk: self.helpers.reads().clone(),
            shards: std::mem::take(&mut self.shards),
            stop: self.stop.clone(),
            ended: self.ended.1.clone(),
            never: crossbeam_channel::never(),
            trouble: Arc::default(),
            request_bytes: self.config.live.limits.request_bytes(),
        }
    }
}

/// A launch given up takes down what was started.
impl Drop for Launch<'_> {
    fn drop(&mut self) {
        if self.shards.is_empty() {
            return;
        }
        self.stop.halt();
        for shard in &self.shards {
            shard.waker.wake();
        }
        for shard in self.shards.drain(..) {
            let _ = shard.thread.join();
        }
    }
}

/// What a shard is made of, on its way to its thread.
struct Seed {
    config: Config,
    catalogue: Arc<Catalogue>,
    helpers: DiskPool,
    clock: Clock,
    counters: Arc<Counters>,
    inbox: Inbox,
    changes: Changes,
    log: Option<Recorder>,
}

impl Seed {
    fn grow<T: Observe, E>(
        self,
        build: impl FnOnce(Instant) -> Result<(T, E), Failure>,
    ) -> Result<(Shard<T>, Waker, E), Failure> {
        let now = self.clock.now();
        let (transport, told) = build(now)?;
        let waker = transport.waker();
        let live = &self.config.live;
        let content = Content::new(self.catalogue, self.helpers, live.cache, waker.clone());
        let service = Service::new(content, live.limits, now, SystemTime::now());
        let limits = ConnectionLimits {
            connections: self.config.connections,
            per_source: self.config.connections_per_source,
        };
        let shard = Shard::new(transport, service, live.timeouts, self.counters, now)
            .with_limits(limits)
            .with_inbox(self.inbox)
            .with_changes(self.changes)
            .with_log(self.log);
        Ok((shard, waker, told))
    }
}

/// Says that a shard has ended, however it did.
struct End {
    number: usize,
    ended: Sender<usize>,
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.ended.send(self.number);
    }
}
