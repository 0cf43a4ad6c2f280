//! A server's life: started, ready, reloaded, drained, ended, as signals and the service manager have it.
//!
//! - `log`: what is said meanwhile; `signals`: what is asked for; `systemd`: what the service manager is told.
//!
//! All of it happens on the control thread. The order at the start is: settings, signals, shards, what
//! operators look at, and only then "ready".

pub mod log;
mod signals;
mod systemd;

use std::{
    io::{self, Write},
    time::Instant,
};

use crossbeam_channel::{Receiver, select};

use self::{signals::Ask, systemd::Watchdog};
use crate::{
    config::{Config, ThisMachine},
    control::Instruments,
    failure::Failure,
    serve::{Server, Summary},
    settings::{Settings, Sources},
};

/// Serves until told to end.
///
/// # Errors
///
/// Any [`Failure`] to start or to go on.
pub fn serve(sources: Sources) -> Result<(), Failure> {
    let settings = sources.read()?;
    log::start(settings.log_format.value, settings.log_level.value);
    sources.warn_of_unknown_variables();
    let config = Config::new(&settings, &ThisMachine)?;
    let asked = signals::asked()?;
    let watchdog = Watchdog::of_environment();
    let server = Server::start(&config)?;
    let _instruments = Instruments::open(&config.observation, &server.observer())?;
    let mut life = Life { sources, settings, config, asked, watchdog, server };
    life.announce();
    life.live();
    systemd::stopping();
    report(&life.server.finish()?);
    Ok(())
}

/// A server that runs, and what it was started from.
struct Life {
    sources: Sources,
    settings: Settings,
    config: Config,
    asked: Receiver<Ask>,
    watchdog: Watchdog,
    server: Server,
}

impl Life {
    /// Says that connections are accepted, and where.
    fn announce(&self) {
        for site in &self.config.live.sites {
            tracing::info!("serving {}", site.root.display());
        }
        let urls: Vec<_> =
            self.server.addresses().iter().map(|it| format!("http://{it}/")).collect();
        // Whoever started this may have closed the pipe.
        let _ = writeln!(io::stdout(), "ready: {}", urls.join(" "));
        let _ = io::stdout().flush();
        systemd::ready(&format!("serving {}", urls.join(" ")));
    }

    /// Serves until the end is asked for, or a shard fails.
    fn live(&mut self) {
        loop {
            select! {
                recv(self.asked) -> ask => match ask {
                    Ok(Ask::Reload) => self.reload(),
                    Ok(Ask::Reopen) => tracing::info!("asked to open log files again: there are none"),
                    Ok(Ask::Drain) => return self.drain(),
                    Ok(Ask::End) | Err(_) => return,
                },
                recv(self.watchdog.looks()) -> _ => self.watchdog.look(&self.server),
                recv(self.server.ended()) -> _ => {
                    tracing::error!("a shard has failed");
                    return;
                }
            }
        }
    }

    /// Reads the configuration again and has the shards go on with it, or says why not.
    fn reload(&mut self) {
        systemd::reloading();
        match self.try_reload() {
            Ok(()) => {
                tracing::info!("reloaded");
                systemd::ready("serving; reloaded");
            }
            Err(failure) => {
                for line in failure.to_string().lines() {
                    tracing::error!("not reloaded, all stays as it was: {line}");
                }
                systemd::ready("serving; the last reload failed, see the log");
            }
        }
    }

    fn try_reload(&mut self) -> Result<(), Failure> {
        let mut settings = self.sources.read()?;
        for key in settings.keep_what_needs_a_restart(&self.settings) {
            tracing::warn!("`{key}` has changed, which takes effect only with a restart");
        }
        let config = Config::new(&settings, &ThisMachine)?;
        self.server.reload(&config)?;
        self.settings = settings;
        self.config = config;
        Ok(())
    }

    /// Finishes what is being sent, for as long as the configuration allows.
    fn drain(&mut self) {
        tracing::info!("finishing what is being sent; another signal ends at once");
        systemd::stopping();
        self.server.drain();
        let deadline = Instant::now() + self.config.drain_timeout;
        while !self.server.is_over() {
            select! {
                recv(self.asked) -> ask => if matches!(ask, Ok(Ask::Drain | Ask::End) | Err(_)) {
                    return;
                },
                recv(self.watchdog.looks()) -> _ => self.watchdog.look(&self.server),
                recv(self.server.ended()) -> _ => {}
                recv(crossbeam_channel::at(deadline)) -> _ => {
                    tracing::warn!("connections are left after drain_timeout and are cut");
                    return;
                }
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
