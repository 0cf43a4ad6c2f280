//! The table in the terminal, and the figures.

use super::{
    cell::{Measured, Outcome},
    rung::{Cores, Rung},
    workload::Workload,
};
use crate::figures::Figure;

/// The head of a workload's table.
pub fn head(workload: &Workload) -> String {
    format!(
        "\n{}: {}\n{}",
        workload.name,
        workload.about,
        "rung                  cores  requests/s  Gbit/s    p50    p99  p99.9   busy  cpu us  calls  \
         switches  memory   even\n                                                    ms     ms     \
         ms  cores    /req   /req      /req  B/conn"
    )
}

/// What the columns mean.
pub const NOTES: &str = "
cores: those that the server may run on; the client is on the last. busy: how many it kept busy, all its
processes and threads together. cpu, calls, switches: for each answer, also of processes that have ended;
work of the kernel for a packet counts for whoever ran then, which on loopback and veth is mostly its
sender. calls and switches are counted after the measurement, by programs that slow it down. memory: of
the server's processes, page tables and kernel stacks, without sockets. even: Jain's index over the
threads that share the work, 1 if all do the same. veth: MTU 1500, without offloads; not to be compared
with loopback. others: how much of the cores other programs took, if more than a tenth; then the
machine can do better than it says here. -: does not apply, or cannot be had here.";

/// The row of a cell.
pub fn row(rung: &Rung, workload: &Workload, outcome: &Outcome) -> String {
    let cores = if rung.cores == Cores::One { "one" } else { "all" };
    let measured = match outcome {
        Outcome::Cannot(why) => return format!("{:<21} {cores:>5}  cannot: {why}", rung.name),
        Outcome::Measured(measured) => measured,
    };
    let millis = |quantile| {
        let nanos = measured.seen.latency_ns.value_at_quantile(quantile);
        shortly(nanos as f64 / 1e6)
    };
    let maybe = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), shortly);
    let failed = match measured.seen.failed {
        0 => String::new(),
        failed => format!("  {failed} failed"),
    };
    let others = match measured.others {
        Some(share) if share > 0.1 => format!("  others: {:.0} %", share * 100.0),
        _ => String::new(),
    };
    format!(
        "{:<21} {cores:>5} {:>11.0} {:>7.2} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6} {:>9} {:>7} {:>6}{failed}{others}",
        rung.name,
        measured.rate,
        gigabits(workload, measured),
        millis(0.5),
        millis(0.99),
        millis(0.999),
        maybe(measured.busy),
        maybe(measured.cpu.map(|cpu| cpu.as_secs_f64() * 1e6)),
        maybe(measured.system_calls),
        maybe(measured.switches),
        measured.memory_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}")),
        maybe(measured.evenness),
    )
}

/// The figures of a cell, named `ladder/<workload>/<rung>/<what>`. A cell that cannot be done has one,
/// named `ladder/<workload>/<rung>/cannot: <why>`.
pub fn figures(rung: &Rung, workload: &Workload, outcome: &Outcome) -> Vec<Figure> {
    let figure = |what: &str, value, unit| Figure {
        name: format!("ladder/{}/{}/{what}", workload.name, rung.name),
        value,
        unit,
    };
    let measured = match outcome {
        Outcome::Cannot(why) => return vec![figure(&format!("cannot: {why}"), 1.0, "cell")],
        Outcome::Measured(measured) => measured,
    };
    let micros = |quantile| measured.seen.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    let rows = [
        ("throughput", Some(measured.rate), "requests/s"),
        ("content", Some(gigabits(workload, measured)), "Gbit/s"),
        ("p50", Some(micros(0.5)), "us"),
        ("p99", Some(micros(0.99)), "us"),
        ("p99.9", Some(micros(0.999)), "us"),
        ("busy", measured.busy, "cores"),
        ("cpu", measured.cpu.map(|cpu| cpu.as_secs_f64() * 1e6), "us/request"),
        ("system calls", measured.system_calls, "calls/request"),
        ("context switches", measured.switches, "switches/request"),
        ("memory", measured.memory_bytes, "B/connection"),
        ("evenness", measured.evenness, "Jain's index"),
        ("others", measured.others, "share of the cores"),
        ("failed", Some(measured.seen.failed as f64), "requests"),
    ];
    let rows = rows.into_iter();
    rows.filter_map(|(what, value, unit)| Some(figure(what, value?, unit))).collect()
}

fn gigabits(workload: &Workload, measured: &Measured) -> f64 {
    measured.rate * workload.bytes() as f64 * 8.0 / 1e9
}

/// Three digits.
fn shortly(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ if value >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
