//! From a stretch of the stream to frames: headers from a template, payload from where it lies.
//!
//! All segments of a batch share their headers but for numbers, lengths and flags. The template is summed
//! once; a frame's checksums are that sum and what differs.

use pagewire_driver::{Frame, Instant, MacAddress, Port};

use super::{
    UserStack,
    checksum::Sum,
    connection::Connection,
    gather::gather,
    packet::{ETHERNET_HEADER, be16, flags, write_ethernet},
    reply::{self, BareSegment},
    tx_map::TxMap,
};
use crate::CloseReason;

/// Ethernet, IPv6 and TCP with timestamps.
const MOST_HEADERS: usize = ETHERNET_HEADER + 40 + 32;

/// The headers of a batch.
struct Template {
    bytes: [u8; MOST_HEADERS],
    /// Bytes of all headers.
    len: usize,
    /// Where the TCP header begins.
    tcp: usize,
    /// The IPv4 total length without payload.
    total_len: u16,
    ip_sum: Sum,
    /// Of the TCP header with sequence number zero, and of the pseudo-header without payload.
    tcp_sum: Sum,
}

/// A piece of the stream that becomes one segment.
#[derive(Clone, Copy, Debug)]
struct Piece {
    offset: u64,
    len: usize,
    sequence: u32,
    /// Flags besides ACK.
    flags: u8,
}

/// A stretch of the stream to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Offset of its first byte.
    pub offset: u64,
    /// Bytes, without a FIN.
    pub len: u64,
    /// Whether a FIN follows.
    pub fin: bool,
    /// Whether it is sent for the first time.
    pub is_fresh: bool,
}

impl Template {
    fn new(
        connection: &Connection,
        is_fresh: bool,
        tsval: u32,
        (to, from): (MacAddress, MacAddress),
    ) -> Self {
        let numbers = &connection.sequence;
        let bare = BareSegment {
            sequence: 0,
            acknowledgement: numbers.receive_told,
            flags: flags::ACK
                | if connection.marks.is_some_and(|marks| marks.echoes) { flags::ECE } else { 0 },
            window: numbers.window_told,
            timestamps: numbers.recent_timestamp.map(|recent| (tsval, recent)),
        };
        let is_ipv6 = connection.flow.is_ipv6();
        let mut bytes = [0; MOST_HEADERS];
        write_ethernet(&mut bytes, to, from, is_ipv6);
        let packet = &mut bytes[ETHERNET_HEADER..];
        let (ip_len, tcp_len) = reply::bare_headers(packet, &connection.flow.flow(), &bare);
        let (ip, tcp) = packet[..ip_len + tcp_len].split_at_mut(ip_len);
        if is_fresh && connection.marks.is_some() {
            // Routers may mark it: ECT(0), never on what is sent again (RFC 3168 section 6.1.5).
            ip[1] |= if is_ipv6 { 0x20 } else { 0x02 };
        }
        let addresses = if is_ipv6 { &ip[8..40] } else { &ip[12..20] };
        let pseudo = [0, 6, (tcp.len() >> 8) as u8, tcp.len() as u8];
        let tcp_sum = Sum::of(addresses) + Sum::of(&pseudo) + Sum::of(tcp);
        let (ip_sum, total_len) = if is_ipv6 { (Sum::ZERO, 0) } else { (Sum::of(ip), be16(ip, 2)) };
        let tcp = ETHERNET_HEADER + ip_len;
        Self { bytes, len: tcp + tcp_len, tcp, total_len, ip_sum, tcp_sum }
    }

    /// Makes a frame that holds `piece`.
    fn fill(&self, frame: &mut Frame, tx: &TxMap, piece: &Piece) -> Result<(), CloseReason> {
        let &Piece { offset, len, sequence, flags } = piece;
        frame.set_len(self.len + len);
        // A copy of fixed length, before what lies behind the headers.
        frame.chunk_mut()[..MOST_HEADERS].copy_from_slice(&self.bytes);
        let (headers, payload) = frame.bytes_mut().split_at_mut(self.len);
        let mut sum = self.tcp_sum;
        if len > 0 {
            sum = sum + gather(tx, offset, payload)?;
        }
        let ip = &mut headers[ETHERNET_HEADER..];
        if self.total_len > 0 {
            ip[2..4].copy_from_slice(&(self.total_len + len as u16).to_be_bytes());
            ip[10..12].copy_from_slice(&(self.ip_sum + Sum::of_field(len as u16)).finish());
        } else {
            let tcp_len = (self.len - self.tcp + len) as u16;
            ip[4..6].copy_from_slice(&tcp_len.to_be_bytes());
        }
        let tcp = &mut headers[self.tcp..];
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[13] |= flags;
        sum = sum
            + Sum::of_field(len as u16)
            + Sum::of_field(sequence)
            + Sum::of_field(u16::from(flags));
        tcp[16..18].copy_from_slice(&sum.finish());
        Ok(())
    }
}

impl<P: Port> UserStack<P> {
    /// The path of a connection carries packets of no more than `mtu` bytes, says somebody believable.
    /// Zero is a router that does not say.
    pub(super) fn on_path_mtu(&mut self, now: Instant, slot: u32, mtu: u32) {
        let connection = &mut self.connections[slot as usize];
        let options = if connection.sequence.recent_timestamp.is_some() { 12 } else { 0 };
        let headers = options + if connection.flow.is_ipv6() { 60 } else { 40 };
        if connection.sender.limit_segments(now, mtu.saturating_sub(headers), &mut self.flights) {
            self.mark_ready(slot);
        }
    }

    /// Sends a stretch of the stream, cut at the segment size, a FIN with its last segment. There must be
    /// frames for all of it.
    ///
    /// # Errors
    ///
    /// Why the connection must be reset: the bytes cannot be had.
    pub(super) fn send_batch(
        &mut self,
        now: Instant,
        slot: u32,
        batch: &Batch,
    ) -> Result<(), CloseReason> {
        let connection = &self.connections[slot as usize];
        let mss = u64::from(connection.sender.mss());
        let generation = self.neighbors.generation();
        let peer = connection.peer_ip();
        let hop = connection.next_hop.filter(|&(_, then)| then == generation);
        let ours = self.port.capabilities().mac;
        let to = hop.map_or(MacAddress::default(), |(mac, _)| mac);
        let tsval = self.timestamp(now);
        let marks = batch.is_fresh && batch.len > 0;
        let template = Template::new(connection, marks, tsval, (to, ours));
        let reduced = connection.marks.is_some_and(|marks| marks.reduced);
        let stream_end = connection.tx.submitted();
        let (mut offset, end) = (batch.offset, batch.offset + batch.len);
        loop {
            let len = mss.min(end - offset);
            let is_last = offset + len == end;
            let pushes = len > 0 && offset + len == stream_end;
            let control = if pushes { flags::PSH } else { 0 }
                | if is_last && batch.fin { flags::FIN } else { 0 }
                | if reduced && marks && offset == batch.offset { flags::CWR } else { 0 };
            let connection = &self.connections[slot as usize];
            let sequence = connection.sequence_of(offset);
            let piece = Piece { offset, len: len as usize, sequence, flags: control };
            let Some(mut frame) = self.port.allocate() else {
                // The caller has counted: a port that breaks its word loses a segment, as links do.
                self.counters.drop_frame(super::DropCause::NoFrame);
                return Ok(());
            };
            if !is_last {
                // The next one comes while this one is filled.
                self.port.prefetch(0);
            }
            template.fill(&mut frame, &connection.tx, &piece)?;
            self.counters.segments_sent += 1;
            if hop.is_some() {
                self.transmit_raw(frame);
            } else {
                let found = self.send_frame(now, peer, frame);
                let next_hop = found.map(|mac| (mac, generation));
                self.connections[slot as usize].next_hop = next_hop;
            }
            offset += len;
            if is_last {
                break;
            }
        }
        if let Some(told) = self.connections[slot as usize].marks.as_mut().filter(|_| marks) {
            told.reduced = false;
        }
        let sent = if batch.is_fresh {
            &mut self.counters.bytes_sent
        } else {
            &mut self.counters.bytes_retransmitted
        };
        *sent += batch.len;
        Ok(())
    }
}
