//! `pagewire-bench syn-flood`: what honest clients get while forged SYNs arrive.
//!
//! One server core on a memory link, on a clock that is its own CPU time (see [`world`]). Half of the
//! operations ask on a kept connection, half open one of their own, which the flood is there to prevent.
//! A memory link is no NIC: what the flood costs below the stack is left out. Its rate is half of what a
//! port takes at most, and that is taken from the port that the product has, not from the memory link,
//! which is faster than any core can look at frames.

mod port;
mod world;

use std::{io, net::Ipv4Addr, time::Duration};

use thiserror::Error;

use self::{
    port::Kind,
    world::{BYSTANDER, Load, Outcome, PORT, VICTIM, World},
};
use crate::{cpu, error::BenchError, figures::Figure, options::Common, output::print};

/// Share of the peak that the honest clients ask for.
const SHARE: f64 = 0.4;

/// How long after a flood its losses are felt.
const SETTLING: Duration = Duration::from_millis(1_200);

/// What honest clients get while forged SYNs arrive: one server core, on a memory link
///
/// With --quick within 30 seconds.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,

    /// Most frames a second of a port; half as many forged SYNs arrive. The default is what one AF_XDP
    /// queue of a veth pair receives on one core
    #[arg(long, value_name = "NUMBER", default_value_t = 1_300_000.0)]
    port_frames_per_second: f64,
}

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum FloodError {
    /// The figures cannot be shown or kept.
    #[error(transparent)]
    Output(#[from] BenchError),
    /// The stacks cannot be set up, or the file not be written.
    #[error("cannot measure under a flood: {0}")]
    System(#[from] io::Error),
    /// The server answers nobody even without a flood.
    #[error("no operation was completed without a flood: the measurement is broken")]
    Nothing,
}

/// Measures and prints.
///
/// # Errors
///
/// [`FloodError`].
pub fn run(options: &Options) -> Result<(), FloodError> {
    cpu::keep_to_last_core();
    let time = Duration::from_millis(if options.common.quick { 500 } else { 2_000 });
    let figures = measure(options.port_frames_per_second / 2.0, time)?;
    for Figure { name, value, unit } in &figures {
        print(&format!("{name:<44} {value:>14.2} {unit}"))?;
    }
    options.common.write(&figures)?;
    Ok(())
}

fn measure(rate: f64, time: Duration) -> Result<Vec<Figure>, FloodError> {
    let mut figures = vec![
        figure("memory link/most frames", world::port_limit(time / 4)?, "frames/s"),
        figure("flood/forged SYNs", rate, "SYNs/s"),
    ];
    for (name, target) in [("victim", VICTIM), ("bystander", BYSTANDER)] {
        figures.extend(compare(name, target, rate, time)?);
    }
    Ok(figures)
}

/// What clients of `target` get with and without a flood on the victim.
fn compare(
    name: &str,
    target: Ipv4Addr,
    rate: f64,
    time: Duration,
) -> Result<Vec<Figure>, FloodError> {
    let mut world = World::new(target)?;
    let peak = world.run(Load::Closed, time)?.per_second();
    if peak == 0.0 {
        return Err(FloodError::Nothing);
    }
    let load = Load::Open(peak * SHARE);
    // Runs take turns, so that a machine that changes its mind changes it for both.
    let (mut calm, mut flooded) = (Vec::new(), Vec::new());
    let (mut lost, mut offered, mut honest_lost) = (0, 0, 0);
    for _ in 0..3 {
        world.flood.borrow_mut().set(world.now, Kind::Strangers, 0.0);
        // What was lost in the flood is asked for again first (RFC 6298: a second).
        world.run(load, SETTLING)?;
        calm.push(world.run(load, time / 2)?);
        world.flood.borrow_mut().set(world.now, Kind::Syns(VICTIM, PORT), rate);
        // The table of handshakes fills first.
        world.run(load, time / 8)?;
        flooded.push(world.run(load, time / 2)?);
        let flood = world.flood.borrow();
        (lost, offered) = (lost + flood.lost, offered + flood.offered);
        honest_lost += flood.honest_lost;
    }
    let (calm, flooded) = (joined(calm), joined(flooded));
    let counters = world.server().counters();
    let say = |what: &str, value, unit| figure(&format!("{name}/{what}"), value, unit);
    Ok(vec![
        say("peak", peak, "operations/s"),
        say("offered", peak * SHARE, "operations/s"),
        say("goodput without flood", calm.per_second(), "operations/s"),
        say("goodput under flood", flooded.per_second(), "operations/s"),
        say("goodput kept", flooded.per_second() / calm.per_second() * 100.0, "%"),
        say("p99 without flood", calm.p99_us(), "us"),
        say("p99 under flood", flooded.p99_us(), "us"),
        say("p99 under flood to without", flooded.p99_us() / calm.p99_us(), "times"),
        say("longest turn without flood", calm.longest_turn.as_secs_f64() * 1e6, "us"),
        say("longest turn under flood", flooded.longest_turn.as_secs_f64() * 1e6, "us"),
        say("cookies sent", counters.cookies_sent as f64, "SYN-ACKs"),
        say("cookies accepted", counters.cookies_accepted as f64, "connections"),
        say("forged SYNs lost by the full ring", percent(lost, offered), "%"),
        say("honest frames lost by the full ring", honest_lost as f64, "frames"),
    ])
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

fn joined(outcomes: Vec<Outcome>) -> Outcome {
    let mut outcomes = outcomes.into_iter();
    let Some(mut all) = outcomes.next() else { unreachable!("there are three runs") };
    for one in outcomes {
        all.time += one.time;
        all.offered += one.offered;
        all.completed += one.completed;
        all.longest_turn = all.longest_turn.max(one.longest_turn);
        // The same bounds: nothing to refuse.
        let _ = all.latencies.add(&one.latencies);
    }
    all
}

fn figure(name: &str, value: f64, unit: &'static str) -> Figure {
    Figure { name: format!("syn-flood/{name}"), value, unit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ends::{holds, patiently};

    #[test]
    fn honest_clients_are_served_while_more_syns_come_than_there_are_places() {
        patiently(|| {
            let figures = measure(50_000.0, Duration::from_millis(200)).unwrap();
            let value = |name: &str| {
                let name = format!("syn-flood/{name}");
                figures.iter().find(|figure| figure.name == name).unwrap().value
            };
            for who in ["victim", "bystander"] {
                let of = |what: &str| value(&format!("{who}/{what}"));
                let are_served = [of("goodput kept") > 50.0, of("goodput under flood") > 0.0];
                holds(&figures, &[&[of("cookies sent") > 1_000.0], &are_served[..]].concat())?;
            }
            holds(&figures, &[value("victim/cookies accepted") > 0.0])
        });
    }
}
