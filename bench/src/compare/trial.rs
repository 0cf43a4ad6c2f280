//! One run of one server in one cell.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pagewire_stack::Prefix;
use pagewire_tools::{
    load::{self, Cause, Plan, Report, TransportPlan},
    serving::Serving,
};
use tempfile::TempDir;

use super::{
    account::{Meter, Server, Spent},
    cell::{Cell, Client},
    order::Subject,
    server,
    wire::Link,
};
use crate::{error::BenchError, product};

/// How much longer than its last full second a run takes, so that that one is counted.
const SLACK: Duration = Duration::from_millis(150);

/// How long the kernel's receive threads are looked after at the beginning of a run.
const SETTLING: Duration = Duration::from_millis(300);

/// The folder of what is served, among those of the runs.
const SERVED: &str = "served";

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
    /// Requests that failed, in the whole run, in the order of [`Cause::ALL`].
    pub failed: [u64; Cause::ALL.len()],
}

impl Measured {
    /// CPU time for each request on the server's side, in microseconds; no number if none was answered.
    pub fn cost_us(&self) -> f64 {
        self.each_us(self.spent.charged())
    }

    /// Microseconds for each request.
    pub fn each_us(&self, time: Duration) -> f64 {
        self.each(time.as_secs_f64() * 1e6)
    }

    /// An amount for each request; no number if none was answered.
    pub fn each(&self, amount: f64) -> f64 {
        if self.requests > 0 { amount / self.requests as f64 } else { f64::NAN }
    }

    /// Requests that failed, in the whole run.
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
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
    /// Finds the server, and makes the files of these cells.
    pub fn set(
        cells: &[Cell],
        interrupted: Arc<AtomicBool>,
        time: Duration,
        quick: bool,
    ) -> Result<Self, BenchError> {
        let error = BenchError::system("make files to serve");
        let folder = tempfile::tempdir().map_err(&error)?;
        let served = folder.path().join(SERVED);
        fs::create_dir(&served).map_err(&error)?;
        for cell in cells {
            let path = served.join(cell.file());
            if !path.exists() {
                product::fill(&path, cell.bytes).map_err(&error)?;
            }
        }
        Ok(Self { program: product::program()?, folder, interrupted, time, quick })
    }

    /// The server's program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Where files may lie that are not to be served.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// An error once somebody wants it to end.
    pub fn check(&self) -> Result<(), BenchError> {
        let is_over = self.interrupted.load(Ordering::Relaxed);
        if is_over { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    /// Starts a server for `cell`.
    pub fn serve(&self, link: &Link, cell: &Cell, subject: Subject) -> Result<Serving, BenchError> {
        let log = self.folder.path().join("server.log");
        let arguments = server::arguments(subject, cell, link, &self.folder.path().join(SERVED));
        Ok(Serving::start(link.lab(), &self.program, &arguments, &log)?)
    }

    /// Runs a server and loads it.
    pub fn run(&self, link: &Link, cell: &Cell, subject: Subject) -> Result<Measured, BenchError> {
        self.check()?;
        let running = self.serve(link, cell, subject)?;
        let measured = self.load(link, cell, &running)?;
        running.stop()?;
        self.check()?;
        Ok(measured)
    }

    /// Whole seconds of a run in `cell` that do not count.
    pub fn warm_up_s(&self, cell: &Cell) -> u32 {
        if self.quick { 0 } else { cell.warm_up_s }
    }

    /// Loads a server that runs.
    pub fn load(
        &self,
        link: &Link,
        cell: &Cell,
        running: &Serving,
    ) -> Result<Measured, BenchError> {
        let warm_up = self.warm_up_s(cell);
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
            let first = (warm_up as usize).min(samples.len() - 1);
            if samples.len() < first + 2 {
                // On a machine that has other things to do, the last second may come to its end unseen.
                samples.push((Instant::now(), report.tally.answered, meter.read()));
            }
            evaluate(samples, first, &report)
        };
        link.at_client(work)?
    }

    fn plan(&self, link: &Link, cell: &Cell, warm_up: u32) -> Result<Plan, BenchError> {
        let transport = match cell.client {
            Client::Kernel if cell.close => {
                let addresses = Link::client_addresses(usize::MAX);
                let local_addresses = addresses.iter().map(Prefix::address).collect();
                TransportPlan::Kernel { local_addresses }
            }
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
            ..Plan::new(&format!("http://{}/{}", product::ADDRESS, cell.file()))?
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
    let last = samples.len() - 1;
    let mut chosen = samples.into_iter().enumerate().filter(|(at, _)| *at == first || *at == last);
    let (Some((_, start)), Some((_, end))) = (chosen.next(), chosen.next()) else {
        return Err(BenchError::Nothing(format!(
            "a run ended before it counted, with {} failures",
            report.tally.failures()
        )));
    };
    Ok(Measured {
        time: end.0 - start.0,
        requests: end.1 - start.1,
        spent: end.2?.since(&start.2?),
        latency: [report.tally.quantile(0.5), report.tally.quantile(0.99)],
        failed: report.tally.failed,
    })
}
