//! What goes wrong with the steering program, as this crate's errors.

use std::io;

use aya::{EbpfError, programs::ProgramError};

use crate::XdpError;

/// Why an attachment failed, in words where the kernel's own are none.
pub(super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "the driver has no native XDP".into(),
        Some(libc::ENOSPC) => {
            "the other end of the veth pair has more TX queues than this one has RX queues".into()
        }
        Some(libc::ERANGE) => "the other end of the veth pair has an MTU above 3,506".into(),
        _ => error.to_string(),
    }
}

pub(super) fn absent(name: &str) -> XdpError {
    XdpError::Steering { action: "load", reason: format!("it has no {name}") }
}

pub(super) fn refused(action: &'static str, error: &dyn std::error::Error) -> XdpError {
    let mut reason = error.to_string();
    if let Some(source) = error.source() {
        reason = format!("{reason}: {source}");
    }
    XdpError::Steering { action, reason }
}

pub(super) fn program_error(action: &'static str, error: &ProgramError) -> XdpError {
    match error {
        ProgramError::LoadError { io_error, .. } if is_permission(io_error) => {
            XdpError::Privilege { action: "load an XDP program".into() }
        }
        error => refused(action, error),
    }
}

pub(super) fn load_error(error: &EbpfError) -> XdpError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.downcast_ref().is_some_and(is_permission) {
            return XdpError::Privilege { action: "load an XDP program".into() };
        }
        source = error.source();
    }
    refused("load", error)
}

fn is_permission(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
