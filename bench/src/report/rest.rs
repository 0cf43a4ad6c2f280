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

fn one(figures: &Figures, kind: &str) -> String {
    let command = format!("pagewire-bench {kind} --json {kind}.json");
    page_section(kind, "Further figures.", &command, &tables(figures, kind))
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
