//! The program: what the command line asks for, and its exit status.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    thread,
    time::Instant,
};

use crossbeam_channel::{Receiver, select};
use pagewire::{
    args::{self, Task},
    config::{Config, ThisMachine},
    control::Instruments,
    failure::Failure,
    manual,
    serve::{Server, Summary},
    settings::{LogFormat, LogLevel, Sources, print},
};
use signal_hook::{
    consts::{SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let task = match args::parse(std::env::args_os()) {
        Ok(task) => task,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match task {
        Task::Serve(sources) => serve(&sources),
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

/// Starts the log on the standard error. What cannot be written there is lost.
fn start_log(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_target(false)
        .with_max_level(level)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn check(sources: &Sources) -> Result<(), Failure> {
    start_log(LogFormat::Text, LogLevel::Info);
    warn_of_unknown_variables(sources);
    let config = Config::new(&sources.read()?, &ThisMachine)?;
    config.live.check()?;
    let file = sources.file.as_ref().map(|path| format!("{}: ", path.display()));
    written(writeln!(io::stdout(), "{}nothing wrong is known", file.unwrap_or_default()))
}

fn show(sources: &Sources) -> Result<(), Failure> {
    start_log(LogFormat::Text, LogLevel::Info);
    warn_of_unknown_variables(sources);
    written(io::stdout().write_all(print(&sources.read()?).as_bytes()))
}

fn warn_of_unknown_variables(sources: &Sources) {
    for unknown in sources.unknown_variables() {
        tracing::warn!("{unknown}");
    }
}

fn serve(sources: &Sources) -> Result<(), Failure> {
    let settings = sources.read()?;
    start_log(settings.log_format.value, settings.log_level.value);
    warn_of_unknown_variables(sources);
    let config = Config::new(&settings, &ThisMachine)?;
    let signals = signals()?;
    let server = Server::start(&config)?;
    tracing::info!("serving {}", config.live.root.display());
    let urls: Vec<_> = server.addresses().iter().map(|it| format!("http://{it}/")).collect();
    let _instruments = Instruments::open(&config.observation, &server.observer())?;
    // Whoever started this may have closed the pipe.
    let _ = writeln!(io::stdout(), "ready: {}", urls.join(" "));
    let _ = io::stdout().flush();

    select! {
        recv(signals) -> signal => if signal == Ok(SIGQUIT) {
            tracing::info!("finishing what is being sent");
            server.drain();
            wait_drained(&server, &signals, Instant::now() + config.drain_timeout);
        },
        recv(server.ended()) -> _ => tracing::error!("a shard has failed"),
    }
    report(&server.finish()?);
    Ok(())
}

/// The signals that end the server, one message each.
fn signals() -> Result<Receiver<i32>, Failure> {
    let failed = |source| Failure::System { what: "handle signals", source };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT]).map_err(failed)?;
    let (sender, receiver) = crossbeam_channel::unbounded();
    let pass_on = move || {
        for signal in signals.forever() {
            let _ = sender.send(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(pass_on).map_err(failed)?;
    Ok(receiver)
}

/// Waits for the end of a drain, or until a signal or `deadline` cuts it short.
fn wait_drained(server: &Server, signals: &Receiver<i32>, deadline: Instant) {
    while !server.is_over() {
        select! {
            recv(signals) -> _ => return,
            recv(server.ended()) -> _ => {}
            recv(crossbeam_channel::at(deadline)) -> _ => {
                tracing::warn!("connections are left after --drain-timeout and are cut");
                return;
            }
        }
    }
}

fn report(summary: &Summary) {
    for (number, shard) in summary.shards.iter().enumerate() {
        tracing::info!("shard {number} on core {}: {}", shard.core, shard.counters);
        if !shard.transport.is_empty() {
            tracing::info!("shard {number} on core {}: {}", shard.core, shard.transport);
        }
    }
    if !summary.steering.is_empty() {
        tracing::info!("steering: {}", summary.steering);
    }
}
