//! `pw top`: a live view of a running server in a terminal.
//!
//! - `model`: what two looks at the server say about the time between them.
//! - `view`: how that is drawn, without a terminal; `palette`: in which colours.
//! - Here: asking the server, the keys, and the terminal.

mod model;
mod palette;
#[cfg(test)]
mod tests;
mod view;

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use clap::Args;
use pagewire::control::protocol::Filter;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};

use self::{
    model::{Listing, Moment},
    view::{Page, Screen},
};
use crate::{
    connections::Column,
    control::{Client, ControlError, Which},
};

/// Most connections that are looked at for the list, over all shards; of more, a sample.
const MOST_LISTED: u32 = 20_000;

/// Which server to watch, and how often
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    which: Which,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Show this many times, as text on the standard output, and end
    #[arg(long, value_name = "TIMES")]
    plain: Option<u32>,
}

/// Fastest that the server is asked.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Watches until the user has seen enough.
///
/// # Errors
///
/// Any [`ControlError`] at the start; later ones are shown, and the server is asked again.
pub fn run(args: &TopArgs) -> Result<(), ControlError> {
    let mut watch = Watch::new(args.which.clone())?;
    watch.interval = args.interval.max(SHORTEST_INTERVAL);
    if let Some(times) = args.plain {
        return match watch.print(times, &mut io::stdout()) {
            // A reader that has seen enough is no failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        };
    }
    let mut terminal = ratatui::try_init()?;
    let result = watch.show(&mut terminal);
    ratatui::restore();
    Ok(result?)
}

/// A server being watched, and what is on the screen.
struct Watch {
    /// Looked for anew when it does not answer: after a restart its socket has another name.
    which: Which,
    client: Option<Client>,
    interval: Duration,
    screen: Screen,
    is_paused: bool,
}

/// What a key leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    GoOn,
    LookAgain,
    Quit,
}

impl Watch {
    fn new(which: Which) -> Result<Self, ControlError> {
        let client = Client::connect(&which.find()?)?;
        let screen = Screen::new(client.about().clone());
        let interval = Duration::from_secs(1);
        Ok(Self { which, client: Some(client), interval, screen, is_paused: false })
    }

    fn show(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        loop {
            if !self.is_paused {
                self.look();
            }
            let next = Instant::now() + self.interval;
            loop {
                terminal.draw(|frame| view::draw(frame, &mut self.screen))?;
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() || !event::poll(left)? {
                    break;
                }
                let then = match event::read()? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => self.press(key),
                    _ => Then::GoOn,
                };
                match then {
                    Then::GoOn => {}
                    Then::LookAgain => break,
                    Then::Quit => return Ok(()),
                }
            }
        }
    }

    /// For logs and tests: the same pages, as text.
    fn print(&mut self, times: u32, out: &mut impl Write) -> io::Result<()> {
        self.look();
        for _ in 0..times {
            std::thread::sleep(self.interval);
            // The last look also lists the connections.
            self.screen.page = Page::Connections;
            self.look();
            for page in [Page::Cores, Page::Connections] {
                self.screen.page = page;
                out.write_all(view::as_text(&mut self.screen, 80, 24).as_bytes())?;
            }
        }
        out.flush()
    }

    /// Asks the server. What goes wrong is shown, and tried again at the next look.
    fn look(&mut self) {
        let looked = self.ask();
        self.screen.trouble = looked.as_ref().err().map(ToString::to_string);
        if looked.is_err() {
            self.client = None;
        }
    }

    fn ask(&mut self) -> Result<(), ControlError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(&self.which.find()?)?),
        };
        if self.screen.about != *client.about() {
            self.screen = Screen::new(client.about().clone());
        }
        let figures = client.figures()?;
        self.screen.moments.add(Moment { at: Instant::now(), figures });
        if self.screen.page == Page::Connections {
            let shards = u32::try_from(client.about().cores.len()).unwrap_or(u32::MAX);
            let sample = Some(MOST_LISTED / shards.clamp(1, MOST_LISTED));
            let mut rows = Vec::new();
            let end = client.connections(Filter { sample, ..Filter::default() }, |row| {
                rows.push(row);
                Ok(())
            })?;
            self.screen.listing = Listing { rows, is_sample: !end.complete };
        }
        Ok(())
    }

    fn press(&mut self, key: KeyEvent) -> Then {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Then::Quit;
        }
        if self.screen.is_typing {
            self.type_filter(key.code);
            return Then::GoOn;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Then::Quit,
            KeyCode::Char('1') => self.turn_to(Page::Cores),
            KeyCode::Tab if self.screen.page == Page::Connections => self.turn_to(Page::Cores),
            KeyCode::Char('2') | KeyCode::Tab => return self.list_connections(),
            KeyCode::Char(' ' | 'p') => {
                self.is_paused = !self.is_paused;
                self.screen.is_paused = self.is_paused;
            }
            KeyCode::Down | KeyCode::Char('j') => self.screen.scroll_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.screen.scroll_by(-1),
            KeyCode::PageDown => self.screen.scroll_by(10),
            KeyCode::PageUp => self.screen.scroll_by(-10),
            KeyCode::Home | KeyCode::Char('g') => self.screen.scroll = 0,
            KeyCode::Char('s' | '>') => self.screen.sort = next_column(self.screen.sort, 1),
            KeyCode::Char('S' | '<') => {
                self.screen.sort = next_column(self.screen.sort, Column::ALL.len() - 1);
            }
            KeyCode::Char('r') => self.screen.is_reversed = !self.screen.is_reversed,
            KeyCode::Char('/') => {
                self.screen.is_typing = true;
                return self.list_connections();
            }
            _ => {}
        }
        Then::GoOn
    }

    fn turn_to(&mut self, page: Page) {
        self.screen.page = page;
        self.screen.scroll = 0;
    }

    /// Turns to the connections; a list that was never fetched is fetched at once.
    fn list_connections(&mut self) -> Then {
        if self.screen.page != Page::Connections {
            self.turn_to(Page::Connections);
        }
        if self.screen.listing.rows.is_empty() { Then::LookAgain } else { Then::GoOn }
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.screen.is_typing = false,
            KeyCode::Esc => {
                self.screen.is_typing = false;
                self.screen.filter.clear();
            }
            KeyCode::Backspace => drop(self.screen.filter.pop()),
            KeyCode::Char(character) => self.screen.filter.push(character),
            _ => {}
        }
        self.screen.scroll = 0;
    }
}

/// The column so many places behind another.
fn next_column(column: Column, places: usize) -> Column {
    let at = Column::ALL.iter().position(|&it| it == column).unwrap_or_default();
    Column::ALL[(at + places) % Column::ALL.len()]
}
