//! The demonstration: real files, served in a lab over AF_XDP and over the kernel, and every byte that
//! arrives compared with the disk.
//!
//! - `tree`: the files.
//! - `transport`: the two ways to serve, and the server.
//! - `fetch`: the clients.
//! - `report`: both runs side by side.

mod fetch;
mod report;
mod transport;
mod tree;

use std::{
    fmt, fs,
    io::{self, IsTerminal},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fetch::{Fetch, Outcome};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressState, ProgressStyle};
use nix::sys::statvfs::statvfs;
use report::Run;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use tempfile::TempDir;
use thiserror::Error;
pub use transport::Transport;
use tree::Original;

use crate::{
    lab::{Lab, LabConfig, LabError, Prefix, SERVER},
    serving::{Serving, ServingError, softirq_time},
};

/// What to demonstrate.
#[derive(Debug, clap::Args)]
pub struct DemoConfig {
    /// Directory to serve; without it, files are generated
    #[arg(long)]
    pub dir: Option<PathBuf>,

    /// Fetch only about this many of the files, evenly spread
    #[arg(long, value_name = "COUNT")]
    pub files: Option<usize>,

    /// Serve in one way only
    #[arg(long, value_enum)]
    pub transport: Option<Transport>,

    /// Fetch nothing: keep serving until Ctrl-C, over AF_XDP unless --transport says otherwise
    #[arg(long)]
    pub stay: bool,

    /// The server's binary [default: `pagewire` beside this one]
    #[arg(long, value_name = "PATH")]
    pub pagewire: Option<PathBuf>,

    /// Where to serve.
    #[command(flatten)]
    pub lab: LabConfig,
}

/// Why the demonstration could not be given.
#[derive(Debug, Error)]
pub enum DemoError {
    /// No lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The system refused something.
    #[error("the demonstration cannot go on: {0}")]
    System(#[from] io::Error),
    /// The served directory cannot be read.
    #[error("cannot read {path}: {source}; name another directory with --dir")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server's binary is not there.
    #[error("there is no {0}: build it with ./dev build, or name it with --pagewire")]
    NoServer(PathBuf),
    /// The server has not started, or has ended.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// The server does not answer.
    #[error("pagewire does not answer on {address}; it said:\n{said}")]
    NoAnswer {
        /// Where.
        address: IpAddr,
        /// Its output.
        said: String,
    },
    /// Nothing has arrived for too long.
    #[error("nothing has arrived for {} s; pagewire said:\n{said}", STALL.as_secs())]
    Stalled {
        /// The server's output.
        said: String,
    },
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Everything arrived as it is on the disk.
    Equal,
    /// Something did not.
    Different,
    /// A signal ended it.
    Interrupted,
}

/// How long the clients may wait before the run is given up.
const STALL: Duration = Duration::from_secs(30);

/// Gives the demonstration. Whatever it makes is gone when it returns, also after a signal.
///
/// # Errors
///
/// When something that it needs is missing or fails.
pub fn run(config: &DemoConfig) -> Result<Ending, DemoError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&stop))?;
    }
    let pagewire = pagewire(config)?;
    let lab = Lab::up(&config.lab)?;
    let scratch = scratch(lab.prefix())?;
    let root = if let Some(path) = &config.dir {
        path.canonicalize().map_err(|source| unreadable(path, source))?
    } else {
        let root = scratch.path().join("files");
        tree::generate(&root, tree::FOLDERS)?;
        root
    };
    let demo = Demo { pagewire, root, lab, scratch: scratch.path(), stop: &stop };
    if config.stay {
        return demo.stay(config.transport.unwrap_or(Transport::Xdp));
    }
    let transports = match config.transport {
        Some(transport) => vec![transport],
        None => vec![Transport::Xdp, Transport::Kernel],
    };
    demo.compare(&transports, config.files)
}

fn unreadable(path: &Path, source: io::Error) -> DemoError {
    DemoError::Directory { path: path.to_owned(), source }
}

fn pagewire(config: &DemoConfig) -> Result<PathBuf, DemoError> {
    let path = match &config.pagewire {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("pagewire"),
    };
    path.canonicalize().map_err(|_| DemoError::NoServer(path))
}

/// An empty directory for what is fetched, after removing what a killed run of the same lab left.
fn scratch(prefix: &Prefix) -> io::Result<TempDir> {
    let parent = scratch_parent();
    let name = format!("pw-demo.{prefix}.");
    for entry in fs::read_dir(&parent)?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(name.as_bytes()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    tempfile::Builder::new().prefix(&name).tempdir_in(parent)
}

/// Memory if there is enough, else the disk.
fn scratch_parent() -> PathBuf {
    const ENOUGH: u64 = 512 << 20;
    let memory = Path::new("/dev/shm");
    let free = statvfs(memory).map_or(0, |stat| stat.blocks_available() * stat.fragment_size());
    if free >= ENOUGH { memory.to_owned() } else { std::env::temp_dir() }
}

struct Demo<'a> {
    pagewire: PathBuf,
    root: PathBuf,
    lab: Lab,
    scratch: &'a Path,
    stop: &'a AtomicBool,
}

impl Demo<'_> {
    fn serve(&self, transport: Transport) -> Result<Serving, DemoError> {
        transport.serve(&self.lab, &self.pagewire, &self.root, self.scratch)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Serves until a signal comes.
    fn stay(&self, transport: Transport) -> Result<Ending, DemoError> {
        let mut serving = self.serve(transport)?;
        println!("{}", introduction(&serving));
        let pw = std::env::current_exe()?;
        let [v4, v6] = SERVER;
        println!("Serving {} ({}) until Ctrl-C.", self.root.display(), transport.name());
        println!("To fetch from it, type in another terminal:");
        let sudo = if std::env::var_os("SUDO_USER").is_some() { "sudo " } else { "" };
        let run = format!("{sudo}{} lab run --prefix {}", pw.display(), self.lab.prefix());
        for host in [v4.to_string(), format!("[{v6}]")] {
            println!("  {run} client -- curl -i 'http://{host}/'");
        }
        while !self.stopped() {
            serving.check()?;
            thread::sleep(Duration::from_millis(50));
        }
        serving.stop()?;
        Ok(Ending::Interrupted)
    }

    /// Fetches the files over each transport and prints the runs side by side.
    fn compare(&self, transports: &[Transport], limit: Option<usize>) -> Result<Ending, DemoError> {
        let Some(files) = self.originals(limit)? else { return Ok(Ending::Interrupted) };
        let mut runs = Vec::new();
        for &transport in transports {
            match self.fetch(transport, &files)? {
                Some(run) => runs.push(run),
                None => return Ok(Ending::Interrupted),
            }
        }
        report::print(&runs);
        let equal = runs.iter().all(|run| run.outcome.faults == 0);
        Ok(if equal { Ending::Equal } else { Ending::Different })
    }

    /// Reads the files; none if a signal came.
    fn originals(&self, limit: Option<usize>) -> Result<Option<Vec<Original>>, DemoError> {
        let bar = bar("reading", None);
        let files = tree::read(&self.root, limit, self.stop, || bar.inc(1))
            .map_err(|source| unreadable(&self.root, source))?;
        bar.finish_and_clear();
        if self.stopped() {
            return Ok(None);
        }
        let bytes = files.iter().map(|file| file.len).sum();
        let count = HumanCount(files.len() as u64);
        println!("{count} files, {}, from {}", HumanBytes(bytes), self.root.display());
        Ok(Some(files))
    }

    /// Serves and fetches once over each address family; none if a signal came.
    fn fetch(&self, transport: Transport, files: &[Original]) -> Result<Option<Run>, DemoError> {
        let mut serving = self.serve(transport)?;
        println!("{}\n{}", transport.name(), introduction(&serving));
        let bar = bar(transport.name(), Some((files.len() * SERVER.len()) as u64));
        let (cpu, softirq) = (serving.cpu_time()?, softirq_time()?);
        let start = Instant::now();
        let mut outcome = Outcome::default();
        for server in SERVER {
            let fetch =
                Fetch { lab: &self.lab, server, files, scratch: self.scratch, stop: self.stop };
            outcome.add(self.supervise(&fetch, &mut serving, &bar)?);
            if self.stopped() {
                bar.abandon();
                return Ok(None);
            }
        }
        let time = start.elapsed();
        bar.finish_and_clear();
        let run = Run {
            transport,
            outcome,
            time,
            cpu: serving.cpu_time()?.saturating_sub(cpu),
            softirq: softirq_time()?.saturating_sub(softirq),
        };
        serving.stop()?;
        Ok(Some(run))
    }

    /// Fetches, and ends all processes early on a signal, if the server ends, or if nothing moves.
    fn supervise(
        &self,
        fetch: &Fetch<'_>,
        serving: &mut Serving,
        bar: &ProgressBar,
    ) -> Result<Outcome, DemoError> {
        let answers = AtomicU64::new(0);
        let progress = || {
            answers.fetch_add(1, Ordering::Relaxed);
            bar.inc(1);
        };
        thread::scope(|scope| {
            let fetching = scope.spawn(|| fetch.run(&progress));
            let mut last = (0, Instant::now());
            let mut trouble = Ok(());
            while !fetching.is_finished() {
                thread::sleep(Duration::from_millis(20));
                let count = answers.load(Ordering::Relaxed);
                if count != last.0 {
                    last = (count, Instant::now());
                }
                if trouble.is_ok() && !self.stopped() {
                    trouble = serving.check().map_err(DemoError::from);
                    if trouble.is_ok() && last.1.elapsed() > STALL {
                        trouble = Err(DemoError::Stalled { said: serving.said() });
                    }
                    if trouble.is_err() {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                }
                if self.stopped() {
                    self.lab.end_processes()?;
                }
            }
            let outcome = fetching.join().expect("the fetching thread does not panic");
            trouble?;
            Ok(outcome?)
        })
    }
}

/// What a server has said so far, indented and without dates.
fn introduction(serving: &Serving) -> String {
    let said = serving.said();
    let lines = said.lines().map(|line| line.split_once(" INFO ").map_or(line, |(_, text)| text));
    lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A progress bar, or a counter where the total is unknown. Invisible where there is no terminal.
fn bar(name: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{prefix:8} {wide_bar} {human_pos}/{human_len}  {rate}/s  {eta} left",
        ),
        None => (ProgressBar::no_length(), "{prefix:8} {human_pos} files"),
    };
    if !io::stderr().is_terminal() {
        return bar;
    }
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        let _ = write!(text, "{:.0}", state.per_sec());
    };
    bar.with_style(style.with_key("rate", rate)).with_prefix(name)
}
