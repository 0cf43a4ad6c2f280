//! The veth pair, its two ends, and who does the kernel's receive work.

use std::net::Ipv4Addr;

use core_affinity::CoreId;
use pagewire_driver::{XdpConfig, XdpPort};
use pagewire_tools::lab::{Addressing, Lab, LabConfig, Side, Switch};

use super::Placement;
use crate::{cpu, ends::End, error::BenchError};

/// Queues of the pair: the most that any cell uses.
const QUEUES: u32 = 2;

/// The pair.
#[derive(Debug)]
pub struct Link {
    lab: Lab,
    placement: Placement,
    /// The end that is measured.
    pub near: End,
    /// The end that provides its peer.
    pub far: End,
    mode: String,
}

impl Link {
    /// Builds the lab.
    pub fn up(placement: Placement) -> Result<Self, BenchError> {
        let pinned = placement == Placement::Pinned;
        let config = LabConfig {
            queues: Some(QUEUES),
            kernel_address: Addressing::No,
            threaded_napi: if pinned { Switch::On } else { Switch::Off },
            ..LabConfig::unique()
        };
        let lab = Lab::up(&config)?;
        let (near, far) = cpu::halves();
        let near = End::new(&lab, Side::Server, "n", near)?;
        let far = End::new(&lab, Side::Client, "f", far)?;
        let port = || XdpPort::open(&XdpConfig::new(&near.interface, 0));
        let mode = lab.within(near.side, || port().map(|port| port.chosen().to_string()))??;
        Ok(Self { lab, placement, near, far, mode })
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Puts the kernel's receive work where it belongs. To be called again after each attachment, which
    /// makes its threads anew. Returns the threads of both ends.
    pub fn place(&self) -> Result<[Vec<i32>; 2], BenchError> {
        if self.placement == Placement::Inline {
            return Ok([vec![], vec![]]);
        }
        Ok([self.near.place()?, self.far.place()?])
    }

    /// An end's address, which no kernel owns.
    pub fn address(&self, end: &End) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, if end.side == self.near.side { 101 } else { 102 })
    }

    /// What is measured, in a few lines.
    pub fn description(&self) -> String {
        let names = |cores: &[CoreId]| {
            cores.iter().map(|core| core.id.to_string()).collect::<Vec<_>>().join(",")
        };
        let placement = match self.placement {
            Placement::Pinned => "in kernel threads pinned to the receiver's cores",
            Placement::Inline => "within the kicks of the sender, on its core",
        };
        format!(
            "AF_XDP on a veth pair: {}, native XDP\nnear end on core {}, far end on core {}; \
             receive work (NAPI) {placement}\n",
            self.mode,
            names(&self.near.cores),
            names(&self.far.cores),
        )
    }
}
