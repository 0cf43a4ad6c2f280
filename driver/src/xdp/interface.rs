//! What the kernel knows about a network interface: `ioctl` only, so it works in any namespace.

#![allow(unsafe_code)]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::{MacAddress, XdpError};

/// `ETHTOOL_GDRVINFO` (include/uapi/linux/ethtool.h), which fills a `struct ethtool_drvinfo`.
const GET_DRIVER: u32 = 0x03;
/// `ETHTOOL_GCHANNELS`, which fills a `struct ethtool_channels`.
const GET_CHANNELS: u32 = 0x3c;
/// Room for the larger of the two structures, in words: `ethtool_drvinfo` has 196 bytes.
const ETHTOOL_WORDS: usize = 64;

/// An interface of this thread's network namespace, as it was when looked at.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its address on the link.
    pub mac: MacAddress,
    /// Its largest L3 packet in bytes.
    pub mtu: usize,
    /// Whether it is administratively up.
    pub up: bool,
    /// The driver's name; "unknown" where it does not say, as the loopback interface does not.
    pub driver: String,
    /// How many RX queues are in use, where the driver says.
    pub receive_queues: Option<u32>,
    /// How many TX queues are in use, where the driver says.
    pub transmit_queues: Option<u32>,
}

impl Interface {
    /// Looks up the interface called `name`.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoInterface`], or what the kernel said.
    pub fn find(name: &str) -> Result<Self, XdpError> {
        let missing = || XdpError::NoInterface { interface: name.to_owned() };
        let system = |source: io::Error| match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => missing(),
            _ => XdpError::System { action: format!("look at interface {name}"), source },
        };
        let request = Request::new(name).ok_or_else(missing)?;
        // SAFETY: each request below fills the member of the union that is read, and every member is
        // plain numbers.
        let index = request.ask(libc::SIOCGIFINDEX).map(|r| unsafe { r.ifr_ifru.ifru_ifindex });
        let index = index.map_err(system)?.cast_unsigned();
        // SAFETY: as above.
        let mtu = request.ask(libc::SIOCGIFMTU).map(|r| unsafe { r.ifr_ifru.ifru_mtu });
        // SAFETY: as above.
        let flags = request.ask(libc::SIOCGIFFLAGS).map(|r| unsafe { r.ifr_ifru.ifru_flags });
        // SAFETY: as above.
        let address = request.ask(libc::SIOCGIFHWADDR).map(|r| unsafe { r.ifr_ifru.ifru_hwaddr });
        let mut mac = MacAddress::default();
        for (to, from) in mac.0.iter_mut().zip(address.map_err(system)?.sa_data) {
            [*to] = from.to_ne_bytes();
        }
        let channels = request.ethtool(GET_CHANNELS).ok();
        // Words of `struct ethtool_channels`: 5 and 6 count RX and TX queues, 8 those that are both.
        let queues = |word: usize| channels.map(|channels| channels[word] + channels[8]);
        Ok(Self {
            name: name.to_owned(),
            index,
            mac,
            mtu: usize::try_from(mtu.map_err(system)?).unwrap_or(0),
            up: i32::from(flags.map_err(system)?) & libc::IFF_UP != 0,
            driver: request.ethtool(GET_DRIVER).map_or_else(|_| "unknown".into(), driver_name),
            receive_queues: queues(5),
            transmit_queues: queues(6),
        })
    }

    /// How many queues have both directions, as an AF_XDP socket can use; where the driver does not
    /// say, one.
    #[must_use]
    pub fn queues(&self) -> u32 {
        self.receive_queues.unwrap_or(1).min(self.transmit_queues.unwrap_or(1)).max(1)
    }
}

/// The driver's name in a `struct ethtool_drvinfo`: 32 bytes after the first word, ended by a zero.
fn driver_name(words: [u32; ETHTOOL_WORDS]) -> String {
    let bytes = words[1..9].iter().flat_map(|word| word.to_ne_bytes());
    String::from_utf8_lossy(&bytes.take_while(|&byte| byte != 0).collect::<Vec<_>>()).into_owned()
}

/// Questions about one interface, through some socket.
struct Request {
    socket: OwnedFd,
    name: CString,
}

impl Request {
    /// Nothing if no interface can have that name, or no socket can be had.
    fn new(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        if name.is_empty() || name.as_bytes_with_nul().len() > libc::IFNAMSIZ {
            return None;
        }
        // SAFETY: `socket` takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        // SAFETY: the descriptor was just made and nobody else has it.
        (fd >= 0).then(|| Self { socket: unsafe { OwnedFd::from_raw_fd(fd) }, name })
    }

    fn blank(&self) -> libc::ifreq {
        // SAFETY: all zeroes are a valid `ifreq`: an array and a union of plain numbers and a null.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, &from) in request.ifr_name.iter_mut().zip(self.name.as_bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request
    }

    fn ask(&self, question: libc::Ioctl) -> io::Result<libc::ifreq> {
        let mut request = self.blank();
        // SAFETY: the kernel fills the `ifreq` that it is given.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), question, &raw mut request) } {
            0 => Ok(request),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn ethtool(&self, command: u32) -> io::Result<[u32; ETHTOOL_WORDS]> {
        let mut words = [0; ETHTOOL_WORDS];
        words[0] = command;
        let mut request = self.blank();
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        let fd = self.socket.as_raw_fd();
        // SAFETY: the kernel fills `words`, which is longer than what either command fills.
        match unsafe { libc::ioctl(fd, libc::SIOCETHTOOL, &raw mut request) } {
            0 => Ok(words),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found() {
        let loopback = Interface::find("lo").unwrap();
        assert_eq!(loopback.index, 1);
        assert!(loopback.mtu > 0);
        assert_eq!(loopback.queues(), 1);
    }

    #[test]
    fn a_missing_or_impossible_name_is_named() {
        for name in ["nothere0", "", "far-too-long-for-an-interface", "nul\0"] {
            let error = Interface::find(name).unwrap_err();
            assert!(matches!(&error, XdpError::NoInterface { interface } if interface == name));
        }
    }
}
