//! One cell of the ladder: one rung under one workload, in a process of its own.

use std::{
    cell::RefCell,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use core_affinity::CoreId;
use pagewire_tools::lab::{Lab, SERVER, Side};

use super::{
    account::{Group, evenness},
    calls::{Counter, Counts},
    child::Running,
    rung::{Cores, Place, Rung, Setting, Workers},
    workload::{self, Workload},
};
use crate::{
    client::{Client, Load, Reuse, Seen},
    cpu,
    error::BenchError,
};

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Before it counts.
    pub warm_up: Duration,
    /// What is measured.
    pub measured: Duration,
    /// After that: system calls are counted.
    pub counted: Duration,
}

/// How long all connections may take to have an answer each.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers for which a measurement is prolonged, and how often.
const ANSWERS_LEAST: u64 = 50;
const PROLONGED_MOST: u32 = 5;

/// What all cells share.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The files.
    pub directory: &'a Path,
    /// How many files the cold set has; none if there is none.
    pub cold: Option<usize>,
    /// The lab, where it is up.
    pub lab: Option<&'a Lab>,
    /// How long things take.
    pub times: Times,
    /// Cores of servers: the first, or all.
    pub cores: Vec<usize>,
    /// The core of the client.
    pub client: CoreId,
    /// Whether control groups can be had.
    pub has_groups: bool,
    /// What counts system calls, if they can be counted.
    pub counter: RefCell<Option<Counter>>,
    /// Set when it is to end.
    pub interrupted: Arc<AtomicBool>,
}

/// What was measured. What could not be is none.
#[derive(Debug)]
pub struct Measured {
    /// Answers a second.
    pub rate: f64,
    /// Latencies, in nanoseconds, and answers that were wrong or did not come.
    pub seen: Seen,
    /// CPU time of the server's processes for each answer.
    pub cpu: Option<Duration>,
    /// Cores that it kept busy.
    pub busy: Option<f64>,
    /// System calls for each answer.
    pub system_calls: Option<f64>,
    /// Context switches for each answer.
    pub switches: Option<f64>,
    /// Memory for each connection, in bytes.
    pub memory_bytes: Option<f64>,
    /// Jain's index over the threads that are there to share the work.
    pub evenness: Option<f64>,
    /// Which share of the cores went to other programs.
    pub others: Option<f64>,
}

/// A cell's end.
#[derive(Debug)]
pub enum Outcome {
    /// It was measured.
    Measured(Box<Measured>),
    /// It cannot be done, and why.
    Cannot(String),
}

impl Bench<'_> {
    /// Runs a cell.
    pub fn measure(&self, rung: &Rung, workload: &Workload) -> Result<Outcome, BenchError> {
        if let Some(why) = workload.refused_by(&rung.limits) {
            return Ok(Outcome::Cannot(why));
        }
        if workload.is_cold() && self.cold.is_none() {
            let why = "the temporary directory is in memory: set TMPDIR to one on a disk";
            return Ok(Outcome::Cannot(why.to_owned()));
        }
        let lab = match (rung.place, self.lab) {
            (Place::Loopback, _) => None,
            (Place::Lab, Some(lab)) => Some(lab),
            (Place::Lab, None) => return Ok(Outcome::Cannot("the lab needs root".to_owned())),
        };
        if let (true, Some(count)) = (workload.is_cold(), self.cold) {
            workload::chill(self.directory, count)
                .map_err(BenchError::system("drop files from the page cache"))?;
        }
        let address = match lab {
            Some(_) => SocketAddr::new(SERVER[0], 80),
            None => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let setting = Setting {
            directory: self.directory.to_owned(),
            address,
            cores: self.cores[..if rung.cores == Cores::One { 1 } else { self.cores.len() }].into(),
            connections: workload.connections(),
            announce: |_| Ok(()),
        };
        let group = self.has_groups.then(Group::new).transpose();
        let group = group.map_err(BenchError::system("make a control group"))?;
        match Running::start(rung, &setting, lab, group) {
            Ok(mut running) => {
                let outcome = self.observe(rung, workload, &running, lab)?;
                Ok(if running.is_alive() {
                    outcome
                } else {
                    Outcome::Cannot("the server has ended".to_owned())
                })
            }
            Err(error) => Ok(Outcome::Cannot(format!("it does not start: {error}"))),
        }
    }

    fn observe(
        &self,
        rung: &Rung,
        workload: &Workload,
        running: &Running,
        lab: Option<&Lab>,
    ) -> Result<Outcome, BenchError> {
        let group = running.group.as_ref();
        let failed = BenchError::system("ask the server");
        // One answer first: what the first of all costs is not the price of a connection.
        let single = Load { active: 1, idle: 0, ..self.load(workload, running) };
        let probe = start(single, lab)?;
        if !probe.wait_ready(PATIENCE, &self.interrupted) {
            return self.no_answers(rung);
        }
        probe.stop().map_err(&failed)?;
        let before = memory(group);
        let client = start(self.load(workload, running), lab)?;
        if !client.wait_ready(PATIENCE, &self.interrupted) {
            return self.no_answers(rung);
        }
        let after = memory(group);
        if !workload.is_cold() {
            self.pass(&client, self.times.warm_up, u64::MAX)?;
        }
        let period = self.record(rung, workload, running, &client)?;
        let counts = self.count(group, &client)?;
        let seen = client.stop().map_err(&failed)?;
        let keeps = workload.reuse == Reuse::KeepAlive && rung.limits.idle.is_none();
        let each = |count: u64, answers: u64| count as f64 / answers.max(1) as f64;
        Ok(Outcome::Measured(Box::new(Measured {
            rate: period.answers as f64 / period.time.as_secs_f64(),
            seen,
            cpu: period.cpu.map(|cpu| {
                Duration::from_secs_f64(cpu.as_secs_f64() / period.answers.max(1) as f64)
            }),
            busy: period.cpu.map(|cpu| cpu.as_secs_f64() / period.time.as_secs_f64()),
            system_calls: counts.map(|(answers, counts)| each(counts.system_calls, answers)),
            switches: counts.map(|(answers, counts)| each(counts.switches, answers)),
            memory_bytes: before.zip(after).filter(|_| keeps).map(|(before, after)| {
                after.saturating_sub(before) as f64 / workload.connections() as f64
            }),
            evenness: period.evenness,
            others: period.others,
        })))
    }

    fn load(&self, workload: &Workload, running: &Running) -> Load {
        Load {
            server: running.address,
            active: workload.active,
            idle: workload.idle,
            targets: workload.targets(self.cold.unwrap_or(0)),
            once: workload.is_cold(),
            core: self.client,
        }
    }

    fn no_answers(&self, rung: &Rung) -> Result<Outcome, BenchError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        let seconds = PATIENCE.as_secs();
        let name = rung.name;
        Ok(Outcome::Cannot(format!("{name} has not answered all connections in {seconds} s")))
    }

    /// Lets time pass, until the client has nothing left to ask or has had so many answers.
    fn pass(&self, client: &Client, time: Duration, most: u64) -> Result<(), BenchError> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline && !client.is_exhausted() && client.completed() < most {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            thread::sleep(rest.min(Duration::from_millis(10)));
        }
        Ok(())
    }

    fn spent(&self, group: Option<&Group>) -> Result<Spent, BenchError> {
        let read = || {
            let cores: Vec<_> = self.cores.iter().map(|&id| CoreId { id }).collect();
            let rung = group.map(Group::cpu_time).transpose()?.unwrap_or_default();
            Ok(Spent { cores: cpu::busy(&cores)?, rung, client: cpu::own_time()? })
        };
        read().map_err(BenchError::system("read what was spent"))
    }

    fn record(
        &self,
        rung: &Rung,
        workload: &Workload,
        running: &Running,
        client: &Client,
    ) -> Result<Period, BenchError> {
        let group = running.group.as_ref();
        // Of a cold set some files are left for counting.
        let most =
            self.cold.filter(|_| workload.is_cold()).map_or(u64::MAX, |it| it as u64 * 3 / 4);
        let threads = threads(group);
        client.record(true);
        let (start, answers, before) = (Instant::now(), client.completed(), self.spent(group)?);
        self.pass(client, self.times.measured, most)?;
        // On a machine that is busy otherwise, a rung may not even have run.
        for _ in 0..PROLONGED_MOST {
            if client.completed() - answers >= ANSWERS_LEAST || client.is_exhausted() {
                break;
            }
            self.pass(client, self.times.measured, most)?;
        }
        let (time, answers) = (start.elapsed(), client.completed() - answers);
        let spent = self.spent(group)?;
        client.record(false);
        let since = |of: fn(&Spent) -> Duration| of(&spent).saturating_sub(of(&before));
        let cpu = group.map(|_| since(|it| it.rung));
        let others = cpu.map(|cpu| {
            let others = since(|it| it.cores).saturating_sub(cpu + since(|it| it.client));
            others.as_secs_f64() / (time.as_secs_f64() * self.cores.len() as f64)
        });
        let evenness = threads.zip(self::threads(group)).and_then(|(before, after)| {
            let shares = after.iter().filter_map(|(id, time)| {
                let before =
                    before.iter().find(|(it, _)| it == id).map_or(Duration::ZERO, |it| it.1);
                let share = time.saturating_sub(before);
                match rung.workers {
                    Workers::One => None,
                    // The first only looks after the others.
                    Workers::Fixed => (*id != running.id()).then_some(share),
                    Workers::Each => (*id != running.id() && !share.is_zero()).then_some(share),
                }
            });
            evenness(&shares.collect::<Vec<_>>())
        });
        Ok(Period { time, answers, cpu, evenness, others })
    }

    /// Counts system calls and switches, with the answers meanwhile, as far as that can be done.
    fn count(
        &self,
        group: Option<&Group>,
        client: &Client,
    ) -> Result<Option<(u64, Counts)>, BenchError> {
        let mut counter = self.counter.borrow_mut();
        let (Some(counter), Some(group)) = (counter.as_mut(), group) else { return Ok(None) };
        let (answers, counts) = counter.count(group, || {
            let before = client.completed();
            self.pass(client, self.times.counted, u64::MAX).map(|()| client.completed() - before)
        })?;
        Ok(Some((answers?, counts)).filter(|(answers, _)| *answers > 0))
    }
}

struct Period {
    time: Duration,
    answers: u64,
    cpu: Option<Duration>,
    evenness: Option<f64>,
    others: Option<f64>,
}

/// CPU time.
struct Spent {
    cores: Duration,
    rung: Duration,
    client: Duration,
}

fn start(load: Load, lab: Option<&Lab>) -> Result<Client, BenchError> {
    let client = match lab {
        Some(lab) => lab.within(Side::Client, || Client::start(load))?,
        None => Client::start(load),
    };
    client.map_err(BenchError::system("start the client"))
}

/// Figures of a group that has just gone are none.
fn memory(group: Option<&Group>) -> Option<u64> {
    group?.memory_bytes().ok()
}

fn threads(group: Option<&Group>) -> Option<Vec<(u32, Duration)>> {
    group?.threads().ok()
}
