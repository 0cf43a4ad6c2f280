//! The ladder of server architectures.

use super::{
    bars::{Bar, Group, Part, bars},
    input::{Entry, Figures, number},
    page::{escape, section as page_section, table},
};
use crate::ladder;

const ABOUT: &str = "Every architecture of a server, each small and readable, on the same HTTP code and the same \
     files: how much each answers, and what that costs. Those that end in veth are measured on a veth pair, wire-like, \
     and are to be held against each other only; all others on the loopback interface.";

/// Columns of the table: a word of the figure's name, and the head.
const COLUMNS: [(&str, &str); 9] = [
    ("throughput", "requests/s"),
    ("p50", "p50, µs"),
    ("p99", "p99, µs"),
    ("p99.9", "p99.9, µs"),
    ("cpu", "CPU µs/request"),
    ("system calls", "system calls"),
    ("context switches", "switches"),
    ("memory", "B/connection"),
    ("evenness", "evenness"),
];

/// The section, if there are figures for it.
pub fn section(figures: &Figures) -> Option<String> {
    let workloads = figures.next(&["ladder"]);
    if workloads.is_empty() {
        return None;
    }
    let content: String = workloads.iter().map(|workload| one(figures, workload)).collect();
    let title = "Architectures";
    Some(page_section(title, ABOUT, "pagewire-bench ladder --json ladder.json", &content))
}

fn one(figures: &Figures, workload: &str) -> String {
    let rungs = figures.next(&["ladder", workload]);
    let value = |rung: &str, what: &str| figures.value(&["ladder", workload, rung, what]);
    let bar = |rung: &&str| {
        let rate = value(rung, "throughput")?;
        let colour = if rung.contains("user") { "var(--user)" } else { "var(--kernel)" };
        Some(Bar {
            label: (*rung).to_owned(),
            parts: vec![Part { value: rate, colour: colour.to_owned() }],
            text: format!("{}/s", number(rate)),
            ..Bar::default()
        })
    };
    let row = |rung: &&str| {
        let cannot = || {
            let under = figures.under(&["ladder", workload, rung]);
            let of =
                |entry: &&Entry| entry.path[3..].join("/").strip_prefix("cannot: ").map(escape);
            under.iter().find_map(of)
        };
        let cells =
            COLUMNS.iter().map(|(what, _)| value(rung, what).map_or("–".to_owned(), number));
        let name = escape(rung);
        let wide = COLUMNS.len();
        match cannot() {
            Some(why) => vec![format!("{name}<td colspan=\"{wide}\"><small>cannot: {why}</small>")],
            None => [name].into_iter().chain(cells).collect(),
        }
    };
    let drawn =
        bars(&[Group { title: String::new(), bars: rungs.iter().filter_map(bar).collect() }], None);
    let head: Vec<_> = ["architecture"].into_iter().chain(COLUMNS.map(|(_, head)| head)).collect();
    let rows: Vec<_> = rungs.iter().map(row).collect();
    let about = ladder::workload_about(workload);
    let name = escape(&about.map_or(workload.to_owned(), |about| format!("{workload}: {about}")));
    let numbers = table(&head, &rows);
    format!("<h3>{name}</h3>\n{drawn}<details><summary>numbers</summary>{numbers}</details>\n")
}
