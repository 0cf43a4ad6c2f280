//! From what smoltcp emits to frames: handshakes, acknowledgements and resets, in our numbers.
//!
//! smoltcp knows of our SYN and FIN alone, so its sequence numbers stand still between them. A packet that it
//! emits on an open connection gets the number that comes next. Its FIN is not sent from here: that goes with
//! the last bytes of the stream, and again when the sender says so; what acknowledges something along with
//! it is sent as a bare acknowledgement.

use std::net::IpAddr;

use pagewire_driver::{Frame, Instant, MacAddress, Port};

use super::{
    DropCause, UserStack,
    checksum::Sum,
    packet::{ETHERNET_HEADER, be16, be32, flags, write_ethernet},
};
impl<P: Port> UserStack<P> {
    /// Sends the packet that smoltcp has just emitted for a connection, if it has. Says whether.
    pub(super) fn emit(&mut self, now: Instant, slot: u32) -> bool {
        let Some(headers) = self.absorb(slot) else { return false };
        let Some(mut frame) = self.port.allocate() else {
            self.counters.drop_frame(DropCause::NoFrame);
            return true;
        };
        let emitted = self.scratch.emitted().unwrap_or_default();
        let connection = &mut self.connections[slot as usize];
        frame.set_len(ETHERNET_HEADER + emitted.len());
        let packet = &mut frame.bytes_mut()[ETHERNET_HEADER..];
        packet.copy_from_slice(emitted);
        if headers.flags & flags::SYN != 0 {
            connection.sequence.initial_sent = headers.sequence;
            connection.sequence.sent_end = headers.sequence.wrapping_add(1);
            packet[headers.ip_len + 13] |= if connection.marks.is_some() {
                flags::ECE
            } else if headers.flags & flags::ACK == 0 {
                connection.syn_marks()
            } else {
                0
            };
        } else {
            let tcp = &mut packet[headers.ip_len..];
            if connection.sender.sent() > 0 {
                tcp[4..8].copy_from_slice(&connection.sequence.sent_end.to_be_bytes());
                tcp[13] &= !flags::FIN;
            }
            if connection.marks.is_some_and(|marks| marks.echoes) {
                tcp[13] |= flags::ECE;
            }
            if let Some(recent) = connection.sequence.recent_timestamp {
                echo(tcp, recent);
            }
        }
        headers.fill_checksums(packet);
        self.counters.segments_sent += 1;
        let peer = connection.peer_ip();
        let generation = self.neighbors.generation();
        let cached = connection.next_hop.filter(|(_, then)| *then == generation);
        if let Some((mac, _)) = cached {
            self.transmit(mac, peer.is_ipv6(), frame);
        } else {
            let found = self.send_frame(now, peer, frame);
            self.connections[slot as usize].next_hop = found.map(|mac| (mac, generation));
        }
        true
    }

    /// Puts the packet that smoltcp has just emitted into the peer's numbers, once, and takes note of what
    /// it tells the peer.
    pub(super) fn absorb(&mut self, slot: u32) -> Option<Headers> {
        let packet = self.scratch.emitted_mut()?;
        let numbers = &mut self.connections[slot as usize].sequence;
        numbers.say_passed(packet);
        let headers = Headers::of(packet);
        if headers.flags & (flags::ACK | flags::RST) == flags::ACK {
            numbers.receive_told = headers.acknowledgement;
            numbers.window_told = headers.window;
            numbers.window_spare = 0;
        }
        Some(headers)
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
    pub(super) fn send_frame(
        &mut self,
        now: Instant,
        to: IpAddr,
        mut frame: Frame,
    ) -> Option<MacAddress> {
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

/// Makes a segment that smoltcp wrote echo `recent`: it would echo the timestamp of whatever came last, also
/// of what came out of order (RFC 7323 section 4.3).
fn echo(tcp: &mut [u8], recent: u32) {
    let end = usize::from(tcp[12] >> 4) * 4;
    let mut options = tcp.get_mut(20..end).unwrap_or_default();
    while let [kind, len, ..] = *options {
        match kind {
            0 => return,
            1 => options = &mut options[1..],
            8 if options.len() >= 10 => {
                return options[6..10].copy_from_slice(&recent.to_be_bytes());
            }
            _ => options = options.get_mut(usize::from(len.max(2))..).unwrap_or_default(),
        }
    }
}

/// What is in a packet that smoltcp wrote: no IPv4 options, no IPv6 extensions, no payload.
pub struct Headers {
    ip_len: usize,
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    flags: u8,
}

impl Headers {
    fn of(packet: &[u8]) -> Self {
        let ip_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let tcp = &packet[ip_len..];
        Self {
            ip_len,
            sequence: be32(tcp, 4),
            acknowledgement: be32(tcp, 8),
            window: be16(tcp, 14),
            flags: tcp[13],
        }
    }

    fn fill_checksums(&self, packet: &mut [u8]) {
        let (ip, tcp) = packet.split_at_mut(self.ip_len);
        // Both addresses are adjacent in either family's header.
        let addresses = if self.ip_len == 20 { &ip[12..20] } else { &ip[8..40] };
        let tcp_len = (tcp.len() as u32).to_be_bytes();
        let pseudo = Sum::of(addresses) + Sum::of(&tcp_len) + Sum::of(&[0, 6]);
        tcp[16..18].fill(0);
        let checksum = (pseudo + Sum::of(tcp)).finish();
        tcp[16..18].copy_from_slice(&checksum);
        if self.ip_len == 20 {
            ip[10..12].fill(0);
            let checksum = Sum::of(ip).finish();
            ip[10..12].copy_from_slice(&checksum);
        }
    }
}
