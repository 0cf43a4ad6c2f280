//! The user-level stack by itself: what a request costs, the more connections there are.

use super::{
    input::Figures,
    lines::{Line, lines},
    page::section as page_section,
    rest::tables,
};

const ABOUT: &str = "Requests with answers of 128 bytes, over all connections in random order, on a memory link: \
     no NIC, one core, the stack's own turns alone. What a request, of one packet in and one out, costs more with \
     a million connections than with 256 is cache misses.";

/// The section, if there are figures for it.
pub fn section(figures: &Figures) -> Option<String> {
    let layers = [("tcp", "the stack alone", "var(--user)"), ("http", "with HTTP", "var(--raw)")];
    let mut all = Vec::new();
    let mut legend = String::new();
    for (layer, name, colour) in layers {
        let points = points(figures, layer);
        if points.len() > 1 {
            let mark = format!("<span style=\"color:{colour}\">●</span> {name} ");
            legend.push_str(&mark);
            all.push(Line { colour, points });
        }
    }
    if figures.next(&["engine"]).is_empty() {
        return None;
    }
    let mut content = String::new();
    if !all.is_empty() {
        let plot = lines(&all, "connections", "ns per request");
        content.extend(["<p>", &legend, "</p>", &plot]);
    }
    content.push_str(&tables(figures, "engine"));
    Some(page_section("The engine", ABOUT, "pagewire-bench engine --json engine.json", &content))
}

/// Connections, and what a request costs with so many.
fn points(figures: &Figures, layer: &str) -> Vec<(f64, f64)> {
    let counts = figures.next(&["engine", "keep-alive", layer]);
    let point = |count: &&str| {
        let connections = count.split(' ').next()?.parse().ok()?;
        Some((connections, figures.value(&["engine", "keep-alive", layer, count, "time"])?))
    };
    counts.iter().filter_map(point).collect()
}
