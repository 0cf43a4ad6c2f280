//! `pagewire-bench engine`: what the user-level stack costs by itself, on a memory link, on one core.
//!
//! Clients made by hand send segments over the link; only the stack's own turns are timed, everything
//! on: checksums, guard, timers. What the clients do is not counted, and there is no NIC. Time is
//! the thread's own CPU time, so other programs disturb the caches but not the clock.

mod app;
mod bulk;
mod clients;
mod keep_alive;
mod segment;

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use thiserror::Error;

use crate::figures::{self, Figure};

/// What the user-level stack costs by itself: no NIC, one core, hand-made clients on a memory link
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Fewer connections and shorter runs: within 45 seconds
    #[arg(long)]
    quick: bool,

    /// Also write the figures to this file, as a JSON array of {name, value, unit}
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The stack cannot be set up, or a file not be made, written or read.
    #[error("cannot measure the engine: {0}")]
    System(#[from] io::Error),
    /// The stack did not do what it should have.
    #[error("the engine is broken: {0}")]
    Broken(String),
}

/// Measures and prints.
///
/// # Errors
///
/// [`EngineError`].
pub fn run(options: &Options) -> Result<(), EngineError> {
    if let Some(core) = core_affinity::get_core_ids().unwrap_or_default().last() {
        core_affinity::set_for_current(*core);
    }
    let (counts, time): (&[usize], _) = if options.quick {
        (&[256, 4_096, 65_536], Duration::from_millis(700))
    } else {
        (&[256, 4_096, 16_384, 65_536, 262_144, 1_000_000], Duration::from_secs(2))
    };
    let mut all = Vec::new();
    let mut show = |figures: Vec<Figure>| -> io::Result<()> {
        for Figure { name, value, unit } in &figures {
            writeln!(io::stdout(), "{name:<48} {:>12} {unit}", grouped(*value))?;
        }
        all.extend(figures);
        Ok(())
    };
    for &count in counts {
        for app in [keep_alive::Layer::Tcp, keep_alive::Layer::Http] {
            show(keep_alive::measure(app, count, time)?)?;
        }
    }
    for is_ipv6 in [false, true] {
        show(bulk::measure(is_ipv6, time)?)?;
    }
    if let Some(path) = &options.json {
        figures::write_json(path, &all)?;
    }
    Ok(())
}

/// A number as people read it: three digits behind the point below 100, groups of three above.
fn grouped(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(123.0), "123");
        assert_eq!(grouped(0.5), "0.500");
    }

    #[test]
    fn every_measurement_gives_figures() {
        let time = Duration::from_millis(20);
        for layer in [keep_alive::Layer::Tcp, keep_alive::Layer::Http] {
            let figures = keep_alive::measure(layer, 300, time).unwrap();
            assert!(figures.iter().all(|figure| figure.value > 0.0), "{figures:?}");
        }
        for is_ipv6 in [false, true] {
            let figures = bulk::measure(is_ipv6, time).unwrap();
            assert!(figures.iter().all(|figure| figure.value > 0.0), "{figures:?}");
        }
    }
}
