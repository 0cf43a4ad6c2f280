//! What can be seen of a running server, from any thread but a core's.
//!
//! Counters that are atomics are read as they are. What only a core knows it is asked for, and has
//! [`PATIENCE`] to answer: a core that is stuck shows as one that does not answer, and holds up nobody.

use std::{
    fmt, iter,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use pagewire_driver::{Cause, Steering, Waker};
use pagewire_stack::{DiskReads, Figure};

use super::deny_list::DenyList;
use crate::{
    access_log::LogCounters,
    control::threads,
    counters::{Counter, Counters},
    histogram::Distribution,
    serve::Trouble,
    shard::inquiry::{MOST_FIGURES, Question, Rows, SLOTS_EACH},
};

/// How long a core may take to answer: many turns.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a server is.
#[derive(Clone, Debug)]
pub struct About {
    /// Whose TCP carries the connections.
    pub transport: &'static str,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

/// A shard, as seen from outside.
#[derive(Clone, Debug)]
pub struct ObservedShard {
    /// The core that it runs on.
    pub core: usize,
    /// What the kernel calls its thread.
    pub thread_id: i32,
    /// What the server has counted there.
    pub counters: Arc<Counters>,
    /// Where it is asked.
    pub questions: Sender<Question>,
    /// What wakes it to answer.
    pub waker: Waker,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    inner: Arc<Inner>,
}

struct Inner {
    about: About,
    started: Instant,
    shards: Vec<ObservedShard>,
    whole: Whole,
}

/// What is nobody's shard's.
#[derive(Debug, Default)]
pub struct Whole {
    /// The steering program, if there is one. Weak, so that whoever looks does not keep it on the interface.
    pub steering: Option<Weak<Mutex<Steering>>>,
    /// The access log, if there is one.
    pub log: Option<Arc<LogCounters>>,
    /// What helpers had to read from the disk.
    pub disk: DiskReads,
    /// What has happened to the interface.
    pub trouble: Arc<Trouble>,
}

impl Whole {
    fn figures(&self) -> Vec<(Figure, u64)> {
        let mut figures: Vec<_> = self.trouble.figures(self.steering.is_some()).collect();
        if let Some(steering) = self.steering.as_ref().and_then(Weak::upgrade) {
            let steering = steering.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(counters) = steering.counters() {
                let frames =
                    Figure::counter("steered_frames", "Frames that arrived, by where they went.");
                let counted = |cause: Cause| (frames.caused_by(cause.name()), counters.of(cause));
                figures.extend(Cause::ALL.map(counted));
            }
            let denied = Figure::gauge("denied_sources", "Networks on the deny list.");
            figures.push((denied, steering.denied_count() as u64));
        }
        let disk = Figure::counter("disk_reads", "Reads of helpers that waited for the disk.");
        figures.push((disk, self.disk.count()));
        figures.extend(self.log.iter().flat_map(|log| log.figures()));
        figures
    }
}

/// All figures at a moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// For how long the server has run.
    pub uptime: Duration,
    /// By shard.
    pub shards: Vec<ShardSnapshot>,
    /// What is nobody's shard's: the interface, what was done with frames before them, and the access log.
    pub whole: Vec<(Figure, u64)>,
}

/// The figures of a shard.
#[derive(Clone, Debug)]
pub struct ShardSnapshot {
    /// The core that it runs on.
    pub core: usize,
    /// Whether it has answered. Without, only what the server has counted is known.
    pub answered: bool,
    /// Its figures.
    pub figures: Vec<(Figure, u64)>,
    /// How long requests took.
    pub latency: Distribution,
}

impl Observer {
    /// An observer of `shards`, and of what is nobody's.
    pub fn new(about: About, shards: Vec<ObservedShard>, whole: Whole) -> Self {
        let started = Instant::now();
        Self { inner: Arc::new(Inner { about, started, shards, whole }) }
    }

    /// What the server is.
    pub fn about(&self) -> &About {
        &self.inner.about
    }

    /// The list of sources that are denied.
    pub fn deny_list(&self) -> DenyList {
        DenyList::new(self.inner.whole.steering.clone())
    }

    /// The core of each shard.
    pub fn cores(&self) -> impl Iterator<Item = usize> {
        self.inner.shards.iter().map(|shard| shard.core)
    }

    /// Reads everything, and asks all cores at once.
    pub fn snapshot(&self) -> Snapshot {
        let deadline = Instant::now() + PATIENCE;
        let asked: Vec<_> = self.inner.shards.iter().map(ObservedShard::ask_figures).collect();
        let shards = self.inner.shards.iter().zip(asked);
        let shards = shards.map(|(shard, answer)| shard.snapshot(&answer, deadline)).collect();
        let whole = self.inner.whole.figures();
        Snapshot { uptime: self.inner.started.elapsed(), shards, whole }
    }

    /// Asks a shard for its connections, piece by piece; for about `sample` of them, evenly spread, if
    /// that is given. Ends with a none if the shard does not answer.
    pub fn rows(
        &self,
        shard: usize,
        sample: Option<u32>,
    ) -> impl Iterator<Item = Option<Rows>> + use<'_> {
        let mut from = Some(0);
        iter::from_fn(move || {
            let rows = self.piece(shard, from?, sample);
            from = rows.as_ref().and_then(|rows| rows.next);
            Some(rows)
        })
    }

    fn piece(&self, shard: usize, from: u32, sample: Option<u32>) -> Option<Rows> {
        let shard = self.inner.shards.get(shard)?;
        let (to, answer) = bounded(1);
        let room = Vec::with_capacity(SLOTS_EACH as usize);
        shard.ask(Question::Connections { from, sample, room, to });
        answer.recv_timeout(PATIENCE).ok()
    }
}

impl ObservedShard {
    fn ask(&self, question: Question) {
        // A full channel: the core is asked too much, or is stuck. The asker sees no answer.
        let _ = self.questions.try_send(question);
        self.waker.wake();
    }

    fn ask_figures(&self) -> Receiver<Vec<(Figure, u64)>> {
        let (to, answer) = bounded(1);
        self.ask(Question::Figures { room: Vec::with_capacity(MOST_FIGURES), to });
        answer
    }

    fn snapshot(&self, answer: &Receiver<Vec<(Figure, u64)>>, deadline: Instant) -> ShardSnapshot {
        let answer = answer.recv_deadline(deadline).ok();
        let answered = answer.is_some();
        let counted =
            Counter::ALL.iter().map(|&counter| (counter.figure(), self.counters.get(counter)));
        let known = threads::figures(self.thread_id);
        let figures = counted.chain(known).chain(answer.into_iter().flatten()).collect();
        ShardSnapshot { core: self.core, answered, figures, latency: self.counters.latency.read() }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("about", &self.inner.about).finish_non_exhaustive()
    }
}
