//! Attaching an XDP program through a `bpf_link`, or not at all, and asking what has become of the link.
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
/// `BPF_OBJ_GET_INFO_BY_FD` of `enum bpf_cmd`.
const GET_INFO: libc::c_long = 15;
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

/// What a link is attached to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LinkState {
    /// The program's number.
    pub(crate) program: u32,
    /// The interface's number; 0 once the link is detached or the interface is gone.
    pub(crate) interface: u32,
}

/// `info` in `union bpf_attr`, for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Question {
    descriptor: u32,
    size: u32,
    answer: u64,
}

/// Words of `struct bpf_link_info`: 2 is the program's number; 4, after one of padding, begins what depends
/// on the type, for XDP the interface's number. A longer structure is not filled beyond these.
const INFO_WORDS: usize = 8;

/// What `link` is attached to now.
pub(crate) fn state(link: BorrowedFd<'_>) -> io::Result<LinkState> {
    let mut words = [0_u32; INFO_WORDS];
    let question = Question {
        descriptor: link.as_raw_fd().cast_unsigned(),
        size: size_of_val(&words) as u32,
        answer: words.as_mut_ptr() as u64,
    };
    let size = size_of_val(&question);
    // SAFETY: the kernel reads `size` bytes of `question`, and writes no more than the `size` in it to `words`,
    // which live until the call has returned.
    let done = unsafe { libc::syscall(libc::SYS_bpf, GET_INFO, &raw const question, size) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(LinkState { program: words[2], interface: words[4] })
}
