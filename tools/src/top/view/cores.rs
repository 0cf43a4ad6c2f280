//! The page of the cores, with summaries of connections, drops and latencies.

use pagewire::histogram::Distribution;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Table},
};

use super::{Screen, right};
use crate::{
    quantity::{bytes, count, seconds},
    top::{
        model::{Core, HARMLESS, Overview, Pace},
        palette,
    },
};

/// Draws the page.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, overview: &Overview) {
    let wanted = overview.cores.len() as u16 + 3;
    let most = area.height.saturating_sub(9).max(4);
    let [cores, panes] =
        Layout::vertical([Constraint::Length(wanted.min(most)), Constraint::Min(0)]).areas(area);
    draw_cores(frame, cores, screen, overview);
    let [connections, drops, latency] =
        Layout::horizontal([Constraint::Length(32), Constraint::Fill(1), Constraint::Length(22)])
            .areas(panes);
    draw_census(frame, connections, overview);
    draw_drops(frame, drops, overview);
    draw_latency(frame, latency, &overview.latency);
}

fn draw_cores(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, overview: &Overview) {
    let titles = [
        "", "CORE", "REQ/S", "BIT/S", "IN/S", "OUT/S", "OPEN", "HITS", "RESENT", "DROP/S",
        "WAIT/S", "MEMORY",
    ];
    let widths = [1, 4, 6, 6, 6, 6, 6, 5, 6, 6, 6, 7].map(Constraint::Length);
    let header = Row::new(titles.map(|title| right(title.to_owned()))).style(palette::title());
    let visible = usize::from(area.height.saturating_sub(3));
    screen.scroll = screen.scroll.min(overview.cores.len().saturating_sub(visible));
    let rows = overview.cores.iter().skip(screen.scroll).take(visible).map(core_row);
    let total = overview.cores.len() > 1;
    let total = total.then(|| pace_row(Mark::none(), "all".to_owned(), &overview.total));
    let block = Block::new().borders(Borders::TOP).border_style(palette::quiet());
    let rows = rows.chain(total.map(|row| row.style(palette::title())));
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

/// A symbol with its colour.
#[derive(Clone, Copy)]
struct Mark {
    symbol: &'static str,
    style: Style,
}

impl Mark {
    fn none() -> Self {
        Self { symbol: " ", style: Style::new() }
    }
}

/// A share of memory in use from which it may soon run out.
const MEMORY_SCARCE: f64 = 0.95;

fn core_row(core: &Core) -> Row<'static> {
    let pace = &core.pace;
    let is_scarce = pace.memory_in_use().is_some_and(|used| used > MEMORY_SCARCE);
    let mark = if !core.answers {
        Mark { symbol: "✗", style: palette::bad() }
    } else if pace.drops > 0.0 || pace.back_pressure > 0.0 || is_scarce {
        Mark { symbol: "▲", style: palette::notable() }
    } else {
        Mark { symbol: "●", style: palette::good() }
    };
    if !core.answers {
        let number = right(core.number.to_string());
        let silent = Cell::from("silent").style(palette::bad());
        return Row::new([Cell::from(mark.symbol).style(mark.style), number, silent]);
    }
    pace_row(mark, core.number.to_string(), pace)
}

fn pace_row(mark: Mark, name: String, pace: &Pace) -> Row<'static> {
    let known = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), count);
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let drops = right(count(pace.drops));
    let drops = if pace.drops > 0.0 { drops.style(palette::notable()) } else { drops };
    Row::new([
        Cell::from(mark.symbol).style(mark.style),
        right(name),
        right(count(pace.requests)),
        right(count(pace.bits)),
        right(known(pace.frames_in)),
        right(known(pace.frames_out)),
        right(count(pace.open as f64)),
        right(percent(pace.hits())),
        right(percent(pace.retransmitted())),
        drops,
        right(count(pace.waits)),
        right(pace.memory_in_use().map_or_else(|| "-".to_owned(), gauge)),
    ])
}

/// In at most five characters.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        99.995.. => format!("{percent:.0}%"),
        10.0.. => format!("{percent:.1}%"),
        0.005.. => format!("{percent:.2}%"),
        _ => "0%".to_owned(),
    }
}

/// A share as a bar of one character, and in numbers.
fn gauge(share: f64) -> String {
    const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    format!("{} {:>3.0}%", BARS[part_of(7, share)], share * 100.0)
}

/// A share of `all`, rounded.
#[expect(clippy::cast_sign_loss, reason = "a share is no less than zero")]
fn part_of(all: usize, share: f64) -> usize {
    (share.clamp(0.0, 1.0) * all as f64).round() as usize
}

fn pane(title: &'static str) -> Block<'static> {
    let title = Line::styled(format!(" {title} "), palette::title());
    Block::new().borders(Borders::TOP).border_style(palette::quiet()).title(title)
}

fn draw_census(frame: &mut Frame<'_>, area: Rect, overview: &Overview) {
    let pair = |(name, count): &(String, u64)| format!("{count:>6} {name:<10}");
    let mut lines = Vec::new();
    for index in 0..overview.states.len().max(overview.activities.len()) {
        let state = overview.states.get(index).map_or_else(|| " ".repeat(17), pair);
        let activity = overview.activities.get(index);
        let activity = activity.map(|(name, number)| format!("{number:>5} {name}"));
        lines.push(Line::raw(format!("{state} {}", activity.unwrap_or_default())));
    }
    let percentiles = |name: &str, values: Option<[String; 3]>| {
        let [half, most, all] = values.unwrap_or_else(|| ["-", "-", "-"].map(str::to_owned));
        Line::raw(format!("{name} {half:>6} {most:>6} {all:>6}"))
    };
    let rtt = overview.rtt_seconds.map(|rtt| rtt.map(seconds));
    let cwnd = overview.cwnd_bytes.map(|cwnd| cwnd.map(bytes));
    let room = usize::from(area.height.saturating_sub(4));
    lines.truncate(room);
    lines.push(Line::styled("        50%    90%    99%", palette::quiet()));
    lines.push(percentiles("rtt  ", rtt));
    lines.push(percentiles("cwnd ", cwnd));
    frame.render_widget(Paragraph::new(lines).block(pane("Connections")), area);
}

fn draw_drops(frame: &mut Frame<'_>, area: Rect, overview: &Overview) {
    let total = &overview.total;
    let mut lines = vec![
        rate_line(total.waits, "waits for files", false),
        rate_line(total.back_pressure, "back-pressure", true),
        rate_line(total.hops, "hops between cores", false),
    ];
    lines.extend(overview.drops.iter().map(|(cause, rate)| {
        let is_notable = cause != HARMLESS;
        rate_line(*rate, cause, is_notable)
    }));
    if overview.drops.is_empty() {
        lines.push(rate_line(0.0, "drops", false));
    }
    frame.render_widget(Paragraph::new(lines).block(pane("Each second")), area);
}

/// What happens so often in a second; marked if it should not.
fn rate_line(rate: f64, what: &str, is_notable: bool) -> Line<'static> {
    let is_notable = is_notable && rate > 0.0;
    let mark = if is_notable { "▲" } else { " " };
    let text = format!("{mark}{:>6} {what}", count(rate));
    if is_notable { Line::styled(text, palette::notable()) } else { Line::raw(text) }
}

/// Ends of the bars, in microseconds, with their names. The last has none.
const BARS: [(&str, u64); 7] = [
    ("64us", 64),
    ("256us", 256),
    ("1ms", 1 << 10),
    ("8ms", 1 << 13),
    ("65ms", 1 << 16),
    ("0.5s", 1 << 19),
    ("more", u64::MAX),
];

fn draw_latency(frame: &mut Frame<'_>, area: Rect, latency: &Distribution) {
    let all = latency.count().max(1);
    let width = usize::from(area.width.saturating_sub(13));
    let mut below = 0;
    let lines = BARS.iter().map(|&(name, end)| {
        let so_far = if end == u64::MAX { latency.count() } else { latency.below(end) };
        let share = (so_far - below) as f64 / all as f64;
        below = so_far;
        let bar = "█".repeat(part_of(width, share));
        Line::from(vec![
            Span::raw(format!("{name:>5} {:>5} ", percent(share))),
            Span::styled(bar, palette::good()),
        ])
    });
    let lines: Vec<_> = lines.collect();
    frame.render_widget(Paragraph::new(lines).block(pane("Requests took")), area);
}
