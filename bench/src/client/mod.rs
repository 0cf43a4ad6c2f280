//! A closed-loop HTTP client in one pinned thread: each connection asks, waits for the whole answer, and
//! asks again. Status and length of every answer are checked.
//!
//! Unlike `pw load`, which does a whole run, it is observed from outside: it can be asked at any moment how
//! many answers it has had, and it knows idle connections and files that are asked for once only.
//!
//! Here is how it is told what to do; `asking` does it.

mod asking;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use core_affinity::CoreId;
use hdrhistogram::Histogram;

use asking::Asking;

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Target {
    /// A whole request.
    request: Vec<u8>,
    /// The length of the content that is expected.
    len: u64,
}

/// Whether connections are used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reuse {
    /// They are, unless the server closes them.
    KeepAlive,
    /// Each is for one request.
    Close,
}

impl Target {
    /// The file at `path` of so many bytes.
    pub fn new(path: &str, len: u64, reuse: Reuse) -> Self {
        let connection = if reuse == Reuse::Close { "Connection: close\r\n" } else { "" };
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: ladder\r\n{connection}Accept: */*\r\n\r\n");
        Self { request: request.into_bytes(), len }
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub server: SocketAddr,
    /// Connections that ask all the time.
    pub active: usize,
    /// Connections that ask once and are then left alone.
    pub idle: usize,
    /// What to ask for.
    pub targets: Vec<Target>,
    /// Whether each target is asked for once only.
    pub once: bool,
    /// Where the client runs.
    pub core: CoreId,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// Latencies while recording, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Requests that were not answered as they should have been.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    completed: AtomicU64,
    failed: AtomicU64,
    is_ready: AtomicBool,
    is_exhausted: AtomicBool,
}

const RUN: u8 = 0;
const RECORD: u8 = 1;
const STOP: u8 = 2;

/// A client that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<Seen>>>,
}

impl Client {
    /// Starts the client; its sockets belong to the calling thread's network namespace.
    pub fn start(load: Load) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let work = move || Asking::new(load, theirs)?.run();
        let thread = Some(thread::Builder::new().name("client".to_owned()).spawn(work)?);
        Ok(Self { shared, thread })
    }

    /// Waits until each connection has had an answer, and says whether that happened in time.
    pub fn wait_ready(&self, patience: Duration, interrupted: &AtomicBool) -> bool {
        let deadline = Instant::now() + patience;
        while !self.shared.is_ready.load(Relaxed) {
            let is_over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if is_over || Instant::now() > deadline || interrupted.load(Relaxed) {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Starts or ends the recording of latencies.
    pub fn record(&self, record: bool) {
        self.shared.phase.store(if record { RECORD } else { RUN }, Relaxed);
    }

    /// Requests answered so far.
    pub fn completed(&self) -> u64 {
        self.shared.completed.load(Relaxed)
    }

    /// Whether nothing is left to ask for, or nothing can be had.
    pub fn is_exhausted(&self) -> bool {
        self.shared.is_exhausted.load(Relaxed)
            || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it, and says what it has seen.
    pub fn stop(mut self) -> io::Result<Seen> {
        self.shared.phase.store(STOP, Relaxed);
        let thread = self.thread.take().ok_or(io::ErrorKind::NotFound)?;
        thread.join().map_err(|_| io::Error::other("the client has panicked"))?
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.phase.store(STOP, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
