//! What there is to know about an interface and its machine, as plain data. How it is found out is the
//! business of `look`; what to think of it, of `checks`.
//!
//! What a driver does not say is `None`: most virtual interfaces say little.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// Everything that is looked at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The interface's name.
    pub interface: String,
    /// Nothing if there is no such interface.
    pub link: Option<Link>,
    /// The machine.
    pub host: Host,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether there is a signal from the other end.
    pub has_carrier: bool,
    /// Largest L3 packet in bytes.
    pub mtu: usize,
    /// The bridge or bond that it belongs to.
    pub master: Option<String>,
    /// The driver's name.
    pub driver: String,
    /// What the driver can do with XDP: `enum netdev_xdp_act` (include/uapi/linux/netdev.h).
    pub xdp_features: Option<u64>,
    /// The XDP program that hangs on it: how it is attached, and its name.
    pub program: Option<(String, String)>,
    /// Who holds that program there by a `bpf_link`.
    pub program_holder: Option<Holder>,
    /// Queues in use.
    pub queues: Queues,
    /// Frames in each RX ring, and the most there could be.
    pub ring: Option<(u32, u32)>,
    /// How it spreads flows over its queues; nothing if the driver does not say.
    pub rss: Option<Rss>,
    /// Features by their names in `ethtool -k`.
    pub features: Vec<Feature>,
    /// Whether the hardware waits to see whether more frames come before it interrupts.
    pub adaptive_coalescing: Option<bool>,
    /// Queues to which an `AF_XDP` socket of somebody is bound.
    pub bound_queues: Vec<u32>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether IPv6 is switched off on it.
    pub ipv6_is_off: bool,
    /// RX queues whose packets the kernel hands to other cores (RPS).
    pub rps_queues: Vec<u32>,
    /// Its interrupts.
    pub interrupts: Vec<Task>,
    /// The kernel's receive threads, if it uses threads; none otherwise.
    pub napi_threads: Option<Vec<Task>>,
    /// The memory that it is near to.
    pub numa_node: Option<u32>,
}

/// A process that holds a program on an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The number of the link.
    pub link: u32,
    /// The process's number.
    pub process: u32,
    /// The process's name.
    pub name: String,
}

/// How many queues an interface has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Queues {
    /// RX queues in use.
    pub receive: u32,
    /// TX queues in use.
    pub transmit: u32,
    /// The most that there could be in both directions.
    pub most: u32,
    /// Whether the driver counts queues that are for both directions.
    pub combined: bool,
}

/// Receive side scaling: which queue gets which flow.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rss {
    /// The queue of each entry of the indirection table. The low bits of a flow's hash choose the entry.
    pub table: Vec<u32>,
    /// The key of the hash; empty if the driver does not tell it.
    pub key: Vec<u8>,
    /// The hash.
    pub hash: Hash,
}

/// What flows are hashed by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hash {
    /// Toeplitz' with a key.
    Toeplitz {
        /// Whether source and destination are both replaced by their exclusive or first.
        symmetric: bool,
    },
    /// Something in which the key is not all.
    Other,
}

impl Default for Hash {
    fn default() -> Self {
        Self::Toeplitz { symmetric: false }
    }
}

impl Rss {
    /// The queues of the table, each once, in order.
    pub fn queues(&self) -> Vec<u32> {
        self.table.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// A feature of a driver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Feature {
    /// Its name in `ethtool -k`.
    pub name: String,
    /// Whether it is on.
    pub is_on: bool,
    /// Whether it cannot be changed.
    pub is_fixed: bool,
}

/// Something that runs on cores: an interrupt or a thread of the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Task {
    /// The interrupt's number, or the thread's.
    pub id: u32,
    /// The cores that it may run on.
    pub cores: Vec<usize>,
}

/// The machine, as far as this process may use it.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The kernel's release: `6.18.5`.
    pub kernel: String,
    /// Cores that this process may run on.
    pub cores: Vec<usize>,
    /// Cores near each memory, by its number.
    pub numa_cores: Vec<(u32, Vec<usize>)>,
    /// Free hugepages of the default size.
    pub free_hugepages: u64,
    /// Bytes that this process may lock; nothing for no limit.
    pub memlock: Option<u64>,
    /// Descriptors that this process may have.
    pub descriptors: Option<u64>,
    /// Effective capabilities, a bit each (capability.h).
    pub capabilities: u64,
    /// `vm.max_map_count`.
    pub mappings: u64,
    /// `net.core.bpf_jit_enable`; nothing if it cannot be read.
    pub bpf_jit: Option<u32>,
    /// `net.ipv4.tcp_congestion_control`.
    pub congestion_control: String,
    /// `net.core.txrehash`; older kernels have none.
    pub txrehash: Option<u32>,
    /// Where the kernel's TCP listens.
    pub listeners: Vec<SocketAddr>,
    /// Scaling governors of the cores.
    pub governors: Vec<String>,
    /// Whether the daemon that moves interrupts about is running.
    pub irqbalance: bool,
    /// Random bytes, enough for any RSS key.
    pub random: Vec<u8>,
}

impl Link {
    /// A feature by its name.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }

    /// How many queues go both ways.
    pub fn queue_count(&self) -> u32 {
        self.queues.receive.min(self.queues.transmit).max(1)
    }
}

/// What is to be served, and on what.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Addresses to serve.
    pub addresses: Vec<IpAddr>,
    /// TCP port to serve.
    pub port: u16,
    /// Queues to serve; nothing for all.
    pub queues: Option<Vec<u32>>,
    /// Cores of the shards; nothing for all.
    pub cores: Option<Vec<usize>>,
}
