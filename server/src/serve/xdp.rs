//! Serving on the user-level stack: one `AF_XDP` queue a shard, and a program that steers to them.
//!
//! The order loses nothing: the program is loaded, each shard opens its queue, each queue is made known
//! to the program, and only then is the program attached.

use std::{
    net::SocketAddr,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crossbeam_channel::Receiver;
use pagewire_driver::{Cause, Port, Served, Steering, XdpConfig as QueueConfig, XdpError, XdpPort};
use pagewire_stack::{
    Prefix,
    user::{MOST_ADDRESSES, MOST_SHARDS, Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};

use super::{
    Loss, Server, Trouble, descriptors,
    launch::{Launch, Summarize},
    neighbourhood::{Neighbourhood, Watch},
};
use crate::{
    config::{Config, XdpConfig},
    failure::Failure,
    privilege::Keeper,
};

/// Connections of a core whose memory is taken at the start: twice as many as may be in a handshake at a time.
const PREPARED: usize = 8_192;

/// What stands behind the shards while they run.
pub(super) struct Behind {
    steering: Arc<Mutex<Steering>>,
    watch: Watch,
}

impl Behind {
    /// The program.
    pub(super) fn steering(&self) -> Weak<Mutex<Steering>> {
        Arc::downgrade(&self.steering)
    }

    /// Says why the server cannot go on, once it cannot.
    pub(super) fn lost(&self) -> &Receiver<Loss> {
        self.watch.lost()
    }

    /// What the program has counted, for people.
    pub(super) fn summary(&self) -> String {
        match self.steering.lock().unwrap_or_else(PoisonError::into_inner).counters() {
            Ok(counters) => {
                super::summary_of(Cause::ALL.map(|cause| (cause.name(), counters.of(cause))))
            }
            Err(error) => error.to_string(),
        }
    }
}

pub(super) fn start(
    config: &Config,
    xdp: &XdpConfig,
    keeper: &Keeper,
    trouble: &Arc<Trouble>,
    denied: &[Prefix],
) -> Result<Server, Failure> {
    check_counts(xdp)?;
    let mut config = config.clone();
    descriptors::fit_files(&mut config, descriptors::raise_limit());
    let mut neighbourhood = Neighbourhood::open(&xdp.interface, keeper)?;
    let addresses: Vec<_> = xdp
        .addresses
        .iter()
        .map(|&prefix| {
            let owned_alone = !neighbourhood.kernel_has(prefix.address());
            ServedAddress { prefix, owned_alone }
        })
        .collect();
    let served: Vec<_> = addresses
        .iter()
        .map(|served| Served {
            address: served.address(),
            port: xdp.port,
            owned_alone: served.owned_alone,
        })
        .collect();
    let denied = denied.to_vec();
    let mut steering = keeper.run(move || {
        let steering = Steering::load(&served)?;
        for network in denied {
            steering.deny(network.address(), network.length())?;
        }
        Ok::<_, XdpError>(steering)
    })??;
    let mut launch = Launch::new(&config, keeper)?;
    for (mesh, &queue) in Mesh::new(xdp.queues.len()).into_iter().zip(&xdp.queues) {
        let stack_config = UserConfig {
            addresses: addresses.clone(),
            listen: Some(xdp.port),
            limits: UserLimits {
                connections: config.connections,
                connections_per_source: config.connections_per_source,
                idle_per_source: config.idle_per_source,
                head: config.live.limits.request_bytes(),
                prepared: PREPARED,
                ..UserLimits::default()
            },
            mesh,
            disk: launch.helpers.clone(),
            network: Some(neighbourhood.updates()),
            probe: Some(neighbourhood.probes()),
        };
        let queue_config = QueueConfig::new(&xdp.interface, queue);
        let (socket, chosen) = launch.shard(move |now| {
            let port = XdpPort::open(&queue_config)?;
            let socket = port.as_fd().try_clone_to_owned();
            let socket =
                socket.map_err(|source| Failure::System { what: "duplicate a socket", source })?;
            let chosen = port.chosen().to_string();
            let stack = UserStack::new(port, now, stack_config);
            let stack =
                stack.map_err(|source| Failure::System { what: "set up the stack", source })?;
            Ok((stack, (socket, chosen)))
        })?;
        steering =
            keeper.run(move || steering.register(queue, socket.as_fd()).map(|()| steering))??;
        neighbourhood.wakes(launch.waker());
        launch.describe(&chosen);
    }
    let interface = xdp.interface.clone();
    let attach = move || steering.attach(&interface).map(|attached| (steering, attached));
    let (steering, attached) = keeper.run(attach)??;
    tracing::info!("{attached}");
    for served in &addresses {
        let (address, owner) = (
            served.address(),
            if served.owned_alone { "pagewire alone" } else { "the kernel, but for this port" },
        );
        tracing::info!("{address} port {} belongs to {owner}", xdp.port);
    }
    let endpoints =
        addresses.iter().map(|served| SocketAddr::new(served.address(), xdp.port)).collect();
    let steering = Arc::new(Mutex::new(steering));
    let queues = xdp.all_queues.then_some(xdp.queues.len());
    let watch =
        neighbourhood.watch(Arc::clone(&steering), &addresses, queues, Arc::clone(trouble))?;
    Ok(launch.finish(endpoints, Some(Behind { steering, watch })))
}

fn check_counts(xdp: &XdpConfig) -> Result<(), Failure> {
    if xdp.addresses.len() > MOST_ADDRESSES {
        let count = xdp.addresses.len();
        return Err(Failure::Usage(format!(
            "{count} times --address is too much; {MOST_ADDRESSES} addresses can be served"
        )));
    }
    if xdp.queues.len() > MOST_SHARDS {
        let count = xdp.queues.len();
        return Err(Failure::Usage(format!(
            "{count} queues are too many; choose up to {MOST_SHARDS} with --queues"
        )));
    }
    Ok(())
}

impl<P: Port> Summarize for UserStack<P> {
    fn summary(&self) -> String {
        let (port, stack) = (self.port().counters(), self.counters());
        let mut summary = super::summary_of([
            ("frames received", port.received),
            ("frames sent", port.sent),
            ("back-pressure", port.back_pressure),
            ("lost by a kick", port.kick_lost),
            ("link down", port.link_down),
            ("dropped below for want of memory", port.no_memory),
            ("dropped below for a full ring", port.ring_full),
            ("bytes sent again", stack.bytes_retransmitted),
            ("retransmission timeouts", stack.timeouts),
            ("path limits", stack.path_limits),
            ("resets sent", stack.resets_sent),
            ("hopped out", stack.hopped_out),
            ("hopped in", stack.hopped_in),
        ]);
        for (cause, count) in stack.drops() {
            use std::fmt::Write;
            // Writing to a string cannot fail.
            let _ = write!(summary, ", dropped: {cause} {count}");
        }
        summary
    }
}

impl From<XdpError> for Failure {
    fn from(error: XdpError) -> Self {
        let message = error.to_string();
        match error {
            XdpError::Privilege { .. } | XdpError::LockedMemory { .. } => Self::Privilege(message),
            XdpError::NoInterface { .. }
            | XdpError::InterfaceDown { .. }
            | XdpError::Mtu { .. }
            | XdpError::NoQueue { .. }
            | XdpError::NoZeroCopy { .. }
            | XdpError::OtherProgram { .. }
            | XdpError::NoXdp { .. }
            | XdpError::Steering { .. } => Self::Interface(message),
            XdpError::QueueBusy { .. } => Self::Busy(message),
            XdpError::Memory { .. } | XdpError::Sizes(_) | XdpError::System { .. } => {
                Self::Other(message)
            }
        }
    }
}
