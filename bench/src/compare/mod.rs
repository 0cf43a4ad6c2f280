//! `pagewire-bench compare`: the user stack against kernel mode, on a lab of its own.
//!
//! Both are the same program, `pagewire serve`, with one shard on the first core; the client has the
//! second, and the kernel's receive work of each side is done on that side's core. Beside each figure of
//! the user stack stands the raw exchange of as many frames of the same size.
//!
//! - `cell`: what is asked; `order`: who is measured when.
//! - `wire`: the lab; `server`: how the server is started; `trial`: one run; `account`: who spent what.
//! - `exchange`, `raw`: the limit.
//! - `stages`: what a request costs stage by stage, on both sides and in the raw exchange.
//! - `clients`: what may ask, one client against another.
//! - `report`: the tables and figures.

mod account;
mod cell;
pub mod clients;
mod exchange;
mod order;
mod raw;
mod report;
mod server;
mod stages;
mod trial;
mod wire;

use std::time::Duration;

use self::{
    cell::{CELLS, Cell},
    order::{Ledger, Subject, order},
    stages::Profile,
    trial::{Measured, Stage},
    wire::Link,
};
use crate::{
    error::BenchError,
    figures::Figure,
    interrupt,
    limit::Limit,
    options::Common,
    output::{Progress, print},
    product,
};

/// The user stack against kernel mode: what a request costs the server's side, on a lab of its own
///
/// The server has the first core and the client the second, each with the kernel's receive work for its
/// side. Beside the user stack stands the raw exchange of as many frames of the same size, the least that
/// any stack on `AF_XDP` could cost here. With --quick four cells within two minutes. Needs root and two
/// cores.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,

    /// Only cells whose name contains this, such as `1 KiB` or `connection per request`
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// How often each cell is measured [default: 4, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    rounds: Option<u32>,

    /// How long each run counts [default: 2, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=30))]
    seconds: Option<u32>,
}

/// The runs of one cell.
type Runs = Ledger<Measured>;

/// Measures all cells and prints them.
///
/// # Errors
///
/// Without privileges, programs or kernel features that it needs, or when interrupted.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let interrupted = interrupt::flag()?;
    let chosen = |cell: &Cell| {
        let named = options.only.as_ref().is_none_or(|text| cell.name().contains(text));
        named && (cell.quick || !options.common.quick)
    };
    let cells: Vec<_> = CELLS.into_iter().filter(chosen).collect();
    let most = cells.iter().map(|cell| cell.connections).max().ok_or_else(no_cell)?;
    let descriptors = product::allow_descriptors(most);
    let seconds = options.seconds.unwrap_or(if options.common.quick { 1 } else { 2 });
    let stage =
        Stage::set(&cells, interrupted, Duration::from_secs(seconds.into()), options.common.quick)?;
    let rounds = options.rounds.unwrap_or(if options.common.quick { 3 } else { 4 }) as usize;
    let mut progress = Progress::new(cells.iter().map(|cell| cell.rounds(rounds) * 3).sum());
    let mut figures = Vec::new();
    for cells in cells.chunk_by(|one, other| one.wire == other.wire) {
        let link = Link::up(cells[0].wire)?;
        print(&report::head(cells[0].wire, &link))?;
        for cell in cells {
            let refusal = server::refusal(Subject::Kernel, cell, descriptors);
            let rounds = cell.rounds(rounds);
            let runs = measure(&stage, &link, cell, rounds, refusal.as_deref(), &mut progress)?;
            Progress::clear();
            print(&report::block(cell, &runs, refusal.as_deref()))?;
            figures.extend(report::figures(cell, &runs, refusal.as_deref()));
            if cell.stages {
                figures.extend(look(&stage, &link, cell, &runs)?);
            }
        }
    }
    print(report::NOTES)?;
    options.common.write(&figures)
}

fn no_cell() -> BenchError {
    let names = CELLS.map(|cell| cell.name()).join("\n  ");
    BenchError::Nothing(format!("no cell is named like that; there are\n  {names}"))
}

/// Looks at each subject's stages in a cell, and shows them.
fn look(stage: &Stage, link: &Link, cell: &Cell, runs: &Runs) -> Result<Vec<Figure>, BenchError> {
    let mut figures = Vec::new();
    let mut costs = [Vec::new(), Vec::new(), Vec::new()];
    for subject in Subject::ALL {
        let Some(cost) = runs.estimate(subject, Measured::cost_us) else { continue };
        let plan = || {
            let last = runs.of(Subject::User).last();
            last.and_then(|run| raw::Plan::of(run, cell.wire, stage.time))
        };
        let profile = match subject {
            Subject::Kernel | Subject::User => stages::look(stage, link, cell, subject)?,
            Subject::Raw => match plan() {
                Some(plan) => stages::look_raw(stage, link, cell, &plan)?,
                None => continue,
            },
        };
        let Some(profile) = profile else {
            print(report::NO_PERF)?;
            break;
        };
        if subject == Subject::Kernel {
            print(&report::stages(subject, &profile, cost.median))?;
        }
        figures.extend(report::stage_figures(cell, subject, &profile, cost.median));
        costs[subject as usize] = Profile::costs(&profile, cost.median);
    }
    let [_, user, raw] = costs;
    if let Some(limit) = Limit::of(user, raw) {
        print(&report::limit(&limit))?;
    }
    Ok(figures)
}

/// All runs of a cell; none of kernel mode if there is a reason that it cannot be.
fn measure(
    stage: &Stage,
    link: &Link,
    cell: &Cell,
    rounds: usize,
    no_kernel: Option<&str>,
    progress: &mut Progress,
) -> Result<Runs, BenchError> {
    let mut runs = Runs::default();
    for subject in order(rounds) {
        progress.step(&format!("{}: {}", cell.name(), subject.name()));
        let run = match subject {
            Subject::Kernel if no_kernel.is_some() => continue,
            Subject::Kernel | Subject::User => stage.run(link, cell, subject)?,
            Subject::Raw => {
                // Of the last run before. If that exchanged nothing, there is nothing to hold against it.
                let plan = |run| raw::Plan::of(run, cell.wire, stage.time);
                let Some(plan) = runs.of(Subject::User).iter().rev().find_map(plan) else {
                    runs.enter(subject, Measured::default());
                    continue;
                };
                raw::run(stage, link, cell, &plan)?
            }
        };
        runs.enter(subject, run);
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use pagewire_tools::lab;

    use super::{exchange::Exchange, *};
    use crate::ends::{alone, holds, patiently};

    #[test]
    fn both_servers_and_the_raw_exchange_are_measured_and_charged() {
        if !lab::privileged() {
            return;
        }
        let _alone = alone();
        product::build();
        let (cell, time) = (Cell { connections: 8, ..CELLS[0] }, Duration::from_secs(1));
        let stage = Stage::set(&[cell], interrupt::flag().unwrap(), time, true).unwrap();
        let link = Link::up(cell.wire).unwrap();
        patiently(|| {
            let runs = measure(&stage, &link, &cell, 1, None, &mut Progress::new(3)).unwrap();
            for subject in Subject::ALL {
                let [run] = runs.of(subject) else { panic!("{subject:?} ran once") };
                let served = [run.requests > 100, run.failures() == 0];
                let charged = [run.spent.server, run.spent.server_receive].map(|it| !it.is_zero());
                holds(run, &[served, charged].concat())?;
                let exchange = Exchange::of(run).unwrap();
                holds(&exchange, &[exchange.requests >= 0.9, exchange.responses >= 0.9])?;
            }
            let text = report::block(&cell, &runs, None);
            assert!(text.contains("user / kernel") && text.contains("user / raw"), "{text}");
            Ok(())
        });
    }
}
