//! The user stack against the raw exchange of its frames, stage by stage: where the limit lies.

use std::fmt::Write;

use super::{
    comparison::OFFLOADS,
    input::{Figures, number},
    page::{escape, section as page_section, table},
};
use crate::limit::Limit;

const ABOUT: &str = "What a request costs with the user stack beside what the raw exchange of its frames costs, stage by \
     stage, from samples of the server's core. The kernel's stages are there without any stack as well; what is \
     left of the goal for rings, TCP, HTTP and copies, and what these take, is said for each cell.";

/// The cell that others are held against: the same requests on few connections.
const FEW: &str = "128 B keep-alive, 64 connections";

/// The section, if there are figures for it.
pub fn section(figures: &Figures) -> Option<String> {
    let cells = figures.next(&["compare"]);
    let all: Vec<_> = cells.iter().filter_map(|cell| Some((*cell, of(figures, cell)?))).collect();
    let few = all.iter().find(|(cell, _)| *cell == FEW).map(|(_, limit)| limit);
    let content: String = all.iter().map(|(cell, limit)| one(figures, cell, limit, few)).collect();
    (!content.is_empty()).then(|| {
        let command = "pagewire-bench compare --json compare.json";
        page_section("User stack against the raw exchange", ABOUT, command, &content)
    })
}

fn of(figures: &Figures, cell: &str) -> Option<Limit> {
    let user = figures.under(&["compare", cell, "user stack", "stage"]);
    let raw = figures.under(&["compare", cell, "raw AF_XDP", "stage"]);
    Limit::of(
        user.iter().map(|entry| (entry.path[4].as_str(), entry.value)),
        raw.iter().map(|entry| (entry.path[4].as_str(), entry.value)),
    )
}

fn one(figures: &Figures, cell: &str, limit: &Limit, few: Option<&Limit>) -> String {
    let goal = figures.value(&["compare", cell, "user over raw goal"]);
    // Writing to a string cannot fail.
    let mut text = goal.map_or_else(String::new, |goal| limit.sentence(goal));
    let least = figures.value(&["compare", cell, "raw over kernel"]);
    let kernel_goal = figures.value(&["compare", cell, "user over kernel goal"]);
    if let Some((least, goal)) = least.zip(kernel_goal).filter(|(_, goal)| *goal > 0.0) {
        let room = goal / least;
        let _ = write!(
            text,
            " Raw frames alone come to {least:.2} of kernel mode: its goal, {goal:.2}, allows {room:.2} × raw."
        );
    }
    if let Some(few) = few.filter(|_| {
        cell != FEW && cell.starts_with("128 B keep-alive") && !cell.ends_with(OFFLOADS)
    }) {
        let ((own, _), (own_few, _)) = (limit.own(), few.own());
        let _ = write!(
            text,
            " The same work on the same frames takes {own_few:.2} µs with 64 connections: the other {:.2} are \
             waits for memory that so many connections do not leave in the caches.",
            (own - own_few).max(0.0)
        );
    }
    let (user, raw) = limit.sums(|_| true);
    let row = |name: &str, user: f64, raw: f64| {
        vec![escape(name), number(user), number(raw), number(user - raw)]
    };
    let mut rows: Vec<_> =
        limit.rows.iter().map(|it| row(&it.stage, it.user_us, it.raw_us)).collect();
    rows.push(row("sum", user, raw));
    let numbers = table(&["µs a request", "user stack", "raw", "more"], &rows);
    let (cell, text) = (escape(cell), escape(&text));
    format!(
        "<h3>{cell}: {:.2} × raw</h3>\n<p>{text}</p>\n<details><summary>stages</summary>{numbers}</details>\n",
        user / raw
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: &str = r#"[
        {"name":"compare/128 B keep-alive, 64 connections/user stack/stage/HTTP","value":0.3,"unit":"us/request"},
        {"name":"compare/128 B keep-alive, 64 connections/user stack/stage/transmit: kick","value":0.6,"unit":"us/request"},
        {"name":"compare/128 B keep-alive, 64 connections/raw AF_XDP/stage/transmit: kick","value":0.6,"unit":"us/request"},
        {"name":"compare/128 B keep-alive, 64 connections/user over raw goal","value":1.25,"unit":"ratio"},
        {"name":"compare/128 B keep-alive, 64 connections/user over kernel goal","value":0.5,"unit":"ratio"},
        {"name":"compare/128 B keep-alive, 64 connections/raw over kernel","value":0.25,"unit":"ratio"},
        {"name":"compare/128 B keep-alive, 1,024 connections/user stack/stage/HTTP","value":0.7,"unit":"us/request"},
        {"name":"compare/128 B keep-alive, 1,024 connections/raw AF_XDP/stage/transmit: kick","value":0.5,"unit":"us/request"}]"#;

    #[test]
    fn each_cell_says_where_its_limit_lies() {
        let mut figures = Figures::default();
        figures.parse(MEASURED).unwrap();
        let page = section(&figures).unwrap();
        assert!(page.contains("64 connections: 1.50 × raw"), "{page}");
        assert!(page.contains("leaves 0.15 µs") && page.contains("They take 0.30"), "{page}");
        assert!(page.contains("allows 2.00 × raw"), "{page}");
        assert!(page.contains("the other 0.40 are waits for memory"), "{page}");
        assert_eq!(section(&Figures::default()), None);
    }
}
