//! What was chosen for a queue, and why, in one line.

use std::fmt;

use crate::TransferMode;

/// What was chosen for a queue, and why. Its `Display` is one line for the operator.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The interface's name.
    pub interface: String,
    /// The queue's number.
    pub queue: u32,
    /// The driver's name.
    pub driver: String,
    /// Whether the kernel copies frames.
    pub mode: TransferMode,
    /// Why it does, if it does.
    pub mode_reason: Option<String>,
    /// Whether the frames lie on hugepages.
    pub hugepages: bool,
    /// Why not, if not.
    pub pages_reason: Option<String>,
    /// Most frames on their way out.
    pub in_flight: usize,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.mode == TransferMode::ZeroCopy { "zero-copy" } else { "copy" };
        let pages = if self.hugepages { "2 MiB pages" } else { "4 KiB pages" };
        write!(f, "{} queue {}: {mode}", self.interface, self.queue)?;
        because(f, self.mode_reason.as_ref())?;
        write!(f, ", {pages}")?;
        because(f, self.pages_reason.as_ref())
    }
}

fn because(f: &mut fmt::Formatter<'_>, reason: Option<&String>) -> fmt::Result {
    reason.map_or(Ok(()), |reason| write!(f, " ({reason})"))
}
