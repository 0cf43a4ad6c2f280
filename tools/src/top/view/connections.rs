//! The page of the connections: a list like that of `ss`, sorted and filtered.

use std::time::Duration;

use pagewire::control::protocol::Connection;
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    text::Line,
    widgets::{Block, Borders, Cell, Row, Table},
};

use super::{Screen, right};
use crate::{
    connections::Column,
    quantity::{bytes, count, seconds},
    top::palette,
};

/// Draws the page.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen) {
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
