//! A place of the path that does not carry every packet, and what it tells of those that it drops.
//!
//! What it says comes as if from the packet's destination: the link has no addresses of its own, and nobody
//! may rely on who says such a thing (RFC 1191, RFC 8201).

use super::units::PathMtu;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Bytes of an ICMP header of either family.
const ICMP_HEADER: usize = 8;
/// Most bytes of the dropped packet that are quoted: with these even the larger headers stay within 576
/// bytes (RFC 1812 section 4.3.2.3).
const QUOTED: usize = 528;

/// Whether the frame carries an IP packet that does not fit.
pub(super) fn is_too_large(frame: &[u8], limit: PathMtu) -> bool {
    let is_ip = matches!(frame.get(12..ETHERNET), Some([0x08, 0x00] | [0x86, 0xdd]));
    is_ip && frame.len() - ETHERNET > limit.bytes as usize
}

/// The frame that tells the sender of one that was too large how much fits. `None` if the place is silent,
/// or if the packet is none of which anything may be said: neither TCP nor UDP, or a later fragment.
pub(super) fn complaint(frame: &[u8], limit: PathMtu) -> Option<Vec<u8>> {
    if limit.silent {
        return None;
    }
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    let mut answer = [&ethernet[6..12], &ethernet[..6], &ethernet[12..]].concat();
    match packet.first()? >> 4 {
        4 => append_ipv4(&mut answer, packet, limit.bytes)?,
        6 => append_ipv6(&mut answer, packet, limit.bytes)?,
        _ => return None,
    }
    Some(answer)
}

/// RFC 792's "fragmentation needed", with RFC 1191's next-hop MTU.
fn append_ipv4(answer: &mut Vec<u8>, packet: &[u8], mtu: u32) -> Option<()> {
    let header = packet.get(..20)?;
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if offset > 0 || !matches!(header[9], TCP | UDP) {
        return None;
    }
    let quoted = &packet[..packet.len().min(QUOTED)];
    let total = (20 + ICMP_HEADER + quoted.len()) as u16;
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[12..16].copy_from_slice(&header[16..20]);
    ip[16..20].copy_from_slice(&header[12..16]);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum);
    let mut icmp = [3, 4, 0, 0, 0, 0, 0, 0];
    icmp[6..8].copy_from_slice(&(mtu as u16).to_be_bytes());
    let sum = checksum(&[&icmp, quoted]);
    icmp[2..4].copy_from_slice(&sum);
    answer.extend([&ip[..], &icmp, quoted].concat());
    Some(())
}

/// RFC 4443's "packet too big".
fn append_ipv6(answer: &mut Vec<u8>, packet: &[u8], mtu: u32) -> Option<()> {
    let header = packet.get(..40)?;
    if !matches!(header[6], TCP | UDP) {
        return None;
    }
    let quoted = &packet[..packet.len().min(QUOTED)];
    let len = (ICMP_HEADER + quoted.len()) as u16;
    let mut ip = [0; 40];
    ip[0] = 0x60;
    ip[4..6].copy_from_slice(&len.to_be_bytes());
    (ip[6], ip[7]) = (ICMPV6, 64);
    ip[8..24].copy_from_slice(&header[24..40]);
    ip[24..40].copy_from_slice(&header[8..24]);
    let mut icmp = [2, 0, 0, 0, 0, 0, 0, 0];
    icmp[4..8].copy_from_slice(&mtu.to_be_bytes());
    let pseudo = [0, ICMPV6];
    let sum = checksum(&[&ip[8..40], &len.to_be_bytes(), &pseudo, &icmp, quoted]);
    icmp[2..4].copy_from_slice(&sum);
    answer.extend([&ip[..], &icmp, quoted].concat());
    Some(())
}

/// The Internet checksum (RFC 1071) of these, all but the last of an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u32;
    for word in parts.iter().flat_map(|part| part.chunks(2)) {
        let low = word.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([word[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::{
        Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Ipv4Packet, Ipv6Packet,
    };

    use super::*;

    const LIMIT: PathMtu = PathMtu { bytes: 1_300, silent: false };

    fn frame(ether_type: [u8; 2], packet: &[u8]) -> Vec<u8> {
        [&[1; 6][..], &[2; 6], &ether_type, packet].concat()
    }

    fn ipv4(len: u16) -> Vec<u8> {
        let mut packet = vec![7; len.into()];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, TCP]);
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame([0x08, 0x00], &packet)
    }

    fn ipv6(len: u16) -> Vec<u8> {
        let mut packet = vec![7; len.into()];
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, UDP, 64]);
        packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        packet[8..24].fill(1);
        packet[24..40].fill(2);
        frame([0x86, 0xdd], &packet)
    }

    #[test]
    fn packets_up_to_the_limit_fit() {
        assert!(!is_too_large(&ipv4(1_300), LIMIT) && is_too_large(&ipv4(1_301), LIMIT));
        assert!(!is_too_large(&ipv6(1_300), LIMIT) && is_too_large(&ipv6(1_301), LIMIT));
        let arp = frame([0x08, 0x06], &[0; 1_400]);
        assert!(!is_too_large(&arp, LIMIT) && !is_too_large(&[0; 3], LIMIT));
    }

    #[test]
    fn the_sender_is_told_the_limit_with_valid_checksums() {
        let dropped = ipv4(1_500);
        let answer = complaint(&dropped, LIMIT).unwrap();
        assert_eq!((&answer[..6], &answer[6..12]), (&[2; 6][..], &[1; 6][..]));
        let packet = Ipv4Packet::new_checked(&answer[14..]).unwrap();
        assert!(packet.verify_checksum());
        assert_eq!(packet.dst_addr().octets(), [10, 0, 0, 1]);
        let message = Icmpv4Packet::new_checked(packet.payload()).unwrap();
        assert!(message.verify_checksum());
        assert_eq!(message.msg_type(), Icmpv4Message::DstUnreachable);
        assert_eq!(message.msg_code(), u8::from(Icmpv4DstUnreachable::FragRequired));
        assert_eq!(packet.payload()[6..8], 1_300u16.to_be_bytes());
        assert_eq!(packet.payload()[8..], dropped[14..14 + QUOTED]);

        let dropped = ipv6(1_500);
        let answer = complaint(&dropped, LIMIT).unwrap();
        let packet = Ipv6Packet::new_checked(&answer[14..]).unwrap();
        assert_eq!(packet.dst_addr().octets(), [1; 16]);
        let message = packet.payload();
        assert_eq!((message[0], &message[4..8]), (2, &1_300u32.to_be_bytes()[..]));
        let len = (message.len() as u16).to_be_bytes();
        let sum = checksum(&[&answer[22..54], &len, &[0, ICMPV6], message]);
        assert_eq!(sum, [0, 0], "a valid checksum makes the sum all ones");
    }

    #[test]
    fn nothing_is_said_by_a_silent_place_or_of_what_must_not_be_answered() {
        assert!(complaint(&ipv4(1_500), PathMtu { silent: true, ..LIMIT }).is_none());
        let mut icmp = ipv4(1_500);
        icmp[14 + 9] = ICMP;
        assert!(complaint(&icmp, LIMIT).is_none());
        let mut fragment = ipv4(1_500);
        fragment[14 + 7] = 185;
        assert!(complaint(&fragment, LIMIT).is_none());
        for len in 0..14 + 20 {
            assert!(complaint(&ipv4(1_500)[..len], LIMIT).is_none());
        }
    }
}
