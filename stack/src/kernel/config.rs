//! What a kernel stack can be told, and what may keep it from starting.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use thiserror::Error;

/// How a [`KernelStack`](super::KernelStack) behaves.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Most connections, incoming and outgoing, those that are closing included.
    pub connections_max: u32,
    /// Most received bytes that wait unconsumed on a connection.
    pub head_limit_bytes: usize,
    /// Connections that the kernel completes ahead of being accepted, per address. The kernel cuts it
    /// at net.core.somaxconn.
    pub backlog: u16,
    /// Congestion control by the kernel's name, such as `cubic`; otherwise the system's default.
    pub congestion_control: Option<String>,
    /// Where connections of ours come from, by turns among those of the peer's family; without any, the
    /// kernel chooses. Each gives as many connections to one peer as `net.ipv4.ip_local_port_range` has
    /// ports.
    pub local_addresses: Vec<IpAddr>,
    /// How long the peer may take to close after us before the rest is left to the kernel.
    pub linger: Duration,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            head_limit_bytes: 16 << 10,
            backlog: 4_096,
            congestion_control: None,
            local_addresses: Vec::new(),
            linger: Duration::from_secs(2),
        }
    }
}

/// Why a kernel stack cannot start or listen.
#[derive(Debug, Error)]
pub enum KernelError {
    /// EADDRINUSE.
    #[error(
        "{0} is in use by another program; stop that one (`ss -ltnp` names it) or choose another port"
    )]
    InUse(SocketAddr),
    /// EACCES from bind.
    #[error(
        "port {} needs privileges; choose 1024 or above, or give the program CAP_NET_BIND_SERVICE", .0.port()
    )]
    PortDenied(SocketAddr),
    /// EADDRNOTAVAIL.
    #[error("{} is not an address of this machine; `ip address` lists those that are", .0.ip())]
    NotLocal(SocketAddr),
    /// EAFNOSUPPORT.
    #[error("{0} is of a family that this kernel has switched off; leave it out")]
    NoFamily(SocketAddr),
    /// ENOENT from `TCP_CONGESTION`.
    #[error("the kernel has no congestion control `{name}`; it has: {available}")]
    UnknownCongestionControl {
        /// What was asked for.
        name: String,
        /// What `net.ipv4.tcp_available_congestion_control` says.
        available: String,
    },
    /// EPERM from `TCP_CONGESTION`.
    #[error(
        "congestion control `{0}` needs CAP_NET_ADMIN; or list it in \
         net.ipv4.tcp_allowed_congestion_control of the host's own network namespace"
    )]
    CongestionControlDenied(String),
    /// EMFILE, ENFILE.
    #[error("no file descriptors are left; raise the limit (`ulimit -n`)")]
    NoDescriptors,
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
