//! What every measurement shows: lines of figures, and a line about what goes on meanwhile.

use std::{
    io::{self, IsTerminal, Write},
    time::Instant,
};

use crate::error::BenchError;

/// Prints lines. A reader that has gone is an error, not a panic: labs and servers still have to be ended.
pub fn print(lines: &str) -> Result<(), BenchError> {
    writeln!(io::stdout(), "{lines}").map_err(BenchError::system("print the figures"))
}

/// A line on the terminal about what is being measured; nothing where no terminal is.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    done: usize,
    all: usize,
}

impl Progress {
    /// Of `all` steps.
    pub fn new(all: usize) -> Self {
        Self { start: Instant::now(), done: 0, all }
    }

    /// The next step is `what`.
    pub fn step(&mut self, what: &str) {
        self.done += 1;
        let (done, all, seconds) = (self.done, self.all, self.start.elapsed().as_secs());
        Self::show(&format!("{done}/{all}, {seconds} s: {what} …"));
    }

    /// Takes the line away, so that others can be printed.
    pub fn clear() {
        Self::show("");
    }

    fn show(line: &str) {
        let mut terminal = io::stderr();
        if terminal.is_terminal() {
            // Nobody misses it.
            let _ = write!(terminal, "\r\x1b[K{line}");
        }
    }
}
