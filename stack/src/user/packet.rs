//! From a frame's bytes to what they mean, with every length and checksum checked.
//!
//! Nothing behind this module sees a packet that is cut short, that lies about its length, or whose
//! checksum is wrong. What is refused has a cause, and causes are counted.

use std::net::{IpAddr, SocketAddr};

use pagewire_driver::MacAddress;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket};

use super::{
    checksum::Sum,
    counters::DropCause,
    flow_table::Flow,
    resolution::{ARP_LEN, Arp},
};

/// Bytes of an Ethernet header without a VLAN tag.
pub const ETHERNET_HEADER: usize = 14;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// TCP flags (RFC 9293 section 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Hand over what was received.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// A packet has come marked (RFC 3168 section 6.1).
    pub const ECE: u8 = 0x40;
    /// The window has been reduced (RFC 3168 section 6.1).
    pub const CWR: u8 = 0x80;
}

/// A checked TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The 4-tuple.
    pub flow: Flow,
    /// The L3 packet, without link padding.
    pub packet: &'a [u8],
    /// Sequence number of the first byte, or of the SYN or FIN.
    pub sequence: u32,
    /// Acknowledgement number; significant with the ACK flag.
    pub acknowledgement: u32,
    /// See [`flags`].
    pub flags: u8,
    /// Payload bytes.
    pub payload_len: usize,
    /// `TSval` and `TSecr` of the timestamps option (RFC 7323).
    pub timestamps: Option<(u32, u32)>,
}

impl Segment<'_> {
    /// Whether all of `flags` are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it does nothing but acknowledge.
    pub fn is_bare(&self) -> bool {
        self.payload_len == 0 && self.flags & (flags::FIN | flags::SYN | flags::RST) == 0
    }

    /// Whether a router has marked the packet (CE, RFC 3168 section 5).
    pub fn is_marked(&self) -> bool {
        let class = if self.flow.peer.is_ipv4() { self.packet[1] } else { self.packet[1] >> 4 };
        class & 3 == 3
    }

    /// The window field, unscaled.
    pub fn window(&self) -> u16 {
        be16(self.packet, self.tcp_start() + 14)
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.packet[self.packet.len() - self.payload_len..]
    }

    /// The bytes of the TCP options.
    pub fn options(&self) -> &[u8] {
        let tcp = &self.packet[self.tcp_start()..];
        &tcp[20..usize::from(tcp[12] >> 4) * 4]
    }

    /// The blocks of a SACK option (RFC 2018), in its order, as they are: nothing says yet that they make
    /// sense. Empty ranges fill the rest.
    pub fn sack_blocks(&self) -> [(u32, u32); 4] {
        let mut blocks = [(0, 0); 4];
        let mut options = self.options();
        // Nothing but timestamps, aligned as usual.
        if options.is_empty() || (options.len() == 12 && options[..4] == [1, 1, 8, 10]) {
            return blocks;
        }
        while let [kind, rest @ ..] = options {
            match *kind {
                0 => break,
                1 => options = rest,
                kind => {
                    let len = rest.first().map_or(0, |&len| usize::from(len));
                    let Some(option) = options.get(..len).filter(|_| len >= 2) else { break };
                    if kind == 5 {
                        let pairs = option[2..].chunks_exact(8);
                        for (block, pair) in blocks.iter_mut().zip(pairs) {
                            *block = (be32(pair, 0), be32(pair, 4));
                        }
                        break;
                    }
                    options = &options[len..];
                }
            }
        }
        blocks
    }

    /// Where the TCP header begins in the packet.
    pub fn tcp_start(&self) -> usize {
        if self.flow.peer.is_ipv4() { usize::from(self.packet[0] & 0xf) * 4 } else { 40 }
    }

    /// Sequence numbers that the segment occupies (RFC 9293 section 3.4).
    pub fn sequence_len(&self) -> u32 {
        let control = u32::from(self.has(flags::SYN)) + u32::from(self.has(flags::FIN));
        self.payload_len as u32 + control
    }
}

/// A checked ICMP or `ICMPv6` message.
#[derive(Clone, Copy, Debug)]
pub struct IcmpMessage<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// TTL or hop limit on arrival.
    pub hop_limit: u8,
    /// From the type field on.
    pub message: &'a [u8],
}

/// What a frame holds.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// TCP over either family.
    Tcp(Segment<'a>),
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// ICMP for IPv4.
    Icmpv4(IcmpMessage<'a>),
    /// ICMP for IPv6, NDP included.
    Icmpv6(IcmpMessage<'a>),
}

/// Parses a frame. `mac` is our own address: frames for other stations are refused. Transport
/// checksums are verified unless `verified` says that somebody below has done so.
///
/// # Errors
///
/// Why the frame is to be dropped.
pub fn parse(frame: &[u8], mac: MacAddress, verified: bool) -> Result<Parsed<'_>, DropCause> {
    if frame.len() < ETHERNET_HEADER {
        return Err(DropCause::MalformedFrame);
    }
    let multicast = frame[0] & 1 == 1;
    if !multicast && frame[..6] != mac.0 {
        return Err(DropCause::NotForUs);
    }
    let (ethertype, packet) = match (be16(frame, 12), frame.len()) {
        (ETHERTYPE_VLAN, 18..) => (be16(frame, 16), &frame[18..]),
        (ethertype, _) => (ethertype, &frame[ETHERNET_HEADER..]),
    };
    match ethertype {
        ETHERTYPE_IPV4 => parse_ipv4(packet, multicast, verified),
        ETHERTYPE_IPV6 => parse_ipv6(packet, multicast, verified),
        ETHERTYPE_ARP => Arp::parse(packet).map(Parsed::Arp).ok_or(DropCause::MalformedPacket),
        _ => Err(DropCause::UnknownProtocol),
    }
}

/// Parses an L3 packet that another core has parsed before, and only to find its segment again.
pub fn parse_again(packet: &[u8]) -> Option<Segment<'_>> {
    let parsed = match packet.first()? >> 4 {
        4 => parse_ipv4(packet, false, true),
        _ => parse_ipv6(packet, false, true),
    };
    match parsed {
        Ok(Parsed::Tcp(segment)) => Some(segment),
        _ => None,
    }
}

fn parse_ipv4(bytes: &[u8], multicast: bool, verified: bool) -> Result<Parsed<'_>, DropCause> {
    let packet = Ipv4Packet::new_checked(bytes).map_err(|_| DropCause::MalformedPacket)?;
    let (header_len, total_len) = (usize::from(packet.header_len()), packet.total_len().into());
    if packet.version() != 4 || header_len < 20 {
        return Err(DropCause::MalformedPacket);
    }
    if !Sum::of(&bytes[..header_len]).is_valid() {
        return Err(DropCause::BadChecksum);
    }
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Err(DropCause::Fragment);
    }
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    if source.is_multicast() || source.is_broadcast() || source.is_unspecified() {
        return Err(DropCause::BadSource);
    }
    let protocol = packet.next_header();
    let hop_limit = packet.hop_limit();
    let (packet, payload) = (&bytes[..total_len], &bytes[header_len..total_len]);
    let (source, destination) = (IpAddr::V4(source), IpAddr::V4(destination));
    match protocol {
        IpProtocol::Tcp if multicast => Err(DropCause::NotForUs),
        IpProtocol::Tcp => parse_tcp(packet, payload, source, destination, verified),
        IpProtocol::Icmp if !Sum::of(payload).is_valid() => Err(DropCause::BadChecksum),
        IpProtocol::Icmp => {
            Ok(Parsed::Icmpv4(IcmpMessage { source, destination, hop_limit, message: payload }))
        }
        _ => Err(DropCause::UnknownProtocol),
    }
}

fn parse_ipv6(bytes: &[u8], multicast: bool, verified: bool) -> Result<Parsed<'_>, DropCause> {
    let packet = Ipv6Packet::new_checked(bytes).map_err(|_| DropCause::MalformedPacket)?;
    if packet.version() != 6 {
        return Err(DropCause::MalformedPacket);
    }
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    if source.is_multicast() {
        return Err(DropCause::BadSource);
    }
    let protocol = packet.next_header();
    let hop_limit = packet.hop_limit();
    let packet = &bytes[..packet.total_len()];
    let payload = &packet[40..];
    let (unspecified, len) = (source.is_unspecified(), payload.len());
    let (source, destination) = (IpAddr::V6(source), IpAddr::V6(destination));
    match protocol {
        IpProtocol::Tcp if multicast => Err(DropCause::NotForUs),
        IpProtocol::Tcp if unspecified => Err(DropCause::BadSource),
        IpProtocol::Tcp => parse_tcp(packet, payload, source, destination, verified),
        IpProtocol::Icmpv6 => {
            let pseudo = Sum::pseudo_header(source, destination, 58, len);
            if !(pseudo + Sum::of(payload)).is_valid() {
                return Err(DropCause::BadChecksum);
            }
            Ok(Parsed::Icmpv6(IcmpMessage { source, destination, hop_limit, message: payload }))
        }
        IpProtocol::Ipv6Frag => Err(DropCause::Fragment),
        _ => Err(DropCause::UnknownProtocol),
    }
}

fn parse_tcp<'a>(
    packet: &'a [u8],
    segment: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
    verified: bool,
) -> Result<Parsed<'a>, DropCause> {
    let tcp = TcpPacket::new_checked(segment).map_err(|_| DropCause::MalformedSegment)?;
    if tcp.src_port() == 0 || tcp.dst_port() == 0 {
        return Err(DropCause::MalformedSegment);
    }
    if !verified {
        let pseudo = Sum::pseudo_header(source, destination, 6, segment.len());
        if !(pseudo + Sum::of(segment)).is_valid() {
            return Err(DropCause::BadChecksum);
        }
    }
    let header_len = usize::from(tcp.header_len());
    let flags = segment[13];
    if flags & flags::SYN != 0 && flags & (flags::FIN | flags::RST) != 0 {
        return Err(DropCause::MalformedSegment);
    }
    Ok(Parsed::Tcp(Segment {
        flow: Flow {
            peer: SocketAddr::new(source, tcp.src_port()),
            local: SocketAddr::new(destination, tcp.dst_port()),
        },
        packet,
        sequence: be32(segment, 4),
        acknowledgement: be32(segment, 8),
        flags,
        payload_len: segment.len() - header_len,
        timestamps: timestamps(&segment[20..header_len]),
    }))
}

/// The timestamps option among the options of a segment.
fn timestamps(mut options: &[u8]) -> Option<(u32, u32)> {
    // How every common stack aligns it (RFC 7323 appendix A).
    if options.len() >= 12 && options[..4] == [1, 1, 8, 10] {
        return Some((be32(options, 4), be32(options, 8)));
    }
    while !options.is_empty() {
        let (rest, option) = TcpOption::parse(options).ok()?;
        match option {
            TcpOption::TimeStamp { tsval, tsecr } => return Some((tsval, tsecr)),
            TcpOption::EndOfList => return None,
            _ => options = rest,
        }
    }
    None
}

/// Reads a big-endian 16-bit field that is known to be there.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a big-endian 32-bit field that is known to be there.
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes an Ethernet header for a packet of the family of `destination`.
pub fn write_ethernet(frame: &mut [u8], to: MacAddress, from: MacAddress, is_ipv6: bool) {
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    let ethertype = if is_ipv6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
}

/// Writes an Ethernet frame with an ARP packet into `frame` and returns its length.
pub fn write_arp(frame: &mut [u8], to: MacAddress, from: MacAddress, arp: &Arp) -> usize {
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    arp.write(&mut frame[ETHERNET_HEADER..]);
    ETHERNET_HEADER + ARP_LEN
}
