//! Detaches a process's XDP program as `bpftool link detach` does.

#![allow(unsafe_code)]

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// `BPF_LINK_GET_FD_BY_ID` and `BPF_LINK_DETACH` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const GET_BY_ID: libc::c_long = 30;
const DETACH: libc::c_long = 34;

/// Detaches what hangs on the XDP links of a process, and says how many there were.
pub fn detach(process: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo")).unwrap();
    let texts = descriptors.filter_map(|it| fs::read_to_string(it.unwrap().path()).ok());
    let links: Vec<u32> = texts.filter_map(|text| link(&text)).collect();
    for link in &links {
        let fd = i32::try_from(bpf(GET_BY_ID, *link).unwrap()).unwrap();
        // SAFETY: the descriptor was just made and nobody else has it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(fd) };
        bpf(DETACH, descriptor.as_raw_fd().cast_unsigned()).unwrap();
    }
    links.len()
}

/// The number of the link that a descriptor is, by its `fdinfo`.
fn link(text: &str) -> Option<u32> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    (field("link_type")? == "xdp").then(|| field("link_id").unwrap().parse().unwrap())
}

/// A command about what has this number.
fn bpf(command: libc::c_long, number: u32) -> io::Result<libc::c_long> {
    // The members that follow in `union bpf_attr` are flags.
    let attributes = [number, 0, 0, 0];
    let size = size_of_val(&attributes);
    // SAFETY: the kernel reads `size` bytes of `attributes`, which hold no pointers.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attributes, size) } {
        result if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
