//! `pagewire-bench compare`: the user stack against kernel mode, on a lab of its own.
//!
//! Both are the same program, `pagewire serve`, with one shard on the first core; the client has the
//! second, and the kernel's receive work of each side is done on that side's core. Beside each figure of
//! the user stack stands the raw exchange of as many frames of the same size.
//!
//! - `cell`: what is asked; `order`: who is measured when.
//! - `wire`: the lab; `server`: how the server is started; `trial`: one run; `account`: who spent what.
//! - `exchange`, `raw`: the limit.
//! - `stages`: what a request costs stage by stage.
//! - `report`: the tables and figures.

mod account;
mod cell;
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
    exchange::Exchange,
    order::{Ledger, Subject, order},
    trial::{Measured, Stage},
    wire::Link,
};
use crate::{
    error::BenchError,
    figures::Json,
    interrupt,
    output::{Progress, print},
    product,
};

/// The user stack against kernel mode: what a request costs the server's side, on a lab of its own
///
/// The server has the first core and the client the second, each with the kernel's receive work for its
/// side. Beside the user stack stands the raw exchange of as many frames of the same size, the least that
/// any stack on `AF_XDP` could cost here. Needs root and two cores.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Four cells in short runs, within a minute and a half
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    json: Json,

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
        named && (cell.quick || !options.quick)
    };
    let cells: Vec<_> = CELLS.into_iter().filter(chosen).collect();
    let most = cells.iter().map(|cell| cell.connections).max().ok_or_else(no_cell)?;
    product::allow_descriptors(most);
    let seconds = options.seconds.unwrap_or(if options.quick { 1 } else { 2 });
    let stage =
        Stage::set(&cells, interrupted, Duration::from_secs(seconds.into()), options.quick)?;
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 4 }) as usize;
    let mut progress = Progress::new(cells.iter().map(|cell| cell.rounds(rounds) * 3).sum());
    let mut figures = Vec::new();
    for cells in cells.chunk_by(|one, other| one.wire == other.wire) {
        let link = Link::up(cells[0].wire)?;
        print(&report::head(cells[0].wire, &link))?;
        for cell in cells {
            let runs = measure(&stage, &link, cell, cell.rounds(rounds), &mut progress)?;
            Progress::clear();
            print(&report::block(cell, &runs))?;
            figures.extend(report::figures(cell, &runs));
            for subject in [Subject::Kernel, Subject::User] {
                let cost = runs.estimate(subject, Measured::cost_us).filter(|_| cell.stages);
                let Some(cost) = cost else { continue };
                let Some(profile) = stages::look(&stage, &link, cell, subject)? else {
                    print(report::NO_PERF)?;
                    break;
                };
                print(&report::stages(subject, &profile, cost.median))?;
                figures.extend(report::stage_figures(cell, subject, &profile, cost.median));
            }
        }
    }
    print(report::NOTES)?;
    options.json.write(&figures)
}

fn no_cell() -> BenchError {
    let names = CELLS.map(|cell| cell.name()).join("\n  ");
    BenchError::Nothing(format!("no cell is named like that; there are\n  {names}"))
}

/// All runs of a cell.
fn measure(
    stage: &Stage,
    link: &Link,
    cell: &Cell,
    rounds: usize,
    progress: &mut Progress,
) -> Result<Runs, BenchError> {
    let mut runs = Runs::default();
    for subject in order(rounds) {
        progress.step(&format!("{}: {}", cell.name(), subject.name()));
        let run = match subject {
            Subject::Kernel | Subject::User => stage.run(link, cell, subject)?,
            Subject::Raw => {
                // Of the last run before. If that exchanged nothing, there is nothing to hold against it.
                let Some(exchange) = runs.of(Subject::User).iter().rev().find_map(Exchange::of)
                else {
                    runs.enter(subject, Measured::default());
                    continue;
                };
                raw::run(stage, link, cell, &exchange)?
            }
        };
        runs.enter(subject, run);
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use pagewire_tools::lab;

    use super::*;
    use crate::ends::alone;

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
        let runs = measure(&stage, &link, &cell, 1, &mut Progress::new(3)).unwrap();
        for subject in Subject::ALL {
            let [run] = runs.of(subject) else { panic!("{subject:?} ran once") };
            assert!(run.requests > 100 && run.failures == 0, "{subject:?}: {run:?}");
            assert!(run.spent.server > Duration::ZERO, "{subject:?}: {run:?}");
            assert!(run.spent.server_receive > Duration::ZERO, "{subject:?}: {run:?}");
            let exchange = Exchange::of(run).unwrap();
            assert!(exchange.requests >= 0.9 && exchange.responses >= 0.9, "{exchange:?}");
        }
        let text = report::block(&cell, &runs);
        assert!(text.contains("user / kernel") && text.contains("user / raw"), "{text}");
    }
}
