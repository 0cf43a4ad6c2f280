//! How a user-level stack is set up.

use std::{net::IpAddr, time::Duration};

use crossbeam_channel::{Receiver, Sender};

use super::mesh::Mesh;
use crate::{DiskPool, NetworkView, Prefix};

/// An address that the stack serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServedAddress {
    /// The address, with the length of the prefix that is on the link.
    pub prefix: Prefix,
    /// Whether the stack alone owns it, and so answers its ARP, NDP and ICMP. Otherwise the kernel
    /// does, and neighbours are the kernel's to resolve.
    pub owned_alone: bool,
}

impl ServedAddress {
    /// The address alone.
    pub fn address(&self) -> IpAddr {
        self.prefix.address()
    }
}

/// Limits and times of a stack. All have sensible defaults.
#[derive(Clone, Copy, Debug)]
pub struct UserLimits {
    /// Most connections of this core.
    pub connections: usize,
    /// Connections whose memory is taken at the start. That of others is taken when first there are so many,
    /// which may hold up those that are there for some milliseconds.
    pub prepared: usize,
    /// Most accepted connections of one source: an IPv4 address or an IPv6 /64.
    pub connections_per_source: usize,
    /// Most accepted connections in a handshake. Beyond it SYNs are answered with cookies.
    pub embryonic: usize,
    /// The same of one source.
    pub embryonic_per_source: usize,
    /// Most connections with nothing pending. Beyond it the one unheard for longest is closed.
    pub idle: usize,
    /// The same of one source. Keeping count costs each request a little, unless it is `usize::MAX`.
    pub idle_per_source: usize,
    /// Receive window of a connection in bytes, at most 65,535.
    pub receive_window: usize,
    /// Most bytes that wait unconsumed on a connection.
    pub head: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a peer may leave what was sent unacknowledged and say nothing.
    pub silence: Duration,
    /// How long a connection that we closed waits for the peer to close too.
    pub linger: Duration,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            prepared: 0,
            connections_per_source: 16_384,
            embryonic: 4_096,
            embryonic_per_source: 1_024,
            idle: usize::MAX,
            idle_per_source: usize::MAX,
            receive_window: 4_096,
            head: 16_384,
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            linger: Duration::from_secs(5),
        }
    }
}

/// All that a stack needs beside its port.
#[derive(Debug)]
pub struct UserConfig {
    /// The addresses, at most [`MOST_ADDRESSES`].
    pub addresses: Vec<ServedAddress>,
    /// The TCP port that is listened on; none for a client.
    pub listen: Option<u16>,
    /// Limits and times.
    pub limits: UserLimits,
    /// This core's end of the mesh between cores.
    pub mesh: Mesh,
    /// Who reads cold files for this core.
    pub disk: DiskPool,
    /// Routes and neighbours as the kernel sees them, whenever they change.
    pub network: Option<Receiver<NetworkView>>,
    /// Where to ask for a neighbour that the kernel is to resolve.
    pub probe: Option<Sender<IpAddr>>,
}

/// Most addresses that one stack serves.
pub const MOST_ADDRESSES: usize = 8;
