//! Serving on the kernel's TCP.

use std::net::SocketAddr;

use pagewire_stack::{KernelConfig as StackConfig, KernelError, KernelStack};

use super::{
    Server, descriptors,
    launch::{Launch, Summarize},
};
use crate::{
    config::{Config, KernelConfig},
    failure::Failure,
    privilege::Keeper,
};

/// What a shard tells when its stack is up.
struct Up {
    addresses: Vec<SocketAddr>,
    congestion_control: String,
}

pub(super) fn start(
    config: &Config,
    kernel: &KernelConfig,
    keeper: &Keeper,
) -> Result<Server, Failure> {
    let mut config = config.clone();
    descriptors::fit_files_and_connections(&mut config, descriptors::raise_limit());
    let mut launch = Launch::new(&config, keeper)?;
    let mut addresses = kernel.listen.clone();
    for _ in &config.cores {
        let stack_config = StackConfig {
            connections_max: u32::try_from(config.connections).unwrap_or(u32::MAX),
            head_limit_bytes: config.live.limits.request_bytes(),
            congestion_control: kernel.congestion_control.clone(),
            ..StackConfig::default()
        };
        let helpers = launch.helpers.clone();
        let listen = addresses;
        let up = launch.shard(move |_now| {
            let mut stack = KernelStack::new(stack_config, &helpers)?;
            let listening: Result<_, _> =
                listen.into_iter().map(|address| stack.listen(address)).collect();
            let congestion_control = stack.congestion_control().to_owned();
            Ok((stack, Up { addresses: listening?, congestion_control }))
        })?;
        // Where the first chose a port, the others listen on the same.
        addresses = up.addresses;
        launch.describe(&format!("kernel TCP, congestion control {}", up.congestion_control));
    }
    Ok(launch.finish(addresses, None))
}

impl Summarize for KernelStack {
    fn summary(&self) -> String {
        let counters = self.counters();
        super::summary_of([
            ("accept errors", counters.accept_failed),
            ("accept pauses for want of descriptors", counters.accept_no_descriptors),
            ("accept pauses for want of slots", counters.accept_no_slots),
            ("disk waits while sending", counters.disk_waits),
            ("lingering cut", counters.linger_expired),
        ])
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        let message = error.to_string();
        match error {
            KernelError::InUse(_) | KernelError::NotLocal(_) | KernelError::NoFamily(_) => {
                Self::Address(message)
            }
            KernelError::PortDenied(_) | KernelError::CongestionControlDenied(_) => {
                Self::Privilege(message)
            }
            KernelError::UnknownCongestionControl { .. } => Self::Usage(message),
            KernelError::NoDescriptors | KernelError::System { .. } => Self::Other(message),
        }
    }
}
