//! What to serve and how, checked once: a [`Config`] has no contradictions left in it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use pagewire_stack::Prefix;

use crate::{
    access_log::{AccessLogConfig, Target},
    args::{self, Task},
    content::{CacheLimits, Catalogue},
    failure::Failure,
    http::Limits,
    privilege::Identity,
    settings::{Number, Setting, Settings, TransportName, Value},
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

/// The network to serve on.
#[derive(Clone, Debug)]
pub enum TransportConfig {
    /// The kernel's TCP.
    Kernel(KernelConfig),
    /// The user-level stack.
    Xdp(XdpConfig),
}

/// How to use the kernel's TCP.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Addresses to listen on, at least one.
    pub listen: Vec<SocketAddr>,
    /// Congestion control; none for the system's.
    pub congestion_control: Option<String>,
}

/// How to use the user-level stack.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// Interface.
    pub interface: String,
    /// Addresses to serve, at least one.
    pub addresses: Vec<Prefix>,
    /// TCP port to serve.
    pub port: u16,
    /// The queue of each shard; none if the interface is not there.
    pub queues: Vec<u32>,
    /// Whether cores never sleep.
    pub busy: bool,
    /// What to do where this cannot be had; none to end.
    pub fallback: Option<Fallback>,
}

/// The kernel's TCP in place of the user-level stack.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The same addresses.
    pub kernel: KernelConfig,
    /// The core of each shard.
    pub cores: Vec<usize>,
}

/// What the machine has, as far as defaults depend on it.
pub trait Machine {
    /// Cores that this process may run on.
    fn cores(&self) -> Vec<usize>;

    /// Queues of an interface that go both ways; none if there is no such interface.
    fn queues(&self, interface: &str) -> Option<u32>;
}

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn cores(&self) -> Vec<usize> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        cores.into_iter().map(|core| core.id).collect()
    }

    fn queues(&self, interface: &str) -> Option<u32> {
        pagewire_driver::Interface::find(interface).ok().map(|interface| interface.queues())
    }
}

impl Config {
    /// Checks settings against each other and against `machine`, and fills in defaults.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] or [`Failure::Interface`], with what to write instead.
    pub fn new(settings: &Settings, machine: &impl Machine) -> Result<Self, Failure> {
        let cores = cores(settings, machine)?;
        let is_xdp = match settings.transport.value {
            TransportName::Kernel => false,
            TransportName::Xdp => true,
            TransportName::Auto => settings.interface.value.is_some(),
        };
        let (transport, cores) = if is_xdp {
            xdp(settings, cores, machine)?
        } else {
            (TransportConfig::Kernel(kernel(settings)?), cores)
        };
        Ok(Self {
            transport,
            cores,
            connections: settings.connections.value.count(),
            connections_per_source: settings
                .connections_per_source
                .value
                .map_or(usize::MAX, Number::count),
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

/// The cores asked for, or all there are.
fn cores(settings: &Settings, machine: &impl Machine) -> Result<Vec<usize>, Failure> {
    let available = machine.cores();
    let Some(list) = &settings.cores.value else {
        return Ok(if available.is_empty() { vec![0] } else { available });
    };
    let cores: Vec<_> = list.0.iter().map(|&core| core as usize).collect();
    match cores.iter().find(|core| !available.contains(core)) {
        None => Ok(cores),
        Some(missing) => usage(format!(
            "{}: core {missing} is not one that this process may run on; choose from {available:?}",
            settings.cores.named()
        )),
    }
}

/// The kernel's TCP was asked for, or nothing that would need the user-level stack.
fn kernel(settings: &Settings) -> Result<KernelConfig, Failure> {
    fn given<T: Value>(setting: &Setting<T>) -> Option<String> {
        setting.is_given().then(|| setting.named())
    }
    let by_address =
        settings.transport.value == TransportName::Kernel && !settings.address.value.is_empty();
    let foreign = [
        given(&settings.interface),
        given(&settings.address),
        given(&settings.port),
        given(&settings.queues),
        given(&settings.busy),
        given(&settings.require_xdp),
    ];
    if let Some(named) = foreign.into_iter().flatten().next().filter(|_| !by_address) {
        return usage(format!(
            "{named} belongs to the XDP transport: name an --interface with it, or use --listen for \
             the kernel's"
        ));
    }
    let mut listen = settings.listen.value.clone();
    if listen.is_empty() && by_address {
        listen = endpoints(settings);
    } else if listen.is_empty() {
        listen.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    }
    for (index, address) in listen.iter().enumerate() {
        if listen[..index].contains(address) {
            return usage(format!("{} has {address} twice; drop one", settings.listen.named()));
        }
    }
    Ok(KernelConfig { listen, congestion_control: settings.congestion_control.value.clone() })
}

/// The addresses to serve, each with the port.
fn endpoints(settings: &Settings) -> Vec<SocketAddr> {
    let prefixes = settings.address.value.iter();
    prefixes.map(|prefix| SocketAddr::new(prefix.address(), port(settings))).collect()
}

fn port(settings: &Settings) -> u16 {
    u16::try_from(settings.port.value.0).unwrap_or(u16::MAX)
}

fn xdp(
    settings: &Settings,
    cores: Vec<usize>,
    machine: &impl Machine,
) -> Result<(TransportConfig, Vec<usize>), Failure> {
    if settings.listen.is_given() {
        return usage(format!(
            "{} belongs to the kernel transport; use --address and --port here",
            settings.listen.named()
        ));
    }
    let Some(interface) = settings.interface.value.clone() else {
        return usage("the XDP transport needs --interface; `ip link` lists them");
    };
    if settings.address.value.is_empty() {
        return usage("the XDP transport needs --address, such as --address 10.77.0.1/24");
    }
    let addresses = settings.address.value.clone();
    for (index, prefix) in addresses.iter().enumerate() {
        let address = prefix.address();
        if addresses[..index].iter().any(|other| other.address() == address) {
            return usage(format!("{} has {address} twice; drop one", settings.address.named()));
        }
    }
    let queues = queues(settings, &interface, machine)?;
    if settings.cores.value.is_some() && !queues.is_empty() && cores.len() > queues.len() {
        return usage(format!(
            "{} names {} cores for {} queues; name as many cores as queues",
            settings.cores.named(),
            cores.len(),
            queues.len()
        ));
    }
    let congestion_control = settings.congestion_control.value.clone();
    let kernel = KernelConfig { listen: endpoints(settings), congestion_control };
    let fallback = (!settings.require_xdp.value).then(|| Fallback { kernel, cores: cores.clone() });
    // With fewer cores than queues some cores have several shards.
    let cores = cores.into_iter().cycle().take(queues.len()).collect();
    let (port, busy) = (port(settings), settings.busy.value);
    let config = XdpConfig { interface, addresses, port, queues, busy, fallback };
    Ok((TransportConfig::Xdp(config), cores))
}

/// The queues asked for, or all of the interface. An interface that is not there has none; that is an error
/// only if nothing else would do.
fn queues(
    settings: &Settings,
    interface: &str,
    machine: &impl Machine,
) -> Result<Vec<u32>, Failure> {
    let Some(count) = machine.queues(interface).filter(|count| *count > 0) else {
        if !settings.require_xdp.value {
            return Ok(Vec::new());
        }
        return Err(Failure::Interface(format!(
            "there is no interface {interface} here; `ip link` lists those there are"
        )));
    };
    let Some(list) = &settings.queues.value else { return Ok((0..count).collect()) };
    match list.0.iter().find(|queue| **queue >= count) {
        None => Ok(list.0.clone()),
        Some(missing) => Err(Failure::Interface(format!(
            "{}: {interface} has no queue {missing}, only 0-{}; name others, or add queues with \
             `ethtool -L {interface} combined N`",
            settings.queues.named(),
            count - 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TwoCores;

    impl Machine for TwoCores {
        fn cores(&self) -> Vec<usize> {
            vec![0, 1]
        }

        fn queues(&self, interface: &str) -> Option<u32> {
            (interface == "eth4").then_some(4)
        }
    }

    fn config(flags: &str) -> Result<Config, Failure> {
        let words = ["pagewire", "serve", "dir"].into_iter().chain(flags.split_whitespace());
        Config::of_words(words, &TwoCores)
    }

    fn xdp(flags: &str) -> Result<(Config, XdpConfig), Failure> {
        let base = "--interface eth4 --address 10.77.0.1/24 ";
        let config = config(&(base.to_owned() + flags))?;
        let TransportConfig::Xdp(xdp) = config.transport.clone() else { panic!() };
        Ok((config, xdp))
    }

    #[test]
    fn the_kernel_transport_needs_no_flags() {
        let config = config("").unwrap();
        assert_eq!(config.cores, [0, 1]);
        let TransportConfig::Kernel(kernel) = config.transport else { panic!() };
        assert_eq!(kernel.listen, ["127.0.0.1:8080".parse().unwrap()]);
    }

    #[test]
    fn xdp_takes_all_queues_over_the_cores_there_are() {
        let (config, xdp_config) = xdp("").unwrap();
        assert_eq!((config.cores, xdp_config.queues), (vec![0, 1, 0, 1], vec![0, 1, 2, 3]));
        assert_eq!(xdp_config.port, 80);
        let (config, xdp_config) = xdp("--queues 0-1 --cores 1,0 --port 8080").unwrap();
        assert_eq!((config.cores, xdp_config.queues), (vec![1, 0], vec![0, 1]));
    }

    #[test]
    fn the_kernel_takes_the_addresses_of_the_user_level_stack_if_told_to() {
        let (_, xdp_config) = xdp("--port 8080 --address fd77::1/64").unwrap();
        let kernel = xdp_config.fallback.unwrap().kernel;
        let both = ["10.77.0.1:8080".parse().unwrap(), "[fd77::1]:8080".parse().unwrap()];
        assert_eq!(kernel.listen, both);
        let (_, xdp_config) = xdp("--require-xdp").unwrap();
        assert!(xdp_config.fallback.is_none());
        let flags = "--transport kernel --interface eth4 --address 10.77.0.1/24 --busy";
        let TransportConfig::Kernel(kernel) = config(flags).unwrap().transport else { panic!() };
        assert_eq!(kernel.listen, ["10.77.0.1:80".parse().unwrap()]);
    }

    #[test]
    fn without_a_directory_there_is_nothing_to_serve() {
        let failure = Config::of_words(["pagewire", "serve"], &TwoCores).unwrap_err();
        check(&failure, 2, "name a directory", "");
    }

    #[test]
    fn contradictions_are_named_with_their_fix() {
        let cases = [
            ("--interface eth4", 2, "needs --address"),
            ("--busy", 2, "--busy belongs to the XDP transport"),
            ("--transport kernel --interface eth4", 2, "--interface belongs to the XDP"),
            ("--address 10.0.0.1/8", 2, "--address belongs"),
            ("--port 81", 2, "--port belongs"),
            ("--queues 0", 2, "--queues belongs"),
            ("--cores 7", 2, "--cores: core 7 is not"),
            ("--listen 127.0.0.1:1 --listen 127.0.0.1:1", 2, "twice"),
            ("--listen localhost", 2, "not an address with a port"),
            ("--transport tcp", 2, "possible values"),
            ("--transport xdp", 2, "needs --interface"),
            ("--transport xdp --interface eth4", 2, "needs --address"),
            ("--interface no --address 10.0.0.1/8 --require-xdp", 4, "no interface no here"),
            ("--transport xdp --listen 127.0.0.1:1", 2, "use --address and --port"),
        ];
        for (flags, status, part) in cases {
            check(&config(flags).map(|_| ()).unwrap_err(), status, part, flags);
        }
        let cases = [
            ("--queues 3-4", 4, "has no queue 4, only 0-3"),
            ("--queues 0 --cores 0-1", 2, "2 cores for 1 queues"),
            ("--address 10.77.0.1/16", 2, "twice"),
            ("--port 0", 2, "from 1 to 65535"),
        ];
        for (flags, status, part) in cases {
            check(&xdp(flags).map(|_| ()).unwrap_err(), status, part, flags);
        }
    }

    fn check(failure: &Failure, status: u8, part: &str, flags: &str) {
        assert_eq!(failure.exit_status(), status.into(), "{flags}");
        assert!(failure.to_string().contains(part), "{flags}: {failure}");
    }
}
