//! Loading over the user-level stack, with addresses of its own.

use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
};

use crossbeam_channel::{Receiver, unbounded};
use pagewire::control::netlink::Network;
use pagewire_driver::{Instant, Port, Served, Steering, XdpConfig, XdpError, XdpPort};
use pagewire_stack::{
    DiskPool, NetworkView, Prefix,
    user::{MOST_ADDRESSES, MOST_SHARDS, Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};

use super::{
    LoadError,
    client::{HEAD_MAX, Task},
    launch::Trouble,
};

/// Memory for what is received and not yet read, of all connections of a core together, in bytes.
const WINDOWS: usize = 64 << 20;

/// The least and most of it for one connection.
const WINDOW_LEAST: usize = 4_096;
const WINDOW_MOST: usize = 65_535;

/// The least and most frames that a core's queue has room for: as many as all of its connections may
/// bring at once.
const RING_LEAST: usize = 4_096;
const RING_MOST: usize = 32_768;

/// What all cores share.
pub(super) struct Way {
    steering: Steering,
    interface: String,
    addresses: Vec<ServedAddress>,
    network: NetworkView,
}

/// What a core needs to build its transport.
pub(super) struct Seed {
    queue: XdpConfig,
    addresses: Vec<ServedAddress>,
    mesh: Mesh,
    network: Receiver<NetworkView>,
}

impl Way {
    /// Checks what is asked for, and loads the program that brings packets to the queues.
    pub(super) fn prepare(
        interface: &str,
        prefixes: &[Prefix],
        queues: usize,
        target: IpAddr,
    ) -> Result<Self, LoadError> {
        let usage = |text: String| Err(LoadError::Usage(text));
        if prefixes.is_empty() || prefixes.len() > MOST_ADDRESSES || queues > MOST_SHARDS {
            return usage(format!(
                "the user-level stack needs 1 to {MOST_ADDRESSES} times --address, and 1 to \
                 {MOST_SHARDS} queues"
            ));
        }
        if !prefixes.iter().any(|prefix| prefix.address().is_ipv4() == target.is_ipv4()) {
            return usage(format!("{target} needs an --address of its family"));
        }
        let network =
            Network::open(interface).map_err(|error| LoadError::Transport(error.to_string()))?;
        let network = network.view().clone();
        for prefix in prefixes {
            let address = prefix.address();
            if address == target || network.addresses.iter().any(|it| it.address() == address) {
                return usage(format!(
                    "{address} is taken, and --address needs one that nobody has, such as 10.77.0.3/24 \
                     in a lab: all that is sent to it is taken away from the kernel"
                ));
            }
        }
        let owned_alone = true;
        let addresses: Vec<_> =
            prefixes.iter().map(|&prefix| ServedAddress { prefix, owned_alone }).collect();
        let served: Vec<_> = addresses
            .iter()
            .map(|it| Served { address: it.address(), port: 0, owned_alone })
            .collect();
        let steering = Steering::load(&served)?;
        Ok(Self { steering, interface: interface.to_owned(), addresses, network })
    }

    /// What the cores on these queues need.
    pub(super) fn seeds(&self, queues: &[u32]) -> Vec<Seed> {
        let meshes = Mesh::new(queues.len());
        meshes
            .into_iter()
            .zip(queues)
            .map(|(mesh, &queue)| {
                let (sender, network) = unbounded();
                let _ = sender.send(self.network.clone());
                let queue = XdpConfig::new(&self.interface, queue);
                Seed { queue, addresses: self.addresses.clone(), mesh, network }
            })
            .collect()
    }

    /// Lets packets come to the sockets, by queue.
    pub(super) fn open(&mut self, sockets: &[(u32, OwnedFd)]) -> Result<(), LoadError> {
        for (queue, socket) in sockets {
            self.steering.register(*queue, socket.as_fd())?;
        }
        self.steering.attach(&self.interface)?;
        Ok(())
    }
}

/// One core's transport, and its socket to be registered.
pub(super) fn build(
    task: &Task,
    seed: Seed,
    now: Instant,
) -> Result<(UserStack<XdpPort>, (u32, OwnedFd)), LoadError> {
    let failed = |error: std::io::Error| {
        LoadError::Transport(format!("cannot set up the user-level stack: {error}"))
    };
    let ring = task.connections.next_power_of_two().clamp(RING_LEAST, RING_MOST) as u32;
    let queue = XdpConfig { ring, fill: ring, chunks: 2 * ring, ..seed.queue };
    let port = XdpPort::open(&queue)?;
    let socket = port.as_fd().try_clone_to_owned().map_err(failed)?;
    let config = UserConfig {
        addresses: seed.addresses,
        listen: None,
        limits: UserLimits {
            connections: task.slots(),
            receive_window: (WINDOWS / task.connections).clamp(WINDOW_LEAST, WINDOW_MOST),
            head: HEAD_MAX,
            handshake: task.timeout,
            ..UserLimits::default()
        },
        mesh: seed.mesh,
        // No file is ever sent.
        disk: DiskPool::start(1, 1).map_err(failed)?,
        network: Some(seed.network),
        probe: None,
    };
    let stack = UserStack::new(port, now, config).map_err(failed)?;
    Ok((stack, (queue.queue, socket)))
}

impl<P: Port> Trouble for UserStack<P> {
    fn trouble(&self) -> Vec<(String, u64)> {
        let (port, stack) = (self.port().counters(), self.counters());
        let mut trouble = vec![
            ("frames lost by a kick".to_owned(), port.kick_lost),
            ("frames dropped for want of memory".to_owned(), port.no_memory),
            ("frames dropped for a full ring".to_owned(), port.ring_full),
            ("bytes sent again".to_owned(), stack.bytes_retransmitted),
        ];
        trouble.extend(stack.drops().map(|(cause, count)| (format!("dropped: {cause}"), count)));
        trouble.retain(|(_, count)| *count > 0);
        trouble
    }
}

impl From<XdpError> for LoadError {
    fn from(error: XdpError) -> Self {
        Self::Transport(error.to_string())
    }
}
