//! `pagewire-bench`: what the parts of Pagewire, and the machine under them, can do.

mod cpu;
mod engine;
mod figures;
mod pps;

use std::{error::Error, process::ExitCode};

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
    Pps(pps::Options),
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn Error>> = match Arguments::parse().measurement {
        Measurement::Engine(options) => engine::run(&options).map_err(Into::into),
        Measurement::Pps(options) => pps::run(&options).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pagewire-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
