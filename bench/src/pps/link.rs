//! The veth pair, its two ends, and the cores that each end has.

use std::{io, net::Ipv4Addr};

use core_affinity::CoreId;
use pagewire_driver::{Interface, MacAddress, XdpConfig, XdpPort};
use pagewire_tools::lab::{Addressing, INTERFACE, Lab, LabConfig, Side, Switch};

use super::{Placement, PpsError};
use crate::cpu;

/// Queues of the pair: the most that any cell uses.
const QUEUES: u32 = 2;

/// One end.
#[derive(Debug)]
pub struct End {
    /// Its namespace.
    pub side: Side,
    /// Its interface, whose name no other of this machine has.
    pub interface: String,
    /// Its address on the link.
    pub mac: MacAddress,
    /// An address that no kernel owns.
    pub address: Ipv4Addr,
    /// The cores that work for it.
    pub cores: Vec<CoreId>,
}

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
    pub fn up(placement: Placement) -> Result<Self, PpsError> {
        let pinned = placement == Placement::Pinned;
        let config = LabConfig {
            queues: Some(QUEUES),
            kernel_address: Addressing::No,
            threaded_napi: if pinned { Switch::On } else { Switch::Off },
            ..LabConfig::unique()
        };
        let lab = Lab::up(&config)?;
        let (near, far) = cpu::halves();
        let near = End::new(&lab, Side::Server, "n", Ipv4Addr::new(10, 77, 0, 101), near)?;
        let far = End::new(&lab, Side::Client, "f", Ipv4Addr::new(10, 77, 0, 102), far)?;
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
    pub fn place(&self) -> Result<[Vec<i32>; 2], PpsError> {
        if self.placement == Placement::Inline {
            return Ok([vec![], vec![]]);
        }
        let place = |end: &End| {
            let threads = cpu::receive_threads(&end.interface)?;
            cpu::pin(&threads, &end.cores)?;
            Ok(threads)
        };
        let error = |source: io::Error| PpsError::System {
            action: "pin the kernel's receive threads",
            source,
        };
        Ok([place(&self.near).map_err(error)?, place(&self.far).map_err(error)?])
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

impl End {
    fn new(
        lab: &Lab,
        side: Side,
        letter: &str,
        address: Ipv4Addr,
        cores: Vec<CoreId>,
    ) -> Result<Self, PpsError> {
        let interface = format!("pw{letter}{}", std::process::id());
        // The threads of the kernel are known by the interface's name alone, in all namespaces.
        for words in [
            ["link", "set", INTERFACE, "down"].as_slice(),
            &["link", "set", INTERFACE, "name", &interface],
            &["link", "set", &interface, "up"],
        ] {
            let action = "rename an end of the pair";
            let error = |source| PpsError::System { action, source };
            let status = lab.command(side, "ip").args(words).status().map_err(error)?;
            if !status.success() {
                return Err(error(io::Error::other(format!("ip {}: {status}", words.join(" ")))));
            }
        }
        let mac = lab.within(side, || Interface::find(&interface))??.mac;
        Ok(Self { side, interface, mac, address, cores })
    }
}
