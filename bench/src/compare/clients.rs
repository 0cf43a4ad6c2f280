//! `pagewire-bench clients`: `pw load` on both of its transports, and wrk, each on one core against the same
//! server.
//!
//! The server is the user stack on its own core, which answers more than any of them asks; the client's
//! kernel receives for it on the client's core, so that one core is all that a client has.

use std::{io, process::Stdio, time::Duration};

use pagewire_tools::lab::Side;

use super::{
    cell::{CELLS, Cell, Client, Wire},
    order::Subject,
    trial::Stage,
    wire::Link,
};
use crate::{
    error::BenchError,
    figures::Figure,
    interrupt,
    options::Common,
    output::{Progress, print},
    product::{self, ADDRESS},
    statistics::Estimate,
};

/// How many times wrk's rate `pw load` should come to on the user stack.
const GOAL: f64 = 1.3;

/// What one core of each client asks of the same server: pw load on both transports, and wrk
///
/// 128 bytes on connections that are kept alive. Needs root, two cores, and wrk (apt-get install wrk).
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Xdp,
    Kernel,
    Wrk,
}

impl Who {
    const ALL: [Self; 3] = [Self::Xdp, Self::Kernel, Self::Wrk];

    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "pw load, xdp",
            Self::Kernel => "pw load, kernel",
            Self::Wrk => "wrk",
        }
    }
}

const NOTES: &str = "
Each client has one core, on which the kernel also receives for it; the server is the user stack on the
other core. Medians with 95 % intervals; ratios of runs of the same round.";

/// Measures and prints.
///
/// # Errors
///
/// Without privileges, wrk or two cores, or when interrupted.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let interrupted = interrupt::flag()?;
    let quick = options.common.quick;
    let connections: &[usize] = if quick { &[256] } else { &[64, 256, 1_024] };
    let (rounds, seconds) = if quick { (2, 1) } else { (4, 2) };
    let cells: Vec<_> =
        connections.iter().map(|&connections| Cell { connections, ..CELLS[0] }).collect();
    product::allow_descriptors(1_024);
    let stage = Stage::set(&cells, interrupted, Duration::from_secs(seconds), quick)?;
    let link = Link::up(Wire::Like)?;
    let mut progress = Progress::new(cells.len() * rounds * Who::ALL.len());
    let mut figures = Vec::new();
    print("requests/s of one core, 128 B kept alive")?;
    for cell in &cells {
        let running = stage.serve(&link, cell, Subject::User)?;
        let mut rates = [const { Vec::new() }; 3];
        for round in 0..rounds {
            let mut order = Who::ALL;
            if round % 2 == 1 {
                order.reverse();
            }
            for who in order {
                progress.step(&format!("{} connections: {}", cell.connections, who.name()));
                stage.check()?;
                let client = if who == Who::Xdp { Client::Xdp } else { Client::Kernel };
                rates[who as usize].push(match who {
                    Who::Wrk => wrk(&link, cell, stage.time)?,
                    Who::Xdp | Who::Kernel => stage
                        .load(&link, &Cell { client, ..*cell }, &running)
                        .map(|run| run.rate())?,
                });
            }
        }
        running.stop()?;
        Progress::clear();
        for who in Who::ALL {
            let Some(rate) = Estimate::of(&rates[who as usize]) else { continue };
            let name = format!("clients/{} connections/{}", cell.connections, who.name());
            let Estimate { median, low, high } = rate;
            print(&format!("{name:<44} {median:>9.0} [{low:.0}–{high:.0}] requests/s"))?;
            figures.push(Figure { name, value: median, unit: "requests/s" });
        }
        let [xdp, _, wrk] = &rates;
        let ratios: Vec<_> = xdp.iter().zip(wrk).map(|(xdp, wrk)| xdp / wrk).collect();
        let Some(ratio) = Estimate::of(&ratios) else { continue };
        let name = format!("clients/{} connections/xdp over wrk", cell.connections);
        let met = if ratio.median >= GOAL { "met" } else { "not met" };
        let Estimate { median, low, high } = ratio;
        print(&format!("{name:<44} {median:>9.2} [{low:.2}–{high:.2}], goal ≥ {GOAL}: {met}"))?;
        figures.push(Figure { name, value: median, unit: "ratio" });
    }
    print(NOTES)?;
    options.common.write(&figures)
}

/// Requests a second by wrk, with one thread on the client's core.
fn wrk(link: &Link, cell: &Cell, time: Duration) -> Result<f64, BenchError> {
    let core = link.client.cores.first().map_or(0, |core| core.id).to_string();
    let seconds = format!("{}s", time.as_secs());
    let connections = cell.connections.to_string();
    let url = format!("http://{ADDRESS}/{}", cell.file());
    link.place()?;
    let mut command = link.lab().command(Side::Client, "taskset");
    command.args(["-c", &core, "wrk", "-t1", "-c", &connections, "-d", &seconds, &url]);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(BenchError::system("run wrk"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    rate_of(&text).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        let missing =
            io::Error::other(format!("{} (apt-get install wrk)\n{text}{said}", output.status));
        BenchError::system("run wrk")(missing)
    })
}

/// The rate in what wrk prints, if nothing failed.
fn rate_of(text: &str) -> Option<f64> {
    let failed =
        |line: &str| line.trim_start().starts_with("Socket errors:") || line.contains("Non-2xx");
    if text.lines().any(failed) {
        return None;
    }
    text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_unless_something_failed() {
        let text = "Running 1s test\n  1 threads and 64 connections\nRequests/sec: 246812.55\nTransfer/sec: 1MB\n";
        assert!((rate_of(text).unwrap() - 246_812.55).abs() < 1e-6);
        let failed = format!("{text}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert_eq!(rate_of(&failed), None);
        assert_eq!(rate_of("wrk: not found"), None);
    }
}
