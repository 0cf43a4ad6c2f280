//! What is told: a row for each cell, the goals, and the figures.

use super::{
    bulk::{Pair, Run},
    cell::{Bulk, Fairness, Objects},
    fairness::Shares,
    objects::Samples,
    scene::Sender,
};
use crate::{
    figures::Figure,
    statistics::{Estimate, median},
};

/// Goodput of ours over that of Linux: what is to be reached in the median over all links.
const MEDIAN_GOAL: f64 = 1.0;
/// No link may be surely worse than this.
const WORST_GOAL: f64 = 0.95;
/// The slowest of a hundred objects over that of Linux.
const OBJECT_GOAL: f64 = 1.1;
/// Share of data sent again, beyond that of Linux.
const REPEATED_GOAL: f64 = 0.02;

/// Above the rows of `bulk`.
pub const BULK_HEAD: &str = "
goodput of one flow, Mbit/s       Linux    ours   ours / Linux          sent again      queued, ms
                                                  [95 % interval]       Linux   ours    Linux   ours";

/// Above the rows of `objects`.
pub const OBJECTS_HEAD: &str = "
completion, ms                    Linux p50    p99     ours p50    p99   ours / Linux p99  samples";

/// Above the rows of `fairness`.
pub const FAIRNESS_HEAD: &str = "
one bottleneck for 60 s              Jain's index: median, least     Linux    ours, Mbit/s together";

/// Below all.
pub const NOTES: &str = "
Medians over paired runs, in which both senders meet a link of the same seed; intervals by Student's t of the
ratios' logarithms. Goodput counts from before the connection is opened. sent again: which share of the TCP
data had passed before, as seen in front of the link. queued: how long a frame waited for the link's rate.
disturbed: the emulator lost frames that nobody asked it to lose, so the machine was too busy.";

fn of(pairs: &[Pair], sender: Sender) -> impl Iterator<Item = &Run> {
    pairs.iter().map(move |pair| pair.of(sender))
}

fn middle(pairs: &[Pair], sender: Sender, what: impl Fn(&Run) -> f64) -> f64 {
    median(&of(pairs, sender).map(what).collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

fn ratio(pairs: &[Pair]) -> Option<Estimate> {
    Estimate::of(&pairs.iter().map(Pair::ratio).collect::<Vec<_>>())
}

/// A cell of `bulk`.
pub fn bulk_row(cell: &Bulk, pairs: &[Pair]) -> String {
    let each = |what: fn(&Run) -> f64| Sender::ALL.map(|sender| middle(pairs, sender, what));
    let [linux, ours] = each(|run| run.mbit_per_s);
    let [again_linux, again_ours] = each(|run| run.repeated * 100.0);
    let [queued_linux, queued_ours] = each(|run| run.queued_ms);
    let interval = ratio(pairs).map_or_else(String::new, |ratio| {
        if ratio.has_interval() {
            format!("{:.2} [{:.2} {:.2}]", ratio.median, ratio.low, ratio.high)
        } else {
            format!("{:.2}", ratio.median)
        }
    });
    let disturbed = pairs.iter().flat_map(|pair| pair.runs).filter(|run| run.disturbed > 0).count();
    let note = if disturbed > 0 { format!("  {disturbed} runs disturbed") } else { String::new() };
    format!(
        "{:<30} {linux:>8.1} {ours:>7.1}   {interval:<20} {again_linux:>5.2}% {again_ours:>5.2}%  \
         {queued_linux:>6.1} {queued_ours:>6.1}{note}",
        cell.name
    )
}

/// The figures of a cell of `bulk`.
pub fn bulk_figures(cell: &Bulk, pairs: &[Pair]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |what: String, value: f64, unit| {
        let name = format!("wan/{}/{what}", cell.name);
        figures.push(Figure { name, value, unit });
    };
    for sender in Sender::ALL {
        let name = sender.name();
        add(format!("{name}/goodput"), middle(pairs, sender, |run| run.mbit_per_s), "Mbit/s");
        add(format!("{name}/sent again"), middle(pairs, sender, |run| run.repeated), "of data");
        add(format!("{name}/queued"), middle(pairs, sender, |run| run.queued_ms), "ms");
    }
    if let Some(ratio) = ratio(pairs) {
        add("ours over Linux".to_owned(), ratio.median, "");
        if ratio.has_interval() {
            add("ours over Linux, low".to_owned(), ratio.low, "");
            add("ours over Linux, high".to_owned(), ratio.high, "");
        }
    }
    figures
}

/// What all cells of `bulk` come to.
#[derive(Debug, Default)]
pub struct Summary {
    ratios: Vec<f64>,
    worse: Vec<&'static str>,
    wasteful: Vec<&'static str>,
}

impl Summary {
    /// Takes a cell's pairs into account.
    pub fn add(&mut self, cell: &Bulk, pairs: &[Pair]) {
        let Some(ratio) = ratio(pairs) else { return };
        self.ratios.push(ratio.median);
        if ratio.high < WORST_GOAL {
            self.worse.push(cell.name);
        }
        let [linux, ours] = Sender::ALL.map(|sender| middle(pairs, sender, |run| run.repeated));
        if ours > linux + REPEATED_GOAL {
            self.wasteful.push(cell.name);
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        let median = median(&self.ratios).unwrap_or(f64::NAN);
        let listed = |cells: &[&str]| {
            if cells.is_empty() { "none".to_owned() } else { cells.join("; ") }
        };
        format!(
            "median of ours / Linux over {} links: {median:.3} (goal {MEDIAN_GOAL}: {})\n\
             links surely below {WORST_GOAL}: {}\n\
             links with more than {} points more sent again than Linux: {}",
            self.ratios.len(),
            verdict(median >= MEDIAN_GOAL),
            listed(&self.worse),
            REPEATED_GOAL * 100.0,
            listed(&self.wasteful),
        )
    }

    /// As figures.
    pub fn figures(&self) -> Vec<Figure> {
        let median = median(&self.ratios).unwrap_or(f64::NAN);
        let count = |cells: &[&str]| cells.len() as f64;
        [
            ("wan/all/ours over Linux, median of links", median, ""),
            ("wan/all/surely worse than Linux", count(&self.worse), "links"),
            ("wan/all/more sent again than Linux", count(&self.wasteful), "links"),
        ]
        .map(|(name, value, unit)| Figure { name: name.to_owned(), value, unit })
        .into()
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

/// A cell of `objects`.
pub fn object_row(cell: &Objects, samples: &Samples) -> String {
    let times = |sender| [50, 99].map(|percent| samples.quantile(sender, percent));
    let ([linux, linux_99], [ours, ours_99]) = (times(Sender::Linux), times(Sender::Ours));
    let ratio = ours_99 / linux_99;
    let counts = samples.times_ms.each_ref().map(Vec::len);
    let failures: usize = samples.failures.iter().sum();
    let note = if failures > 0 { format!("  {failures} FAILED") } else { String::new() };
    format!(
        "{:<30} {linux:>12.1} {linux_99:>6.0} {ours:>12.1} {ours_99:>6.0}   {ratio:.2} (goal \
         {OBJECT_GOAL}: {})  {} + {}{note}",
        cell.name,
        verdict(ratio <= OBJECT_GOAL),
        counts[0],
        counts[1],
    )
}

/// The figures of a cell of `objects`.
pub fn object_figures(cell: &Objects, samples: &Samples) -> Vec<Figure> {
    let mut figures = Vec::new();
    for sender in Sender::ALL {
        for (word, percent) in [("p50", 50), ("p99", 99)] {
            let name = format!("wan/{}/{}/{word}", cell.name, sender.name());
            figures.push(Figure { name, value: samples.quantile(sender, percent), unit: "ms" });
        }
        let name = format!("wan/{}/{}/failed", cell.name, sender.name());
        let value = samples.failures[sender as usize] as f64;
        figures.push(Figure { name, value, unit: "objects" });
    }
    figures
}

/// A cell of `fairness`.
pub fn fairness_row(cell: &Fairness, runs: &[Shares]) -> String {
    let jain: Vec<f64> = runs.iter().map(Shares::jain).collect();
    let least = jain.iter().copied().fold(f64::INFINITY, f64::min);
    let rate = |sender| {
        let rates: Vec<f64> = runs.iter().map(|shares| shares.mbit_per_s(sender)).collect();
        median(&rates).unwrap_or(f64::NAN)
    };
    format!(
        "{:<36} {:>14.3} {least:>12.3} {:>14.1} {:>8.1}",
        cell.name,
        median(&jain).unwrap_or(f64::NAN),
        rate(Sender::Linux),
        rate(Sender::Ours),
    )
}

/// The figures of a cell of `fairness`.
pub fn fairness_figures(cell: &Fairness, runs: &[Shares]) -> Vec<Figure> {
    let jain: Vec<f64> = runs.iter().map(Shares::jain).collect();
    let name = format!("wan/{}/Jain's index", cell.name);
    median(&jain).map(|value| Figure { name, value, unit: "" }).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{super::cell::BULK, *};

    fn pairs(linux: f64, ours: f64) -> Vec<Pair> {
        let run = |mbit_per_s| Run { mbit_per_s, ..Run::default() };
        (0..4).map(|_| Pair { runs: [run(linux), run(ours)] }).collect()
    }

    #[test]
    fn a_link_on_which_ours_is_surely_slower_is_named() {
        let mut summary = Summary::default();
        summary.add(&BULK[0], &pairs(90.0, 90.0));
        summary.add(&BULK[1], &pairs(90.0, 45.0));
        let text = summary.text();
        assert!(text.contains("0.750 (goal 1: missed)"), "{text}");
        assert!(text.contains(&format!("surely below 0.95: {}", BULK[1].name)), "{text}");
        let row = bulk_row(&BULK[1], &pairs(90.0, 45.0));
        assert!(row.contains("0.50 [0.50 0.50]"), "{row}");
    }
}
