//! What the tests of the user-level stack share: a stack to test and a peer made by hand.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod frames;
pub mod scene;

use std::net::IpAddr;

use pagewire_driver::{Burst, Instant, MemoryPort, Port};
use pagewire_stack::{
    DiskPool, Prefix,
    user::{Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr,
        TcpSeqNumber, TcpTimestampRepr,
    },
};

/// The stack's end of a link made by `memory_link` is the first one.
pub const STACK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The hand-made peer's MAC address.
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// An address that the stack owns alone.
pub fn served(address: &str, bits: u8) -> ServedAddress {
    let prefix = Prefix::new(address.parse().unwrap(), bits).unwrap();
    ServedAddress { prefix, owned_alone: true }
}

/// A configuration for the addresses `10.0.0.<host>` and `fd00::<host>`.
pub fn config(host: u8, listen: Option<u16>, mesh: Mesh) -> UserConfig {
    UserConfig {
        addresses: vec![
            served(&format!("10.0.0.{host}"), 24),
            served(&format!("fd00::{host}"), 64),
        ],
        listen,
        limits: UserLimits { connections: 64, ..UserLimits::default() },
        mesh,
        disk: DiskPool::start(1, 16).unwrap(),
        network: None,
        probe: None,
    }
}

/// A listening stack on 10.0.0.1 and `fd00::1`, port 80.
pub fn listening<P: Port>(port: P) -> UserStack<P> {
    limited(port, |_| {})
}

/// The same with other limits.
pub fn limited<P: Port>(port: P, set: impl Fn(&mut UserLimits)) -> UserStack<P> {
    let mut config = config(1, Some(80), Mesh::new(1).remove(0));
    set(&mut config.limits);
    UserStack::new(port, Instant::ZERO, config).unwrap()
}

/// A segment as a test sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    pub sequence: u32,
    pub acknowledgement: u32,
    /// `S`, `F`, `R`, `A` in this order, where set.
    pub flags: String,
    pub window: u16,
    pub payload: Vec<u8>,
    pub timestamps: Option<(u32, u32)>,
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    pub source_port: u16,
    pub target_port: u16,
}

/// A segment to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    pub control: TcpControl,
    pub sequence: u32,
    pub acknowledgement: Option<u32>,
    pub window: u16,
    pub payload: &'a [u8],
    pub timestamps: Option<(u32, u32)>,
    /// Only in SYNs.
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Self {
            control: TcpControl::None,
            sequence: 0,
            acknowledgement: None,
            window: 60_000,
            payload: &[],
            timestamps: None,
            mss: Some(1_000),
            window_scale: None,
            sack_permitted: false,
        }
    }
}

/// A peer that does just what the test says. Its port is the second end of the link.
pub struct Peer {
    pub port: MemoryPort,
    pub address: IpAddr,
    pub server: IpAddr,
    pub source_port: u16,
    pub target_port: u16,
}

impl Peer {
    /// A peer on IPv4 or IPv6 that talks to port 80.
    pub fn new(port: MemoryPort, is_ipv6: bool) -> Self {
        let (address, server) =
            if is_ipv6 { ("fd00::2", "fd00::1") } else { ("10.0.0.2", "10.0.0.1") };
        Self {
            port,
            address: address.parse().unwrap(),
            server: server.parse().unwrap(),
            source_port: 40_000,
            target_port: 80,
        }
    }

    /// Sends a frame as it is.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let mut frame = self.port.allocate().expect("the peer has memory");
        frame.copy_from(bytes);
        self.port.transmit(frame).expect("the peer has room");
        let _ = self.port.flush(Instant::ZERO);
    }

    /// The frame of a segment.
    pub fn frame(&self, sent: &Sent<'_>) -> Vec<u8> {
        let repr = TcpRepr {
            src_port: self.source_port,
            dst_port: self.target_port,
            control: sent.control,
            seq_number: TcpSeqNumber(sent.sequence.cast_signed()),
            ack_number: sent.acknowledgement.map(|number| TcpSeqNumber(number.cast_signed())),
            window_len: sent.window,
            window_scale: sent.window_scale,
            max_seg_size: sent.mss.filter(|_| sent.control == TcpControl::Syn),
            sack_permitted: sent.sack_permitted,
            sack_ranges: [None; 3],
            timestamp: sent.timestamps.map(|(tsval, tsecr)| TcpTimestampRepr { tsval, tsecr }),
            payload: sent.payload,
        };
        let (from, to) = (IpAddress::from(self.address), IpAddress::from(self.server));
        let ip = IpRepr::new(from, to, IpProtocol::Tcp, repr.buffer_len(), 64);
        let header_len = ip.header_len();
        let mut frame = vec![0; 14 + header_len + repr.buffer_len()];
        frame[..6].copy_from_slice(&STACK_MAC);
        frame[6..12].copy_from_slice(&PEER_MAC);
        frame[12..14].copy_from_slice(if self.address.is_ipv4() { &[8, 0] } else { &[0x86, 0xdd] });
        ip.emit(&mut frame[14..], &ChecksumCapabilities::default());
        let mut tcp = TcpPacket::new_unchecked(&mut frame[14 + header_len..]);
        repr.emit(&mut tcp, &from, &to, &ChecksumCapabilities::default());
        frame
    }

    /// Sends a segment.
    pub fn send(&mut self, sent: &Sent<'_>) {
        let frame = self.frame(sent);
        self.send_raw(&frame);
    }

    /// All frames that have come.
    pub fn receive_raw(&mut self) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        self.port.receive(Instant::ZERO, &mut burst);
        burst.drain().map(|frame| frame.bytes().to_vec()).collect()
    }

    /// All segments that have come, their checksums verified. Answers ARP and NDP on the way; other
    /// frames are left out.
    pub fn receive(&mut self) -> Vec<Seen> {
        let frames = self.receive_raw();
        frames.iter().filter_map(|frame| self.segment(frame)).collect()
    }

    fn segment(&mut self, frame: &[u8]) -> Option<Seen> {
        assert_eq!(frame[6..12], STACK_MAC, "frames come from the stack's own address");
        let packet = &frame[14..];
        let (source, destination, payload) = match frame[12..14] {
            [8, 0] => {
                let ip = Ipv4Packet::new_checked(packet).unwrap();
                assert!(ip.verify_checksum());
                let end = usize::from(ip.total_len());
                (ip.src_addr().into(), ip.dst_addr().into(), &packet[20..end])
            }
            [0x86, 0xdd] => {
                let ip = Ipv6Packet::new_checked(packet).unwrap();
                (ip.src_addr().into(), ip.dst_addr().into(), &packet[40..ip.total_len()])
            }
            [8, 6] => {
                self.answer_arp(packet);
                return None;
            }
            _ => return None,
        };
        if frame[12..14] == [0x86, 0xdd] && packet[6] == 58 {
            self.answer_ndp(packet);
            return None;
        }
        assert_eq!(frame[..6], PEER_MAC);
        let tcp = TcpPacket::new_checked(payload).ok()?;
        assert!(tcp.verify_checksum(&source, &destination));
        let repr =
            TcpRepr::parse(&tcp, &source, &destination, &ChecksumCapabilities::ignored()).unwrap();
        let flags = [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.ack(), 'A')];
        Some(Seen {
            sequence: tcp.seq_number().0.cast_unsigned(),
            acknowledgement: tcp.ack_number().0.cast_unsigned(),
            flags: flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1).collect(),
            window: tcp.window_len(),
            payload: tcp.payload().to_vec(),
            timestamps: repr.timestamp.map(|stamp| (stamp.tsval, stamp.tsecr)),
            mss: repr.max_seg_size,
            window_scale: repr.window_scale,
            sack_permitted: repr.sack_permitted,
            source_port: tcp.src_port(),
            target_port: tcp.dst_port(),
        })
    }

    /// Answers an ARP request for the peer's address.
    pub fn answer_arp(&mut self, arp: &[u8]) {
        let IpAddr::V4(address) = self.address else { return };
        if arp[6..8] != [0, 1] || arp[24..28] != address.octets() {
            return;
        }
        let mut frame = vec![0; 42];
        frame[..6].copy_from_slice(&STACK_MAC);
        frame[6..12].copy_from_slice(&PEER_MAC);
        frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        frame[22..28].copy_from_slice(&PEER_MAC);
        frame[28..32].copy_from_slice(&address.octets());
        frame[32..42].copy_from_slice(&arp[8..18]);
        self.send_raw(&frame);
    }

    fn answer_ndp(&mut self, packet: &[u8]) {
        let (IpAddr::V6(address), IpAddr::V6(server)) = (self.address, self.server) else { return };
        if packet[40] != 135 || packet[48..64] != address.octets() {
            return;
        }
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend(address.octets());
        message.extend([2, 1]);
        message.extend(PEER_MAC);
        let mut frame = vec![0; 54];
        frame[..6].copy_from_slice(&STACK_MAC);
        frame[6..12].copy_from_slice(&PEER_MAC);
        frame[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
        frame[22..38].copy_from_slice(&address.octets());
        frame[38..54].copy_from_slice(&server.octets());
        let checksum = icmpv6_checksum(&frame[22..54], &message);
        message[2..4].copy_from_slice(&checksum);
        frame.extend(message);
        self.send_raw(&frame);
    }
}

/// The checksum of an `ICMPv6` message whose field is zero; `addresses` are both, as in the header.
pub fn icmpv6_checksum(addresses: &[u8], message: &[u8]) -> [u8; 2] {
    let words = addresses.chunks(2).chain(message.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    sum += message.len() as u32 + 58;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
