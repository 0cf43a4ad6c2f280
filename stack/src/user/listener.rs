//! Accepting: who gets a slot at its SYN, who gets a cookie instead, and who goes when there is no room.
//!
//! A SYN proves nothing of its sender, so what it can cost is bounded: the embryonic connections of a
//! source and of all sources. Beyond that the handshake is stateless (see [`cookie`]), and no connection
//! is closed to make room before the peer has answered. With its ACK a connection gets a slot, if need be
//! that of the idle connection which was not heard of for longest. A connection with a request pending
//! or bytes in flight is never closed for another.

use pagewire_driver::{Instant, Port};
use smoltcp::wire::IpListenEndpoint;

use super::{
    DropCause, Phase, UserStack,
    connection::Marks,
    cookie,
    flow_table::Flow,
    handshake::SynOptions,
    isn::IsnGenerator,
    packet::{Segment, be32, flags},
    reply::{self, BareSegment},
    sequence::ahead,
    smoltcp_time,
};
use crate::CloseReason;

/// How many connections are looked at for an idle one.
const EVICTION_TRIES: usize = 64;
/// For how long after a cookie an ACK of no connection counts as a failed one, in ms.
const COOKIE_LIFE_MS: u64 = 128_000;

impl<P: Port> UserStack<P> {
    /// Whether the segment is a SYN for the port that we listen on.
    pub(super) fn is_for_listener(&self, segment: &Segment<'_>) -> bool {
        self.listen == Some(segment.flow.local.port()) && self.serves(segment)
    }

    /// Answers a SYN for the port that we listen on. `after` is the last sequence number of the flow's
    /// earlier connection, if that is in TIME-WAIT.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        syn: &Segment<'_>,
        hash: u64,
        after: Option<u32>,
    ) {
        let source = syn.flow.peer.ip().into();
        let (of_source, of_all) = (self.admission.of(source), self.admission.all());
        if of_source.connections >= self.limits.connections_per_source {
            return self.counters.drop_frame(DropCause::SourceLimit);
        }
        let has_slot = self.has_vacant_slot();
        if !has_slot && self.idle == 0 {
            return self.counters.drop_frame(DropCause::NoSlot);
        }
        if !has_slot
            || of_all.embryonic >= self.limits.embryonic
            || of_source.embryonic >= self.limits.embryonic_per_source
        {
            return self.offer_cookie(now, syn);
        }
        let isn = self.isn.isn(now, &syn.flow);
        let isn = match after {
            // RFC 9293 section 3.6.1: beyond whatever the earlier connection has used.
            Some(after) if ahead(isn, after) <= 0 => after.wrapping_add(1 + (isn & 0xffff)),
            _ => isn,
        };
        if let Some(slot) = self.begin_handshake(now, syn, hash, isn) {
            self.mark_ready(slot);
        }
    }

    /// Gives the SYN to a fresh socket that will answer with `isn`. Returns its slot.
    fn begin_handshake(
        &mut self,
        now: Instant,
        syn: &Segment<'_>,
        hash: u64,
        isn: u32,
    ) -> Option<u32> {
        let Some(slot) = self.take_slot() else {
            self.counters.drop_frame(DropCause::NoSlot);
            return None;
        };
        if !self.flows.insert(hash, slot) {
            self.vacant.push(slot);
            self.counters.drop_frame(DropCause::NoSlot);
            return None;
        }
        let (flow, window) = (syn.flow, self.own_window());
        let connection = &mut self.connections[slot as usize];
        connection.occupy(now, &flow, hash, Phase::Embryonic);
        connection.sequence.begin_receiving(syn);
        // Known already if the SYN comes again before its answer has gone out.
        connection.sequence.initial_sent = isn;
        connection.sequence.sent_end = isn.wrapping_add(1);
        connection.sequence.window_told = window;
        // RFC 3168 section 6.1.1: the peer asks by both flags.
        connection.marks = syn.has(flags::ECE | flags::CWR).then(Marks::default);
        self.admission.begin(slot, flow.peer.ip().into());
        self.open_socket(slot);
        let endpoint =
            IpListenEndpoint { addr: Some(flow.local.ip().into()), port: flow.local.port() };
        let listening = self.arena.with(slot, |socket| socket.listen(endpoint).is_ok());
        let mut interface = IsnGenerator::interface(isn, &self.cidrs, &mut self.scratch);
        let mut device = self.scratch.device(syn.packet);
        self.arena.ingress(slot, &mut interface, smoltcp_time(now), &mut device);
        if !listening || self.arena.with(slot, |socket| socket.is_listening()) {
            self.counters.drop_frame(DropCause::MalformedSegment);
            self.release(slot, CloseReason::Aborted);
            return None;
        }
        Some(slot)
    }

    /// Answers a SYN without keeping anything of it.
    fn offer_cookie(&mut self, now: Instant, syn: &Segment<'_>) {
        let offered = SynOptions::of(syn);
        let isn = self.cookies.sequence(now, &syn.flow, syn.sequence, offered.mss);
        let timestamps = syn
            .timestamps
            .map(|(tsval, _)| (cookie::timestamp(self.timestamp(now), offered), tsval));
        // Without timestamps the peer's choices could not be remembered.
        let remembered = timestamps.is_some();
        let ours = SynOptions {
            mss: self.own_mss(&syn.flow),
            window_scale: offered.window_scale.filter(|_| remembered).map(|_| 0),
            sack_permitted: offered.sack_permitted && remembered,
        };
        self.counters.cookies_sent += 1;
        self.cookies_until = Some(Instant::from_millis(now.millis() + COOKIE_LIFE_MS));
        let answer = BareSegment {
            sequence: isn,
            acknowledgement: syn.sequence.wrapping_add(1),
            flags: flags::SYN | flags::ACK,
            window: self.own_window(),
            timestamps,
        };
        let flow = syn.flow;
        self.send_own(now, flow.peer.ip(), |packet| reply::syn(packet, &flow, &answer, ours));
    }

    /// Whether the segment may be the last one of a handshake.
    fn may_complete(&self, segment: &Segment<'_>) -> bool {
        segment.flags & (flags::SYN | flags::RST | flags::ACK) == flags::ACK
            && self.is_for_listener(segment)
    }

    /// Opens the connection of a segment that acknowledges a cookie of this core. False if it does not.
    pub(super) fn accept_cookie(&mut self, now: Instant, ack: &Segment<'_>, hash: u64) -> bool {
        let offered_lately = self.cookies_until.is_some_and(|until| now < until);
        if !offered_lately || !self.may_complete(ack) {
            return false;
        }
        let isn = ack.acknowledgement.wrapping_sub(1);
        let initial = ack.sequence.wrapping_sub(1);
        let Some(mss) = self.cookies.check(now, &ack.flow, initial, isn) else { return false };
        let source = ack.flow.peer.ip().into();
        if self.admission.of(source).connections >= self.limits.connections_per_source {
            self.counters.drop_frame(DropCause::SourceLimit);
            return true;
        }
        if !self.has_vacant_slot() && !self.evict_idle(now) {
            self.counters.drop_frame(DropCause::NoSlot);
            return true;
        }
        self.replay(now, ack, hash, (initial, isn), mss);
        true
    }

    /// Plays the handshake that a cookie stands for to a fresh socket, and then its last segment.
    fn replay(
        &mut self,
        now: Instant,
        ack: &Segment<'_>,
        hash: u64,
        (initial, isn): (u32, u32),
        mss: u16,
    ) {
        let (window_scale, sack_permitted) =
            ack.timestamps.map_or((None, false), |(_, echo)| cookie::options_of(echo));
        let options = SynOptions { mss, window_scale, sack_permitted };
        let bare = BareSegment {
            sequence: initial,
            acknowledgement: 0,
            flags: flags::SYN,
            window: ack.window(),
            timestamps: ack.timestamps.map(|(tsval, _)| (tsval, 0)),
        };
        let reverse = Flow { peer: ack.flow.local, local: ack.flow.peer };
        let mut packet = [0; 120];
        let len = reply::syn(&mut packet, &reverse, &bare, options);
        let syn = Segment {
            flow: ack.flow,
            packet: &packet[..len],
            sequence: initial,
            acknowledgement: 0,
            flags: flags::SYN,
            payload_len: 0,
            timestamps: bare.timestamps,
        };
        let Some(slot) = self.begin_handshake(now, &syn, hash, isn) else { return };
        // The peer has our SYN-ACK already.
        let mut device = self.scratch.device(&[]);
        self.arena.egress(slot, &mut self.interface, smoltcp_time(now), &mut device);
        let answered = self.scratch.emitted().is_some_and(|answer| {
            let tcp = if ack.flow.peer.is_ipv4() { 20 } else { 40 };
            be32(answer, tcp + 4) == isn
        });
        if !answered {
            self.counters.drop_frame(DropCause::MalformedSegment);
            return self.release(slot, CloseReason::Aborted);
        }
        self.counters.cookies_accepted += 1;
        self.known(now, slot, ack);
    }

    /// Takes note of a segment of no connection that may have been meant to complete a handshake.
    pub(super) fn note_failed_cookie(&mut self, now: Instant, segment: &Segment<'_>) {
        if self.cookies_until.is_some_and(|until| now < until) && self.may_complete(segment) {
            self.counters.cookies_failed += 1;
        }
    }

    /// Answers a SYN that comes again before its handshake is complete.
    pub(super) fn answer_again(&mut self, now: Instant, slot: u32) {
        let tsval = self.timestamp(now);
        let window = self.own_window();
        let connection = &self.connections[slot as usize];
        let (flow, numbers) = (connection.flow.flow(), &connection.sequence);
        let theirs = numbers.offered;
        let has_marks = connection.marks.is_some();
        let ours = SynOptions {
            mss: self.own_mss(&flow),
            window_scale: theirs.window_scale.map(|_| 0),
            sack_permitted: theirs.sack_permitted,
        };
        let answer = BareSegment {
            sequence: numbers.initial_sent,
            acknowledgement: numbers.receive_next,
            flags: flags::SYN | flags::ACK | if has_marks { flags::ECE } else { 0 },
            window,
            timestamps: numbers.recent_timestamp.map(|recent| (tsval, recent)),
        };
        self.send_own(now, flow.peer.ip(), |packet| reply::syn(packet, &flow, &answer, ours));
    }

    /// Closes the idle connection that was not heard of for longest. False if there is none.
    pub(super) fn evict_idle(&mut self, now: Instant) -> bool {
        let connections = &self.connections;
        let found = self.admission.oldest_idle(now, EVICTION_TRIES, |slot| {
            let connection = &connections[slot as usize];
            connection.idle.then_some(connection.heard)
        });
        let Some(slot) = found else { return false };
        self.counters.idle_evicted += 1;
        self.displace(now, slot);
        true
    }

    /// Closes an idle connection for others.
    fn displace(&mut self, now: Instant, slot: u32) {
        let connection = &self.connections[slot as usize];
        let flow = connection.flow.flow();
        let reset = BareSegment {
            sequence: connection.sequence.sent_end,
            acknowledgement: connection.sequence.receive_next,
            flags: flags::RST | flags::ACK,
            window: 0,
            timestamps: None,
        };
        self.send_own(now, flow.peer.ip(), |packet| reply::bare_segment(packet, &flow, &reset));
        self.release(slot, CloseReason::Displaced);
    }

    /// Keeps the count of idle connections true after something has happened to one, and lets the oldest
    /// go if there are too many, in all or of its source.
    pub(super) fn note_idle(&mut self, now: Instant, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let is_idle = connection.phase == Phase::Open && connection.has_nothing_pending();
        if is_idle == connection.idle {
            return;
        }
        connection.idle = is_idle;
        let is_counted = self.limits.idle_per_source < usize::MAX && connection.is_accepted;
        let source = connection.peer_ip().into();
        if !is_idle {
            self.idle -= 1;
            if is_counted {
                self.idle_sources.leave(slot, source);
            }
            return;
        }
        self.idle += 1;
        if is_counted
            && self.idle_sources.enter(slot, source) > self.limits.idle_per_source
            && let Some(oldest) = self.idle_sources.oldest(source)
        {
            self.counters.idle_over_share += 1;
            self.displace(now, oldest);
        }
        if self.idle > self.limits.idle {
            self.evict_idle(now);
        }
    }

    /// Whether as many handshakes are going on as may be.
    pub(super) fn is_pressed(&self) -> bool {
        self.admission.all().embryonic >= self.limits.embryonic
    }

    /// The largest segment that we take on a flow, in bytes, as smoltcp has it.
    fn own_mss(&self, flow: &Flow) -> u16 {
        let headers = if flow.peer.is_ipv4() { 40 } else { 60 };
        (self.port.capabilities().mtu - headers) as u16
    }

    fn own_window(&self) -> u16 {
        u16::try_from(self.limits.receive_window).unwrap_or(u16::MAX)
    }
}
