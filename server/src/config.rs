//! What to serve and how, checked once: a [`Config`] has no contradictions left in it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use pagewire_stack::Prefix;

use crate::{
    args::{NumberList, ServeArgs, TransportName},
    content::CacheLimits,
    failure::Failure,
    http::{Limits, path::Dotfiles},
    shard::{Idle, Timeouts},
};

/// What to serve and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory to serve.
    pub root: PathBuf,
    /// The network.
    pub transport: TransportConfig,
    /// The core of each shard.
    pub cores: Vec<usize>,
    /// How much of a request is accepted.
    pub limits: Limits,
    /// What becomes of names that start with a dot.
    pub dotfiles: Dotfiles,
    /// What each core keeps open.
    pub cache: CacheLimits,
    /// Connections at once on each core.
    pub connections: usize,
    /// Helper threads.
    pub disk_threads: usize,
    /// How long a connection may take for what.
    pub timeouts: Timeouts,
    /// How long a drain may take.
    pub drain_timeout: Duration,
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
    /// The queue of each shard.
    pub queues: Vec<u32>,
    /// Whether cores never sleep.
    pub busy: bool,
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
    /// Checks flags against each other and against `machine`, and fills in defaults.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] or [`Failure::Interface`], with what to write instead.
    pub fn new(args: ServeArgs, machine: &impl Machine) -> Result<Self, Failure> {
        let available = machine.cores();
        let cores = match &args.cores {
            None if available.is_empty() => vec![0],
            None => available,
            Some(NumberList(cores)) => {
                let cores: Vec<_> = cores.iter().map(|&core| core as usize).collect();
                if let Some(missing) = cores.iter().find(|core| !available.contains(core)) {
                    return usage(format!(
                        "core {missing} of --cores is not one that this process may run on; \
                         choose from {available:?}"
                    ));
                }
                cores
            }
        };
        let (transport, cores) = match args.transport {
            TransportName::Kernel => (kernel(&args)?, cores),
            TransportName::Xdp => xdp(&args, &cores, machine)?,
        };
        Ok(Self {
            transport,
            cores,
            limits: Limits {
                head_bytes: args.head_bytes as usize,
                body_bytes: args.body_bytes as usize,
            },
            dotfiles: if args.hide_dotfiles { Dotfiles::Hide } else { Dotfiles::Serve },
            cache: CacheLimits { entries: args.cache_entries as usize, bytes: args.cache_bytes },
            connections: args.connections as usize,
            disk_threads: args.disk_threads as usize,
            timeouts: Timeouts {
                head: args.head_timeout,
                idle: args.idle_timeout,
                send: args.send_timeout,
            },
            drain_timeout: args.drain_timeout,
            root: args.root,
        })
    }
}

impl Config {
    /// What shards do when there is nothing to do.
    pub fn idle(&self) -> Idle {
        match &self.transport {
            TransportConfig::Xdp(xdp) if xdp.busy => Idle::Spin,
            _ => Idle::Sleep,
        }
    }
}

fn usage<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(message.into()))
}

fn kernel(args: &ServeArgs) -> Result<TransportConfig, Failure> {
    let foreign = [
        ("--interface", args.interface.is_some()),
        ("--address", !args.addresses.is_empty()),
        ("--port", args.port.is_some()),
        ("--queues", args.queues.is_some()),
        ("--busy", args.busy),
    ];
    if let Some((flag, _)) = foreign.iter().find(|(_, is_given)| *is_given) {
        return usage(format!(
            "{flag} belongs to the XDP transport; add --transport xdp, or use --listen for the \
             kernel's"
        ));
    }
    let mut listen = args.listen.clone();
    if listen.is_empty() {
        listen.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    }
    for (index, address) in listen.iter().enumerate() {
        if listen[..index].contains(address) {
            return usage(format!("--listen {address} is given twice; drop one"));
        }
    }
    let congestion_control = args.congestion_control.clone();
    Ok(TransportConfig::Kernel(KernelConfig { listen, congestion_control }))
}

fn xdp(
    args: &ServeArgs,
    cores: &[usize],
    machine: &impl Machine,
) -> Result<(TransportConfig, Vec<usize>), Failure> {
    if !args.listen.is_empty() {
        return usage("--listen belongs to the kernel transport; use --address and --port here");
    }
    if args.congestion_control.is_some() {
        return usage("--congestion-control belongs to the kernel transport; drop it here");
    }
    let Some(interface) = args.interface.clone() else {
        return usage("--transport xdp needs --interface; `ip link` lists them");
    };
    if args.addresses.is_empty() {
        return usage("--transport xdp needs --address, such as --address 10.77.0.1/24");
    }
    for (index, prefix) in args.addresses.iter().enumerate() {
        let address = prefix.address();
        if args.addresses[..index].iter().any(|other| other.address() == address) {
            return usage(format!("--address {address} is given twice; drop one"));
        }
    }
    let Some(count) = machine.queues(&interface).filter(|count| *count > 0) else {
        return Err(Failure::Interface(format!(
            "there is no interface {interface} here; `ip link` lists those there are"
        )));
    };
    let queues = match &args.queues {
        None => (0..count).collect(),
        Some(NumberList(queues)) => {
            if let Some(missing) = queues.iter().find(|queue| **queue >= count) {
                return Err(Failure::Interface(format!(
                    "{interface} has no queue {missing}, only 0-{}; change --queues, or add queues \
                     with `ethtool -L {interface} combined N`",
                    count - 1
                )));
            }
            queues.clone()
        }
    };
    if args.cores.is_some() && cores.len() > queues.len() {
        return usage(format!(
            "--cores names {} cores for {} queues; name as many cores as queues",
            cores.len(),
            queues.len()
        ));
    }
    // With fewer cores than queues some cores have several shards.
    let cores = cores.iter().copied().cycle().take(queues.len()).collect();
    let port = match args.port {
        Some(0) => return usage("--port 0 is no port; choose one from 1 to 65535"),
        port => port.unwrap_or(80),
    };
    let addresses = args.addresses.clone();
    let config = XdpConfig { interface, addresses, port, queues, busy: args.busy };
    Ok((TransportConfig::Xdp(config), cores))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

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
        let Args { command: Command::Serve(args) } =
            Args::try_parse_from(words).map_err(|error| Failure::Usage(error.to_string()))?;
        Config::new(*args, &TwoCores)
    }

    fn xdp(flags: &str) -> Result<(Config, XdpConfig), Failure> {
        let base = "--transport xdp --interface eth4 --address 10.77.0.1/24 ";
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
    fn contradictions_are_named_with_their_fix() {
        let cases = [
            ("--interface eth4", 2, "add --transport xdp"),
            ("--busy", 2, "--busy belongs to the XDP transport"),
            ("--address 10.0.0.1/8", 2, "--address belongs"),
            ("--port 80", 2, "--port belongs"),
            ("--queues 0", 2, "--queues belongs"),
            ("--cores 7", 2, "core 7 of --cores"),
            ("--listen 127.0.0.1:1 --listen 127.0.0.1:1", 2, "given twice"),
            ("--listen localhost", 2, "invalid"),
            ("--transport tcp", 2, "possible values"),
            ("--transport xdp", 2, "needs --interface"),
            ("--transport xdp --interface eth4", 2, "needs --address"),
            ("--transport xdp --interface no --address 10.0.0.1/8", 4, "no interface no here"),
            ("--transport xdp --listen 127.0.0.1:1", 2, "use --address and --port"),
            ("--transport xdp --congestion-control cubic", 2, "belongs to the kernel transport"),
        ];
        for (flags, status, part) in cases {
            check(&config(flags).map(|_| ()).unwrap_err(), status, part, flags);
        }
        let cases = [
            ("--queues 3-4", 4, "has no queue 4, only 0-3"),
            ("--queues 0 --cores 0-1", 2, "2 cores for 1 queues"),
            ("--address 10.77.0.1/16", 2, "given twice"),
            ("--port 0", 2, "is no port"),
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
