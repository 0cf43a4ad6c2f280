//! A server's life: started, ready, reloaded, drained, ended, as signals and the service manager have it.
//!
//! - `log`: what is said meanwhile; `signals`: what is asked for; `systemd`: what the service manager is told.
//!
//! All of it happens on the control thread. The order at the start is: settings, privileges given up, signals,
//! shards, what operators look at, and only then "ready".

pub mod log;
mod signals;
mod systemd;

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, never, select, tick};
use pagewire_driver::Interface;
use pagewire_stack::Prefix;

use self::{signals::Ask, systemd::Watchdog};
use crate::{
    config::{Config, ThisMachine, TransportConfig},
    control::Instruments,
    failure::Failure,
    privilege::{self, Keeper},
    serve::{Loss, Server, Summary, Trouble},
    settings::{Settings, Sources},
};

/// How long to wait between looks for an interface that is not there.
const RETRY: Duration = Duration::from_millis(250);

/// How long to wait at most before an interface that is there but cannot be used is tried again.
const MOST_RETRY: Duration = Duration::from_secs(5);

/// How long an interface that is back may refuse AF_XDP before the kernel's TCP serves in its place.
const GRACE: Duration = Duration::from_secs(5);

/// How often to look for the interface while the kernel's TCP serves in its place.
const LOOK: Duration = Duration::from_secs(1);

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
    let keeper = privilege::drop_to(&config)?;
    let asked = signals::asked()?;
    let watchdog = Watchdog::of_environment();
    let trouble = Arc::default();
    let mut life = Life {
        sources,
        settings,
        config,
        keeper,
        asked,
        watchdog,
        trouble,
        denied: Vec::new(),
        seen: None,
    };
    let mut is_first = true;
    let mut server = life.start(&life.config.clone())?;
    loop {
        let instruments = match Instruments::open(&life.config.observation, &server.observer()) {
            Ok(instruments) => Some(instruments),
            // Its address may have gone with the interface. Serving matters more.
            Err(failure) if !is_first => {
                tracing::error!("{failure}; serving without it");
                None
            }
            Err(failure) => return Err(failure),
        };
        if matches!(life.config.transport, TransportConfig::Kernel(_)) {
            // There is nothing more to do with privileges.
            life.keeper = life.keeper.retired();
        }
        life.announce(&server);
        let end = life.live(&server);
        drop(instruments);
        life.keep_denied(&server);
        if end == End::Asked {
            systemd::stopping();
        }
        life.report(&server.finish()?);
        if end == End::Asked {
            return Ok(());
        }
        match life.start_again(end) {
            Some(next) => server = next,
            None => return Ok(()),
        }
        is_first = false;
    }
}

/// Why a server does not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// It was told to end, or a shard has failed.
    Asked,
    /// It cannot, for what has happened to its interface.
    Lost(Loss),
    /// It is on the kernel's TCP only since there was no interface, and there is one now.
    Returned,
}

/// What a server is started from, and who may end it.
struct Life {
    sources: Sources,
    settings: Settings,
    config: Config,
    keeper: Keeper,
    asked: Receiver<Ask>,
    watchdog: Watchdog,
    /// What has happened to the interface.
    trouble: Arc<Trouble>,
    /// The sources that were denied when a server on AF_XDP was last seen.
    denied: Vec<Prefix>,
    /// The number of the interface, if it was up, when the server was started.
    seen: Option<u32>,
}

impl Life {
    /// Says that connections are accepted, and where.
    fn announce(&self, server: &Server) {
        for site in &self.config.live.sites {
            tracing::info!("serving {}", site.root.display());
        }
        let urls: Vec<_> = server.addresses().iter().map(|it| format!("http://{it}/")).collect();
        // Whoever started this may have closed the pipe.
        let _ = writeln!(io::stdout(), "ready: {}", urls.join(" "));
        let _ = io::stdout().flush();
        systemd::ready(&format!("serving {}", urls.join(" ")));
    }

    /// Starts a server.
    fn start(&mut self, config: &Config) -> Result<Server, Failure> {
        self.seen = interface_of(config);
        Server::start_by(config, &self.keeper, &self.trouble, &self.denied)
    }

    /// Has the next server deny what this one does. The kernel's TCP has no list, and changes none.
    fn keep_denied(&mut self, server: &Server) {
        if let Ok(denied) = server.observer().deny_list().all() {
            self.denied = denied;
        }
    }

    /// Whether the server is on the kernel's TCP only since there was no interface, and there is one now.
    fn has_returned(&self) -> bool {
        let now = interface_of(&self.config);
        now.is_some() && now != self.seen
    }

    /// Serves until the end is asked for, a shard fails, or the interface makes it necessary to start anew.
    fn live(&mut self, server: &Server) -> End {
        let is_wanted = matches!(self.config.transport, TransportConfig::Xdp(_));
        let looks = if is_wanted && !server.is_on_xdp() { tick(LOOK) } else { never() };
        loop {
            select! {
                recv(self.asked) -> ask => match ask {
                    Ok(Ask::Reload) => self.reload(Some(server)),
                    Ok(Ask::Reopen) => server.reopen_logs(),
                    Ok(Ask::Drain) => {
                        self.drain(server);
                        return End::Asked;
                    }
                    Ok(Ask::End) | Err(_) => return End::Asked,
                },
                recv(self.watchdog.looks()) -> _ => self.watchdog.look(server),
                recv(server.lost()) -> loss => return End::Lost(loss.unwrap_or(Loss::Vanished)),
                recv(looks) -> _ => if self.has_returned() {
                    return End::Returned;
                },
                recv(server.ended()) -> _ => {
                    tracing::error!("a shard has failed");
                    return End::Asked;
                }
            }
        }
    }

    /// Starts again as soon as the interface allows, or at once by the kernel where that has the address and
    /// the interface is gone. None if the end is asked for before.
    fn start_again(&mut self, end: End) -> Option<Server> {
        match end {
            End::Returned => {
                tracing::info!("the interface is back: AF_XDP takes over from the kernel's TCP");
            }
            End::Lost(Loss::Vanished) => {
                tracing::error!("the interface is lost; serving goes on when it is back");
            }
            // Has been told with its details.
            End::Lost(Loss::Queues | Loss::Program) | End::Asked => {}
        }
        systemd::status("not serving: waiting for the interface");
        let mut said = String::new();
        let mut pause = RETRY;
        let mut there_since = None;
        loop {
            let started = Config::new(&self.settings, &ThisMachine).and_then(|mut config| {
                if let TransportConfig::Xdp(xdp) = &mut config.transport {
                    if xdp.queues.is_empty() {
                        there_since = None;
                    } else if there_since.get_or_insert_with(Instant::now).elapsed() < GRACE {
                        // It is there, so it will be usable soon: AF_XDP is not given up yet.
                        xdp.fallback = None;
                    }
                }
                Ok((self.start(&config)?, config))
            });
            match started {
                Ok((server, config)) => {
                    self.config = config;
                    let trouble = self.trouble.to_string();
                    let separator = if trouble.is_empty() { "" } else { "; " };
                    tracing::info!("serving again{separator}{trouble}");
                    return Some(server);
                }
                Err(failure) => {
                    let reason = failure.to_string();
                    if reason != said {
                        tracing::warn!("not serving yet: {reason}");
                        pause = RETRY;
                        said = reason;
                    } else if self.seen.is_some() {
                        // Trying costs something where there is an interface.
                        pause = (pause * 2).min(MOST_RETRY);
                    }
                }
            }
            select! {
                recv(self.asked) -> ask => match ask {
                    Ok(Ask::Reload) => self.reload(None),
                    Ok(Ask::Reopen) => {}
                    Ok(Ask::Drain | Ask::End) | Err(_) => return None,
                },
                recv(self.watchdog.looks()) -> _ => self.watchdog.rest(),
                recv(crossbeam_channel::after(pause)) -> _ => {}
            }
        }
    }

    /// Reads the configuration again and has the shards go on with it, or says why not.
    fn reload(&mut self, server: Option<&Server>) {
        systemd::reloading();
        match self.try_reload(server) {
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

    fn try_reload(&mut self, server: Option<&Server>) -> Result<(), Failure> {
        let mut settings = self.sources.read()?;
        for key in settings.keep_what_needs_a_restart(&self.settings) {
            tracing::warn!("`{key}` has changed, which takes effect only with a restart");
        }
        let config = Config::new(&settings, &ThisMachine)?;
        if let Some(server) = server {
            server.reload(&config)?;
        }
        self.settings = settings;
        self.config = config;
        Ok(())
    }

    /// Finishes what is being sent, for as long as the configuration allows.
    fn drain(&mut self, server: &Server) {
        tracing::info!("finishing what is being sent; another signal ends at once");
        systemd::stopping();
        server.drain();
        let deadline = Instant::now() + self.config.drain_timeout;
        while !server.is_over() {
            select! {
                recv(self.asked) -> ask => if matches!(ask, Ok(Ask::Drain | Ask::End) | Err(_)) {
                    return;
                },
                recv(self.watchdog.looks()) -> _ => self.watchdog.look(server),
                recv(server.ended()) -> _ => {}
                recv(crossbeam_channel::at(deadline)) -> _ => {
                    tracing::warn!("connections are left after drain_timeout and are cut");
                    return;
                }
            }
        }
    }

    /// Says what a server has done.
    fn report(&self, summary: &Summary) {
        for (number, shard) in summary.shards.iter().enumerate() {
            tracing::info!("shard {number} on core {}: {}", shard.core, shard.counters);
            if !shard.transport.is_empty() {
                tracing::info!("shard {number} on core {}: {}", shard.core, shard.transport);
            }
        }
        let trouble = self.trouble.to_string();
        if !trouble.is_empty() {
            tracing::info!("{trouble}");
        }
        if !summary.steering.is_empty() {
            tracing::info!("steering: {}", summary.steering);
        }
    }
}

/// The number of the interface that `config` wants AF_XDP on, if there is one and it is up.
fn interface_of(config: &Config) -> Option<u32> {
    let TransportConfig::Xdp(xdp) = &config.transport else { return None };
    let found = Interface::find(&xdp.interface).ok()?;
    found.up.then_some(found.index)
}
