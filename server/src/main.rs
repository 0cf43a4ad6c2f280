//! The program: starts the server, waits for signals, and says at the end what was done.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    thread,
    time::Instant,
};

use clap::Parser;
use crossbeam_channel::{Receiver, select};
use pagewire::{
    args::{Args, Command},
    config::{Config, ThisMachine},
    control::socket::{self, ControlSocket},
    failure::Failure,
    serve::{Server, Summary},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

fn main() -> ExitCode {
    let Args { command: Command::Serve(args) } = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    let served = Config::new(*args, &ThisMachine).and_then(|config| serve(&config));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "pagewire: {failure}");
            failure.exit_status()
        }
    }
}

fn serve(config: &Config) -> Result<(), Failure> {
    let signals = signals()?;
    let server = Server::start(config)?;
    tracing::info!("serving {}", config.root.display());
    let urls: Vec<_> = server.addresses().iter().map(|it| format!("http://{it}/")).collect();
    let _control = open_control(&server);
    // Whoever started this may have closed the pipe.
    let _ = writeln!(io::stdout(), "ready: {}", urls.join(" "));
    let _ = io::stdout().flush();

    select! {
        recv(signals) -> _ => {
            tracing::info!("stopping; a second signal ends at once");
            server.drain();
            wait_drained(&server, &signals, Instant::now() + config.drain_timeout);
        }
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

/// SIGINT and SIGTERM, one message each.
fn signals() -> Result<Receiver<()>, Failure> {
    let failed = |source| Failure::System { what: "handle signals", source };
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (sender, receiver) = crossbeam_channel::unbounded();
    let pass_on = move || {
        for _ in signals.forever() {
            let _ = sender.send(());
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(pass_on).map_err(failed)?;
    Ok(receiver)
}

fn wait_drained(server: &Server, signals: &Receiver<()>, deadline: Instant) {
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
