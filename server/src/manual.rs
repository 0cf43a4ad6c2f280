//! Manual pages and completions, made from the command line's own definition.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap_complete::Shell;
use clap_mangen::Man;

use crate::args;

/// Writes completions for `shell` to `out`.
///
/// # Errors
///
/// If `out` does.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "pagewire", &mut text);
    out.write_all(&text)
}

/// Writes the page of the program itself to `out`.
///
/// # Errors
///
/// If `out` does.
pub fn page(out: &mut impl Write) -> io::Result<()> {
    Man::new(args::command()).render(out)
}

/// Writes one page for each command to `directory`, which is made if it is not there.
///
/// # Errors
///
/// If a file cannot be written.
pub fn pages(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(args::command().disable_help_subcommand(true), directory)
}
