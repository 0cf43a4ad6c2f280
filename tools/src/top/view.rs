//! How a server is drawn: made for 80 columns, and wider ones show more of the same.

use std::time::Duration;

use pagewire::{
    control::protocol::{About, Connection},
    histogram::Distribution,
};
use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Table},
};

use super::{
    model::{Core, HARMLESS, Listing, Moments, Overview, Pace},
    palette,
};
use crate::{
    connections::Column,
    quantity::{bytes, count, seconds},
};

/// What is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Page {
    /// Cores, and a summary of the rest.
    Cores,
    /// A list of connections.
    Connections,
}

/// All that is drawn.
#[derive(Debug)]
pub struct Screen {
    /// The server.
    pub about: About,
    /// What has been seen of it.
    pub moments: Moments,
    /// Its connections, as last listed.
    pub listing: Listing,
    /// What is shown.
    pub page: Page,
    /// What connections are sorted by...
    pub sort: Column,
    /// ...and whether the other way round.
    pub is_reversed: bool,
    /// What connections shown have in them.
    pub filter: String,
    /// Whether that is being typed.
    pub is_typing: bool,
    /// Whether nothing is asked.
    pub is_paused: bool,
    /// The first line shown of what does not fit.
    pub scroll: usize,
    /// Why there is nothing new.
    pub trouble: Option<String>,
}

impl Screen {
    /// A screen on which nothing is yet.
    pub fn new(about: About) -> Self {
        Self {
            about,
            moments: Moments::default(),
            listing: Listing::default(),
            page: Page::Cores,
            sort: Column::Pending,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            scroll: 0,
            trouble: None,
        }
    }

    /// Moves the lines that are shown; `draw` keeps that within what there is.
    pub fn scroll_by(&mut self, lines: isize) {
        self.scroll = self.scroll.saturating_add_signed(lines);
    }
}

/// Draws all.
pub fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let overview = screen.moments.overview();
    let [title, summary, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_title(frame, title, screen, &overview);
    draw_summary(frame, summary, &overview);
    match screen.page {
        Page::Cores => draw_cores_page(frame, body, screen, &overview),
        Page::Connections => draw_connections(frame, body, screen),
    }
    draw_footer(frame, footer, screen);
}

/// The screen as plain text.
pub fn as_text(screen: &mut Screen, width: u16, height: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, screen));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, screen: &Screen, overview: &Overview) {
    let about = &screen.about;
    let more = match about.addresses.len() {
        0 | 1 => String::new(),
        several => format!(" and {} more", several - 1),
    };
    let address = about.addresses.first().map(ToString::to_string).unwrap_or_default();
    let left = format!(
        "pagewire {}, process {}, {} on {address}{more}",
        about.server, about.pid, about.transport
    );
    let up = format!("up {}", seconds(overview.uptime));
    let [left_area, right_area] =
        Layout::horizontal([Constraint::Min(10), Constraint::Length(up.len() as u16)]).areas(area);
    frame.render_widget(Line::styled(left, palette::title()), left_area);
    frame.render_widget(Line::raw(up), right_area);
}

fn draw_summary(frame: &mut Frame<'_>, area: Rect, overview: &Overview) {
    let total = &overview.total;
    let quantile = |share| {
        let time = overview.latency.quantile(share);
        time.map_or_else(|| "-".to_owned(), |time| seconds(time.as_secs_f64()))
    };
    let mut spans = vec![
        Span::raw(format!("{} req/s   ", count(total.requests))),
        Span::raw(format!("{} bit/s sent   ", count(total.bits))),
        Span::raw(format!("{} open   ", total.open)),
        Span::raw(format!("p50 {}  p99 {}   ", quantile(0.5), quantile(0.99))),
    ];
    if total.server_errors > 0.0 {
        let text = format!("▲ {} errors/s (5xx)", count(total.server_errors));
        spans.push(Span::styled(text, palette::notable()));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_footer(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    if let Some(trouble) = &screen.trouble {
        return frame.render_widget(Line::styled(format!("✗ {trouble}"), palette::bad()), area);
    }
    if screen.is_typing {
        let text = format!("show only: {}▏  Enter keeps it, Esc drops it", screen.filter);
        return frame.render_widget(Line::styled(text, palette::notable()), area);
    }
    let keys = match screen.page {
        Page::Cores => "1 cores  2 connections  ↑↓ scroll  space pause  q quit",
        Page::Connections => {
            "1 cores  2 connections  s sort  r reverse  / filter  space pause  q quit"
        }
    };
    let mut spans = vec![Span::styled(keys, palette::quiet())];
    if screen.is_paused {
        spans.push(Span::styled("  ‖ paused", palette::notable()));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_cores_page(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, overview: &Overview) {
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

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::raw(text).right_aligned())
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

fn draw_connections(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen) {
    let mut rows: Vec<_> = screen.listing.rows.clone();
    let filter = screen.filter.to_lowercase();
    rows.retain(|row| filter.is_empty() || has(row, &filter));
    screen.sort.sort(&mut rows);
    if screen.is_reversed {
        rows.reverse();
    }
    let visible = usize::from(area.height.saturating_sub(2));
    screen.scroll = screen.scroll.min(rows.len().saturating_sub(visible));
    let titles = [
        ("STATE", Column::State),
        ("DOES", Column::State),
        ("RTT", Column::Rtt),
        ("CWND", Column::Cwnd),
        ("UNACK", Column::Flight),
        ("QUEUE", Column::Pending),
        ("RETX", Column::Retransmits),
        ("HEARD", Column::Silent),
        ("PEER", Column::Peer),
    ];
    let arrow = if screen.is_reversed { "▲" } else { "▼" };
    let header = titles.into_iter().enumerate().map(|(index, (title, column))| {
        let is_chosen = column == screen.sort && title != "DOES";
        let text = if is_chosen { format!("{title}{arrow}") } else { title.to_owned() };
        let cell = if matches!(index, 0 | 1 | 8) { Cell::from(text) } else { right(text) };
        if is_chosen { cell.style(palette::notable()) } else { cell.style(palette::title()) }
    });
    let widths = [10, 7, 6, 6, 6, 6, 5, 6];
    let room = usize::from(area.width).saturating_sub(60).max(12);
    let widths = widths.map(Constraint::Length).into_iter().chain([Constraint::Min(12)]);
    let shown = rows.iter().skip(screen.scroll).take(visible);
    let shown = shown.map(|row| connection_row(row, room));
    let more = if screen.listing.is_sample { " (a sample of them)" } else { "" };
    let title = format!(" {} of {} connections{more} ", rows.len(), screen.listing.rows.len());
    let block = Block::new().borders(Borders::TOP).border_style(palette::quiet());
    let block = block.title(Line::styled(title, palette::title()));
    let block = match screen.filter.as_str() {
        "" => block,
        filter => block.title(Line::styled(format!(" with {filter} "), palette::notable())),
    };
    frame.render_widget(Table::new(shown, widths).header(Row::new(header)).block(block), area);
}

/// Whether a filter, in lower case, is in what is shown of a connection.
fn has(row: &Connection, filter: &str) -> bool {
    [&*row.state, &*row.activity, &row.peer.to_string(), &row.local.to_string()]
        .iter()
        .any(|text| text.contains(filter))
}

/// The time after which a peer that has something in flight is suspect.
const SUSPECT: Duration = Duration::from_secs(2);

fn connection_row(row: &Connection, room: usize) -> Row<'static> {
    let of = |value: Option<u64>| right(value.map_or_else(|| "-".to_owned(), bytes));
    let time = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), seconds);
    let waits = row.in_flight_bytes.is_some_and(|it| it > 0);
    let is_suspect = waits && row.silent_seconds.is_some_and(|it| it > SUSPECT.as_secs_f64());
    let silent = time(row.silent_seconds);
    let silent = if is_suspect {
        right(format!("▲{silent}")).style(palette::notable())
    } else {
        right(silent)
    };
    let resent = row.retransmits.map_or_else(|| "-".to_owned(), |it| count(it as f64));
    let resent = right(resent);
    let has_resent = row.retransmits.is_some_and(|it| it > 0);
    Row::new([
        Cell::from(row.state.to_string()),
        Cell::from(row.activity.to_string()),
        right(time(row.rtt_seconds)),
        of(row.cwnd_bytes),
        of(row.in_flight_bytes),
        of(Some(row.pending_bytes)),
        if has_resent { resent.style(palette::notable()) } else { resent },
        silent,
        Cell::from(shortened(&row.peer.to_string(), room)),
    ])
}

/// An address with its port that fits, without its middle if need be.
fn shortened(address: &str, room: usize) -> String {
    // Addresses are ASCII.
    if address.len() <= room || room < 3 {
        return address.to_owned();
    }
    let tail = (room - 1) / 2;
    let head = room - 1 - tail;
    format!("{}…{}", &address[..head], &address[address.len() - tail..])
}
