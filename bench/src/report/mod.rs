//! `pagewire-bench report`: figures of earlier runs as one HTML page that needs nothing else.
//!
//! - `input`: reads figures; `machine`: what they were measured on, as far as this machine can say.
//! - `bars`, `lines`: plots, as inline SVG; `page`: the frame around all.
//! - `comparison`, `limit`, `prediction`, `architectures`, `rates`, `engine`, `rest`: the sections.

mod architectures;
mod bars;
mod comparison;
mod engine;
mod input;
mod limit;
mod lines;
mod machine;
mod page;
mod prediction;
mod rates;
mod rest;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::input::Figures;
use crate::error::BenchError;

/// One HTML page with plots and tables of figures that other measurements have written by --json
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to write the page
    #[arg(long, value_name = "PATH")]
    html: PathBuf,

    /// Files that `--json` has written; machine and settings are those of now
    #[arg(required = true, value_name = "JSON")]
    json: Vec<PathBuf>,
}

/// Writes the page.
///
/// # Errors
///
/// When a file cannot be read or written, or holds no figures.
pub fn run(options: &Options) -> Result<(), BenchError> {
    write(&options.html, &options.json, &[])
}

/// A measurement that the figures come from.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was typed.
    pub command: String,
    /// How it ended.
    pub outcome: String,
}

/// Writes the page of the figures in `files`, which `runs` have left, to `html`.
///
/// # Errors
///
/// When a file cannot be read or written, or holds no figures.
pub fn write(html: &Path, files: &[PathBuf], runs: &[Run]) -> Result<(), BenchError> {
    let mut figures = Figures::default();
    for path in files {
        figures.read(path).map_err(|source| BenchError::File { path: path.clone(), source })?;
    }
    let page = page::page(&machine::describe(files, runs), &sections(&figures));
    fs::write(html, page).map_err(|source| BenchError::File { path: html.to_owned(), source })
}

/// All sections that there are figures for.
fn sections(figures: &Figures) -> String {
    let makers = [
        comparison::section,
        limit::section,
        prediction::section,
        architectures::section,
        rates::section,
        engine::section,
        rest::section,
    ];
    makers.iter().filter_map(|make| make(figures)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: &str = r#"[
        {"name":"compare/128 B keep-alive, 64 connections/kernel mode/cost","value":6.0,"unit":"us/request"},
        {"name":"compare/128 B keep-alive, 64 connections/user stack/cost","value":3.0,"unit":"us/request"},
        {"name":"compare/128 B keep-alive, 64 connections/raw AF_XDP/cost","value":2.0,"unit":"us/request"},
        {"name":"compare/128 B keep-alive, 64 connections/user over kernel","value":0.5,"unit":"ratio"},
        {"name":"compare/128 B keep-alive, 64 connections/user over kernel low","value":0.4,"unit":"ratio"},
        {"name":"compare/128 B keep-alive, 64 connections/user over kernel high","value":0.6,"unit":"ratio"},
        {"name":"compare/128 B keep-alive, 64 connections/user over kernel goal","value":0.5,"unit":"ratio"},
        {"name":"compare/128 B keep-alive, 64 connections/user stack/stage/HTTP","value":0.5,"unit":"us/request"},
        {"name":"ladder/128 B/epoll/throughput","value":120000.0,"unit":"requests/s"},
        {"name":"ladder/128 B/<select>/cannot: FD_SETSIZE","value":1.0,"unit":"cell"},
        {"name":"pps/echo/64 B/1 queues/rate","value":1000000.0,"unit":"packets/s"},
        {"name":"engine/bulk/ipv4/stack","value":6.5,"unit":"GB/s"}]"#;

    #[test]
    fn every_kind_of_figure_has_its_place_on_a_page_that_needs_nothing_else() {
        let mut figures = Figures::default();
        figures.parse(EVERYTHING).unwrap();
        let page = page::page(&machine::describe(&[], &[]), &sections(&figures));
        for part in ["128 B keep-alive", "met", "FD_SETSIZE", "&lt;select&gt;", "1,000,000", "6.50"]
        {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["http://", "https://", "<script", "<link", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
