//! What a kernel stack has counted. Written by its core only.

use crate::{CloseReason, ResidencyCounters};

/// Counts since the stack was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KernelCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections opened by [`connect`](crate::Transport::connect).
    pub connected: u64,
    /// Connections ended, by reason.
    pub closed: ClosedCounters,
    /// Bytes that the kernel accepted from memory.
    pub copied_bytes: u64,
    /// Bytes that the kernel accepted by sendfile.
    pub sendfile_bytes: u64,
    /// Bytes received, discarded ones included.
    pub received_bytes: u64,
    /// Times that a full socket stopped a connection from sending.
    pub socket_full: u64,
    /// Times that a file not in memory stopped a connection from sending.
    pub disk_waits: u64,
    /// Times that accepting paused because no descriptors or socket memory were left.
    pub accept_no_descriptors: u64,
    /// Times that accepting paused because all connections were in use.
    pub accept_no_slots: u64,
    /// Connections that failed while they were accepted.
    pub accept_failed: u64,
    /// Connections whose peer did not close within the linger time.
    pub linger_expired: u64,
    /// What was asked about files.
    pub residency: ResidencyCounters,
}

/// Connections ended, by [`CloseReason`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClosedCounters {
    /// In order.
    pub finished: u64,
    /// By us, at once.
    pub aborted: u64,
    /// By the peer's reset.
    pub reset: u64,
    /// The peer stopped answering.
    pub timed_out: u64,
    /// Refused or unreachable.
    pub unreachable: u64,
    /// Idle, to make room.
    pub displaced: u64,
    /// The file shrank or changed.
    pub content_changed: u64,
    /// The file could not be read.
    pub content_unreadable: u64,
}

impl ClosedCounters {
    /// Counts one.
    pub(crate) fn count(&mut self, reason: CloseReason) {
        *match reason {
            CloseReason::Finished => &mut self.finished,
            CloseReason::Aborted => &mut self.aborted,
            CloseReason::Reset => &mut self.reset,
            CloseReason::TimedOut => &mut self.timed_out,
            CloseReason::Unreachable => &mut self.unreachable,
            CloseReason::Displaced => &mut self.displaced,
            CloseReason::ContentChanged => &mut self.content_changed,
            CloseReason::ContentUnreadable => &mut self.content_unreadable,
        } += 1;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.finished
            + self.aborted
            + self.reset
            + self.timed_out
            + self.unreachable
            + self.displaced
            + self.content_changed
            + self.content_unreadable
    }
}
