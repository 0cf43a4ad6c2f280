//! `pagewire-bench`: what the parts of Pagewire, and the machine under them, can do.

mod cpu;
mod figures;
mod pps;

use std::process::ExitCode;

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
    Pps(pps::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().measurement {
        Measurement::Pps(options) => pps::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pagewire-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
