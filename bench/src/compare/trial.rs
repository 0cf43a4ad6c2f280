//! One run of one server in one cell.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::load::{self, Plan, Report, TransportPlan};
use tempfile::TempDir;

use super::{
    account::{Meter, Server, Spent},
    cell::{CELLS, Cell, Client},
    order::Subject,
    server::{self, Running},
    wire::Link,
};
use crate::error::BenchError;

/// How much longer than its last full second a run takes, so that that one is counted.
const SLACK: Duration = Duration::from_millis(150);

/// How long the kernel's receive threads are looked after at the beginning of a run.
const SETTLING: Duration = Duration::from_millis(300);

/// What a run has come to.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// For how long.
    pub time: Duration,
    /// Requests answered, or exchanges made, in that time.
    pub requests: u64,
    /// What was spent in that time.
    pub spent: Spent,
    /// Latencies of the whole run: median, and what 99 of 100 did not exceed.
    pub latency: [Duration; 2],
    /// Requests that failed, in the whole run.
    pub failures: u64,
}

impl Measured {
    /// CPU time for each request on the server's side, in microseconds.
    pub fn cost_us(&self) -> f64 {
        self.each(self.spent.charged()) * 1e6
    }

    /// Seconds for each request.
    pub fn each(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.requests.max(1) as f64
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// Which part of both cores went to other programs.
    pub fn others(&self) -> f64 {
        self.spent.others().as_secs_f64() / (2.0 * self.time.as_secs_f64()).max(1e-9)
    }
}

/// Where runs take place: programs, files, and for how long.
#[derive(Debug)]
pub struct Stage {
    program: PathBuf,
    folder: TempDir,
    interrupted: Arc<AtomicBool>,
    /// For how long a run counts.
    pub time: Duration,
    /// Whether runs count from their first moment.
    pub quick: bool,
}

impl Stage {
    /// Finds the server, and makes the files of all cells.
    pub fn set(
        interrupted: Arc<AtomicBool>,
        time: Duration,
        quick: bool,
    ) -> Result<Self, BenchError> {
        let error = BenchError::system("make files to serve");
        let folder = tempfile::tempdir().map_err(&error)?;
        for cell in CELLS {
            let path = folder.path().join(cell.file());
            if !path.exists() {
                fill(&path, cell.bytes).map_err(&error)?;
            }
        }
        Ok(Self { program: server::program()?, folder, interrupted, time, quick })
    }

    /// An error once somebody wants it to end.
    pub fn check(&self) -> Result<(), BenchError> {
        let is_over = self.interrupted.load(Ordering::Relaxed);
        if is_over { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    /// Starts a server for `cell`.
    pub fn serve(&self, link: &Link, cell: &Cell, subject: Subject) -> Result<Running, BenchError> {
        let log = self.folder.path().join(".server.log");
        let arguments = server::arguments(subject, cell, link, self.folder.path());
        Running::start(link, &self.program, &arguments, &log)
    }

    /// Runs a server and loads it.
    pub fn run(&self, link: &Link, cell: &Cell, subject: Subject) -> Result<Measured, BenchError> {
        self.check()?;
        let running = self.serve(link, cell, subject)?;
        let measured = self.load(link, cell, &running)?;
        running.stop()?;
        self.check()?;
        if measured.requests == 0 {
            let (name, subject) = (cell.name(), subject.name());
            let failures = measured.failures;
            return Err(BenchError::Server(format!(
                "{name}: {subject} answered no request in its time ({failures} failures)"
            )));
        }
        Ok(measured)
    }

    /// Loads a server that runs.
    pub fn load(
        &self,
        link: &Link,
        cell: &Cell,
        running: &Running,
    ) -> Result<Measured, BenchError> {
        let warm_up = if self.quick { 0 } else { cell.warm_up_s };
        let plan = self.plan(link, cell, warm_up)?;
        let meter = Meter::new(link, Server::Process(running.id()))?;
        let work = || -> Result<Measured, BenchError> {
            link.place()?;
            let mut samples = vec![(Instant::now(), 0, meter.read())];
            let mut answered = 0;
            let report = thread::scope(|scope| {
                scope.spawn(|| look_after(link));
                load::run_watched(&plan, &self.interrupted, &mut |second| {
                    answered += second.answered;
                    samples.push((Instant::now(), answered, meter.read()));
                })
            })?;
            evaluate(samples, warm_up as usize, &report)
        };
        link.at_client(work)?
    }

    fn plan(&self, link: &Link, cell: &Cell, warm_up: u32) -> Result<Plan, BenchError> {
        let transport = match cell.client {
            Client::Kernel => TransportPlan::Kernel { local_addresses: Vec::new() },
            Client::Xdp => TransportPlan::Xdp {
                interface: link.client.interface.clone(),
                addresses: Link::client_addresses(cell.connections),
                queues: vec![0],
            },
        };
        let duration = self.time + Duration::from_secs(warm_up.into()) + SLACK;
        Ok(Plan {
            transport,
            cores: vec![link.client.cores.first().map_or(0, |core| core.id)],
            connections: cell.connections,
            duration,
            close: cell.close,
            ..Plan::new(&format!("http://{}/{}", server::ADDRESS, cell.file()))?
        })
    }
}

/// The first moments of a client with a program of its own make the kernel's receive threads anew.
fn look_after(link: &Link) {
    let deadline = Instant::now() + SETTLING;
    while Instant::now() < deadline {
        // What cannot be placed now is placed when it is read, or is an error there.
        let _ = link.place();
        thread::sleep(Duration::from_millis(20));
    }
}

/// When, how many requests had been answered, and what had been spent.
type Sample = (Instant, u64, Result<Spent, BenchError>);

fn evaluate(samples: Vec<Sample>, first: usize, report: &Report) -> Result<Measured, BenchError> {
    let failures = report.tally.failures();
    let last = samples.len() - 1;
    let mut chosen = samples.into_iter().enumerate().filter(|(at, _)| *at == first || *at == last);
    let (Some((_, start)), Some((_, end))) = (chosen.next(), chosen.next()) else {
        return Err(BenchError::Server(format!(
            "a run ended before it counted, with {failures} failures"
        )));
    };
    Ok(Measured {
        time: end.0 - start.0,
        requests: end.1 - start.1,
        spent: end.2?.since(&start.2?),
        latency: [report.tally.quantile(0.5), report.tally.quantile(0.99)],
        failures,
    })
}

/// Makes a file of bytes that do not repeat soon.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut left = bytes;
    for word in words {
        if left == 0 {
            break;
        }
        let len = left.min(8);
        io::Write::write_all(&mut file, &word[..len as usize])?;
        left -= len;
    }
    io::Write::flush(&mut file)
}
