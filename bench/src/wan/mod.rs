//! `pagewire-bench wan`: the user stack's sender against Linux's, over links like those of the Internet.
//!
//! Both senders are the same program, `pagewire serve`, with CUBIC; the receiver is Linux. Between them
//! stands the lab's link emulator, which treats either alike and also counts what it sees being sent
//! again. Each run has a lab of its own, so that nothing is remembered from one to the next, and both
//! runs of a pair meet the same seed.
//!
//! - `cell`: the links; `scene`: one lab with its servers; `download`: the receivers.
//! - `bulk`, `objects`, `fairness`: the three measurements; `crew`: runs that take place side by side.
//! - `report`: the tables, the goals and the figures.

mod bulk;
mod cell;
mod crew;
mod download;
mod fairness;
mod objects;
mod report;
mod scene;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use self::{cell::Part, crew::Crew, scene::Stage};
use crate::{
    error::BenchError, figures::Figure, interrupt, options::Common, output::print, product,
};

/// Samples of each sender's completion times on each link.
const SAMPLES: usize = 1_000;

/// The user stack's sender against Linux's over links with delay, loss and narrow queues
///
/// One server sends to a Linux receiver through the lab's link emulator, once with the user stack and
/// once with the kernel's TCP, both with CUBIC. Needs root. All of it takes about half an hour; with
/// --quick six links within five minutes.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,

    /// Only cells whose name contains this, such as `50 ms` or `64 KiB`
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Paired runs of each link [default: 10, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    rounds: Option<u32>,

    /// How long each run of goodput takes [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,

    /// Links side by side, where a link takes a small part of a core
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=16))]
    links: u32,
}

/// Measures all cells and prints them.
///
/// # Errors
///
/// Without privileges, programs or kernel features that it needs, or when interrupted.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let stage = Stage::set(interrupt::flag()?)?;
    product::allow_descriptors(1_024);
    let crew = Crew { stage: &stage, links: options.links as usize };
    let mut figures = options.bulk(&crew)?;
    figures.extend(options.objects(&crew)?);
    figures.extend(options.fairness(&crew)?);
    if figures.is_empty() {
        return Err(BenchError::Nothing(format!(
            "no cell is named like that; there are\n  {}",
            cell::names(options.common.quick).join("\n  ")
        )));
    }
    print(report::NOTES)?;
    options.common.write(&figures)
}

impl Options {
    fn chooses(&self, name: &str, quick: bool) -> bool {
        let named = self.only.as_ref().is_none_or(|text| name.contains(text));
        named && (quick || !self.common.quick)
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.common.quick { 3 } else { 10 })
    }

    fn bulk(&self, crew: &Crew<'_>) -> Result<Vec<Figure>, BenchError> {
        let chosen: Vec<_> =
            cell::BULK.into_iter().filter(|cell| self.chooses(cell.name, cell.quick)).collect();
        let (mut figures, mut summary) = (Vec::new(), report::Summary::default());
        if chosen.is_empty() {
            return Ok(figures);
        }
        print(report::BULK_HEAD)?;
        let time = Duration::from_secs(self.seconds.unwrap_or(10));
        for part in Part::ALL {
            let cells: Vec<_> = chosen.iter().filter(|cell| cell.part == part).copied().collect();
            let links = if part == Part::Alone { 1 } else { crew.links };
            bulk::measure(
                &Crew { links, ..*crew },
                &cells,
                self.rounds(),
                time,
                &mut |cell, pairs| {
                    figures.extend(report::bulk_figures(cell, pairs));
                    summary.add(cell, pairs);
                    print(&report::bulk_row(cell, pairs))
                },
            )?;
        }
        print(&summary.text())?;
        figures.extend(summary.figures());
        Ok(figures)
    }

    fn objects(&self, crew: &Crew<'_>) -> Result<Vec<Figure>, BenchError> {
        let cells: Vec<_> =
            cell::OBJECTS.into_iter().filter(|cell| self.chooses(cell.name, cell.quick)).collect();
        let mut figures = Vec::new();
        if cells.is_empty() {
            return Ok(figures);
        }
        print(report::OBJECTS_HEAD)?;
        for (cell, samples) in objects::measure(crew, &cells, SAMPLES)? {
            figures.extend(report::object_figures(&cell, &samples));
            print(&report::object_row(&cell, &samples))?;
        }
        Ok(figures)
    }

    fn fairness(&self, crew: &Crew<'_>) -> Result<Vec<Figure>, BenchError> {
        let cells: Vec<_> =
            cell::FAIRNESS.into_iter().filter(|cell| self.chooses(cell.name, cell.quick)).collect();
        let mut figures = Vec::new();
        if cells.is_empty() {
            return Ok(figures);
        }
        print(report::FAIRNESS_HEAD)?;
        for (cell, runs) in fairness::measure(crew, &cells, self.rounds().min(3))? {
            figures.extend(report::fairness_figures(&cell, &runs));
            print(&report::fairness_row(&cell, &runs))?;
        }
        Ok(figures)
    }
}

/// Whether somebody wants it to end.
fn is_over(interrupted: &AtomicBool) -> bool {
    interrupted.load(Ordering::Relaxed)
}
