//! Which packets come to the queues: the XDP program of `bpf/steer.bpf.c`, its maps and its link.
//!
//! The order that loses nothing: [`Steering::load`], open the queues, [`Steering::register`] each,
//! [`Steering::attach`]. The program hangs on a `bpf_link`, which the kernel takes down with the last
//! descriptor of it: nothing stays on the interface, however the process ends.
//!
//! - `denied`: the list of sources that it drops; `errors`: what goes wrong, in words.

mod denied;
mod errors;

use std::{
    fmt, io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{HashMap, MapError, PerCpuArray, XskMap},
    programs::{TestRun, TestRunOptions, Xdp, loaded_programs},
};

pub use self::denied::MOST_DENIED;
use self::{
    denied::Denied,
    errors::{absent, explain, load_error, program_error, refused},
};
use crate::{
    Interface, SteeringCounters, XdpError,
    xdp::link::{self, LinkMode, LinkState},
};

const PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// The name of the program that takes what is served, in the object and in the kernel.
pub const STEERING_PROGRAM: &str = "pagewire";

/// The name in the object of the program that takes everything.
const TAKE_ALL: &str = "pagewire_all";

/// `BPF_PROG_TYPE_XDP` of `enum bpf_prog_type` (include/uapi/linux/bpf.h).
const PROGRAM_TYPE_XDP: u32 = 6;

/// An address and port to be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Served {
    /// The address.
    pub address: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// Whether nobody else owns the address, the kernel included: then its ARP, NDP, ICMP and other
    /// TCP come to the queues too, and what else is sent to it is dropped.
    pub owned_alone: bool,
}

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpPlace {
    /// In the driver, before the kernel has a socket buffer.
    Native,
    /// Behind the driver, on socket buffers: slower.
    Generic,
}

/// How the program is attached. Its `Display` is one line for the operator.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The interface's name.
    pub interface: String,
    /// Where the program runs.
    pub place: XdpPlace,
    /// Why not natively, if not.
    pub reason: Option<String>,
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            XdpPlace::Native => "native",
            XdpPlace::Generic => "generic",
        };
        write!(f, "{}: {place} XDP", self.interface)?;
        self.reason.iter().try_for_each(|reason| write!(f, " (native refused: {reason})"))
    }
}

/// What a frame would meet, as the kernel says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It would be dropped.
    Drop,
    /// It would go to the kernel.
    Pass,
    /// It would go to the queue's socket.
    Redirect,
    /// The program would fail.
    Abort,
}

/// Where the program was attached.
#[derive(Debug)]
struct Link {
    descriptor: OwnedFd,
    /// As it was then.
    state: LinkState,
}

/// The loaded program. Dropping it detaches it.
#[derive(Debug)]
pub struct Steering {
    // Before the maps: no packet meets a program without them.
    link: Option<Link>,
    bpf: Ebpf,
    /// The list of denied sources, changed by whoever commands the server.
    denied: Mutex<Denied>,
    /// Which of the object's programs is meant.
    name: &'static str,
}

impl Steering {
    /// Loads the program for what is `served`. Nothing is attached yet.
    ///
    /// # Errors
    ///
    /// [`XdpError::Privilege`] or [`XdpError::Steering`].
    pub fn load(served: &[Served]) -> Result<Self, XdpError> {
        let mut bpf = Ebpf::load(PROGRAM).map_err(|error| load_error(&error))?;
        let fill = |action| move |error: MapError| refused(action, &error);
        for Served { address, port, owned_alone } in served {
            let address = address_key(*address);
            let map = bpf.map_mut("SERVED").ok_or_else(|| absent("SERVED"))?;
            let mut map = HashMap::<_, [u8; 20], u32>::try_from(map).map_err(fill("fill"))?;
            map.insert(endpoint_key(address, *port), 1, 0)
                .map_err(fill("tell what is served to"))?;
            if *owned_alone {
                own(&mut bpf, address, true)?;
            }
        }
        Self::with_program(bpf, STEERING_PROGRAM)
    }

    /// Loads a program that takes every frame, for what stands in for a wire: nothing goes to the
    /// kernel, and what comes on a queue without a socket is dropped. It counts no causes.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_for_all() -> Result<Self, XdpError> {
        Self::with_program(Ebpf::load(PROGRAM).map_err(|error| load_error(&error))?, TAKE_ALL)
    }

    fn with_program(mut bpf: Ebpf, name: &'static str) -> Result<Self, XdpError> {
        let map = bpf.take_map("DENIED_SOURCES").ok_or_else(|| absent("DENIED_SOURCES"))?;
        let denied = Mutex::new(Denied::new(map)?);
        let mut steering = Self { link: None, bpf, denied, name };
        steering.program()?.load().map_err(|error| program_error("load", &error))?;
        Ok(steering)
    }

    /// Lets packets of `queue` go to `socket`, which may be a duplicate; while the queue has none,
    /// they go to the kernel. The entry goes with the socket.
    ///
    /// # Errors
    ///
    /// [`XdpError::Steering`].
    pub fn register(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        let map = self.bpf.map_mut("SOCKETS").ok_or_else(|| absent("SOCKETS"))?;
        let error = |error: MapError| refused("register a socket with", &error);
        XskMap::try_from(map).map_err(error)?.set(queue, socket.as_raw_fd(), 0).map_err(error)
    }

    /// Drops from now on what comes from the first `bits` bits of `source`: of all that would go to the
    /// queues, ARP and NDP excepted. What goes to the kernel is not ours to drop. IPv4 has 32 bits, IPv6
    /// 128; `bits` beyond that are all of them. Says whether that prefix was not on the list before.
    ///
    /// # Errors
    ///
    /// [`XdpError::Steering`], for instance if [`MOST_DENIED`] prefixes are denied already.
    pub fn deny(&self, source: IpAddr, bits: u8) -> Result<bool, XdpError> {
        self.list().deny(source, bits)
    }

    /// Takes a prefix off the list on which [`deny`](Self::deny) has put it, exactly as it was put there.
    /// Says whether it was there.
    ///
    /// # Errors
    ///
    /// [`XdpError::Steering`].
    pub fn allow(&self, source: IpAddr, bits: u8) -> Result<bool, XdpError> {
        self.list().allow(source, bits)
    }

    /// The list: the first address of each prefix, and how many bits it has. IPv4 first, in order.
    pub fn denied(&self) -> Vec<(IpAddr, u8)> {
        self.list().prefixes().collect()
    }

    /// How many prefixes are on the list.
    pub fn denied_count(&self) -> usize {
        self.list().prefixes().len()
    }

    fn list(&self) -> MutexGuard<'_, Denied> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes ARP, NDP and ICMP of a served address from now on, or leaves them to the kernel.
    ///
    /// # Errors
    ///
    /// [`XdpError::Steering`].
    pub fn own(&mut self, address: IpAddr, alone: bool) -> Result<(), XdpError> {
        own(&mut self.bpf, address_key(address), alone)
    }

    /// Attaches the program to `interface`: natively, or else generically. Where it was attached before it
    /// is no more.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoInterface`], [`XdpError::Privilege`], [`XdpError::OtherProgram`],
    /// [`XdpError::NoXdp`] or [`XdpError::Steering`].
    pub fn attach(&mut self, interface: &str) -> Result<Attached, XdpError> {
        let Interface { index, name, .. } = Interface::find(interface)?;
        self.link = None;
        let native = match self.link(index, LinkMode::Native) {
            Ok(()) => {
                return Ok(Attached { interface: name, place: XdpPlace::Native, reason: None });
            }
            Err(error) => error,
        };
        match native.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                let action = format!("attach an XDP program to {name}");
                return Err(XdpError::Privilege { action });
            }
            Some(libc::EBUSY | libc::EEXIST) => {
                let programs = self.other_programs();
                return Err(XdpError::OtherProgram { interface: name, programs });
            }
            _ => {}
        }
        let native = explain(&native);
        match self.link(index, LinkMode::Generic) {
            Ok(()) => {
                let (place, reason) = (XdpPlace::Generic, Some(native));
                Ok(Attached { interface: name, place, reason })
            }
            Err(generic) => {
                let generic = explain(&generic);
                Err(XdpError::NoXdp { interface: name, native, generic })
            }
        }
    }

    /// Whether the program still is where [`attach`](Self::attach) has put it. It is not once somebody has
    /// detached it, which needs no consent of ours (`bpftool link detach`), or has put another in its place,
    /// or the interface is gone.
    ///
    /// # Errors
    ///
    /// [`XdpError::Steering`] if the kernel does not say.
    pub fn is_attached(&self) -> Result<bool, XdpError> {
        let Some(link) = &self.link else { return Ok(false) };
        let state = link::state(link.descriptor.as_fd());
        Ok(state.map_err(|error| refused("look at", &error))? == link.state)
    }

    /// Frames by cause, since the program was loaded.
    ///
    /// # Errors
    ///
    /// [`XdpError::Steering`].
    pub fn counters(&self) -> Result<SteeringCounters, XdpError> {
        let map = self.bpf.map("COUNTERS").ok_or_else(|| absent("COUNTERS"))?;
        let error = |error: MapError| refused("read the counters of", &error);
        let map = PerCpuArray::<_, u64>::try_from(map).map_err(error)?;
        let mut counters = SteeringCounters::default();
        for (index, count) in (0..).zip(&mut counters.counts) {
            *count = map.get(&index, 0).map_err(error)?.iter().sum();
        }
        Ok(counters)
    }

    /// What `frame` would meet if it arrived on queue 0, and how long the decision takes in the mean of
    /// `repeat` times. It is counted, but goes nowhere.
    ///
    /// # Errors
    ///
    /// [`XdpError::Steering`], for instance for a frame shorter than an Ethernet header.
    pub fn verdict(
        &mut self,
        frame: &[u8],
        repeat: u32,
    ) -> Result<(Verdict, std::time::Duration), XdpError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = self.program()?.test_run(options);
        let result = result.map_err(|error| program_error("try out", &error))?;
        // enum xdp_action, include/uapi/linux/bpf.h
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            4 => Verdict::Redirect,
            _ => Verdict::Abort,
        };
        Ok((verdict, result.duration))
    }

    fn program(&mut self) -> Result<&mut Xdp, XdpError> {
        let program = self.bpf.program_mut(self.name).ok_or_else(|| absent(self.name))?;
        program.try_into().map_err(|error| program_error("load", &error))
    }

    fn link(&mut self, interface: u32, mode: LinkMode) -> io::Result<()> {
        let program = self.program().map_err(io::Error::other)?;
        let descriptor = program.fd().map_err(io::Error::other)?.as_fd();
        let descriptor = link::attach(descriptor, interface, mode)?;
        let state = link::state(descriptor.as_fd())?;
        self.link = Some(Link { descriptor, state });
        Ok(())
    }

    /// The XDP programs of this machine but ours, as " (one of these: …)", for a message.
    fn other_programs(&mut self) -> String {
        let ours =
            self.program().ok().and_then(|program| program.info().ok()).map(|info| info.id());
        let names: Vec<_> = loaded_programs()
            .flatten()
            .filter(|info| info.program_type() as u32 == PROGRAM_TYPE_XDP)
            .filter(|info| Some(info.id()) != ours)
            .map(|info| format!("{} with id {}", info.name_as_str().unwrap_or("?"), info.id()))
            .collect();
        match names.as_slice() {
            [] => String::new(),
            [name] => format!(" ({name})"),
            names => format!(" (one of {})", names.join(", ")),
        }
    }
}

fn own(bpf: &mut Ebpf, address: [u8; 16], alone: bool) -> Result<(), XdpError> {
    let error = |error: MapError| refused("tell what is owned to", &error);
    let map = bpf.map_mut("OWNED").ok_or_else(|| absent("OWNED"))?;
    let mut map = HashMap::<_, [u8; 16], u32>::try_from(map).map_err(error)?;
    if alone {
        return map.insert(address, 1, 0).map_err(error);
    }
    match map.remove(&address) {
        Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
        Err(failed) => Err(error(failed)),
    }
}

/// The key of an address in the maps: IPv4 is mapped into IPv6.
fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn endpoint_key(address: [u8; 16], port: u16) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&address);
    key[16..18].copy_from_slice(&port.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_addresses_are_mapped() {
        let key = address_key("10.1.2.3".parse().unwrap());
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(endpoint_key(key, 80)[16..], [0, 80, 0, 0]);
    }
}
