//! ICMP errors: which are believed, and what they may do (RFC 5927, RFC 5461).
//!
//! Anybody can send one, so it must quote a segment of a live connection that is in flight right now:
//! sent and not yet acknowledged. Even then no error ends an established connection. What is believed:
//!
//! - a path's limit on packets, if the quoted packet was larger than it (RFC 1191, RFC 8201);
//! - that a connection we are opening is refused: only before it is established.
//!
//! An error comes on the queue that its own addresses hash to, not the flow's: a core that does not know
//! the flow tells all others, each of which looks for itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pagewire_driver::Port;

use super::{
    DropCause, Phase, UserStack,
    flow_table::{Flow, PackedFlow},
    mesh::Message,
    packet::{IcmpMessage, be16, be32},
    sequence::ahead,
};
use crate::CloseReason;

const TCP: u8 = 6;
/// Bytes of an ICMP message before the quoted packet.
const ICMP_HEADER: usize = 8;

/// What an error says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Complaint {
    /// A packet of this many bytes was too large for the next link, which takes so many.
    TooBig {
        /// The quoted packet's length.
        packet: u32,
        /// What the link takes; zero of a router that does not say.
        mtu: u32,
    },
    /// The other end has no such port or protocol.
    Refused,
    /// Something that may pass.
    Transient,
}

/// An error that quotes a TCP segment of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IcmpError {
    /// What it says.
    pub complaint: Complaint,
    /// The flow of the quoted segment.
    pub flow: Flow,
    /// Its sequence number.
    pub sequence: u32,
}

impl IcmpError {
    /// The error that a message is, if it is one and quotes enough.
    pub fn parse(message: &IcmpMessage<'_>) -> Option<Self> {
        let bytes = message.message;
        if bytes.len() < ICMP_HEADER {
            return None;
        }
        let (kind, code, quoted) = (bytes[0], bytes[1], &bytes[ICMP_HEADER..]);
        let (flow, sequence, packet) = match message.destination {
            IpAddr::V4(_) => quoted_ipv4(quoted)?,
            IpAddr::V6(_) => quoted_ipv6(quoted)?,
        };
        if flow.local.ip() != message.destination {
            return None;
        }
        let complaint = match (message.destination.is_ipv4(), kind, code) {
            // RFC 792, RFC 1191 section 4.
            (true, 3, 4) => Complaint::TooBig { packet, mtu: u32::from(be16(bytes, 6)) },
            // RFC 4443 section 3.2.
            (false, 2, _) => Complaint::TooBig { packet, mtu: be32(bytes, 4) },
            (true, 3, 2 | 3) | (false, 1, 4) | (false, 4, 1) => Complaint::Refused,
            (true, 3 | 11 | 12, _) | (false, 1 | 3 | 4, _) => Complaint::Transient,
            _ => return None,
        };
        Some(Self { complaint, flow, sequence })
    }
}

/// The flow, sequence number and length of a quoted IPv4 packet.
fn quoted_ipv4(packet: &[u8]) -> Option<(Flow, u32, u32)> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    if packet[0] >> 4 != 4 || !(20..=packet.len()).contains(&header) || packet[9] != TCP {
        return None;
    }
    let offset = be16(packet, 6) & 0x1fff;
    if offset > 0 {
        return None;
    }
    let address = |at: usize| {
        IpAddr::V4(Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]))
    };
    let (local, peer) = (address(12), address(16));
    quoted_tcp(&packet[header..], local, peer, u32::from(be16(packet, 2)))
}

/// The same of an IPv6 packet. What we send has no extension headers.
fn quoted_ipv6(packet: &[u8]) -> Option<(Flow, u32, u32)> {
    if packet.len() < 40 || packet[0] >> 4 != 6 || packet[6] != TCP {
        return None;
    }
    let address = |at: usize| {
        let bytes: [u8; 16] = packet[at..at + 16].try_into().unwrap_or_default();
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    quoted_tcp(&packet[40..], address(8), address(24), 40 + u32::from(be16(packet, 4)))
}

fn quoted_tcp(tcp: &[u8], local: IpAddr, peer: IpAddr, len: u32) -> Option<(Flow, u32, u32)> {
    // RFC 792 promises eight bytes.
    if tcp.len() < 8 {
        return None;
    }
    let local = SocketAddr::new(local, be16(tcp, 0));
    let peer = SocketAddr::new(peer, be16(tcp, 2));
    Some((Flow { peer, local }, be32(tcp, 4), len))
}

impl<P: Port> UserStack<P> {
    /// Handles an ICMP message that is neither NDP nor an echo request, from our queue.
    pub(super) fn icmp_error(&mut self, message: &IcmpMessage<'_>) {
        let Some(error) = IcmpError::parse(message) else {
            return self.counters.drop_frame(DropCause::IgnoredIcmp);
        };
        if self.find_flow(&error.flow).is_none() && self.mesh.shards() > 1 {
            for other in self.mesh.others() {
                // Whoever misses it goes on as if it had been lost on the way.
                if !self.mesh.send(other, Message::Icmp(error)) {
                    self.counters.drop_frame(DropCause::MeshFull);
                }
            }
            return;
        }
        self.heed(&error);
    }

    /// Acts on an error if it is to be believed.
    pub(super) fn heed(&mut self, error: &IcmpError) {
        let found = self.find_flow(&error.flow);
        let Some(slot) = found.filter(|&slot| self.is_in_flight(slot, error.sequence)) else {
            return self.counters.drop_frame(DropCause::IgnoredIcmp);
        };
        match error.complaint {
            Complaint::TooBig { packet, mtu } if mtu < packet => {
                self.counters.path_limits += 1;
                self.on_path_mtu(self.now, slot, mtu);
            }
            Complaint::Refused if self.connections[slot as usize].phase == Phase::Connecting => {
                self.release(slot, CloseReason::Unreachable);
            }
            Complaint::Refused | Complaint::Transient => self.counters.soft_errors += 1,
            Complaint::TooBig { .. } => self.counters.drop_frame(DropCause::IgnoredIcmp),
        }
    }

    fn find_flow(&self, flow: &Flow) -> Option<u32> {
        let connections = &self.connections;
        let packed = PackedFlow::new(flow);
        let is_it = |slot: u32| connections[slot as usize].flow == packed;
        self.flows.find(self.flow_key.hash(flow), is_it)
    }

    /// Whether a segment that began with this number can be on its way at this moment.
    fn is_in_flight(&self, slot: u32, sequence: u32) -> bool {
        let connection = &self.connections[slot as usize];
        let first = match connection.phase {
            Phase::Embryonic | Phase::Connecting => connection.sequence.initial_sent,
            _ => connection.unacknowledged(),
        };
        let len = connection.sequence.sent_end.wrapping_sub(first);
        ahead(sequence, first) >= 0 && sequence.wrapping_sub(first) < len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_that_quotes_less_than_the_sequence_number_says_nothing() {
        let mut bytes = vec![3, 4, 0, 0, 0, 0, 5, 0];
        bytes.extend([0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 80, 0x9c, 0x40, 1, 2, 3, 4]);
        let parse = |bytes: &[u8]| {
            let (source, destination) = ("10.0.0.9".parse().unwrap(), "10.0.0.1".parse().unwrap());
            IcmpError::parse(&IcmpMessage { source, destination, hop_limit: 64, message: bytes })
        };
        let error = parse(&bytes).unwrap();
        assert_eq!(error.complaint, Complaint::TooBig { packet: 1_500, mtu: 1_280 });
        assert_eq!(error.sequence, 0x0102_0304);
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None, "{len}");
        }
        bytes[8 + 7] = 1;
        assert_eq!(parse(&bytes), None, "not the first fragment");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_none(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            is_ipv6: bool,
        ) {
            let address = if is_ipv6 { "fd00::1" } else { "10.0.0.1" }.parse().unwrap();
            let (source, destination) = (address, address);
            let message =
                IcmpMessage { source, destination, hop_limit: 1, message: &bytes };
            let _ = IcmpError::parse(&message);
        }
    }
}
