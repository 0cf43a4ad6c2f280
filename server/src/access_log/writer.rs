//! The thread that writes the access log, and the file that it has open.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use pagewire_stack::Figure;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};
use thiserror::Error;

use super::{AccessLogConfig, Recorder, Target, recorder::BATCH_BYTES};
use crate::counters::Counters;

/// Buffers of each core.
const BUFFERS: usize = 4;

/// How long a pipe whose reader is behind is waited for before lines are dropped.
const PIPE_PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// How often lost lines are told in the log.
const COMPLAINTS: Duration = Duration::from_secs(10);

/// How long the last lines may take to be written when the server ends.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// Mode of a file that is made.
const MODE: u32 = 0o640;

/// Why there is no access log.
#[derive(Debug, Error)]
#[error("cannot write the access log {path}: {source}; choose another file with --access-log")]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Lines of a core, and where their buffer belongs.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u32,
    pub(super) home: Sender<Vec<u8>>,
}

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Message {
    Lines(Batch),
    Reopen,
}

/// What the writer has counted.
#[derive(Debug, Default)]
pub struct LogCounters {
    written: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    reopened: AtomicU64,
}

impl LogCounters {
    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lines written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// All of them.
    pub fn figures(&self) -> [(Figure, u64); 4] {
        let of = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let counter = Figure::counter;
        [
            (counter("access_log_written_lines", "Lines written."), of(&self.written)),
            (counter("access_log_written_bytes", "Bytes written."), of(&self.bytes)),
            (counter("access_log_write_failures", "Lines that could not be written."), self.lost()),
            (
                counter("access_log_reopened", "Times that the file was reopened."),
                of(&self.reopened),
            ),
        ]
    }
}

/// An access log. Dropped, it writes what has come so far, for a moment at most.
#[derive(Debug)]
pub struct AccessLog {
    config: AccessLogConfig,
    /// Nothing only while it is being dropped.
    sender: Option<Sender<Message>>,
    counters: Arc<LogCounters>,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl AccessLog {
    /// Opens the file and starts the writer, for up to `cores` cores.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened for appending.
    pub fn start(config: &AccessLogConfig, cores: usize) -> Result<Self, LogError> {
        let failed = |source| LogError { path: config.target.path(), source };
        let mut writer = Writer {
            target: config.target.clone(),
            file: open(&config.target).map_err(failed)?,
            is_torn: false,
            counters: Arc::default(),
            untold: 0,
            told_at: None,
        };
        let counters = Arc::clone(&writer.counters);
        // All buffers, and a few requests to reopen.
        let (sender, messages) = bounded(cores * BUFFERS + 8);
        let (end, ended) = bounded(0);
        let run = move || {
            let _end: Sender<()> = end;
            for message in messages {
                writer.obey(message);
            }
        };
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(run);
        let thread = Some(thread.map_err(failed)?);
        Ok(Self { config: config.clone(), sender: Some(sender), counters, thread, ended })
    }

    /// The side of one core, which counts to `counters`.
    pub fn recorder(&self, counters: Arc<Counters>) -> Option<Recorder> {
        let (home, spare) = bounded(BUFFERS);
        for _ in 0..BUFFERS {
            let _ = home.try_send(Vec::with_capacity(BATCH_BYTES));
        }
        let line = (self.config.format, self.config.sample);
        Some(Recorder::new(line, (home, spare), self.sender.clone()?, counters))
    }

    /// Has the file opened anew by its name, after it was renamed. Nothing is lost meanwhile.
    pub fn reopen(&self) {
        let sender = self.sender.as_ref();
        if sender.is_some_and(|sender| sender.try_send(Message::Reopen).is_err()) {
            tracing::warn!("the access log is not reopened: its writer hangs; try again");
        }
    }

    /// What the writer has counted.
    pub fn counters(&self) -> Arc<LogCounters> {
        Arc::clone(&self.counters)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.sender = None;
        // Disconnected is the only thing that ever comes.
        let timed_out =
            self.ended.recv_timeout(LAST_MOMENTS).is_err_and(|error| error.is_timeout());
        if let Some(thread) = self.thread.take().filter(|_| !timed_out) {
            let _ = thread.join();
        }
    }
}

impl Target {
    fn path(&self) -> PathBuf {
        match self {
            Self::Output => "-".into(),
            Self::File(path) => path.clone(),
        }
    }
}

fn open(target: &Target) -> io::Result<File> {
    let path = match target {
        Target::Output => return Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Target::File(path) => path,
    };
    // Not blocking: so a pipe without a reader is an error, and a full one does not hold the writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags).open(path)
}

struct Writer {
    target: Target,
    file: File,
    /// The last line in the file is not whole.
    is_torn: bool,
    counters: Arc<LogCounters>,
    /// Lines lost since that was last told.
    untold: u64,
    told_at: Option<Instant>,
}

impl Writer {
    fn obey(&mut self, message: Message) {
        match message {
            Message::Reopen => self.reopen(),
            Message::Lines(mut batch) => {
                let lines = u64::from(batch.lines);
                let result = self.write(&batch.bytes);
                match result {
                    Ok(()) => {
                        self.counters.written.fetch_add(lines, Ordering::Relaxed);
                        let bytes = batch.bytes.len() as u64;
                        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
                    }
                    Err(error) => {
                        self.is_torn = true;
                        self.counters.lost.fetch_add(lines, Ordering::Relaxed);
                        self.untold += lines;
                        self.complain(&error);
                    }
                }
                batch.bytes.clear();
                // Its core may be gone.
                let _ = batch.home.try_send(batch.bytes);
            }
        }
    }

    /// Writes whole lines, or as much as goes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            write_patiently(&mut self.file, b"\n")?;
            self.is_torn = false;
        }
        write_patiently(&mut self.file, bytes)
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
                self.counters.reopened.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let path = self.target.path();
                tracing::warn!(
                    "cannot reopen the access log {}: {error}; the old one goes on",
                    path.display()
                );
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if self.told_at.is_some_and(|at| at.elapsed() < COMPLAINTS) {
            return;
        }
        self.told_at = Some(Instant::now());
        let (lost, path) = (std::mem::take(&mut self.untold), self.target.path());
        tracing::warn!(
            "cannot write the access log {}: {error}; lost {lost} lines",
            path.display()
        );
    }
}

/// Writes all, and waits a moment for the reader of a pipe that is full.
fn write_patiently(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !becomes_writable(file.as_fd()) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn becomes_writable(file: BorrowedFd<'_>) -> bool {
    let mut entries = [PollFd::from_borrowed_fd(file, PollFlags::OUT)];
    poll(&mut entries, Some(&PIPE_PATIENCE)).is_ok_and(|ready| ready > 0)
}
