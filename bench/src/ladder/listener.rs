//! Listening sockets and accepting, alike for all rungs.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};

use super::rung::Blocking;

/// The kernel cuts it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// The congestion control of both ends, where the kernel has it.
pub const CONGESTION_CONTROL: &str = "cubic";

/// Whether other sockets may listen on the same address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// They may, and the kernel spreads connections over them.
    ReusePort,
    /// They may not.
    No,
}

/// A listening socket, and its address. Accepted ones inherit `TCP_NODELAY` and the congestion control.
pub fn listen(
    address: SocketAddr,
    blocking: Blocking,
    sharing: Sharing,
) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = flags(blocking);
    let socket = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, sharing == Sharing::ReusePort)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // Where it is missing, the client lacks it as well.
    let _ = sockopt::set_tcp_congestion(&socket, CONGESTION_CONTROL);
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    let address = net::getsockname(&socket)?.try_into().map_err(|_| io::ErrorKind::Unsupported)?;
    Ok((socket, address))
}

/// The next connection. Nothing if there is none, or if it is gone again.
pub fn accept(listener: impl AsFd, blocking: Blocking) -> io::Result<Option<OwnedFd>> {
    match net::accept_with(listener, flags(blocking)) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn flags(blocking: Blocking) -> SocketFlags {
    match blocking {
        Blocking::Yes => SocketFlags::CLOEXEC,
        Blocking::No => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    }
}
