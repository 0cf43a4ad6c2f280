//! Attaching an XDP program through a `bpf_link`, or not at all.
//!
//! aya would fall back to netlink where the kernel refuses a link, and such an attachment stays on the
//! interface after its process is gone. Hence the system call is made here.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// `BPF_LINK_CREATE` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const LINK_CREATE: libc::c_long = 28;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;

/// Where the program is to run: `XDP_FLAGS_*` (`include/uapi/linux/if_link.h`).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum LinkMode {
    /// On socket buffers.
    Generic = 1 << 1,
    /// In the driver.
    Native = 1 << 2,
}

/// The first members of `link_create` in `union bpf_attr`; the kernel takes the rest for zeroes.
#[repr(C)]
struct Attributes {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches `program` to the interface with the number `interface`, until the result is closed.
pub(crate) fn attach(
    program: BorrowedFd<'_>,
    interface: u32,
    mode: LinkMode,
) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        program: program.as_raw_fd().cast_unsigned(),
        interface,
        attach_type: ATTACH_XDP,
        flags: mode as u32,
    };
    let size = size_of_val(&attributes);
    // SAFETY: the kernel reads `size` bytes of `attributes`, which hold no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LINK_CREATE, &raw const attributes, size) };
    match i32::try_from(fd) {
        // SAFETY: the descriptor was just made, close-on-exec, and nobody else has it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
