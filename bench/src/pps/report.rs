//! The table in the terminal, and the figures.

use std::time::Duration;

use super::cell::{Cell, Cost, Measured};
use crate::figures::Figure;

/// The head of the table.
pub const HEAD: &str = "                                               near end, ns a packet      far end, ns a packet
work      bytes queues   Mpps Gbit/s  by queue  core =  app + napi      core =  app + napi    lost dropped";

/// What the columns mean.
pub const NOTES: &str = "
core: all that the end's cores were busy with, for each packet that did all of its way; app: the
threads that own the queues, kernel calls included; napi: the kernel's receive threads. An end that
generates never sleeps, so its core is always full. lost: in kicks; dropped: no chunk or no room in the
RX ring. Gbit/s counts the frames' own bytes. others: how much of the cores other programs took, if more
than a tenth; then the machine can do better than it says here.";

/// The cell's row.
pub fn row(cell: &Cell, measured: &Measured) -> String {
    let seconds = measured.time.as_secs_f64();
    let rate = measured.total() as f64 / seconds;
    let queues = match measured.packets.as_slice() {
        [_] => String::new(),
        several => {
            let rates = several.iter().map(|&count| format!("{:.2}", count as f64 / seconds / 1e6));
            rates.collect::<Vec<_>>().join("+")
        }
    };
    let cost = |cost: &Cost| {
        let each = |time| per_packet(time, measured);
        let (core, app, napi) = (each(cost.cores), each(cost.application), each(cost.receive));
        format!("{core:>5.0} = {app:>4.0} + {napi:>4.0}")
    };
    let others = match measured.others() {
        share if share > 0.1 => format!("  others: {:.0} %", share * 100.0),
        _ => String::new(),
    };
    format!(
        "{:<9} {:>5} {:>6} {:>6.3} {:>6.2} {:>9}  {:>19}    {:>19} {:>6} {:>7}{others}",
        cell.work.name(),
        cell.bytes,
        cell.queues,
        rate / 1e6,
        rate * cell.bytes as f64 * 8.0 / 1e9,
        queues,
        cost(&measured.near),
        cost(&measured.far),
        measured.kick_lost,
        measured.dropped,
    )
}

/// The cell's figures.
pub fn figures(cell: &Cell, measured: &Measured) -> Vec<Figure> {
    let name = format!("pps/{}/{} B/{} queues", cell.work.name(), cell.bytes, cell.queues);
    let rate = measured.total() as f64 / measured.time.as_secs_f64();
    let nanos = |time| per_packet(time, measured);
    let rows = [
        ("rate", rate, "packets/s"),
        ("near core", nanos(measured.near.cores), "ns/packet"),
        ("near application", nanos(measured.near.application), "ns/packet"),
        ("near napi", nanos(measured.near.receive), "ns/packet"),
        ("far core", nanos(measured.far.cores), "ns/packet"),
        ("far application", nanos(measured.far.application), "ns/packet"),
        ("far napi", nanos(measured.far.receive), "ns/packet"),
        ("lost in kicks", measured.kick_lost as f64, "packets"),
        ("dropped", measured.dropped as f64, "packets"),
    ];
    let figure = |(what, value, unit)| Figure { name: format!("{name}/{what}"), value, unit };
    let mut figures: Vec<_> = rows.into_iter().map(figure).collect();
    if measured.packets.len() > 1 {
        for (queue, &count) in measured.packets.iter().enumerate() {
            let value = count as f64 / measured.time.as_secs_f64();
            let name = format!("{name}/rate of queue {queue}");
            figures.push(Figure { name, value, unit: "packets/s" });
        }
    }
    figures
}

/// Nanoseconds for each packet that did all of its way; zero if there were none.
fn per_packet(time: Duration, measured: &Measured) -> f64 {
    time.as_nanos() as f64 / measured.total().max(1) as f64
}
