//! `pw load` as a command: signals, the live line, the report, the exit status.

use std::{
    fs, io,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{
    LoadArgs, LoadError, Outcome, Report, Second,
    text::{count, per_second, time},
};

/// Runs `pw load` and says how it ended.
pub fn main(args: &LoadArgs) -> ExitCode {
    match load(args) {
        Ok(outcome) => ExitCode::from(match outcome {
            Outcome::Right => 0,
            Outcome::Failures => 3,
            Outcome::NoAnswer => 4,
            Outcome::Interrupted => 130,
        }),
        Err(error) => {
            eprintln!("pw: {error}");
            ExitCode::from(match error {
                LoadError::File { .. } | LoadError::Transport(_) => 1,
                LoadError::Usage(_) => 2,
                LoadError::Refused { .. } => 5,
            })
        }
    }
}

fn load(args: &LoadArgs) -> Result<Outcome, LoadError> {
    let plan = args.plan()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| LoadError::Transport(format!("cannot handle signals: {error}")))?;
    }
    let live = io::stderr().is_terminal();
    let report = super::run_watched(&plan, &stop, &mut |second| {
        if live {
            show(second);
        }
    })?;
    if live {
        eprint!("\r\x1b[K");
    }
    write(&report, args.json.as_deref())?;
    Ok(report.outcome())
}

/// The live line.
fn show(second: &Second) {
    eprint!(
        "\r\x1b[K{:>4.0} s  {}  {} failed  p50 {}  p99 {}",
        second.end.as_secs_f64(),
        per_second(second.answered as f64),
        count(second.failures),
        time(second.p50),
        time(second.p99),
    );
    let _ = io::stderr().flush();
}

fn write(report: &Report, json: Option<&Path>) -> Result<(), LoadError> {
    let to_stdout = json == Some(Path::new("-"));
    let mut stdout = io::stdout().lock();
    // Whoever started this may have closed the pipe.
    let _ = if to_stdout {
        writeln!(stdout, "{:#}", report.to_json())
    } else {
        write!(stdout, "{report}")
    };
    match json {
        Some(path) if !to_stdout => fs::write(path, format!("{:#}\n", report.to_json()))
            .map_err(|source| LoadError::File { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}
