//! What to serve and how, checked once: a [`Config`] has no contradictions left in it.
//!
//! - `network`: the transport, its addresses, queues and cores.

mod network;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use self::network::{Fallback, KernelConfig, Machine, ThisMachine, TransportConfig, XdpConfig};
use crate::{
    access_log::{AccessLogConfig, Target},
    args::{self, Task},
    content::{CacheLimits, Catalogue},
    failure::Failure,
    http::Limits,
    privilege::Identity,
    settings::{Number, Settings},
    shard::{Idle, Timeouts},
    site::{
        Sites,
        config::{RuleConfig, SiteConfig},
    },
};

/// What to serve and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network.
    pub transport: TransportConfig,
    /// The core of each shard.
    pub cores: Vec<usize>,
    /// Connections at once on each core.
    pub connections: usize,
    /// Of these, those of one source.
    pub connections_per_source: usize,
    /// Most idle ones of one source, on the user-level stack.
    pub idle_per_source: usize,
    /// Helper threads.
    pub disk_threads: usize,
    /// Who to be after the start.
    pub user: Option<Identity>,
    /// Whether shards are confined to the system calls of the data path.
    pub seccomp: bool,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// By what the server is observed.
    pub observation: Observation,
    /// What a reload can change for running shards.
    pub live: Live,
}

/// By what the server is observed.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The control socket.
    pub control: ControlPath,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// What is logged of requests.
    pub access_log: Option<AccessLogConfig>,
}

/// Where the control socket is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlPath {
    /// There is none.
    Off,
    /// Named after the process, in the runtime directory; none if that cannot be had.
    Default,
    /// There.
    At(PathBuf),
}

/// What a reload can change for running shards.
#[derive(Clone, Debug)]
pub struct Live {
    /// What to serve under which names.
    pub sites: Vec<SiteConfig>,
    /// How much of a request is accepted.
    pub limits: Limits,
    /// What each core keeps open.
    pub cache: CacheLimits,
    /// How long a connection may take for what.
    pub timeouts: Timeouts,
}

impl Config {
    /// Checks settings against each other and against `machine`, and fills in defaults.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] or [`Failure::Interface`], with what to write instead.
    pub fn new(settings: &Settings, machine: &impl Machine) -> Result<Self, Failure> {
        let (transport, cores) = network::network(settings, machine)?;
        Ok(Self {
            transport,
            cores,
            connections: settings.connections.value.count(),
            connections_per_source: settings
                .connections_per_source
                .value
                .map_or(usize::MAX, Number::count),
            idle_per_source: settings.idle_per_source.value.map_or(usize::MAX, Number::count),
            disk_threads: settings.disk_threads.value.count(),
            user: settings.user.value.as_deref().map(Identity::find).transpose()?,
            seccomp: settings.seccomp.value,
            drain_timeout: settings.drain_timeout.value.0,
            observation: Observation::new(settings),
            live: Live::new(settings)?,
        })
    }

    /// The configuration of a command line such as `pagewire serve DIR`, on this machine.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and if the command line is no such thing.
    pub fn of_command_line<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Failure> {
        Self::of_words(words, &ThisMachine)
    }

    fn of_words<'a>(
        words: impl IntoIterator<Item = &'a str>,
        machine: &impl Machine,
    ) -> Result<Self, Failure> {
        match args::parse(words) {
            Ok(Task::Serve(sources)) => Self::new(&sources.read()?, machine),
            Ok(_) => usage("this is not `pagewire serve`"),
            Err(error) => usage(error.to_string()),
        }
    }

    /// What shards do when there is nothing to do.
    pub fn idle(&self) -> Idle {
        match &self.transport {
            TransportConfig::Xdp(xdp) if xdp.busy => Idle::Spin,
            _ => Idle::Sleep,
        }
    }
}

impl Observation {
    fn new(settings: &Settings) -> Self {
        Self {
            control: match &settings.control.value {
                None => ControlPath::Default,
                Some(path) if path.as_os_str() == "off" => ControlPath::Off,
                Some(path) => ControlPath::At(path.clone()),
            },
            metrics: settings.metrics.value,
            access_log: settings.access_log.value.as_ref().map(|path| AccessLogConfig {
                target: match path.to_str() {
                    Some("-") => Target::Output,
                    _ => Target::File(path.clone()),
                },
                format: settings.access_log_format.value,
                sample: u32::try_from(settings.access_log_sample.value.0).unwrap_or(u32::MAX),
            }),
        }
    }
}

impl Live {
    /// Whether what is named here can be had.
    ///
    /// # Errors
    ///
    /// [`Failure::Root`].
    pub fn check(&self) -> Result<(), Failure> {
        Catalogue::open(&self.sites)?;
        Ok(())
    }

    fn new(settings: &Settings) -> Result<Self, Failure> {
        Ok(Self {
            sites: sites(settings)?,
            limits: Limits {
                head_bytes: settings.head_bytes.value.count(),
                body_bytes: settings.body_bytes.value.count(),
            },
            cache: CacheLimits {
                entries: settings.cache_entries.value.count(),
                bytes: settings.cache_bytes.value.0,
            },
            timeouts: Timeouts {
                head: settings.head_timeout.value.0,
                request: settings.request_timeout.value.0,
                body: settings.body_timeout.value.0,
                idle: settings.idle_timeout.value.0,
                send: settings.send_timeout.value.0,
                min_rate: settings.min_rate.value.0,
            },
        })
    }
}

/// The sites of the file, or the root as the only one, with what the settings say for all of them.
fn sites(settings: &Settings) -> Result<Vec<SiteConfig>, Failure> {
    let mut sites = match (&settings.root.value, settings.sites.configs.as_slice()) {
        (Some(root), []) => vec![SiteConfig::of_directory(root)],
        (None, []) => {
            return usage("there is nothing to serve: name a directory, or set `root` in the file");
        }
        (None, sites) => sites.to_vec(),
        (Some(_), _) => {
            return usage(format!(
                "{} and [[site]] are both given: make the directory a [[site]] as well, or drop one",
                settings.root.named()
            ));
        }
    };
    Sites::build(&sites).map_err(|error| Failure::Usage(error.to_string()))?;
    for site in &mut sites {
        // The first, so that rules of the site come after it.
        let rule = RuleConfig {
            dotfiles: Some(settings.dotfiles.value),
            listing: Some(settings.listing.value),
            ..RuleConfig::default()
        };
        site.rules.insert(0, rule);
    }
    Ok(sites)
}

fn usage<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(message.into()))
}
