//! The system calls on an AF_XDP socket that `xsk-rs` does not make, or whose outcome it hides.

#![allow(unsafe_code)]

use std::{
    io,
    mem::size_of_val,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use crate::frame::CHUNK_SIZE;

/// `XDP_MAX_TX_SKB_BUDGET` (`include/uapi/linux/if_xdp.h`, Linux 6.17): frames that one kick may send.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// What a kick met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kick {
    /// The kernel has taken everything, or will without another kick.
    Done,
    /// EAGAIN: the kick's budget is used up or the completion ring is full.
    Again,
    /// EBUSY: the device dropped one frame, which counts as sent (`NET_XMIT_DROP` in net/xdp/xsk.c).
    Lost,
    /// ENOBUFS or ENOMEM: no socket buffer can be had.
    NoBuffers,
    /// ENETDOWN, ENXIO and the like: the link is down or gone.
    Down,
}

/// Wakes the kernel for the TX ring.
pub(super) fn kick_transmit(socket: BorrowedFd<'_>) -> Kick {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: neither a message nor an address is passed.
    if unsafe { libc::sendto(fd, ptr::null(), 0, flags, ptr::null(), 0) } >= 0 {
        return Kick::Done;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => Kick::Again,
        Some(libc::EBUSY) => Kick::Lost,
        Some(libc::ENOBUFS | libc::ENOMEM) => Kick::NoBuffers,
        _ => Kick::Down,
    }
}

/// Wakes a zero-copy driver for the fill ring. If the link is down the next transmission says so.
pub(super) fn kick_fill(socket: BorrowedFd<'_>) {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: neither a buffer nor an address is passed.
    unsafe { libc::recvfrom(fd, ptr::null_mut(), 0, flags, ptr::null_mut(), ptr::null_mut()) };
}

/// Lets a kick send up to `frames` frames, where the kernel can (by default 32).
pub(super) fn set_kick_budget(socket: BorrowedFd<'_>, frames: u32) {
    let (fd, size) = (socket.as_raw_fd(), size_of_val(&frames) as libc::socklen_t);
    let value = (&raw const frames).cast();
    // SAFETY: `value` points to `size` readable bytes. A kernel that refuses keeps its default.
    unsafe { libc::setsockopt(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, value, size) };
}

/// Lets the kernel hold `frames` copied frames for this socket until they are sent. Its default, 208 KiB,
/// holds 92 frames of 1,500 bytes with what the kernel adds to them.
pub(super) fn set_send_buffer(socket: BorrowedFd<'_>, frames: usize) {
    // The kernel doubles it, which covers what it adds (`struct sk_buff` and rounding).
    let bytes = libc::c_int::try_from(frames * CHUNK_SIZE).unwrap_or(libc::c_int::MAX);
    let (fd, size) = (socket.as_raw_fd(), size_of_val(&bytes) as libc::socklen_t);
    // Beyond net.core.wmem_max with CAP_NET_ADMIN; else as far as that allows.
    for option in [libc::SO_SNDBUF, libc::SO_SNDBUFFORCE] {
        // SAFETY: the value is `size` readable bytes. A kernel that refuses keeps what it has.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const bytes).cast(), size) };
    }
}

/// Whether the driver, not the kernel, moves this socket's frames.
pub(super) fn is_zero_copy(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut options = libc::xdp_options { flags: 0 };
    let mut size = size_of_val(&options) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw mut options).cast());
    // SAFETY: `value` points to `size` writable bytes.
    match unsafe { libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_OPTIONS, value, &raw mut size) } {
        0 => Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes the socket in programs that this one executes: they would hold the queue.
pub(super) fn close_on_exec(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `fcntl` with `F_SETFD` takes no pointers.
    match unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
