//! What a request costs stage by stage: samples of the server's core while it is loaded, and of the same
//! core in the raw exchange.
//!
//! `perf record -e cpu-clock` samples the core, as there may be no performance counters. A sample in the
//! kernel belongs to the system call that it was under, or to the kernel thread that receives; one in the
//! program to the source file that its innermost telling frame is from, inlined ones included. Stages get
//! their share of the samples of the server's threads; what they cost is that share of what a request
//! costs without `perf`.

mod place;
mod samples;
mod sources;

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use self::{place::place, samples::Sample, sources::Sources};
use super::{cell::Cell, order::Subject, raw, trial::Stage as Trial, wire::Link};
use crate::{cpu, error::BenchError};

/// Samples a second. Not a divisor of the timer's rate.
const RATE: &str = "2987";

/// How long a load runs before it is looked at.
const WARM_UP: Duration = Duration::from_millis(400);

/// How much longer the raw exchange runs than it is looked at.
const RAW_SLACK: Duration = Duration::from_millis(800);

/// A run, seen by its samples.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Samples by stage.
    pub stages: BTreeMap<&'static str, u64>,
}

impl Profile {
    /// All samples.
    pub fn total(&self) -> u64 {
        self.stages.values().sum()
    }

    /// Which part of the samples each stage has, the largest first.
    pub fn shares(&self) -> Vec<(&'static str, f64)> {
        let total = self.total().max(1) as f64;
        let share = |(name, count): (&&'static str, &u64)| (*name, *count as f64 / total);
        let mut shares: Vec<_> = self.stages.iter().map(share).collect();
        shares.sort_by(|one, other| other.1.total_cmp(&one.1));
        shares
    }

    /// What each stage costs where all cost `cost_us`, the largest first.
    pub fn costs(&self, cost_us: f64) -> Vec<(&'static str, f64)> {
        self.shares().into_iter().map(|(name, share)| (name, share * cost_us)).collect()
    }
}

/// Runs a server once more in `cell`, and looks at it. Nothing where there is no `perf`.
pub fn look(
    trial: &Trial,
    link: &Link,
    cell: &Cell,
    subject: Subject,
) -> Result<Option<Profile>, BenchError> {
    if !works() {
        return Ok(None);
    }
    trial.check()?;
    let running = trial.serve(link, cell, subject)?;
    let warm_up = WARM_UP + Duration::from_secs(trial.warm_up_s(cell).into());
    let who = Watched { process: running.id(), program: trial.program(), warm_up };
    let profile = watch(trial, link, &who, || trial.load(link, cell, &running).map(drop))?;
    running.stop()?;
    Ok(Some(profile))
}

/// The same for the raw exchange.
pub fn look_raw(
    trial: &Trial,
    link: &Link,
    cell: &Cell,
    plan: &raw::Plan,
) -> Result<Option<Profile>, BenchError> {
    if !works() {
        return Ok(None);
    }
    let program = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let who = Watched { process: std::process::id(), program: &program, warm_up: WARM_UP };
    let plan = raw::Plan { time: plan.time + RAW_SLACK, ..*plan };
    watch(trial, link, &who, || raw::run(trial, link, cell, &plan).map(drop)).map(Some)
}

/// Who is looked at, and from when on.
struct Watched<'a> {
    process: u32,
    program: &'a Path,
    warm_up: Duration,
}

/// Samples of the server's core while `work` is done.
fn watch(
    trial: &Trial,
    link: &Link,
    who: &Watched<'_>,
    work: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Profile, BenchError> {
    let path = trial.scratch().join("perf.data");
    let recorded = thread::scope(|scope| {
        let recorder = scope.spawn(|| {
            thread::sleep(who.warm_up);
            record(link, &path, trial.time.saturating_sub(WARM_UP))?;
            // While they are there.
            Ok((own_threads(who.process), cpu::receive_threads(&link.server.interface)?))
        });
        work()?;
        let outcome = recorder.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        Ok::<_, BenchError>(outcome)
    })?;
    let (own, receive) = recorded.map_err(BenchError::system("record by perf"))?;
    let profile = evaluate(&path, who.program, &own, &receive);
    let _ = fs::remove_file(&path);
    profile.map_err(BenchError::system("read what perf recorded"))
}

fn works() -> bool {
    let tools = [("perf", "--version"), ("addr2line", "--version")];
    tools.iter().all(|(tool, argument)| {
        let mut command = Command::new(tool);
        let quiet = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    })
}

fn record(link: &Link, path: &Path, time: Duration) -> io::Result<()> {
    let core = link.server.cores.first().map_or(0, |core| core.id).to_string();
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-C", &core, "-e", "cpu-clock", "-F", RATE, "-g", "-o"]).arg(path);
    perf.args(["--", "sleep", &time.as_secs_f64().to_string()]);
    let status = perf.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    status.success().then_some(()).ok_or_else(|| io::Error::other(status.to_string()))
}

fn own_threads(process: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

fn evaluate(path: &Path, program: &Path, own: &[i32], receive: &[i32]) -> io::Result<Profile> {
    let mut perf = Command::new("perf");
    let perf = perf.args(["script", "-F", "tid,ip,sym,dso", "-i"]).arg(path);
    let output = perf.stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let samples = samples::parse(&text, program);
    let of_server =
        |sample: &&Sample| own.contains(&sample.thread) || receive.contains(&sample.thread);
    let samples: Vec<_> = samples.iter().filter(of_server).collect();
    let sources = Sources::find(program, samples.iter().filter_map(|sample| sample.own_address))?;
    let mut profile = Profile::default();
    for sample in samples {
        let stage = place(sample, receive.contains(&sample.thread), &sources);
        *profile.stages.entry(stage).or_default() += 1;
    }
    Ok(profile)
}
