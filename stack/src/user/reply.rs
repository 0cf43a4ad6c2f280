//! IP packets that the stack makes by itself, without a socket: resets and bare acknowledgements,
//! echo replies, NDP.
//!
//! Each function writes into a frame's L3 part and returns the packet's length in bytes.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    checksum::Sum,
    flow_table::Flow,
    handshake::SynOptions,
    packet::{IcmpMessage, Segment, flags},
    resolution::{NDP_HOP_LIMIT, Ndp},
};

const TCP: u8 = 6;
const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;
/// Hop limit of ordinary packets.
const HOP_LIMIT: u8 = 64;

/// Writes the reset that a segment of no connection deserves (RFC 9293 section 3.10.7.1).
pub fn reset(packet: &mut [u8], segment: &Segment<'_>) -> usize {
    let (sequence, acknowledgement, control) = if segment.has(flags::ACK) {
        (segment.acknowledgement, 0, flags::RST)
    } else {
        let next = segment.sequence.wrapping_add(segment.sequence_len());
        (0, next, flags::RST | flags::ACK)
    };
    let bare =
        BareSegment { sequence, acknowledgement, flags: control, window: 0, timestamps: None };
    bare_segment(packet, &segment.flow, &bare)
}

/// A segment without payload.
#[derive(Clone, Copy, Debug)]
pub struct BareSegment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// See [`flags`].
    pub flags: u8,
    /// The window field.
    pub window: u16,
    /// `TSval` and `TSecr`, on connections that use timestamps.
    pub timestamps: Option<(u32, u32)>,
}

/// Writes a segment without payload towards the flow's peer.
pub fn bare_segment(packet: &mut [u8], flow: &Flow, bare: &BareSegment) -> usize {
    let (ip_len, tcp_len) = bare_headers(packet, flow, bare);
    sum_up(packet, flow, ip_len, tcp_len)
}

/// The same without its checksums: their fields are zero. Returns the lengths of both headers.
pub fn bare_headers(packet: &mut [u8], flow: &Flow, bare: &BareSegment) -> (usize, usize) {
    let mut options = [0; 12];
    if let Some((tsval, tsecr)) = bare.timestamps {
        options[..4].copy_from_slice(&[1, 1, 8, 10]);
        options[4..8].copy_from_slice(&tsval.to_be_bytes());
        options[8..].copy_from_slice(&tsecr.to_be_bytes());
    }
    let len = if bare.timestamps.is_some() { 12 } else { 0 };
    headers(packet, flow, bare, &options[..len])
}

/// Writes a SYN or SYN-ACK towards the flow's peer.
pub fn syn(packet: &mut [u8], flow: &Flow, bare: &BareSegment, offer: SynOptions) -> usize {
    let mut options = [0; 40];
    let len = offer.write(bare.timestamps, &mut options);
    let (ip_len, tcp_len) = headers(packet, flow, bare, &options[..len]);
    sum_up(packet, flow, ip_len, tcp_len)
}

/// Writes the headers of a segment without payload, and zeroes for checksums. Returns their lengths.
fn headers(packet: &mut [u8], flow: &Flow, bare: &BareSegment, options: &[u8]) -> (usize, usize) {
    let &BareSegment { sequence, acknowledgement, flags, window, .. } = bare;
    let tcp_len = 20 + options.len();
    let ip_len = ip_header(packet, flow.local.ip(), flow.peer.ip(), TCP, tcp_len, HOP_LIMIT);
    let tcp = &mut packet[ip_len..ip_len + tcp_len];
    tcp[..2].copy_from_slice(&flow.local.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&flow.peer.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    tcp[12..14].copy_from_slice(&[(tcp_len as u8 / 4) << 4, flags]);
    tcp[14..16].copy_from_slice(&window.to_be_bytes());
    tcp[16..20].fill(0);
    tcp[20..].copy_from_slice(options);
    (ip_len, tcp_len)
}

/// Fills in the checksums of headers, and returns the packet's length.
fn sum_up(packet: &mut [u8], flow: &Flow, ip_len: usize, tcp_len: usize) -> usize {
    sum_up_ip(packet);
    let tcp = &mut packet[ip_len..ip_len + tcp_len];
    let pseudo = Sum::pseudo_header(flow.local.ip(), flow.peer.ip(), TCP, tcp_len);
    let checksum = (pseudo + Sum::of(tcp)).finish();
    tcp[16..18].copy_from_slice(&checksum);
    ip_len + tcp_len
}

/// Fills in the checksum of an IPv4 header; IPv6 has none.
fn sum_up_ip(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let checksum = Sum::of(&packet[..20]).finish();
        packet[10..12].copy_from_slice(&checksum);
    }
}

/// Whether a message is an echo request.
pub fn is_echo_request(message: &IcmpMessage<'_>) -> bool {
    let kind = if message.source.is_ipv4() { 8 } else { 128 };
    message.message.len() >= 8 && message.message[..2] == [kind, 0]
}

/// Writes the answer to an echo request.
pub fn echo(packet: &mut [u8], request: &IcmpMessage<'_>) -> usize {
    let (from, to, len) = (request.destination, request.source, request.message.len());
    let (protocol, kind, pseudo) = match to {
        IpAddr::V4(_) => (ICMPV4, 0, Sum::ZERO),
        IpAddr::V6(_) => (ICMPV6, 129, Sum::pseudo_header(from, to, ICMPV6, len)),
    };
    let header_len = ip_header(packet, from, to, protocol, len, HOP_LIMIT);
    sum_up_ip(packet);
    let message = &mut packet[header_len..header_len + len];
    message.copy_from_slice(request.message);
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    let checksum = (pseudo + Sum::of(message)).finish();
    message[2..4].copy_from_slice(&checksum);
    header_len + len
}

/// Writes an NDP message.
pub fn ndp(packet: &mut [u8], from: Ipv6Addr, to: Ipv6Addr, ndp: Ndp) -> usize {
    let len = ndp.write(&mut packet[40..]);
    let (from, to) = (IpAddr::V6(from), IpAddr::V6(to));
    let header_len = ip_header(packet, from, to, ICMPV6, len, NDP_HOP_LIMIT);
    let message = &mut packet[header_len..header_len + len];
    let checksum = (Sum::pseudo_header(from, to, ICMPV6, len) + Sum::of(message)).finish();
    message[2..4].copy_from_slice(&checksum);
    header_len + len
}

/// Writes an IP header, for a checksum a zero, and returns its length.
fn ip_header(
    packet: &mut [u8],
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload_len: usize,
    hop_limit: u8,
) -> usize {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total_len = 20 + payload_len as u16;
            let header = &mut packet[..20];
            header[..2].copy_from_slice(&[0x45, 0]);
            header[2..4].copy_from_slice(&total_len.to_be_bytes());
            // Don't fragment, so no identification either (RFC 6864 section 4.1).
            header[4..12].copy_from_slice(&[0, 0, 0x40, 0, hop_limit, protocol, 0, 0]);
            header[12..16].copy_from_slice(&from.octets());
            header[16..20].copy_from_slice(&to.octets());
            20
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
            packet[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
            packet[6..8].copy_from_slice(&[protocol, hop_limit]);
            packet[8..24].copy_from_slice(&from.octets());
            packet[24..40].copy_from_slice(&to.octets());
            40
        }
        // The two ends of a flow or message come from one packet.
        _ => 0,
    }
}
