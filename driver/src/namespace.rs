//! The network namespace of a thread: labs, tests and benchmarks work on links of their own.

#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd};

/// Moves the calling thread, and threads that it starts from now on, into the network namespace that
/// `ip netns add` has called `name`. Sockets and AF_XDP queues opened before stay where they are.
///
/// # Errors
///
/// What the kernel says: that there is no such namespace, or EPERM without `CAP_SYS_ADMIN`.
pub fn enter_network_namespace(name: &str) -> io::Result<()> {
    let namespace = File::open(format!("/run/netns/{name}"))?;
    // SAFETY: `setns` takes no pointers.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
