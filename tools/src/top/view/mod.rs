//! How a server is drawn: made for 80 columns, and wider ones show more of the same.
//!
//! - `cores`, `connections`: the two pages. Here is what is around them.

mod connections;
mod cores;

use pagewire::control::protocol::About;
use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Cell,
};

use super::{
    model::{Listing, Moments, Overview},
    palette,
};
use crate::{
    connections::Column,
    quantity::{count, seconds},
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
        Page::Cores => cores::draw(frame, body, screen, &overview),
        Page::Connections => connections::draw(frame, body, screen),
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
    let mut spans = vec![Span::styled(left, palette::title())];
    for (is_so, mark) in [(overview.is_link_down, "link down"), (overview.is_fallback, "no AF_XDP")]
    {
        if is_so {
            spans.push(Span::styled(format!("  ▲ {mark}"), palette::notable()));
        }
    }
    frame.render_widget(Line::from(spans), left_area);
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

/// A cell of numbers.
fn right(text: String) -> Cell<'static> {
    Cell::from(Line::raw(text).right_aligned())
}
