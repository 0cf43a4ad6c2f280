//! The lab of a comparison: one queue, each end's receive work on its own core.

use std::{
    fs,
    io::{self, Write as _},
    net::IpAddr,
    process::Stdio,
};

use pagewire_stack::Prefix;
use pagewire_tools::lab::{Lab, LabConfig, Side, Switch};

use super::cell::Wire;
use crate::{cpu, ends::End, error::BenchError};

/// Addresses of the client: one for each 16,384 connections of the user-level stack.
const CLIENT_ADDRESSES: u8 = 8;

/// The lab.
#[derive(Debug)]
pub struct Link {
    lab: Lab,
    /// The server's end.
    pub server: End,
    /// The client's.
    pub client: End,
}

/// What has crossed the wire, seen from the client's end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Frames {
    /// Frames that the server received, and their bytes.
    pub to_server: (u64, u64),
    /// Frames that the server sent, and their bytes.
    pub to_client: (u64, u64),
}

impl Link {
    /// Builds the lab.
    pub fn up(wire: Wire) -> Result<Self, BenchError> {
        let config = LabConfig {
            queues: Some(1),
            offloads: if wire == Wire::Offloads { Switch::On } else { Switch::Off },
            threaded_napi: Switch::On,
            txrehash: Switch::Off,
            ..LabConfig::unique()
        };
        let lab = Lab::up(&config)?;
        let (near, far) = cpu::halves();
        let one = |mut cores: Vec<_>| {
            cores.truncate(1);
            cores
        };
        let server = End::new(&lab, Side::Server, "s", one(near))?;
        let client = End::new(&lab, Side::Client, "c", one(far))?;
        let link = Self { lab, server, client };
        if wire == Wire::Offloads {
            link.steer_client_receive()?;
            link.give_client_addresses()?;
        }
        Ok(link)
    }

    /// Packets that veth does not give to NAPI, as it does not those of a sender with segmentation
    /// offload, are received on the sender's core unless receive packet steering takes them away.
    fn steer_client_receive(&self) -> Result<(), BenchError> {
        let core = self.client.cores.first().map_or(0, |core| core.id);
        let path = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", self.client.interface);
        let write = || -> io::Result<()> {
            let mut tee = self.lab.command(Side::Client, "tee");
            let mut tee = tee.arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
            if let Some(mut input) = tee.stdin.take() {
                // Groups of 32 cores, the highest first.
                write!(input, "{:x}{}", 1_u32 << (core % 32), ",00000000".repeat(core / 32))?;
            }
            let status = tee.wait()?;
            status.success().then_some(()).ok_or_else(|| io::Error::other(status.to_string()))
        };
        write().map_err(BenchError::system("move the client's receive work to its core"))
    }

    /// A kernel has some 28,000 connections from one address to one server, those that wait after their
    /// end included. The user-level stack, which takes the same addresses, is no client on this wire.
    fn give_client_addresses(&self) -> Result<(), BenchError> {
        for address in Self::client_addresses(usize::MAX) {
            let prefix = format!("{}/{}", address.address(), address.length());
            let words = ["address", "add", &prefix, "dev", &self.client.interface];
            let status = self.lab.command(Side::Client, "ip").args(words).status();
            let status = status.map_err(BenchError::system("give the client more addresses"))?;
            if !status.success() {
                return Err(BenchError::Nothing(format!("ip address add {prefix}: {status}")));
            }
        }
        Ok(())
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Puts the kernel's receive work where it belongs. Returns the threads of server and client.
    pub fn place(&self) -> Result<[Vec<i32>; 2], BenchError> {
        Ok([self.server.place()?, self.client.place()?])
    }

    /// Runs `work` on the client's side and core.
    pub fn at_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, BenchError> {
        let pinned = || {
            if let Some(&core) = self.client.cores.first() {
                core_affinity::set_for_current(core);
            }
            work()
        };
        Ok(self.lab.within(self.client.side, pinned)?)
    }

    /// Addresses that the client may take, enough for so many connections.
    pub fn client_addresses(connections: usize) -> Vec<Prefix> {
        let needed = (connections / 12_000 + 1).min(usize::from(CLIENT_ADDRESSES)) as u8;
        let address = |number: u8| Prefix::new(IpAddr::from([10, 77, 0, 10 + number]), 24);
        (0..needed).filter_map(|number| address(number).ok()).collect()
    }

    /// What has crossed so far. To be asked on a thread within the client's namespace.
    pub fn frames(&self) -> io::Result<Frames> {
        let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
        frames_of(&devices, &self.client.interface)
            .ok_or_else(|| io::Error::other("the client's interface is gone"))
    }
}

/// The counts of an interface in what `/proc/net/dev` says: bytes and packets are the first two of
/// eight columns for each direction.
fn frames_of(devices: &str, interface: &str) -> Option<Frames> {
    let columns = devices.lines().find_map(|line| {
        let (name, columns) = line.split_once(':')?;
        (name.trim() == interface).then_some(columns)
    })?;
    let counts: Vec<u64> =
        columns.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let pair = |at: usize| Some((*counts.get(at + 1)?, *counts.get(at)?));
    Some(Frames { to_client: pair(0)?, to_server: pair(8)? })
}

impl Frames {
    /// What has crossed since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let less =
            |(a, b): (u64, u64), (c, d): (u64, u64)| (a.saturating_sub(c), b.saturating_sub(d));
        Self {
            to_server: less(self.to_server, before.to_server),
            to_client: less(self.to_client, before.to_client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_from_both_sides_of_the_table() {
        let text = "Inter-|   Receive                    |  Transmit\n \
                    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n \
                    pwc7: 1000 10 0 0 0 0 0 0 2000 30 0 0 0 0 0 0\n";
        let frames = frames_of(text, "pwc7").unwrap();
        assert_eq!(frames, Frames { to_client: (10, 1000), to_server: (30, 2000) });
        assert_eq!(frames_of(text, "pwc"), None);
        assert_eq!(frames.since(&frames), Frames::default());
    }

    #[test]
    fn a_client_has_addresses_enough() {
        assert_eq!(Link::client_addresses(64).len(), 1);
        assert_eq!(Link::client_addresses(100_000).len(), 8);
    }
}
