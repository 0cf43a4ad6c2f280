//! Packet rates of AF_XDP.

use super::{
    bars::{Bar, Group, Part, bars},
    input::{Figures, number},
    page::section as page_section,
};

const ABOUT: &str = "What AF_XDP does on a veth pair of this machine with nothing above it: the limit of all else here. \
     On veth the kernel copies each frame into a socket buffer; a zero-copy driver does not.";

/// The section, if there are figures for it.
pub fn section(figures: &Figures) -> Option<String> {
    let works = figures.next(&["pps"]);
    if works.is_empty() {
        return None;
    }
    let group = |work: &&str| {
        let mut group = Group { title: (*work).to_owned(), bars: Vec::new() };
        for bytes in figures.next(&["pps", work]) {
            for queues in figures.next(&["pps", work, bytes]) {
                let value = |what| figures.value(&["pps", work, bytes, queues, what]);
                let Some(rate) = value("rate") else { continue };
                let cost = value("near core").map_or("–".to_owned(), number);
                group.bars.push(Bar {
                    label: format!("{bytes}, {queues}"),
                    parts: vec![Part { value: rate, colour: "var(--raw)".to_owned() }],
                    text: format!("{} packets/s, {cost} ns each", number(rate)),
                    ..Bar::default()
                });
            }
        }
        group
    };
    let content = bars(&works.iter().map(group).collect::<Vec<_>>(), None);
    Some(page_section("Packet rates", ABOUT, "pagewire-bench pps --json pps.json", &content))
}
