//! The user stack against kernel mode.

use super::{
    bars::{Bar, Group, Part, bars, legend},
    input::{Figures, number},
    lines::{Line, lines},
    page::{escape, section as page_section, table},
};

const ABOUT: &str = "What a request costs the server's side: its threads, and the kernel's receive work for it, on a \
     core of their own. Raw AF_XDP exchanges as many frames of the same size with nothing above the driver: no \
     stack could cost less on this machine. Bars are relative to kernel mode; thin marks are 95 % intervals, \
     thick ones goals. Raw / kernel is the least that any user stack could come to here.";

/// How the names of cells end in which the server's kernel hands over 64 KiB at once.
pub const OFFLOADS: &str = ", offloads on";

/// Who is measured, and in which colour.
const SUBJECTS: [(&str, &str); 3] =
    [("kernel mode", "var(--kernel)"), ("user stack", "var(--user)"), ("raw AF_XDP", "var(--raw)")];

/// The colours of stages, in the order in which they appear: as many as there are, so that none is taken
/// for another. A stage has the same one on both sides.
const STAGE_COLOURS: [&str; 24] = [
    "#2563a8", "#c2703d", "#3d9a6c", "#8a5fb0", "#c9a227", "#4aa3b8", "#b3496b", "#7a8794",
    "#6b8e23", "#d98880", "#5d6dc2", "#a0785a", "#1f8a8a", "#e0a35c", "#8fbf6f", "#c76fb0",
    "#9c8b3d", "#6fa8dc", "#a33c3c", "#4d5966", "#b7d16a", "#f0b6a8", "#9da8e6", "#d1b08c",
];

/// The section, if there are figures for it.
pub fn section(figures: &Figures) -> Option<String> {
    let cells = figures.next(&["compare"]);
    if cells.is_empty() {
        return None;
    }
    let drawn = |offloads: bool| {
        let on_wire = cells.iter().filter(|cell| cell.ends_with(OFFLOADS) == offloads);
        bars(&on_wire.map(|cell| relative(figures, cell)).collect::<Vec<_>>(), None)
    };
    let content = [
        legend(&SUBJECTS),
        // Each wire to a scale of its own: with offloads on, large answers are another order of size.
        drawn(false),
        drawn(true),
        verdicts(figures, &cells),
        scaling(figures, &cells),
        stages(figures, &cells),
    ];
    let title = "User stack against kernel mode";
    Some(page_section(
        title,
        ABOUT,
        "pagewire-bench compare --json compare.json",
        &content.concat(),
    ))
}

fn relative(figures: &Figures, cell: &str) -> Group {
    let value = |subject: &str, what: &str| figures.value(&["compare", cell, subject, what]);
    let base = value("kernel mode", "cost").unwrap_or(f64::NAN);
    let bar = |(subject, colour): (&str, &str)| {
        let cost = value(subject, "cost")?;
        let interval = value(subject, "cost low").zip(value(subject, "cost high"));
        let goal = figures.value(&["compare", cell, "user over kernel goal"]);
        Some(Bar {
            label: subject.to_owned(),
            parts: vec![Part { value: cost / base, colour: colour.to_owned() }],
            text: format!("{} µs", number(cost)),
            interval: interval.map(|(low, high)| (low / base, high / base)),
            goal: goal.filter(|_| subject == "user stack"),
        })
    };
    Group { title: cell.to_owned(), bars: SUBJECTS.into_iter().filter_map(bar).collect() }
}

fn verdicts(figures: &Figures, cells: &[&str]) -> String {
    let ratio = |cell: &str, what: &str| {
        let value = |part: &str| figures.value(&["compare", cell, &format!("{what}{part}")]);
        let Some(median) = value("") else { return "–".to_owned() };
        let interval = match value(" low").zip(value(" high")) {
            Some((low, high)) => format!("<br><small>[{}–{}]</small>", number(low), number(high)),
            None => String::new(),
        };
        let goal = match value(" goal") {
            Some(goal) if median <= goal => {
                format!("<br><span class=\"good\">≤ {}: met</span>", number(goal))
            }
            Some(goal) => format!("<br><span class=\"bad\">≤ {}: not met</span>", number(goal)),
            None => String::new(),
        };
        format!("{}{interval}{goal}", number(median))
    };
    let rate = |cell: &str, subject: &str| {
        figures.value(&["compare", cell, subject, "rate"]).map_or("–".to_owned(), number)
    };
    let others = |cell: &str| {
        let values = SUBJECTS
            .iter()
            .filter_map(|(subject, _)| figures.value(&["compare", cell, subject, "others"]));
        match values.fold(0.0, f64::max) {
            most if most > 0.1 => format!("{:.0} %", most * 100.0),
            _ => String::new(),
        }
    };
    let row = |cell: &&str| {
        vec![
            escape(cell),
            ratio(cell, "user over kernel"),
            ratio(cell, "user over raw"),
            ratio(cell, "raw over kernel"),
            cannot(figures, cell).unwrap_or_else(|| rate(cell, "kernel mode")),
            rate(cell, "user stack"),
            others(cell),
        ]
    };
    let head = [
        "cell",
        "user / kernel",
        "user / raw",
        "raw / kernel",
        "kernel, req/s",
        "user, req/s",
        "cores taken by others",
    ];
    table(&head, &cells.iter().map(row).collect::<Vec<_>>())
}

/// Why there is no kernel mode in a cell, if there is none.
fn cannot(figures: &Figures, cell: &str) -> Option<String> {
    let entries = figures.under(&["compare", cell, "kernel mode"]);
    let why = |path: &[String]| {
        let why = path[3..].join("/").strip_prefix("cannot: ").map(escape)?;
        Some(format!("<details><summary>cannot</summary><small>{why}</small></details>"))
    };
    entries.iter().find_map(|entry| why(&entry.path))
}

/// The cost of 128 B over the number of connections.
fn scaling(figures: &Figures, cells: &[&str]) -> String {
    let connections = |cell: &str| -> Option<f64> {
        let text = cell.strip_prefix("128 B keep-alive, ")?.strip_suffix(" connections")?;
        text.replace(',', "").parse().ok()
    };
    let line = |(subject, colour): (&str, &'static str)| {
        let point = |cell: &&str| {
            let cost = figures.value(&["compare", cell, subject, "cost"])?;
            Some((connections(cell)?, cost)).filter(|_| cost.is_finite())
        };
        Line { colour, points: cells.iter().filter_map(point).collect() }
    };
    let all = SUBJECTS.map(line);
    if all.iter().all(|line| line.points.len() < 2) {
        return String::new();
    }
    let plot = lines(&all, "connections", "µs a request");
    format!(
        "<h3>128 B keep-alive, the more connections there are</h3>\n{}{plot}",
        legend(&SUBJECTS)
    )
}

/// Bars made of stages, and what their colours mean.
fn stages(figures: &Figures, cells: &[&str]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut text = String::new();
    for (subject, _) in &SUBJECTS[..2] {
        let mut groups = Vec::new();
        for cell in cells {
            let words = ["compare", cell, subject, "stage"];
            let found: Vec<_> = figures
                .under(&words)
                .iter()
                .map(|entry| (entry.path[4].as_str(), entry.value))
                .collect();
            for (name, _) in &found {
                if !names.contains(name) {
                    names.push(name);
                }
            }
            let total: f64 = found.iter().map(|(_, value)| value).sum();
            let colour = |name: &str| {
                let index = names.iter().position(|it| *it == name).unwrap_or(0);
                STAGE_COLOURS[index % STAGE_COLOURS.len()].to_owned()
            };
            let part =
                |(name, value): &(&str, f64)| Part { value: value / total, colour: colour(name) };
            if total > 0.0 {
                groups.push(Bar {
                    label: (*cell).to_owned(),
                    parts: found.iter().map(part).collect(),
                    text: format!("{} µs", number(total)),
                    ..Bar::default()
                });
            }
        }
        if groups.is_empty() {
            continue;
        }
        let is_here = |(name, _): &(&str, &str)| {
            cells
                .iter()
                .any(|cell| figures.value(&["compare", cell, subject, "stage", name]).is_some())
        };
        let colours: Vec<_> =
            names.iter().copied().zip(STAGE_COLOURS.into_iter().cycle()).filter(is_here).collect();
        text.extend([
            "<h3>",
            subject,
            ", stage by stage</h3>
",
            &legend(&colours),
        ]);
        text += &bars(&[Group { title: String::new(), bars: groups }], Some(1.0));
        // Those of the user stack stand beside those of the raw exchange.
        if *subject == SUBJECTS[0].0 {
            let here: Vec<_> = colours.iter().map(|(name, _)| *name).collect();
            text += "<details><summary>numbers</summary>";
            text += &stage_table(figures, cells, subject, &here);
            text += "</details>";
        }
    }
    text
}

fn stage_table(figures: &Figures, cells: &[&str], subject: &str, names: &[&str]) -> String {
    let with: Vec<&str> = cells
        .iter()
        .copied()
        .filter(|cell| !figures.under(&["compare", cell, subject, "stage"]).is_empty())
        .collect();
    let row = |name: &&str| {
        let cell = |cell: &&str| {
            let value = figures.value(&["compare", cell, subject, "stage", name]);
            value.map_or("–".to_owned(), number)
        };
        [escape(name)].into_iter().chain(with.iter().map(cell)).collect()
    };
    let head: Vec<_> = ["µs a request"].into_iter().chain(with.iter().copied()).collect();
    table(&head, &names.iter().map(row).collect::<Vec<_>>())
}
