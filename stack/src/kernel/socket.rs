//! The socket calls: how sockets are made, and what their errors mean.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};

use super::KernelError;
use crate::{CloseReason, Refused};

/// A connection in the making, or how it ended at once.
pub(super) enum Dialled {
    Connecting(OwnedFd),
    Failed(OwnedFd, CloseReason),
}

/// A listening socket on `address` that others of this user may share (`SO_REUSEPORT`).
pub(super) fn listen(
    address: SocketAddr,
    backlog: u16,
    congestion_control: Option<&str>,
) -> Result<OwnedFd, KernelError> {
    let failed = |doing| move |errno: Errno| KernelError::System { doing, source: errno.into() };
    let socket = stream_socket(address).map_err(|errno| match errno {
        Errno::MFILE | Errno::NFILE => KernelError::NoDescriptors,
        Errno::AFNOSUPPORT => KernelError::NoFamily(address),
        other => failed("make a socket")(other),
    })?;
    let set_up = || {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        if address.is_ipv6() {
            // So that an IPv4 address on the same port can be listened on as well.
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        // Accepted sockets inherit it.
        sockopt::set_tcp_nodelay(&socket, true)
    };
    set_up().map_err(failed("set up a socket"))?;
    if let Some(name) = congestion_control {
        set_congestion_control(&socket, name)?;
    }
    net::bind(&socket, &address).map_err(|errno| bind_error(address, errno))?;
    net::listen(&socket, backlog.into()).map_err(|errno| bind_error(address, errno))?;
    Ok(socket)
}

/// The congestion control that a new socket gets, `wanted` if the kernel allows it.
pub(super) fn check_congestion_control(wanted: Option<&str>) -> Result<String, KernelError> {
    let failed = |doing| move |errno: Errno| KernelError::System { doing, source: errno.into() };
    let make = |address: &str| stream_socket(address.parse().map_err(|_| Errno::INVAL)?);
    let socket = make("127.0.0.1:0").or_else(|_| make("[::1]:0")).map_err(|errno| match errno {
        Errno::MFILE | Errno::NFILE => KernelError::NoDescriptors,
        other => failed("make a socket")(other),
    })?;
    if let Some(name) = wanted {
        set_congestion_control(&socket, name)?;
    }
    sockopt::tcp_congestion(&socket).map_err(failed("ask for the congestion control"))
}

/// Begins to connect to `to`, from an address of ours if one is given.
pub(super) fn dial(
    to: SocketAddr,
    from: Option<IpAddr>,
    congestion_control: Option<&str>,
) -> Result<Dialled, Refused> {
    let refused = |errno| match errno {
        Errno::NETUNREACH
        | Errno::HOSTUNREACH
        | Errno::AFNOSUPPORT
        | Errno::ACCESS
        | Errno::PERM
        | Errno::INVAL => Refused::NoRoute,
        _ => Refused::Exhausted,
    };
    let socket = stream_socket(to).map_err(refused)?;
    sockopt::set_tcp_nodelay(&socket, true).map_err(refused)?;
    if let Some(name) = congestion_control {
        // It was checked when the stack was made.
        let _ = sockopt::set_tcp_congestion(&socket, name);
    }
    if let Some(from) = from {
        // The port is chosen by `connect`, when it is known which ones are in use with this peer.
        setsockopt(&socket, IpBindAddressNoPort, &true).map_err(|_| Refused::NoRoute)?;
        net::bind(&socket, &SocketAddr::new(from, 0)).map_err(|_| Refused::NoRoute)?;
    }
    match net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Dialled::Connecting(socket)),
        Err(errno @ (Errno::CONNREFUSED | Errno::CONNRESET | Errno::TIMEDOUT)) => {
            Ok(Dialled::Failed(socket, reason(errno)))
        }
        Err(errno) => Err(refused(errno)),
    }
}

/// Makes closing `socket` a reset.
pub(super) fn reset_on_close(socket: &OwnedFd) {
    // Fails only for what is no socket.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// The error waiting on a socket, if there is one.
pub(super) fn pending_error(socket: &OwnedFd) -> Option<CloseReason> {
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => None,
        Ok(Err(errno)) | Err(errno) => Some(reason(errno)),
    }
}

/// Our address of a connection.
pub(super) fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    net::getsockname(socket).ok()?.try_into().ok()
}

/// What an error of a connected or connecting socket means.
pub(super) fn reason(errno: Errno) -> CloseReason {
    match errno {
        Errno::TIMEDOUT => CloseReason::TimedOut,
        Errno::CONNREFUSED
        | Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::HOSTDOWN
        | Errno::NETDOWN => CloseReason::Unreachable,
        _ => CloseReason::Reset,
    }
}

fn stream_socket(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
}

fn set_congestion_control(socket: &OwnedFd, name: &str) -> Result<(), KernelError> {
    const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    sockopt::set_tcp_congestion(socket, name).map_err(|errno| match errno {
        Errno::PERM => KernelError::CongestionControlDenied(name.to_owned()),
        Errno::NOENT | Errno::INVAL => KernelError::UnknownCongestionControl {
            name: name.to_owned(),
            available: fs::read_to_string(AVAILABLE).unwrap_or_default().trim().to_owned(),
        },
        other => KernelError::System {
            doing: "set the congestion control",
            source: io::Error::from(other),
        },
    })
}

fn bind_error(address: SocketAddr, errno: Errno) -> KernelError {
    match errno {
        Errno::ADDRINUSE => KernelError::InUse(address),
        Errno::ACCESS => KernelError::PortDenied(address),
        Errno::ADDRNOTAVAIL => KernelError::NotLocal(address),
        other => KernelError::System { doing: "listen", source: other.into() },
    }
}
