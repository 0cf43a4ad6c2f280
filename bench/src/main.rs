//! `pagewire-bench`: what the parts of Pagewire, and the machine under them, can do.

mod all;
mod client;
mod cold;
mod compare;
mod cpu;
mod emulator;
mod ends;
mod engine;
mod error;
mod figures;
mod http;
mod interrupt;
mod ladder;
mod limit;
mod options;
mod output;
mod pps;
mod product;
mod report;
mod statistics;
mod syn_flood;
mod syscalls;
mod wan;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Measurements of Pagewire and of the machine under it
#[derive(Debug, Parser)]
#[command(name = "pagewire-bench", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    Engine(engine::Options),
    Http(http::Options),
    Pps(pps::Options),
    Compare(compare::Options),
    Clients(compare::clients::Options),
    Emulator(emulator::Options),
    Cold(cold::Options),
    Report(report::Options),
    Ladder(ladder::Options),
    Syscalls(syscalls::Options),
    Wan(wan::Options),
    All(all::Options),
    SynFlood(syn_flood::Options),
    /// The server that `cold` compares with, started by it
    #[command(hide = true)]
    ColdNaive(cold::NaiveOptions),
    /// A server of the ladder, started by it
    #[command(hide = true)]
    Rung(ladder::RungOptions),
    /// The program that a server of the ladder starts for each request
    #[command(hide = true)]
    Cgi {
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn Error>> = match Arguments::parse().measurement {
        Measurement::Engine(options) => engine::run(&options).map_err(Into::into),
        Measurement::Http(options) => http::run(&options).map_err(Into::into),
        Measurement::Pps(options) => pps::run(&options).map_err(Into::into),
        Measurement::Compare(options) => compare::run(&options).map_err(Into::into),
        Measurement::Clients(options) => compare::clients::run(&options).map_err(Into::into),
        Measurement::Emulator(options) => emulator::run(&options).map_err(Into::into),
        Measurement::Cold(options) => cold::run(&options).map_err(Into::into),
        Measurement::ColdNaive(options) => cold::run_naive(&options).map_err(Into::into),
        Measurement::Report(options) => report::run(&options).map_err(Into::into),
        Measurement::Ladder(options) => ladder::run(&options).map_err(Into::into),
        Measurement::Syscalls(options) => syscalls::run(&options).map_err(Into::into),
        Measurement::SynFlood(options) => syn_flood::run(&options).map_err(Into::into),
        Measurement::Wan(options) => wan::run(&options).map_err(Into::into),
        Measurement::All(options) => all::run(&options).map_err(Into::into),
        Measurement::Rung(options) => ladder::run_rung(options).map_err(Into::into),
        Measurement::Cgi { directory } => ladder::run_cgi(&directory).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pagewire-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
