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
    control::socket::{self, ControlSocket},
    failure::Failure,
    manual,
    serve::{Server, Summary},
    settings::{Sources, print},
};
use signal_hook::{
    consts::{SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

fn main() -> ExitCode {
    let task = match args::parse(std::env::args_os()) {
        Ok(task) => task,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
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

fn check(sources: &Sources) -> Result<(), Failure> {
    warn_of_unknown_variables(sources);
    let config = Config::new(&sources.read()?, &ThisMachine)?;
    config.live.check()?;
    let file = sources.file.as_ref().map(|path| format!("{}: ", path.display()));
    written(writeln!(io::stdout(), "{}nothing wrong is known", file.unwrap_or_default()))
}

fn show(sources: &Sources) -> Result<(), Failure> {
    warn_of_unknown_variables(sources);
    written(io::stdout().write_all(print(&sources.read()?).as_bytes()))
}

fn warn_of_unknown_variables(sources: &Sources) {
    for unknown in sources.unknown_variables() {
        tracing::warn!("{unknown}");
    }
}

fn serve(sources: &Sources) -> Result<(), Failure> {
    warn_of_unknown_variables(sources);
    let config = Config::new(&sources.read()?, &ThisMachine)?;
    let signals = signals()?;
    let server = Server::start(&config)?;
    tracing::info!("serving {}", config.live.root.display());
    let urls: Vec<_> = server.addresses().iter().map(|it| format!("http://{it}/")).collect();
    let _control = open_control(&server);
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

/// The control socket. A server does without where there is no place for it.
fn open_control(server: &Server) -> Option<ControlSocket> {
    let directory = socket::runtime_directory()?;
    match ControlSocket::open_in(&directory, server.observer()) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    }
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
