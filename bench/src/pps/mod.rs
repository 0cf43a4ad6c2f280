//! `pagewire-bench pps`: the packet rates of AF_XDP on a veth pair, with nothing above the driver.
//!
//! It is the physical limit that later figures are held against: whatever a stack does, it receives
//! and sends its packets as is done here, and does something else besides.

mod cell;
mod link;
pub(crate) mod packet;
mod report;
mod worker;

use std::{sync::atomic::Ordering, time::Duration};

use crate::{error::BenchError, interrupt, options::Common, output::print};
use cell::{Cell, Work};
use link::Link;

/// What AF_XDP can do on this machine at all: frames a second over a veth pair of its own
///
/// Three kinds of work: `generate` sends frames that the far end's kernel drops, `receive` drops what
/// the far end generates, `echo` sends it back. With --quick rates to about 10 % within half a minute.
/// Needs root.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,

    /// How long each of the 18 cells is measured [default: 2, with --quick 0.5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: Option<u32>,

    /// Where the kernel does the receiving end's work
    #[arg(long, value_enum, default_value_t = Placement::Pinned)]
    napi: Placement,
}

/// Where the kernel does the receiving end's work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Placement {
    /// In kernel threads pinned to the receiver's cores: each side pays for itself
    Pinned,
    /// As veth does by default, within the kicks of the sender, who pays for both
    Inline,
}

/// Measures all cells and prints them.
///
/// # Errors
///
/// Without privileges or kernel features that it needs, or when interrupted.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let interrupted = interrupt::flag()?;
    let time = match (options.seconds, options.common.quick) {
        (Some(seconds), _) => Duration::from_secs(seconds.into()),
        (None, true) => Duration::from_millis(500),
        (None, false) => Duration::from_secs(2),
    };
    let link = Link::up(options.napi)?;
    print(&format!("{}\n{}", link.description(), report::HEAD))?;
    let mut all = Vec::new();
    for work in Work::ALL {
        for bytes in [64, 512, 1_500] {
            for queues in [1, 2] {
                let cell = Cell { work, bytes, queues };
                let result = cell.measure(&link, time)?;
                print(&report::row(&cell, &result))?;
                all.extend(report::figures(&cell, &result));
                if interrupted.load(Ordering::Relaxed) {
                    return Err(BenchError::Interrupted);
                }
            }
        }
    }
    print(report::NOTES)?;
    options.common.write(&all)
}
