//! Loading over the kernel's TCP.

use std::net::{IpAddr, UdpSocket};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pagewire_driver::Instant;
use pagewire_stack::{DiskPool, KernelConfig, KernelStack};

use super::{
    LoadError,
    client::{HEAD_MAX, Task},
    launch::Trouble,
};

/// Descriptors for all but connections.
const RESERVED: u64 = 64;

/// Checks what all cores need before any is started.
pub(super) fn prepare(tasks: &[Task], local_addresses: &[IpAddr]) -> Result<(), LoadError> {
    for &address in local_addresses {
        UdpSocket::bind((address, 0)).map_err(|error| {
            LoadError::Usage(format!("connections cannot come from {address}: {error}"))
        })?;
    }
    let target = tasks.iter().map(|task| task.target).next();
    let of_family = |address: &IpAddr| target.is_none_or(|it| it.is_ipv4() == address.is_ipv4());
    if !local_addresses.is_empty() && !local_addresses.iter().any(of_family) {
        let text = "none of the local addresses is of the server's family, IPv4 or IPv6".to_owned();
        return Err(LoadError::Usage(text));
    }
    let needed = tasks.iter().map(|task| task.connections as u64).sum::<u64>() + RESERVED;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((needed, needed));
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard);
    if raised < needed {
        return Err(LoadError::Usage(format!(
            "so many connections need {needed} descriptors, and the limit is {raised}: raise it \
             (`ulimit -n`)"
        )));
    }
    Ok(())
}

/// One core's transport.
pub(super) fn build(
    task: &Task,
    local_addresses: Vec<IpAddr>,
    _now: Instant,
) -> Result<KernelStack, LoadError> {
    // No file is ever sent.
    let disk = DiskPool::start(1, 1)
        .map_err(|error| LoadError::Transport(format!("cannot start a thread: {error}")))?;
    let config = KernelConfig {
        connections_max: u32::try_from(task.slots()).unwrap_or(u32::MAX),
        head_limit_bytes: HEAD_MAX,
        local_addresses,
        ..KernelConfig::default()
    };
    KernelStack::new(config, &disk).map_err(|error| LoadError::Transport(error.to_string()))
}

impl Trouble for KernelStack {
    fn trouble(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
}
