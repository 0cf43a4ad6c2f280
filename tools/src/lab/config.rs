//! What can be chosen about a lab, and why one would.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments here are help texts, which know no markdown"
)]

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use thiserror::Error;

use crate::emulator::LinkConfig;

/// What the names of a lab begin with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prefix(String);

/// A prefix that cannot name a lab.
#[derive(Debug, Error)]
#[error("`{0}` cannot name a lab: take 1 to 16 letters, digits or dashes")]
pub struct BadPrefix(String);

impl Prefix {
    /// A prefix that no other lab on this machine has, for tests.
    pub fn unique() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("pw{}x{count}", std::process::id()))
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("pw".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let fits = (1..=16).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(BadPrefix(text.to_owned())) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Switch {
    pub(super) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Who owns the server's addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Addressing {
    /// The server's kernel.
    Yes,
    /// Nobody, until pagewire takes them.
    No,
}

/// The lab to build.
#[derive(Clone, Debug, clap::Args)]
pub struct LabConfig {
    /// What the names of the lab's namespaces begin with, so that several labs can be up at once
    #[arg(long, env = "PW_LAB_PREFIX", default_value_t = Prefix::default())]
    pub prefix: Prefix,

    /// Queues of every interface, both ways [default: one per core, at most 4]
    ///
    /// A packet arrives on the queue that its sender sent it by, and an AF_XDP program cannot be
    /// attached natively if the peer has more TX queues than we have RX queues: so both ends always
    /// get the same number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub queues: Option<u32>,

    /// Largest packet in bytes, of every interface
    ///
    /// 3506 is the most that AF_XDP takes on veth while a frame is one UMEM chunk.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub mtu: u32,

    /// Checksum and segmentation offloads of the interfaces
    ///
    /// `off` is like a wire: every packet crosses by itself, at most MTU long, with its checksum. `on`
    /// lets the server's kernel hand packets of 64 KiB across, as veth does by default; no wire does
    /// that. Either way the client's TX checksum offload stays off, and with it its segmentation
    /// offload: on veth the offload leaves checksums unfinished, and a user-level stack would see
    /// nothing but bad ones.
    #[arg(long, value_enum, value_name = "on|off", hide_possible_values = true, default_value_t = Switch::Off)]
    pub offloads: Switch,

    /// Put a gateway between server and client, which then are on two networks
    ///
    /// The server's is 10.77.0.0/24 and fd77::/64, the client's 10.78.0.0/24 and fd78::/64; the
    /// gateway is .254 and ::fe on both.
    #[arg(long)]
    pub routed: bool,

    /// Whether the server's kernel owns 10.77.0.1 and fd77::1
    ///
    /// With `yes`, kernel transport works, and the user-level stack takes only the served port's
    /// traffic. With `no`, nobody answers for these addresses until pagewire does: then it does ARP,
    /// NDP and ICMP as well, and kernel transport cannot bind.
    #[arg(long, value_enum, value_name = "yes|no", hide_possible_values = true, default_value_t = Addressing::Yes)]
    pub kernel_address: Addressing,

    /// Receive in kernel threads (`napi/pw0-N`) that can be pinned to a core
    ///
    /// Without them the receive work of either side runs on the core of whoever sent, so a server is
    /// charged for its client. It needs GRO, which this turns on: veth has no NAPI otherwise. Attaching
    /// an XDP program makes these threads anew; pin them after that.
    #[arg(long, value_enum, value_name = "on|off", hide_possible_values = true, default_value_t = Switch::Off)]
    pub threaded_napi: Switch,

    /// Whether the client's retransmissions choose a new path (net.core.txrehash)
    ///
    /// `on` is the kernel's default, and moves a flow to another queue of the server in the middle of a
    /// connection. `off` keeps each flow on one queue.
    #[arg(long, value_enum, value_name = "on|off", hide_possible_values = true, default_value_t = Switch::On)]
    pub txrehash: Switch,

    /// Congestion control of the kernel's TCP on all sides
    ///
    /// Namespaces inherit the host's, and where that is BBR it cripples the kernel path on veth: a
    /// comparison would flatter us.
    #[arg(long, default_value = "cubic")]
    pub congestion_control: String,

    /// The link emulator to put before the client, if any
    #[command(flatten)]
    pub link: LinkConfig,
}

impl LabConfig {
    /// The default lab under a prefix of its own, for tests.
    pub fn unique() -> Self {
        Self {
            prefix: Prefix::unique(),
            queues: None,
            mtu: 1500,
            offloads: Switch::Off,
            routed: false,
            kernel_address: Addressing::Yes,
            threaded_napi: Switch::Off,
            txrehash: Switch::On,
            congestion_control: "cubic".to_owned(),
            link: LinkConfig::default(),
        }
    }

    pub(super) fn queue_count(&self) -> u32 {
        self.queues.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
            cores.min(4)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_short_and_plain() {
        assert!("pw".parse::<Prefix>().is_ok());
        assert!("my-lab-2".parse::<Prefix>().is_ok());
        for bad in ["", "a/b", "a b", "..", "seventeen-letters"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn unique_prefixes_differ_and_are_valid() {
        let (one, two) = (Prefix::unique(), Prefix::unique());
        assert_ne!(one, two);
        assert!(one.to_string().parse::<Prefix>().is_ok());
    }
}
