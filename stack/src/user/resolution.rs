//! The messages of address resolution: ARP (RFC 826) and the two of NDP that we speak (RFC 4861).

use std::net::{Ipv4Addr, Ipv6Addr};

use pagewire_driver::MacAddress;

use super::packet::be16;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const ARP_LEN: usize = 28;
/// Bytes of an NDP message with one link address option.
pub const NDP_LEN: usize = 32;
/// NDP messages with another hop limit may come from beyond the link (RFC 4861 section 7.1).
pub const NDP_HOP_LIMIT: u8 = 255;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// Flags of an advertisement: solicited, override (RFC 4861 section 4.4).
const SOLICITED_OVERRIDE: u8 = 0x60;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arp {
    /// Whether it asks; otherwise it answers.
    pub is_request: bool,
    /// Who speaks.
    pub source: (MacAddress, Ipv4Addr),
    /// Who is meant; in a request the MAC address means nothing.
    pub target: (MacAddress, Ipv4Addr),
}

impl Arp {
    /// Reads a packet. `None` for other kinds of ARP and for what is cut short.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let packet = packet.get(..ARP_LEN)?;
        if packet[..6] != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let is_request = match be16(packet, 6) {
            1 => true,
            2 => false,
            _ => return None,
        };
        let party = |at: usize| {
            let (mac, address) = packet[at..at + 10].split_at(6);
            let mac = MacAddress([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]);
            (mac, Ipv4Addr::new(address[0], address[1], address[2], address[3]))
        };
        Some(Self { is_request, source: party(8), target: party(18) })
    }

    /// Writes the packet into the first [`ARP_LEN`] bytes.
    pub fn write(&self, packet: &mut [u8]) {
        let operation = if self.is_request { 1 } else { 2 };
        packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        for (at, (mac, address)) in [(8, self.source), (18, self.target)] {
            packet[at..at + 6].copy_from_slice(&mac.0);
            packet[at + 6..at + 10].copy_from_slice(&address.octets());
        }
    }
}

/// A neighbour solicitation or advertisement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ndp {
    /// Who has `target`? The asker's own link address may be given.
    Solicitation {
        /// Whose link address is sought.
        target: Ipv6Addr,
        /// The asker's.
        source_mac: Option<MacAddress>,
    },
    /// `target` is here.
    Advertisement {
        /// Whose link address it is.
        target: Ipv6Addr,
        /// The link address.
        target_mac: Option<MacAddress>,
    },
}

impl Ndp {
    /// Whether an `ICMPv6` message is of these two types.
    pub fn is_ndp(message: &[u8]) -> bool {
        matches!(message.first(), Some(&(SOLICITATION | ADVERTISEMENT)))
    }

    /// Reads an `ICMPv6` message whose checksum is right. `None` if it is malformed.
    pub fn parse(message: &[u8]) -> Option<Self> {
        if message.len() < 24 || message[1] != 0 {
            return None;
        }
        let target = Ipv6Addr::from(<[u8; 16]>::try_from(&message[8..24]).ok()?);
        if target.is_multicast() {
            return None;
        }
        let options = &message[24..];
        match message[0] {
            SOLICITATION => {
                let source_mac = link_address(options, SOURCE_LINK_ADDRESS).ok()?;
                Some(Self::Solicitation { target, source_mac })
            }
            ADVERTISEMENT => {
                let target_mac = link_address(options, TARGET_LINK_ADDRESS).ok()?;
                Some(Self::Advertisement { target, target_mac })
            }
            _ => None,
        }
    }

    /// Writes the message, its checksum zero, and returns its length.
    pub fn write(&self, message: &mut [u8]) -> usize {
        let (kind, flags, target, option, mac) = match *self {
            Self::Solicitation { target, source_mac } => {
                (SOLICITATION, 0, target, SOURCE_LINK_ADDRESS, source_mac)
            }
            Self::Advertisement { target, target_mac } => {
                (ADVERTISEMENT, SOLICITED_OVERRIDE, target, TARGET_LINK_ADDRESS, target_mac)
            }
        };
        message[..8].copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
        message[8..24].copy_from_slice(&target.octets());
        let Some(mac) = mac else { return 24 };
        message[24..26].copy_from_slice(&[option, 1]);
        message[26..NDP_LEN].copy_from_slice(&mac.0);
        NDP_LEN
    }
}

/// An option that is cut short or has no length (RFC 4861 section 4.6).
struct MalformedOption;

/// The link address in the option of this type, if there is one.
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<MacAddress>, MalformedOption> {
    while let [kind, len, ..] = *options {
        let len = usize::from(len) * 8;
        if len == 0 || len > options.len() {
            return Err(MalformedOption);
        }
        let (option, rest) = options.split_at(len);
        if kind == wanted && len == 8 {
            return Ok(<[u8; 6]>::try_from(&option[2..]).ok().map(MacAddress));
        }
        options = rest;
    }
    if options.is_empty() { Ok(None) } else { Err(MalformedOption) }
}

/// The multicast group that the owner of `address` listens to (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet group of an IPv6 multicast address (RFC 2464 section 7).
pub fn multicast_mac(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    MacAddress([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);

    #[test]
    fn what_is_written_reads_back() {
        let arp = Arp {
            is_request: true,
            source: (MAC, Ipv4Addr::new(10, 0, 0, 1)),
            target: (MacAddress::default(), Ipv4Addr::new(10, 0, 0, 2)),
        };
        let mut packet = [0; ARP_LEN];
        arp.write(&mut packet);
        assert_eq!(Arp::parse(&packet), Some(arp));
        for ndp in [
            Ndp::Solicitation { target: Ipv6Addr::LOCALHOST, source_mac: Some(MAC) },
            Ndp::Solicitation { target: Ipv6Addr::LOCALHOST, source_mac: None },
            Ndp::Advertisement { target: Ipv6Addr::LOCALHOST, target_mac: Some(MAC) },
        ] {
            let mut message = [0; NDP_LEN];
            let len = ndp.write(&mut message);
            assert_eq!(Ndp::parse(&message[..len]), Some(ndp));
        }
    }

    #[test]
    fn an_option_of_length_zero_is_malformed() {
        let mut message = [0; NDP_LEN];
        let ndp = Ndp::Solicitation { target: Ipv6Addr::LOCALHOST, source_mac: Some(MAC) };
        ndp.write(&mut message);
        message[25] = 0;
        assert_eq!(Ndp::parse(&message), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Arp::parse(&bytes), Ndp::parse(&bytes));
        }
    }
}
