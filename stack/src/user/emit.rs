//! From what smoltcp emits to frames: smoltcp writes headers, and zeroes for payload, into scratch
//! memory; the frame gets the headers and the real payload, and the next hop's address.

use std::net::IpAddr;

use pagewire_driver::{Frame, Instant, MacAddress, Port};

use super::{
    DropCause, UserStack,
    checksum::Sum,
    gather::gather,
    packet::{ETHERNET_HEADER, be16, be32, flags, write_ethernet},
    sequence::ahead,
};
use crate::CloseReason;

/// What became of the packet that smoltcp emitted last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Emitted {
    /// There was none.
    Nothing,
    /// It is on its way.
    Sent,
    /// Its payload cannot be had: the connection must be reset for this reason.
    Abort(CloseReason),
}

impl<P: Port> UserStack<P> {
    /// Sends the packet that smoltcp has just emitted for a connection.
    pub(super) fn emit(&mut self, now: Instant, slot: u32) -> Emitted {
        let Some(emitted) = self.scratch.emitted() else { return Emitted::Nothing };
        let headers = Headers::of(emitted);
        let connection = &mut self.connections[slot as usize];
        let Some(mut frame) = self.port.allocate() else {
            self.counters.drop_frame(DropCause::NoFrame);
            return Emitted::Nothing;
        };
        let end = ETHERNET_HEADER + headers.len + headers.payload_len;
        frame.set_len(end);
        let packet = &mut frame.bytes_mut()[ETHERNET_HEADER..end];
        packet[..headers.len].copy_from_slice(&emitted[..headers.len]);
        if headers.flags & flags::SYN != 0 {
            connection.sequence.initial_sent = headers.sequence;
            connection.sequence.sent_end = headers.sequence.wrapping_add(1);
        }
        let mut payload_sum = Sum::ZERO;
        if headers.payload_len > 0 {
            let gathered = connection
                .offset_of(headers.sequence)
                .ok_or(CloseReason::Aborted)
                .and_then(|offset| gather(&connection.tx, offset, &mut packet[headers.len..]));
            match gathered {
                Ok(sum) => payload_sum = sum,
                Err(reason) => return Emitted::Abort(reason),
            }
        }
        headers.fill_checksums(packet, payload_sum);
        self.counters.segments_sent += 1;
        let state = &mut connection.sequence;
        let fresh = ahead(headers.end(), state.sent_end);
        // The number of a reset that answers a stray segment is the peer's choice.
        if fresh > 0 && headers.flags & flags::RST == 0 {
            state.sent_end = headers.end();
        }
        let fresh = u64::try_from(fresh).unwrap_or(0).min(headers.payload_len as u64);
        self.counters.bytes_sent += fresh;
        self.counters.bytes_retransmitted += headers.payload_len as u64 - fresh;

        let peer = connection.peer_ip();
        let generation = self.neighbors.generation();
        let cached = connection.next_hop.filter(|(_, then)| *then == generation);
        if let Some((mac, _)) = cached {
            self.transmit(mac, peer.is_ipv6(), frame);
        } else {
            let found = self.send_frame(now, peer, frame);
            self.connections[slot as usize].next_hop = found.map(|mac| (mac, generation));
        }
        Emitted::Sent
    }

    /// Makes and sends a packet of the stack's own. Without a frame for it, it is dropped and counted.
    pub(super) fn send_own(
        &mut self,
        now: Instant,
        to: IpAddr,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let Some(mut frame) = self.port.allocate() else {
            return self.counters.drop_frame(DropCause::NoFrame);
        };
        let len = write(&mut frame.chunk_mut()[ETHERNET_HEADER..]);
        frame.set_len(ETHERNET_HEADER + len);
        self.send_frame(now, to, frame);
    }

    /// Sends a frame whose packet is complete to the next hop on the way to `to`, or keeps it until
    /// that one is known. Returns the next hop's MAC address if it is.
    fn send_frame(&mut self, now: Instant, to: IpAddr, mut frame: Frame) -> Option<MacAddress> {
        let Some(next_hop) = self.next_hop(to) else {
            self.counters.drop_frame(DropCause::NoRoute);
            return None;
        };
        let found = self.neighbors.find(next_hop);
        if let Some(mac) = found {
            self.transmit(mac, to.is_ipv6(), frame);
        } else {
            let from = self.port.capabilities().mac;
            write_ethernet(frame.bytes_mut(), MacAddress::default(), from, to.is_ipv6());
            if self.neighbors.hold(now, next_hop, frame).is_err() {
                self.counters.drop_frame(DropCause::NoNeighbor);
            }
        }
        found
    }

    fn transmit(&mut self, to: MacAddress, is_ipv6: bool, mut frame: Frame) {
        let from = self.port.capabilities().mac;
        write_ethernet(frame.bytes_mut(), to, from, is_ipv6);
        self.transmit_raw(frame);
    }

    /// Sends a frame that is complete.
    pub(super) fn transmit_raw(&mut self, frame: Frame) {
        if self.port.transmit(frame).is_err() {
            self.counters.drop_frame(DropCause::NoFrame);
        }
    }
}

/// Where things are in a packet that smoltcp wrote: no IPv4 options, no IPv6 extensions.
struct Headers {
    ip_len: usize,
    /// Of both headers together.
    len: usize,
    payload_len: usize,
    sequence: u32,
    flags: u8,
}

impl Headers {
    fn of(packet: &[u8]) -> Self {
        let ip_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let tcp = &packet[ip_len..];
        let len = ip_len + usize::from(tcp[12] >> 4) * 4;
        Self {
            ip_len,
            len,
            payload_len: packet.len() - len,
            sequence: be32(tcp, 4),
            flags: tcp[13],
        }
    }

    /// The sequence number behind the segment.
    fn end(&self) -> u32 {
        let control =
            u32::from(self.flags & flags::SYN != 0) + u32::from(self.flags & flags::FIN != 0);
        self.sequence.wrapping_add(self.payload_len as u32 + control)
    }

    fn fill_checksums(&self, packet: &mut [u8], payload: Sum) {
        let (ip, tcp) = packet.split_at_mut(self.ip_len);
        // Both addresses are adjacent in either family's header.
        let addresses = if self.ip_len == 20 { &ip[12..20] } else { &ip[8..40] };
        let tcp_len = (tcp.len() as u32).to_be_bytes();
        let pseudo = Sum::of(addresses) + Sum::of(&tcp_len) + Sum::of(&[0, 6]);
        tcp[16..18].fill(0);
        let header = Sum::of(&tcp[..self.len - self.ip_len]);
        tcp[16..18].copy_from_slice(&(pseudo + header + payload).finish());
        if self.ip_len == 20 {
            debug_assert_eq!(usize::from(be16(ip, 2)), self.len + self.payload_len);
            ip[10..12].fill(0);
            let checksum = Sum::of(ip).finish();
            ip[10..12].copy_from_slice(&checksum);
        }
    }
}
