//! Segments made by hand, and read back: only what the hand-made clients need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The stack's MAC address: it has the first end of the memory link.
pub const STACK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The clients' MAC address.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The port that the stack listens on.
pub const PORT: u16 = 80;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// MSS 1,460; window scale 7; SACK permitted; padding.
const SYN_OPTIONS: [u8; 12] = [2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 1, 1];

/// The stack's address.
pub fn stack_address(is_ipv6: bool) -> IpAddr {
    if is_ipv6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(10, 0, 0, 1).into()
    }
}

/// One client's end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub address: IpAddr,
    pub port: u16,
}

/// A segment to be written.
#[derive(Clone, Copy, Debug)]
pub struct Out<'a> {
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub window: u16,
    pub payload: &'a [u8],
}

/// Writes the frame of a segment from `end` to the stack and returns its length.
pub fn write(frame: &mut [u8], end: End, out: &Out<'_>) -> usize {
    let options: &[u8] = if out.flags & SYN != 0 { &SYN_OPTIONS } else { &[] };
    let header_len = 20 + options.len();
    let tcp_len = header_len + out.payload.len();
    frame[..6].copy_from_slice(&STACK_MAC);
    frame[6..12].copy_from_slice(&CLIENT_MAC);
    let packet = &mut frame[ETHERNET..];
    let (ip_len, mut sum) = match (end.address, stack_address(end.address.is_ipv6())) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (20 + tcp_len) as u16;
            packet[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[12..16].copy_from_slice(&from.octets());
            packet[16..20].copy_from_slice(&to.octets());
            let checksum = fold(sum_of(&packet[..20]));
            packet[10..12].copy_from_slice(&checksum);
            (20, sum_of(&packet[12..20]))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 6, 64]);
            packet[4..6].copy_from_slice(&(tcp_len as u16).to_be_bytes());
            packet[8..24].copy_from_slice(&from.octets());
            packet[24..40].copy_from_slice(&to.octets());
            (40, sum_of(&packet[8..40]))
        }
        _ => return 0,
    };
    let tcp = &mut packet[ip_len..ip_len + tcp_len];
    tcp[..2].copy_from_slice(&end.port.to_be_bytes());
    tcp[2..4].copy_from_slice(&PORT.to_be_bytes());
    tcp[4..8].copy_from_slice(&out.sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&out.acknowledgement.to_be_bytes());
    tcp[12..14].copy_from_slice(&[(header_len as u8 / 4) << 4, out.flags]);
    tcp[14..16].copy_from_slice(&out.window.to_be_bytes());
    tcp[16..20].fill(0);
    tcp[20..header_len].copy_from_slice(options);
    tcp[header_len..].copy_from_slice(out.payload);
    sum += sum_of(tcp) + 6 + tcp_len as u32;
    tcp[16..18].copy_from_slice(&fold(sum));
    frame[12..14].copy_from_slice(if ip_len == 20 { &[8, 0] } else { &[0x86, 0xdd] });
    ETHERNET + ip_len + tcp_len
}

/// What a client reads of a frame from the stack.
#[derive(Clone, Copy, Debug)]
pub struct In {
    pub to: End,
    pub sequence: u32,
    pub flags: u8,
    pub payload_len: usize,
}

impl In {
    /// Sequence numbers that the segment occupies.
    pub fn sequence_len(&self) -> u32 {
        let control = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.payload_len as u32 + control
    }
}

/// Reads a TCP frame. `None` for others.
pub fn read(frame: &[u8]) -> Option<In> {
    let packet = frame.get(ETHERNET..)?;
    let (address, tcp): (IpAddr, _) = match (frame[12], packet.first()? >> 4) {
        (8, 4) => {
            let end = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            (<[u8; 4]>::try_from(&packet[16..20]).ok()?.into(), packet.get(20..end)?)
        }
        (0x86, 6) if packet[6] == 6 => {
            (<[u8; 16]>::try_from(&packet[24..40]).ok()?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    Some(In {
        to: End { address, port: u16::from_be_bytes([tcp[2], tcp[3]]) },
        sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        flags: tcp[13],
        payload_len: tcp.len() - usize::from(tcp[12] >> 4) * 4,
    })
}

fn sum_of(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2);
    words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low))).sum()
}

fn fold(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// The checksum of an `ICMPv6` message whose field is zero; `addresses` are both, as in the header.
pub fn icmpv6_checksum(addresses: &[u8], message: &[u8]) -> [u8; 2] {
    fold(sum_of(addresses) + sum_of(message) + message.len() as u32 + 58)
}
