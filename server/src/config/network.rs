//! The network to serve on, and on which cores.

use std::net::{Ipv4Addr, SocketAddr};

use pagewire_stack::Prefix;

use super::usage;
use crate::{
    failure::Failure,
    settings::{Setting, Settings, TransportName, Value},
};

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
    /// Whether these are to be all that there are.
    pub all_queues: bool,
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

/// The network that `settings` ask for, and the core of each shard.
pub(super) fn network(
    settings: &Settings,
    machine: &impl Machine,
) -> Result<(TransportConfig, Vec<usize>), Failure> {
    let cores = cores(settings, machine)?;
    let is_xdp = match settings.transport.value {
        TransportName::Kernel => false,
        TransportName::Xdp => true,
        TransportName::Auto => settings.interface.value.is_some(),
    };
    if is_xdp {
        return xdp(settings, cores, machine);
    }
    Ok((TransportConfig::Kernel(kernel(settings)?), cores))
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
    let all_queues = settings.queues.value.is_none();
    let config = XdpConfig { interface, addresses, port, queues, all_queues, busy, fallback };
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
