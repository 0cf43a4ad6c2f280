//! `pagewire-bench cold`: what a set of files larger than the page cache does to those who ask for files
//! that are in it, and how fast a large file is sent that is not.

mod naive;
mod subject;
mod transfer;
mod trial;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use subject::Subject;
use transfer::{Large, Transfer};
use trial::{Stage, Trial};

use crate::{error::BenchError, figures::Figure, options::Common, output::print};

/// How much longer the slowest hundredth may take beside a cold set, with a server that does not let its
/// cores wait for the disk.
const RATIO_ASKED: f64 = 2.0;

/// Hot files beside a set that does not fit into memory
///
/// A server may use so little memory (by a control group of its own) that most of a large set of files
/// has to be read from the disk again and again. Meanwhile others ask for a few small files that stay in
/// memory. A server whose threads wait for the disk makes these wait too. Each server is loaded three
/// times: by those who ask for hot files alone; with as much traffic beside them from files that are in
/// memory as well; and with the cold set. Then one client fetches one large file that is not in memory, and
/// the same once more: its rates are shown beside that of a plain reader of the disk. With --quick for
/// 4 seconds instead of 15, and a smaller file.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
}

/// The server that is compared with; started by the bench.
#[derive(Debug, clap::Args)]
pub struct NaiveOptions {
    root: PathBuf,
    address: SocketAddr,
    core: usize,
}

/// Runs the server that is compared with.
///
/// # Errors
///
/// Whatever the system says.
pub fn run_naive(options: &NaiveOptions) -> std::io::Result<()> {
    core_affinity::set_for_current(core_affinity::CoreId { id: options.core });
    naive::serve(&options.root, options.address)
}

/// Measures all servers and prints it.
///
/// # Errors
///
/// [`BenchError`]: no lab, no control group, no server.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let stage = Stage::set(if options.common.quick { 4 } else { 15 })?;
    print(&format!("{}\n", stage.describe()))?;
    print(&format!(
        "{:<22} {:>9} {:>9} {:>9} {:>7} {:>10} {:>8} {:>10} {:>7}",
        "hot p99, ms", "alone", "beside", "beside", "cold /", "cold", "cold", "faults on", "failed"
    ))?;
    print(&format!(
        "{:<22} {:>9} {:>9} {:>9} {:>7} {:>10} {:>8} {:>10} {:>7}",
        "", "", "warm set", "cold set", "alone", "requests", "p99, ms", "the core", ""
    ))?;
    let mut all = Vec::new();
    for subject in Subject::ALL {
        if !subject.is_here() {
            print(&format!(
                "{:<22} is not installed (apt-get install nginx-light)",
                subject.name()
            ))?;
            continue;
        }
        let trial = stage.run(subject)?;
        print(&format!(
            "{:<22} {:>9.2} {:>9.2} {:>9.2} {:>7.2} {:>10} {:>8.1} {:>10} {:>7}",
            subject.name(),
            trial.alone_ms,
            trial.warm_ms,
            trial.cold_ms,
            trial.ratio(),
            trial.cold_requests,
            trial.cold_p99_ms,
            trial.faults,
            trial.failures
        ))?;
        all.extend(figures_of(subject, &trial));
        if matches!(subject, Subject::Kernel | Subject::User) {
            let verdict = if trial.ratio() <= RATIO_ASKED { "kept" } else { "exceeded" };
            print(&format!("{:<22} at most {RATIO_ASKED} times as long is asked: {verdict}", ""))?;
        }
    }
    all.extend(transfers(&stage, options.common.quick)?);
    options.common.write(&all)
}

/// Fetches a large file from those who may have to read it from the disk without waiting for it.
fn transfers(stage: &Stage, quick: bool) -> Result<Vec<Figure>, BenchError> {
    let (mib, seconds) = if quick { (768, 4) } else { (3_072, 20) };
    let large = Large { bytes: mib << 20, time: Duration::from_secs(seconds) };
    stage.prepare(large)?;
    print(&format!("\nOne client fetches a file of {mib} MiB, for {seconds} s at most.\n"))?;
    print(&format!(
        "{:<22} {:>9} {:>9} {:>9} {:>10} {:>10}",
        "cold transfer, MB/s", "cold", "disk", "in memory", "of disk", "of lesser"
    ))?;
    let mut all = Vec::new();
    for subject in [Subject::Kernel, Subject::User, Subject::Nginx] {
        if !subject.is_here() {
            continue;
        }
        let transfer = stage.transfer(subject, large)?;
        print(&format!(
            "{:<22} {:>9.0} {:>9.0} {:>9.0} {:>9.0}% {:>9.0}%",
            subject.name(),
            transfer.cold / 1e6,
            transfer.disk / 1e6,
            transfer.warm / 1e6,
            transfer.cold / transfer.disk * 100.0,
            transfer.reached() * 100.0
        ))?;
        all.extend(figures_of_transfer(subject, &transfer));
    }
    Ok(all)
}

fn figures_of_transfer(subject: Subject, transfer: &Transfer) -> [Figure; 4] {
    let figure = |name: &str, value: f64, unit| Figure {
        name: format!("cold/{}/transfer/{name}", subject.key()),
        value,
        unit,
    };
    [
        figure("cold", transfer.cold / 1e6, "MB/s"),
        figure("disk", transfer.disk / 1e6, "MB/s"),
        figure("in memory", transfer.warm / 1e6, "MB/s"),
        figure("cold of the lesser of disk and memory", transfer.reached(), "ratio"),
    ]
}

fn figures_of(subject: Subject, trial: &Trial) -> Vec<Figure> {
    let figure = |name: &str, value: f64, unit| Figure {
        name: format!("cold/{}/{name}", subject.key()),
        value,
        unit,
    };
    vec![
        figure("hot p99 alone", trial.alone_ms, "ms"),
        figure("hot p99 beside a warm set", trial.warm_ms, "ms"),
        figure("hot p99 beside a cold set", trial.cold_ms, "ms"),
        figure("hot p99 cold to alone", trial.ratio(), "times"),
        figure("cold requests", trial.cold_requests as f64, "requests"),
        figure("cold p99", trial.cold_p99_ms, "ms"),
        figure("major faults of core threads", trial.faults as f64, "faults"),
        figure("failures", trial.failures as f64, "requests"),
    ]
}
