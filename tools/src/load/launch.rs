//! A run's threads, and the sum of what they count.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use core_affinity::CoreId;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use nix::sys::{
    prctl::set_timerslack,
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike,
};
use pagewire_driver::Instant;
use pagewire_stack::Transport;

use super::{
    CoreReport, LoadError, Pace, Plan, Report, Second, TransportPlan,
    client::{Client, Ended, Task},
    clock::Clock,
    content::References,
    kernel,
    requests::Texts,
    tally::Tally,
    xdp,
};

/// What a transport has counted that should not have happened.
pub(super) trait Trouble {
    /// Names for people, and counts above zero.
    fn trouble(&self) -> Vec<(String, u64)>;
}

/// How long after a full second its counts may arrive.
const SLACK: Duration = Duration::from_millis(100);

/// What the threads of a run share.
struct Run<'a> {
    clock: Clock,
    stop: &'a AtomicBool,
    tallies: Sender<Tally>,
}

/// A thread that waits for its start.
struct Ready<'scope> {
    start: Sender<Instant>,
    thread: ScopedJoinHandle<'scope, Option<(Ended, CoreReport)>>,
}

/// Runs `plan`, which is sound.
pub(super) fn run(
    plan: &Plan,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Second),
) -> Result<Report, LoadError> {
    let tasks = tasks(plan)?;
    let (tallies, arriving) = unbounded();
    let run = Run { clock: Clock, stop, tallies };
    thread::scope(|scope| match &plan.transport {
        TransportPlan::Kernel { local_addresses } => {
            kernel::prepare(&tasks, local_addresses)?;
            let threads = tasks.into_iter().zip(&plan.cores).map(|(task, &core)| {
                let local_addresses: Vec<IpAddr> = local_addresses.clone();
                let build = |task: &Task, now| Ok((kernel::build(task, local_addresses, now)?, ()));
                Ok(ready(scope, &run, core, task, build)?.0)
            });
            let threads = threads.collect::<Result<Vec<_>, LoadError>>()?;
            Ok(collect(plan, run, &arriving, threads, watch))
        }
        TransportPlan::Xdp { interface, addresses, queues } => {
            let target = plan.target.address.ip();
            let mut way = xdp::Way::prepare(interface, addresses, queues.len(), target)?;
            let seeds = way.seeds(queues);
            let (mut threads, mut sockets) = (Vec::new(), Vec::new());
            for ((task, &core), seed) in tasks.into_iter().zip(&plan.cores).zip(seeds) {
                let build = move |task: &Task, now| xdp::build(task, seed, now);
                let (thread, socket) = ready(scope, &run, core, task, build)?;
                threads.push(thread);
                sockets.push(socket);
            }
            way.open(&sockets)?;
            drop(sockets);
            Ok(collect(plan, run, &arriving, threads, watch))
        }
    })
}

/// What each core is to do.
fn tasks(plan: &Plan) -> Result<Vec<Task>, LoadError> {
    let cores = plan.cores.len();
    let paths = plan.workload.paths();
    let authority = &plan.target.authority;
    let texts = Arc::new(Texts::new(paths, authority, &plan.headers, plan.close));
    let references = Arc::new(References::new(paths, &plan.verify)?);
    let workload = Arc::new(plan.workload.clone());
    let share = |whole: u64, index: usize| {
        let (cores, index) = (cores as u64, index as u64);
        whole / cores + u64::from(index < whole % cores)
    };
    let task = |index| Task {
        target: plan.target.address,
        workload: Arc::clone(&workload),
        texts: Arc::clone(&texts),
        references: Arc::clone(&references),
        index,
        cores,
        connections: share(plan.connections as u64, index) as usize,
        requests_max: plan.requests_max.map(|most| share(most, index)),
        rate_per_s: match plan.pace {
            Pace::Closed => None,
            Pace::Open { rate_per_s } => Some(rate_per_s),
        },
        duration: plan.duration,
        timeout: plan.timeout,
        close: plan.close,
        pipeline: plan.pipeline,
        expect: plan.expect,
        seed: plan.seed,
    };
    Ok((0..cores).map(task).collect())
}

/// Starts a thread that builds its transport and waits. Returns what `build` has to tell.
fn ready<'scope, T, E>(
    scope: &'scope thread::Scope<'scope, '_>,
    run: &Run<'scope>,
    core: usize,
    task: Task,
    build: impl FnOnce(&Task, Instant) -> Result<(T, E), LoadError> + Send + 'scope,
) -> Result<(Ready<'scope>, E), LoadError>
where
    T: Transport + Trouble,
    E: Send + 'scope,
{
    let (start, started) = bounded::<Instant>(1);
    let (report, reported) = bounded(1);
    let (clock, stop, tallies) = (run.clock, run.stop, run.tallies.clone());
    let body = move || {
        let pinned = core_affinity::set_for_current(CoreId { id: core });
        // So that sleeping is as precise as an open loop's schedule. Without it, it is less precise.
        let _ = set_timerslack(1);
        let transport = match build(&task, clock.now()) {
            Ok((transport, told)) => {
                let _ = report.send(Ok(told));
                transport
            }
            Err(error) => {
                let _ = report.send(Err(error));
                return None;
            }
        };
        let mut client = Client::new(transport, clock, task);
        // Without a start the run is given up.
        let start = started.recv().ok()?;
        let (user, system) = cpu_time();
        let ended = client.run(start, stop, &mut |tally| drop(tallies.send(tally)));
        let (user_after, system_after) = cpu_time();
        let report = CoreReport {
            core,
            pinned,
            user: user_after.saturating_sub(user),
            system: system_after.saturating_sub(system),
            trouble: client.transport().trouble(),
        };
        Some((ended, report))
    };
    let failed = |why: &str| LoadError::Transport(format!("a thread could not be started: {why}"));
    let thread = thread::Builder::new()
        .name(format!("load-{core}"))
        .spawn_scoped(scope, body)
        .map_err(|error| failed(&error.to_string()))?;
    let told = reported.recv().map_err(|_| failed("it has failed"))??;
    Ok((Ready { start, thread }, told))
}

/// CPU time of this thread, in user and in kernel mode.
fn cpu_time() -> (Duration, Duration) {
    let time = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
    };
    let times = |usage: Usage| (time(usage.user_time()), time(usage.system_time()));
    getrusage(UsageWho::RUSAGE_THREAD).map(times).unwrap_or_default()
}

/// Starts the threads and adds up what they count until the last has ended.
fn collect(
    plan: &Plan,
    run: Run<'_>,
    arriving: &Receiver<Tally>,
    threads: Vec<Ready<'_>>,
    watch: &mut dyn FnMut(&Second),
) -> Report {
    let Run { clock, stop, tallies } = run;
    drop(tallies);
    let start = clock.now();
    let threads: Vec<_> = threads
        .into_iter()
        .map(|ready| {
            let _ = ready.start.send(start);
            ready.thread
        })
        .collect();
    let mut report = Report::new(plan);
    let mut second = Tally::default();
    let mut emit_at = Duration::from_secs(1);
    loop {
        let elapsed = clock.now().since(start);
        match arriving.recv_timeout((emit_at + SLACK).saturating_sub(elapsed)) {
            Ok(tally) => second.add(&tally),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let passed = report.add(emit_at, &std::mem::take(&mut second));
                watch(passed);
                emit_at += Duration::from_secs(1);
            }
        }
    }
    report.add_last(&second);
    for thread in threads {
        match thread.join() {
            Ok(Some((ended, core))) => report.ended(ended, core),
            Ok(None) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    report.interrupted = stop.load(std::sync::atomic::Ordering::Relaxed);
    report
}
