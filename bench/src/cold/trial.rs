//! One server, loaded three times.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pagewire_tools::{
    lab::{Lab, LabConfig, MemoryGroup, Side, Switch},
    load::{self, Pace, Plan, Report, Weighted, Workload},
};
use tempfile::TempDir;

use super::Subject;
use crate::{
    cpu,
    ends::End,
    error::BenchError,
    interrupt,
    product::{self, ADDRESS},
};

/// What a server may use, page cache included.
const MEMORY_BYTES: u64 = 160 << 20;

/// Hot files, of so many bytes, asked for so often.
const HOT_FILES: u64 = 16;
const HOT_BYTES: u64 = 16 << 10;
const HOT_RATE: f64 = 1_000.0;
const HOT_CONNECTIONS: usize = 16;

/// The other set: cold, four times what fits into memory; and warm, a few of the same size.
const COLD_FILES: u64 = 640;
const WARM_FILES: u64 = 16;
const SET_BYTES: u64 = 1 << 20;
const SET_RATE: f64 = 40.0;
const SET_CONNECTIONS: usize = 8;

/// How long files are asked for before it counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// What a server has come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial {
    /// The latency that 99 of 100 hot requests did not exceed: without other requests...
    pub alone_ms: f64,
    /// ...with others for files in memory...
    pub warm_ms: f64,
    /// ...and with others for files that are not.
    pub cold_ms: f64,
    /// Requests of the cold set that were answered.
    pub cold_requests: u64,
    /// Their latency.
    pub cold_p99_ms: f64,
    /// Pages that threads had to wait for which should not.
    pub faults: u64,
    /// Requests that failed.
    pub failures: u64,
}

impl Trial {
    /// How many times as long the slowest hundredth takes beside a cold set.
    pub fn ratio(&self) -> f64 {
        self.cold_ms / self.alone_ms
    }
}

/// The lab and the files.
pub struct Stage {
    pub(super) lab: Lab,
    pub(super) server: End,
    pub(super) client: End,
    pub(super) folder: TempDir,
    time: Duration,
    pub(super) interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// Builds the lab and makes the files; runs are of so many seconds.
    pub fn set(seconds: u64) -> Result<Self, BenchError> {
        let interrupted = interrupt::flag()?;
        let error = BenchError::system("make files to serve");
        // Beside the program, for what is temporary is often in memory.
        let beside = std::env::current_exe().map_err(&error)?;
        let beside = beside.parent().unwrap_or(Path::new("."));
        let folder = tempfile::tempdir_in(beside).map_err(&error)?;
        let root = folder.path().join("served");
        fs::create_dir(&root).map_err(&error)?;
        let sets = [
            ("hot", HOT_FILES, HOT_BYTES),
            ("warm", WARM_FILES, SET_BYTES),
            ("cold", COLD_FILES, SET_BYTES),
        ];
        for (name, count, bytes) in sets {
            for number in 0..count {
                product::fill(&root.join(format!("{name}-{number}")), bytes).map_err(&error)?;
            }
        }
        let config = LabConfig {
            queues: Some(1),
            threaded_napi: Switch::On,
            txrehash: Switch::Off,
            ..LabConfig::unique()
        };
        let lab = Lab::up(&config)?;
        let (near, far) = cpu::halves();
        let first = |cores: Vec<_>| cores.into_iter().take(1).collect();
        let server = End::new(&lab, Side::Server, "s", first(near))?;
        let client = End::new(&lab, Side::Client, "c", first(far))?;
        let time = Duration::from_secs(seconds);
        Ok(Self { lab, server, client, folder, time, interrupted })
    }

    /// What is measured, for people.
    pub fn describe(&self) -> String {
        let mib = |bytes: u64| bytes >> 20;
        format!(
            "Each server may use {} MiB. {HOT_CONNECTIONS} connections ask {HOT_RATE} times a second \
             for {HOT_FILES} files of {} KiB;\nbeside them {SET_CONNECTIONS} connections ask {SET_RATE} \
             times a second for files of {} MiB: a warm set of {}, a cold one of {} MiB.\n{:?} each.",
            mib(MEMORY_BYTES),
            HOT_BYTES >> 10,
            mib(SET_BYTES),
            mib(WARM_FILES * SET_BYTES),
            mib(COLD_FILES * SET_BYTES),
            self.time
        )
    }

    pub(super) fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    /// Puts all files out of memory.
    fn forget(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.served())? {
            product::forget(&File::open(entry?.path())?)?;
        }
        Ok(())
    }

    /// Loads one server.
    pub fn run(&self, subject: Subject) -> Result<Trial, BenchError> {
        self.forget().map_err(BenchError::system("put files out of memory"))?;
        let group = MemoryGroup::new(MEMORY_BYTES)
            .map_err(BenchError::system("bound a server's memory by a control group"))?;
        let scratch = self.folder.path();
        let running = subject.start(&self.lab, &self.server, &self.served(), scratch)?;
        let put = BenchError::system("put a server into its control group");
        group.add(running.id()).map_err(put)?;
        self.server.place()?;
        self.client.place()?;
        let mut trial = Trial::default();
        self.load("hot", Pace::Closed, WARM_UP)?;
        let hot = Pace::Open { rate_per_s: HOT_RATE };
        let alone = self.load("hot", hot, self.time)?;
        trial.alone_ms = p99_ms(&alone);
        self.load("warm", Pace::Closed, WARM_UP)?;
        let (beside_warm, warm) = self.both("warm")?;
        trial.warm_ms = p99_ms(&beside_warm);
        let faults = major_faults(running.id(), subject);
        let (beside_cold, cold) = self.both("cold")?;
        trial.faults = major_faults(running.id(), subject).saturating_sub(faults);
        trial.cold_ms = p99_ms(&beside_cold);
        trial.cold_requests = cold.tally.answered;
        trial.cold_p99_ms = p99_ms(&cold);
        let reports = [&alone, &beside_warm, &warm, &beside_cold, &cold];
        trial.failures = reports.iter().map(|report| report.tally.failures()).sum();
        let cached = group.cached().unwrap_or(0);
        if cached > MEMORY_BYTES {
            return Err(BenchError::Nothing(format!(
                "the limit is not kept: {cached} bytes cached"
            )));
        }
        running.stop()?;
        Ok(trial)
    }

    /// Hot requests with others beside them.
    fn both(&self, set: &'static str) -> Result<(Report, Report), BenchError> {
        thread::scope(|scope| {
            let pace = Pace::Open { rate_per_s: SET_RATE };
            let other = scope.spawn(move || self.load(set, pace, self.time));
            let hot = self.load("hot", Pace::Open { rate_per_s: HOT_RATE }, self.time)?;
            let other = other.join().map_err(|_| BenchError::Nothing("a load failed".into()))?;
            Ok((hot, other?))
        })
    }

    fn load(&self, set: &str, pace: Pace, duration: Duration) -> Result<Report, BenchError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        let (files, connections) = match set {
            "hot" => (HOT_FILES, HOT_CONNECTIONS),
            "warm" => (WARM_FILES, SET_CONNECTIONS),
            _ => (COLD_FILES, SET_CONNECTIONS),
        };
        let path = |number| Weighted { path: format!("/{set}-{number}"), weight: 1.0 };
        let plan = Plan {
            workload: Workload::weighted((0..files).map(path).collect())?,
            cores: vec![self.client.cores.first().map_or(0, |core| core.id)],
            connections,
            pace,
            duration,
            ..Plan::new(&format!("http://{ADDRESS}/"))?
        };
        Ok(self
            .lab
            .within(Side::Client, || load::run_watched(&plan, &self.interrupted, &mut |_| {}))??)
    }
}

fn p99_ms(report: &Report) -> f64 {
    report.tally.quantile(0.99).as_secs_f64() * 1e3
}

/// Pages that the threads of a process which must not wait have waited for, by now.
fn major_faults(process: u32, subject: Subject) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let faults = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("stat")).ok()?;
        // The name is in brackets and may hold anything; majflt is the tenth field behind it.
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let faults = rest.split_whitespace().nth(9)?.parse().ok()?;
        subject.is_core(name).then_some::<u64>(faults)
    });
    faults.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cold::transfer::Large,
        ends::{self, holds, patiently},
    };

    #[test]
    fn a_cold_set_does_not_stop_the_cores() {
        if !pagewire_tools::lab::privileged() {
            return;
        }
        let _turn = ends::alone();
        product::build();
        let stage = Stage::set(2).unwrap();
        for subject in [Subject::Kernel, Subject::User] {
            patiently(|| {
                let trial = stage.run(subject).unwrap();
                eprintln!("{trial:?}");
                let measured = [trial.alone_ms, trial.warm_ms, trial.cold_ms].map(|it| it > 0.0);
                // Latencies of a debug build on a shared machine prove nothing; that cores hardly waited does.
                // One that does waits once a file or more.
                let hardly_waited = trial.faults * 4 <= trial.cold_requests;
                let answered = [trial.failures == 0, trial.cold_requests > 10, hardly_waited];
                holds(&trial, &[measured, answered].concat())
            });
        }
        let large = Large { bytes: 64 << 20, time: Duration::from_secs(20) };
        stage.prepare(large).unwrap();
        for subject in [Subject::Kernel, Subject::User] {
            let transfer = stage.transfer(subject, large).unwrap();
            eprintln!("{transfer:?}");
            assert!(transfer.reached() > 0.0 && transfer.reached().is_finite(), "{transfer:?}");
        }
    }
}
