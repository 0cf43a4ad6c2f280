//! What to open, and how large.

use crate::XdpError;

/// Largest MTU whose packets fit one chunk beside what native XDP keeps there: 4,096 less the headroom
/// of 256, `struct skb_shared_info` of 320 and the Ethernet header of 14.
pub const MAX_MTU: usize = 3_506;

/// The most frames on their way out that a veth peer takes without loss: its ring has 256 entries
/// (`VETH_RING_SIZE`, drivers/net/veth.c), which the kernel's own traffic shares.
pub const VETH_IN_FLIGHT: usize = 192;

/// Whether frames may, must or must not be copied by the kernel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ZeroCopy {
    /// Where the driver has it.
    #[default]
    Preferred,
    /// Or fail.
    Required,
    /// Not even where the driver has it.
    Never,
}

/// What to open, and how large.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// The interface's name.
    pub interface: String,
    /// The queue's number, from 0.
    pub queue: u32,
    /// Chunks of 4,096 bytes, rounded up to whole hugepages (512): all frames of this queue, waiting,
    /// received or under way.
    pub chunks: u32,
    /// Entries in each of the four rings: a power of two.
    pub ring: u32,
    /// Chunks that wait in the kernel for packets, at most `ring`. A stack that pauses loses packets
    /// once they are used up: 4,096 last 4 ms at a million packets a second, which is about what one
    /// core of a kernel can copy.
    pub fill: u32,
    /// Frames on their way out at any time, at most `ring`; `None` is [`VETH_IN_FLIGHT`] on veth and
    /// `ring` elsewhere.
    pub in_flight: Option<u32>,
    /// Whether to avoid the copy.
    pub zero_copy: ZeroCopy,
    /// Whether to try hugepages.
    pub hugepages: bool,
}

impl XdpConfig {
    /// Queue `queue` of `interface` with ordinary sizes: 32 MiB of memory.
    #[must_use]
    pub fn new(interface: &str, queue: u32) -> Self {
        Self {
            interface: interface.to_owned(),
            queue,
            chunks: 8_192,
            ring: 4_096,
            fill: 4_096,
            in_flight: None,
            zero_copy: ZeroCopy::default(),
            hugepages: true,
        }
    }

    /// Checks that the sizes fit together.
    pub(super) fn check(&self) -> Result<(), XdpError> {
        let wrong = if !self.ring.is_power_of_two() || self.ring < 64 {
            "a ring's entries must be a power of two, and at least 64"
        } else if self.fill == 0 || self.fill > self.ring {
            "at least one chunk and at most a ring full of them can wait for packets"
        } else if self.in_flight.is_some_and(|most| most == 0 || most > self.ring) {
            "at least one frame and at most a ring full of them can be on their way out"
        } else if self.chunks <= self.fill {
            "there must be more chunks than wait for packets, or nothing can be sent"
        } else if self.chunks > 1 << 24 {
            "at most 16,777,216 chunks (64 GiB) can be had"
        } else {
            return Ok(());
        };
        Err(XdpError::Sizes(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_contradict_each_other_are_refused() {
        let good = XdpConfig::new("any", 0);
        assert!(good.check().is_ok());
        for bad in [
            XdpConfig { ring: 1_000, ..good.clone() },
            XdpConfig { fill: 8_192, ..good.clone() },
            XdpConfig { fill: 0, ..good.clone() },
            XdpConfig { in_flight: Some(4_097), ..good.clone() },
            XdpConfig { chunks: 4_096, ..good.clone() },
            XdpConfig { chunks: u32::MAX, ..good.clone() },
        ] {
            assert!(matches!(bad.check(), Err(XdpError::Sizes(_))), "{bad:?}");
        }
    }
}
