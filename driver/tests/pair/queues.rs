//! Ports on the queues of a pair, and frames between them.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
};

use pagewire_driver::{Frame, Served, Steering, XdpConfig, XdpPlace, XdpPort};

/// Owned by the program at the near end.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
/// Owned by the program at the far end.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
/// Ethernet, IPv4 and TCP.
pub const HEADERS: usize = 14 + 20 + 20;

/// Steering of port 80 of an address that nobody else owns.
pub fn steering(address: Ipv4Addr) -> Steering {
    let address = IpAddr::V4(address);
    Steering::load(&[Served { address, port: 80, owned_alone: true }]).unwrap()
}

/// Opens the queues of `interface`, registers and attaches.
pub fn open(interface: &str, queues: u32, address: Ipv4Addr) -> (Vec<XdpPort>, Steering) {
    let mut steering = steering(address);
    let ports: Vec<_> = (0..queues)
        .map(|queue| XdpPort::open(&XdpConfig::new(interface, queue)).unwrap())
        .collect();
    for (queue, port) in (0..).zip(&ports) {
        steering.register(queue, port.as_fd()).unwrap();
    }
    assert_eq!(steering.attach(interface).unwrap().place, XdpPlace::Native);
    (ports, steering)
}

/// A TCP segment from `FAR` to `NEAR` whose payload follows from `number`.
pub fn fill(frame: &mut Frame, number: u32, len: usize) {
    let mut header = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    header.extend(u16::try_from(len - 14).unwrap().to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    header.extend(FAR.octets());
    header.extend(NEAR.octets());
    header.extend([0, 80, 0, 80]);
    header.extend(number.to_be_bytes());
    header.resize(HEADERS, 0);
    frame.set_len(len);
    frame.bytes_mut()[..HEADERS].copy_from_slice(&header);
    frame.bytes_mut()[HEADERS..].fill(number.to_le_bytes()[0]);
}

/// What `fill` was given.
pub fn number(frame: &Frame) -> u32 {
    u32::from_be_bytes(frame.bytes()[38..42].try_into().unwrap())
}
