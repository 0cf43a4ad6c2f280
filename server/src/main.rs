//! The program: what the command line asks for, and its exit status.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use pagewire::{
    args::{self, Task},
    config::{Config, ThisMachine},
    failure::Failure,
    life::{self, log},
    manual,
    settings::{LogFormat, LogLevel, Sources, print},
};

fn main() -> ExitCode {
    let task = match args::parse(std::env::args_os()) {
        Ok(task) => task,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match task {
        Task::Serve(sources) => life::serve(sources),
        Task::Check(sources) => check(&sources),
        Task::Show(sources) => show(&sources),
        Task::Completions(shell) => written(manual::completions(shell, &mut io::stdout())),
        Task::Man(None) => written(manual::page(&mut io::stdout())),
        Task::Man(Some(directory)) => written(manual::pages(&directory)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "pagewire: {failure}");
            failure.exit_status()
        }
    }
}

/// A reader that has seen enough is no failure.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "write the output", source })
        }
        _ => Ok(()),
    }
}

fn check(sources: &Sources) -> Result<(), Failure> {
    log::start(LogFormat::Text, LogLevel::Info);
    sources.warn_of_unknown_variables();
    let config = Config::new(&sources.read()?, &ThisMachine)?;
    config.live.check()?;
    let file = sources.file.as_ref().map(|path| format!("{}: ", path.display()));
    written(writeln!(io::stdout(), "{}nothing wrong is known", file.unwrap_or_default()))
}

fn show(sources: &Sources) -> Result<(), Failure> {
    log::start(LogFormat::Text, LogLevel::Info);
    sources.warn_of_unknown_variables();
    written(io::stdout().write_all(print(&sources.read()?).as_bytes()))
}
