//! Frames that no TCP makes by itself: fragments and ICMP errors.

use std::net::IpAddr;

use super::{PEER_MAC, Peer, STACK_MAC, icmpv6_checksum};

/// Makes a frame the first fragment of a larger packet.
pub fn make_fragment(frame: &mut Vec<u8>) {
    if frame[12..14] == [8, 0] {
        // More fragments.
        frame[20] = 0x20;
        frame[24..26].fill(0);
        let checksum = internet_checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&checksum);
        return;
    }
    let next = std::mem::replace(&mut frame[20], 44);
    let len = u16::from_be_bytes([frame[18], frame[19]]) + 8;
    frame[18..20].copy_from_slice(&len.to_be_bytes());
    frame.splice(54..54, [next, 0, 0, 1, 0, 0, 0, 9]);
}

/// Sets the flags of a segment's frame, and its checksum accordingly (RFC 1624).
pub fn set_flags(frame: &mut [u8], flags: u8) {
    let tcp = if frame[12..14] == [8, 0] { 34 } else { 54 };
    let before = u16::from_be_bytes([frame[tcp + 12], frame[tcp + 13]]);
    frame[tcp + 13] = flags;
    let after = u16::from_be_bytes([frame[tcp + 12], frame[tcp + 13]]);
    let checksum = u16::from_be_bytes([frame[tcp + 16], frame[tcp + 17]]);
    let mut sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[tcp + 16..tcp + 18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// A frame with an ICMP error (type, code, last four bytes of its header) that quotes the beginning of a
/// full-sized segment from the stack to the peer.
pub fn icmp_error(peer: &Peer, (kind, code, rest): (u8, u8, u32), sequence: u32) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    let mut frame = Vec::new();
    frame.extend(STACK_MAC);
    frame.extend(PEER_MAC);
    let ports = [peer.target_port.to_be_bytes(), peer.source_port.to_be_bytes()].concat();
    match (peer.server, peer.address) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
            message.extend([0x45, 0, 5, 220, 0, 0, 0x40, 0, 60, 6, 0, 0]);
            message.extend(ours.octets());
            message.extend(theirs.octets());
            message.extend(ports);
            message.extend(sequence.to_be_bytes());
            let checksum = internet_checksum(&[&message]);
            message[2..4].copy_from_slice(&checksum);
            let mut header = vec![0x45, 0, 0, 20 + message.len() as u8, 0, 0, 0, 0, 64, 1, 0, 0];
            header.extend(theirs.octets());
            header.extend(ours.octets());
            let checksum = internet_checksum(&[&header]);
            header[10..12].copy_from_slice(&checksum);
            frame.extend([8, 0]);
            frame.extend(header);
        }
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
            // 1,460 bytes behind the header.
            message.extend([0x60, 0, 0, 0, 5, 180, 6, 60]);
            message.extend(ours.octets());
            message.extend(theirs.octets());
            message.extend(ports);
            message.extend(sequence.to_be_bytes());
            let addresses = [theirs.octets(), ours.octets()].concat();
            let checksum = icmpv6_checksum(&addresses, &message);
            message[2..4].copy_from_slice(&checksum);
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 64]);
            frame.extend(addresses);
        }
        _ => unreachable!("a peer's addresses are of one family"),
    }
    frame.extend(message);
    frame
}

/// The Internet checksum (RFC 1071) of even-sized pieces whose own field is zero.
pub fn internet_checksum(pieces: &[&[u8]]) -> [u8; 2] {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
