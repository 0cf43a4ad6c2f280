//! The send side of a turn: by turns, as far as there are frames.
//!
//! A frame is secured before smoltcp is asked for a segment, so nothing that it believes sent is lost
//! here. smoltcp writes headers, and zeroes for payload, into scratch memory; the frame gets the
//! headers and the real payload.

use std::{cell::Cell, net::IpAddr};

use pagewire_driver::{Flush, Frame, Instant, MacAddress, Port};
use smoltcp::socket::tcp::{CongestionControl, Socket};

use super::{
    DropCause, Phase, UserStack,
    checksum::Sum,
    flow_table::Flow,
    gather::gather,
    mesh::SHARD_BITS,
    packet::{ETHERNET_HEADER, be16, be32, flags, write_ethernet},
    reply::{self, BareSegment},
    sequence::ahead,
    smoltcp_time,
};
use crate::{CloseReason, disk::Answer};

/// Most segments that one connection sends before the next one's turn.
const SEGMENTS_PER_TURN: usize = 32;

thread_local! {
    /// The timestamp that sockets send (RFC 7323). smoltcp asks a plain function for it, so each turn
    /// leaves it here.
    static TIMESTAMP: Cell<u32> = const { Cell::new(0) };
}

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

/// How a connection's turn ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    /// It has nothing to send for now.
    Done,
    /// It has used up its share.
    Again,
    /// There are no frames.
    NoFrame,
}

impl<P: Port> UserStack<P> {
    /// The timestamp of a moment: milliseconds, the low bits replaced by our shard's number.
    pub(super) fn timestamp(&self, now: Instant) -> u32 {
        (now.millis() as u32) >> SHARD_BITS << SHARD_BITS | u32::from(self.mesh.shard())
    }

    /// Sets what sockets send as timestamps from here on.
    pub(super) fn set_timestamp(&self, now: Instant) {
        TIMESTAMP.set(self.timestamp(now));
    }

    /// Puts a fresh socket into a slot.
    pub(super) fn open_socket(&mut self, slot: u32) {
        self.arena.open(slot);
        self.arena.with(slot, |socket| {
            socket.set_tsval_generator(Some(|| TIMESTAMP.get()));
            socket.set_congestion_control(CongestionControl::Cubic);
        });
    }

    /// Gives every connection that may have something to send its turn.
    pub(super) fn send_ready(&mut self, now: Instant) {
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else { return };
            let connection = &mut self.connections[slot as usize];
            connection.ready = false;
            if connection.phase == Phase::Vacant {
                continue;
            }
            match self.send_turn(now, slot) {
                Turn::Done => {}
                Turn::Again => self.mark_ready(slot),
                Turn::NoFrame => {
                    // It keeps its place.
                    self.connections[slot as usize].ready = true;
                    self.ready.push_front(slot);
                    return;
                }
            }
        }
    }

    /// Hands the port what was sent in this turn.
    pub(super) fn flush(&mut self, now: Instant) {
        self.back_pressure = self.port.flush(now) == Flush::BackPressure;
        self.counters.back_pressure += u64::from(self.back_pressure);
    }

    fn send_turn(&mut self, now: Instant, slot: u32) -> Turn {
        let mut sent = false;
        for _ in 0..SEGMENTS_PER_TURN {
            if self.port.credits() == 0 {
                return Turn::NoFrame;
            }
            self.enqueue(now, slot);
            let mut device = self.scratch.device(&[]);
            self.arena.egress(slot, &mut self.interface, smoltcp_time(now), &mut device);
            match self.emit(now, slot) {
                Emitted::Sent => sent = true,
                Emitted::Nothing => {
                    self.after_turn(now, slot, sent);
                    return Turn::Done;
                }
                Emitted::Abort(reason) => {
                    self.abort(slot, reason);
                    return Turn::Again;
                }
            }
        }
        Turn::Again
    }

    /// Lets the socket have as much of what there is to send as it takes and the disk has ready.
    fn enqueue(&mut self, now: Instant, slot: u32) {
        loop {
            let connection = &mut self.connections[slot as usize];
            let (offset, unqueued) = (connection.tx.enqueued(), connection.tx.unqueued());
            if unqueued == 0 {
                break;
            }
            if offset >= connection.resident_end && !self.make_resident(now, slot, offset) {
                break;
            }
            let connection = &mut self.connections[slot as usize];
            let most = (connection.resident_end - offset).min(unqueued);
            let taken = self.arena.with(slot, |socket| {
                let take = |room: &mut [u8]| {
                    let len = usize::try_from(most).map_or(room.len(), |most| most.min(room.len()));
                    (len, len)
                };
                socket.send(take).unwrap_or(0)
            });
            if taken == 0 {
                break;
            }
            connection.tx.enqueue(taken);
            connection.unacknowledged_since.get_or_insert(now);
        }
        self.after_enqueue(now, slot);
    }

    fn after_enqueue(&mut self, now: Instant, slot: u32) {
        let largest_segment = self.port.capabilities().mtu as u64 - 40;
        let connection = &mut self.connections[slot as usize];
        if matches!(connection.phase, Phase::Embryonic | Phase::Connecting) {
            return;
        }
        let closes = connection.phase == Phase::Closing
            && connection.tx.unqueued() == 0
            && !connection.fin_queued;
        if closes {
            connection.fin_queued = true;
            connection.unacknowledged_since.get_or_insert(now);
        }
        let sent = connection.offset_of(connection.sequence.sent_end).unwrap_or(0);
        let unsent = (connection.tx.enqueued() + connection.tx.unqueued()).saturating_sub(sent);
        self.arena.with(slot, |socket| {
            // Full segments while there is more to come; the tail at once.
            socket.set_nagle_enabled(unsent >= largest_segment);
            if closes {
                socket.close();
            }
        });
    }

    /// Makes sure that the byte at `offset` can be had without waiting for the disk. False if it
    /// cannot yet; the connection becomes ready again when it can.
    fn make_resident(&mut self, now: Instant, slot: u32, offset: u64) -> bool {
        let connection = &mut self.connections[slot as usize];
        if connection.awaits_disk {
            return false;
        }
        let Some((range, start)) = connection.tx.file_at(offset) else {
            connection.resident_end = connection.tx.end_of_bytes(offset);
            return true;
        };
        let range_end = range.start + range.len;
        if range_end > range.object.len() {
            self.abort(slot, CloseReason::ContentChanged);
            return false;
        }
        let id = crate::ConnectionId { slot, generation: connection.generation };
        match self.residency.request(now, id, &range.object, start..range_end) {
            Answer::Resident { end } => {
                connection.resident_end = offset + end.min(range_end) - start;
                true
            }
            Answer::Pending => {
                connection.awaits_disk = true;
                false
            }
        }
    }

    /// Takes the helpers' answers.
    pub(super) fn receive_completions(&mut self, now: Instant) {
        while let Some(completion) = self.residency.completed(now) {
            let Some(slot) = self.slot_of(completion.id) else { continue };
            let connection = &mut self.connections[slot as usize];
            match (std::mem::take(&mut connection.awaits_disk), completion.result) {
                (true, Ok(())) => self.mark_ready(slot),
                (true, Err(reason)) => self.abort(slot, reason),
                (false, _) => {}
            }
        }
    }

    /// What follows a turn in which the socket had nothing more to say.
    fn after_turn(&mut self, now: Instant, slot: u32, sent: bool) {
        if let Phase::Aborting(reason) = self.connections[slot as usize].phase {
            return self.release(slot, reason);
        }
        let mut wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
        if wants.is_none() && self.connections[slot as usize].unacknowledged_since.is_some() {
            self.restart_probe(now, slot);
            wants = self.arena.poll_at(slot, &mut self.interface, smoltcp_time(now));
        }
        let soon = smoltcp_time(now) + smoltcp::time::Duration::from_millis(1);
        // "Now" from a socket that has just had nothing to send would make us spin.
        let wants = if sent { wants } else { wants.map(|at| at.max(soon)) };
        self.arm(now, slot, wants);
    }

    /// Starts the zero window probe of a socket that has bytes to send but no timer.
    ///
    /// smoltcp comes to this when its retransmission timer runs out while it takes the peer's window
    /// for closed, for instance because an older window update was overtaken. It starts the probe at an
    /// acknowledgement that finds the window closed, so it gets one.
    fn restart_probe(&mut self, now: Instant, slot: u32) {
        let connection = &self.connections[slot as usize];
        let flow = Flow { peer: connection.flow.local, local: connection.flow.peer };
        let bare = BareSegment {
            sequence: connection.sequence.receive_next,
            acknowledgement: connection.unacknowledged(),
            flags: flags::ACK,
            window: 0,
            timestamps: connection.sequence.recent_timestamp.map(|recent| (recent, 0)),
        };
        let mut packet = [0; 80];
        let len = reply::bare_segment(&mut packet, &flow, &bare);
        let mut device = self.scratch.device(&packet[..len]);
        self.arena.ingress(slot, &mut self.interface, smoltcp_time(now), &mut device);
    }

    /// Sets the connection's timer, or its place among the ready ones.
    pub(super) fn arm(&mut self, now: Instant, slot: u32, wants: Option<smoltcp::time::Instant>) {
        let connection = &self.connections[slot as usize];
        let deadline = connection.deadline(&self.limits);
        let wants = wants.map(|at| Instant::from_micros(at.total_micros().max(0).cast_unsigned()));
        if wants.is_some_and(|at| at <= now) {
            return self.mark_ready(slot);
        }
        match [wants, deadline].into_iter().flatten().min() {
            Some(at) => self.wheel.set(slot, at),
            None => self.wheel.cancel(slot),
        }
    }

    /// Gives up a connection: it is reset when next it has its turn.
    pub(super) fn abort(&mut self, slot: u32, reason: CloseReason) {
        self.connections[slot as usize].phase = Phase::Aborting(reason);
        self.arena.with(slot, Socket::abort);
        self.mark_ready(slot);
    }

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
        if fresh > 0 {
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
