//! `pagewire-bench ladder`: every architecture of a server, on the same HTTP code and the same files.
//!
//! - `rung`, `rungs`: what an architecture is here, and each of them in a file.
//! - `site`, `connection`, `listener`, `posix`, `ring`: what they are made of.
//! - `workload`, `cell`, `child`: what they are asked for, and how one is run in a process of its own.
//! - `account`, `calls`: what that process spends; `report`: how it is told.

mod account;
mod calls;
mod cell;
mod child;
mod connection;
mod listener;
mod posix;
mod report;
mod ring;
mod rung;
mod rungs;
mod site;
mod workload;

use std::{
    cell::RefCell,
    fs,
    io::{self, Write},
    time::{Duration, Instant},
};

use pagewire_tools::lab::{Lab, LabConfig, LabError, Switch};

use self::{
    account::Group,
    calls::Counter,
    cell::{Bench, Times},
    rung::{Place, Rung},
    workload::Workload,
};
use crate::{cpu, error::BenchError, interrupt, options::Common, output::print};

pub use calls::CannotCount;
pub use child::{RungOptions, raise_descriptor_limit, run as run_rung};
pub use posix::Forker;
pub use rungs::cgi::program as run_cgi;

/// What the workload of this name is.
pub fn workload_about(name: &str) -> Option<&'static str> {
    workload::ALL.iter().find(|workload| workload.name == name).map(|workload| workload.about)
}

/// Every architecture of a server beside the others, on the same HTTP code and the same files
///
/// Each cell is one architecture under one workload, in a process of its own, on the loopback
/// interface or, for the user-level stack, on a veth pair that is made for it. Root is needed for the
/// latter, and to charge CPU time, system calls and context switches; without it these are missing.
/// With --quick all cells within three minutes, to about 15 %.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,

    /// Only this rung; may be given several times
    #[arg(long, value_name = "NAME", value_parser = rung_of)]
    only: Vec<&'static Rung>,

    /// Only this workload; may be given several times
    #[arg(long, value_name = "NAME", value_parser = workload_of)]
    workload: Vec<&'static Workload>,

    /// Print the names of all rungs and workloads, and what they are
    #[arg(long)]
    list: bool,
}

fn rung_of(name: &str) -> Result<&'static Rung, String> {
    let names = || rung::ALL.iter().map(|rung| rung.name).collect::<Vec<_>>().join(", ");
    rung::find(name).ok_or_else(|| format!("there is none of that name; choose from {}", names()))
}

fn workload_of(name: &str) -> Result<&'static Workload, String> {
    let names = || workload::ALL.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
    let found = workload::ALL.iter().find(|workload| workload.name == name);
    found.ok_or_else(|| format!("there is none of that name; choose from {}", names()))
}

/// Measures all cells and prints them.
///
/// # Errors
///
/// When the machine cannot be set up for it, or when interrupted.
pub fn run(options: &Options) -> Result<(), BenchError> {
    if options.list {
        return list();
    }
    let start = Instant::now();
    let interrupted = interrupt::flag()?;
    child::raise_descriptor_limit();
    let rungs = if options.only.is_empty() { rung::ALL.to_vec() } else { options.only.clone() };
    let workloads: Vec<_> = if options.workload.is_empty() {
        workload::ALL.iter().collect()
    } else {
        options.workload.clone()
    };
    let millis = Duration::from_millis;
    let (times, cold) = if options.common.quick {
        let times = Times { warm_up: millis(50), measured: millis(300), counted: millis(80) };
        (times, 1024)
    } else {
        let times = Times { warm_up: millis(500), measured: millis(4000), counted: millis(500) };
        (times, 4096)
    };
    let failed = BenchError::system("write the files to be served");
    let directory =
        tempfile::Builder::new().prefix("pagewire-ladder-").tempdir().map_err(&failed)?;
    workload::write_warm(directory.path()).map_err(&failed)?;
    let needs_cold = workloads.iter().any(|workload| workload.is_cold());
    let can_be_cold =
        needs_cold && workload::write_cold(directory.path(), cold).map_err(&failed)?;
    let needs_lab = rungs.iter().any(|rung| rung.place == Place::Lab);
    let lab = if needs_lab { lab()? } else { None };
    let (near, far) = cpu::halves();
    let bench = Bench {
        directory: directory.path(),
        cold: can_be_cold.then_some(cold),
        lab: lab.as_ref(),
        times,
        cores: near.iter().chain(&far).map(|core| core.id).collect(),
        client: far[far.len() - 1],
        has_groups: has_groups()?,
        counter: RefCell::new(counter()?),
        interrupted,
    };
    print(&introduction(&bench))?;
    let mut all = Vec::new();
    for workload in workloads {
        print(&report::head(workload))?;
        for rung in &rungs {
            let outcome = bench.measure(rung, workload)?;
            print(&report::row(rung, workload, &outcome))?;
            all.extend(report::figures(rung, workload, &outcome));
        }
    }
    print(&format!("{}\n{} s", report::NOTES, start.elapsed().as_secs()))?;
    options.common.write(&all)
}

/// The veth pair; none without privileges.
fn lab() -> Result<Option<Lab>, BenchError> {
    let config = LabConfig {
        queues: Some(1),
        threaded_napi: Switch::Off,
        congestion_control: listener::CONGESTION_CONTROL.to_owned(),
        ..LabConfig::unique()
    };
    match Lab::up(&config) {
        Ok(lab) => Ok(Some(lab)),
        Err(LabError::NotRoot) => {
            eprintln!("pagewire-bench: {}", LabError::NotRoot);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn has_groups() -> Result<bool, BenchError> {
    match Group::new() {
        Ok(group) => {
            group.remove(Instant::now());
            Ok(true)
        }
        Err(error) => {
            let notice = "no control group can be made, so no CPU time, calls, switches or memory";
            writeln!(io::stderr(), "pagewire-bench: {notice}: {error}")
                .map_err(BenchError::system("print a notice"))?;
            Ok(false)
        }
    }
}

fn counter() -> Result<Option<Counter>, BenchError> {
    match Counter::load() {
        Ok(counter) => Ok(Some(counter)),
        Err(error) => {
            writeln!(io::stderr(), "pagewire-bench: {error}")
                .map_err(BenchError::system("print a notice"))?;
            Ok(None)
        }
    }
}

fn introduction(bench: &Bench<'_>) -> String {
    let controls = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let has_ours = controls.is_ok_and(|it| it.contains(listener::CONGESTION_CONTROL));
    let control = if has_ours { listener::CONGESTION_CONTROL } else { "the system's" };
    format!(
        "Server architectures: one core is core {}, all are {:?}; the client is on core {}; congestion \
         control {control}.\nEach cell: {:?} warm-up, {:?} measured, {:?} with system calls counted.",
        bench.cores[0],
        bench.cores,
        bench.client.id,
        bench.times.warm_up,
        bench.times.measured,
        bench.times.counted,
    )
}

fn list() -> Result<(), BenchError> {
    for rung in rung::ALL {
        print(&format!("{:<21} {}", rung.name, rung.about))?;
    }
    print("")?;
    for workload in &workload::ALL {
        print(&format!("{:<21} {}", workload.name, workload.about))?;
    }
    Ok(())
}
