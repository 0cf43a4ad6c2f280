//! Colours that people with any kind of colour vision tell apart, each always with a symbol or a word.
//!
//! From Okabe and Ito's palette (2008), as the nearest of a terminal's 256. With `NO_COLOR` set
//! (no-color.org) only weights are used.

use std::{env, sync::OnceLock};

use ratatui::style::{Color, Modifier, Style};

fn coloured(color: Color) -> Style {
    static WITHOUT: OnceLock<bool> = OnceLock::new();
    let without = WITHOUT.get_or_init(|| env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty()));
    if *without { Style::new() } else { Style::new().fg(color) }
}

/// What is as it should be: sky blue.
pub fn good() -> Style {
    coloured(Color::Indexed(74))
}

/// What deserves a look: orange.
pub fn notable() -> Style {
    coloured(Color::Indexed(214)).add_modifier(Modifier::BOLD)
}

/// What is wrong: vermilion.
pub fn bad() -> Style {
    coloured(Color::Indexed(166)).add_modifier(Modifier::BOLD | Modifier::REVERSED)
}

/// Titles.
pub fn title() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// What is there to be found, not to be read.
pub fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
