//! `pagewire-bench engine`: what the user-level stack costs by itself, on a memory link, on one core.
//!
//! Clients made by hand send segments over the link; only the stack's own turns are timed, everything
//! on: checksums, guard, timers. What the clients do is not counted, and there is no NIC. Time is
//! the thread's own CPU time, so other programs disturb the caches but not the clock.

mod app;
mod bulk;
mod clients;
mod come_and_go;
mod keep_alive;
mod kernel_sockets;
mod load;
mod opening;
mod segment;
mod sender;
mod shards;
mod timers;

use std::{io, time::Duration};

use thiserror::Error;

use crate::{cpu, error::BenchError, figures::Figure, options::Common, output::print};

/// What the user-level stack costs by itself: no NIC, one core, hand-made clients on a memory link
///
/// With --quick fewer connections, within 45 seconds.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,

    /// Measure only what has this in its name, such as "keep-alive/tcp" or "timers"
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Measure at most so many connections
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    connections: usize,
}

/// Numbers of connections that keep-alive requests are measured with.
const CONNECTIONS: [usize; 6] = [256, 4_096, 16_384, 65_536, 262_144, 1_000_000];
const QUICK_CONNECTIONS: [usize; 4] = [256, 4_096, 65_536, 1_000_000];

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The figures cannot be shown or kept.
    #[error(transparent)]
    Output(#[from] BenchError),
    /// The stack cannot be set up, or a file not be made, written or read.
    #[error("cannot measure the engine: {0}")]
    System(#[from] io::Error),
    /// The stack did not do what it should have.
    #[error("the engine is broken: {0}")]
    Broken(String),
}

/// Timers that are measured however few connections are to be: a few on each of many stacks.
const FEWEST_TIMERS: usize = 1_000;

/// Measures and prints.
///
/// # Errors
///
/// [`EngineError`].
pub fn run(options: &Options) -> Result<(), EngineError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cpu::keep_to_last_core();
    let (counts, shards, time): (&[usize], _, _) = if options.common.quick {
        (&QUICK_CONNECTIONS, 16_384, Duration::from_millis(600))
    } else {
        (&CONNECTIONS, 65_536, Duration::from_secs(2))
    };
    let (stacks, live_timers): (&[usize], _) = if options.common.quick {
        (&[1, 50, 200], 400_000)
    } else {
        (&[1, 10, 50, 200], 1_000_000)
    };
    let mut table = Table { only: options.only.as_deref(), figures: Vec::new() };
    for &count in counts.iter().filter(|&&count| count <= options.connections) {
        for layer in [keep_alive::Layer::Tcp, keep_alive::Layer::Http] {
            let name = format!("keep-alive/{}/{count} connections", layer.name());
            table.add(&name, || keep_alive::measure(layer, count, time))?;
        }
    }
    table.add("kernel's own sockets", kernel_sockets::measure)?;
    for uses in [false, true] {
        table.add("open to close", || opening::measure(uses, time))?;
    }
    table.add("two shards", || shards::measure(&cores, shards, time))?;
    let live_timers = options.connections.clamp(FEWEST_TIMERS, live_timers);
    table.add("timers", || timers::measure(stacks, live_timers))?;
    if !options.common.quick || options.only.is_some() {
        let count = options.connections.min(CONNECTIONS[CONNECTIONS.len() - 1]);
        table.add("come and go", || come_and_go::measure(count))?;
    }
    for is_ipv6 in [false, true] {
        table.add("bulk", || bulk::measure(is_ipv6, time, bulk::FILE))?;
    }
    table.add("sender", || Ok(sender::measure(time)))?;
    options.common.write(&table.figures)?;
    Ok(())
}

/// The figures so far, shown as they come.
struct Table<'a> {
    only: Option<&'a str>,
    figures: Vec<Figure>,
}

impl Table<'_> {
    /// Measures and shows what is called `name`, if it is wanted.
    fn add(
        &mut self,
        name: &str,
        measure: impl FnOnce() -> Result<Vec<Figure>, EngineError>,
    ) -> Result<(), EngineError> {
        if self.only.is_some_and(|only| !name.contains(only)) {
            return Ok(());
        }
        let figures = measure()?;
        for Figure { name, value, unit } in &figures {
            print(&format!("{name:<58} {:>10} {unit}", grouped(*value)))?;
        }
        self.figures.extend(figures);
        Ok(())
    }
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
        let figures = sender::measure(time);
        assert!(figures.iter().all(|figure| figure.value > 0.0), "{figures:?}");
        for flag in [false, true] {
            let figures = [opening::measure(flag, time), bulk::measure(flag, time, 16 << 20)];
            let figures: Vec<_> = figures.into_iter().flat_map(Result::unwrap).collect();
            assert!(figures.iter().all(|figure| figure.value > 0.0), "{figures:?}");
        }
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let figures = [
            shards::measure(&cores, 300, time),
            timers::measure(&[1, 2], 4_000),
            kernel_sockets::measure(),
        ];
        let figures: Vec<_> = figures.into_iter().flat_map(Result::unwrap).collect();
        assert!(figures.iter().all(|figure| figure.value > 0.0), "{figures:?}");
    }
}
