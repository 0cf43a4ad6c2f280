//! All other figures, as tables.

use super::{
    input::{Figures, number},
    page::{escape, section as page_section, table},
};

/// Sections that have plots of their own.
const TOLD: [&str; 4] = ["compare", "engine", "ladder", "pps"];

/// The section, if there are figures for it.
pub fn section(figures: &Figures) -> Option<String> {
    let kinds: Vec<_> = figures.next(&[]).into_iter().filter(|kind| !TOLD.contains(kind)).collect();
    if kinds.is_empty() {
        return None;
    }
    Some(kinds.into_iter().map(|kind| one(figures, kind)).collect())
}

/// Kinds of figures: their titles, and what they are.
const KINDS: [(&str, &str, &str); 7] = [
    (
        "http",
        "HTTP without a network",
        "What it costs to parse a request, find its file and write the head.",
    ),
    (
        "syscalls",
        "What decides between architectures",
        "Fork, threads, mappings and sockets, the more there are of them: medians and what 99 of 100 did not exceed.",
    ),
    (
        "cold",
        "Files colder than memory",
        "What those who ask for hot files notice of others who ask for files that do not fit into memory.",
    ),
    (
        "clients",
        "Who can ask enough",
        "Requests a second that one core of each client gets from the same server: pw load on both of its \
         transports, and wrk. The goal is 1.3 times wrk.",
    ),
    (
        "emulator",
        "The link emulator",
        "What the lab's emulator carries, by its own CPU time. The goal is 1 Gbit/s of one core.",
    ),
    (
        "syn-flood",
        "Under a SYN flood",
        "What honest clients of one core get while forged SYNs arrive.",
    ),
    (
        "wan",
        "Over bad links",
        "The user stack's sender against Linux's, both CUBIC, over links with delay, loss and narrow queues.",
    ),
];

fn one(figures: &Figures, kind: &str) -> String {
    let known = KINDS.iter().find(|(it, ..)| *it == kind);
    let (_, title, about) = *known.unwrap_or(&(kind, kind, "Further figures."));
    let command = format!("pagewire-bench {kind} --json {kind}.json");
    page_section(title, about, &command, &tables(figures, kind))
}

/// All figures of a kind, as tables to be unfolded.
pub fn tables(figures: &Figures, kind: &str) -> String {
    let mut content = String::new();
    for group in figures.next(&[kind]) {
        let row = |entry: &super::input::Entry| {
            let name = entry.path[2..].join(" / ");
            vec![escape(&name), number(entry.value), escape(&entry.unit)]
        };
        let rows: Vec<_> = figures.under(&[kind, group]).into_iter().map(row).collect();
        let numbers = table(&["what", "how much", "of what"], &rows);
        let summary = format!("<summary>{}</summary>", escape(group));
        content.extend(["<details>", &summary, &numbers, "</details>\n"]);
    }
    content
}
