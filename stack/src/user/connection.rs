//! One connection's state beside its socket: identity, phase, what it sends and has received.

use std::{net::IpAddr, time::Duration};

use pagewire_driver::{Instant, MacAddress};

use super::{
    config::UserLimits,
    flow_table::{Flow, PackedFlow},
    handshake::SynOptions,
    head::Head,
    packet::{Segment, flags},
    recovery::{Sender, Terms},
    sequence::ahead,
    timer_wheel::Tick,
    tx_map::TxMap,
};
use crate::{CloseReason, ConnectionId};

/// Least segment size that is taken from a peer (Linux: `TCP_MIN_SND_MSS`, include/net/tcp.h).
const LEAST_MSS: usize = 48;
/// A handshake that took this long was most likely sent twice: it measures no round trip (RFC 6298 section
/// 2.1 has one second; a little less for timers' grain). The next time is after twice as long.
const SYN_RETRANSMISSION: Duration = Duration::from_millis(990);

/// Where a connection is in its life. TCP's own state is the socket's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The slot is free.
    Vacant,
    /// A SYN has come and nobody has been told.
    Embryonic,
    /// Our SYN is out.
    Connecting,
    /// Established, and open for the caller.
    Open,
    /// The caller has closed it; what was submitted is still being sent.
    Closing,
    /// To be reset as soon as there is a frame for it, for this reason.
    Aborting(CloseReason),
}

/// A tick that never comes.
pub const NEVER: Tick = Tick::MAX;

/// A point in time or none, in no more bytes than the former.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment(Instant);

impl Moment {
    /// None.
    pub const NONE: Self = Self(Instant::from_nanos(u64::MAX));

    /// That point in time.
    pub fn at(at: Instant) -> Self {
        Self(at)
    }

    /// The point in time, if there is one.
    pub fn get(self) -> Option<Instant> {
        (self != Self::NONE).then_some(self.0)
    }

    /// Whether it has come.
    pub fn is_past(self, now: Instant) -> bool {
        self.0 <= now
    }

    /// Makes it that one unless there is one already.
    pub fn set_first(&mut self, at: Instant) {
        if *self == Self::NONE {
            self.0 = at;
        }
    }
}

/// What is to be said about marked packets (RFC 3168 section 6.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// One has come, and the peer does not know that we know.
    pub echoes: bool,
    /// Our window was reduced for one, and the peer does not know.
    pub reduced: bool,
}

/// See the module. On cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Connection {
    /// How often the slot had been used before.
    pub generation: u32,
    /// The 4-tuple.
    pub flow: PackedFlow,
    /// The lower half of the 4-tuple's hash.
    pub hash: u32,
    /// Where in its life it is.
    pub phase: Phase,
    /// What there is to send.
    pub tx: TxMap,
    /// Offset in the stream from which on a helper has been asked for bytes; the largest number if none has.
    pub disk_awaited_at: u64,
    /// Received bytes that the caller has not consumed, if there are any.
    pub head: Option<Box<Head>>,
    /// Whether more bytes wait in the socket for room in `head`.
    pub holds_back: bool,
    /// Whether the peer's FIN has been reported.
    pub peer_closed: bool,
    /// Whether the socket has been told to send a FIN.
    pub fin_queued: bool,
    /// Whether something was received since the caller last submitted.
    pub asked: bool,
    /// Whether it is counted as idle.
    pub idle: bool,
    /// Whether it is in the list of connections that may have something to send.
    pub ready: bool,
    /// Whether it has received something that is not acknowledged, and its timer does not say by when to.
    pub unanswered: bool,
    /// Marks by routers, if both ends heed them (RFC 3168).
    pub marks: Option<Marks>,
    /// Whether each SYN that we have sent has asked for marks: the first does, a second does not.
    pub marks_asked: Option<bool>,
    /// Whether the peer opened it.
    pub is_accepted: bool,
    /// Whether the socket may have something to say.
    pub speaks: bool,
    /// When what was received is acknowledged at the latest.
    pub acknowledge_by: Moment,
    /// What is sent when, and again.
    pub sender: Sender,
    /// When the wheel comes up for the slot, and when after that, as far as it is known. Of the slot, not of
    /// the connection: timers are not cancelled.
    pub armed: [Tick; 2],
    /// Sequence numbers and timestamps.
    pub sequence: SequenceState,
    /// When the present phase began; for `Closing`, when our FIN was acknowledged.
    pub since: Instant,
    /// Last segment from the peer.
    pub heard: Instant,
    /// Since when something waits to be sent or acknowledged without progress.
    pub unacknowledged_since: Moment,
    /// The next hop's MAC address, as of this generation of the neighbour table.
    pub next_hop: Option<(MacAddress, u32)>,
    /// When the next hop was last told to have delivered something.
    pub delivered: Instant,
}

/// One more field may cost each connection a cache line.
const _: () = assert!(size_of::<Connection>() == 448);

/// Sequence numbers and timestamps, as far as the defences need them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequenceState {
    /// Our initial sequence number.
    pub initial_sent: u32,
    /// Behind the highest sequence number ever sent.
    pub sent_end: u32,
    /// The peer's initial sequence number.
    pub initial_received: u32,
    /// Bytes taken out of the socket's receive buffer, modulo 2^32.
    pub drained: u32,
    /// Bytes received that have passed the socket by, modulo 2^32 (see `expected`).
    pub passed: u32,
    /// Behind the last byte that came too early and that the socket may hold.
    pub early_end: Option<u32>,
    /// What the peer's SYN offered.
    pub offered: SynOptions,
    /// The window field of the peer's latest acknowledgement.
    pub peer_window: u16,
    /// The next sequence number expected from the peer.
    pub receive_next: u32,
    /// What we have told the peer to have received.
    pub receive_told: u32,
    /// The window field that we have told it.
    pub window_told: u16,
    /// By how much the socket's window ends behind the one told.
    pub window_spare: u16,
    /// Whether `receive_next` is behind the peer's FIN.
    pub has_end: bool,
    /// The peer's latest timestamp, if it sends any (RFC 7323).
    pub recent_timestamp: Option<u32>,
    /// No challenge ACK before this (RFC 5961 section 10).
    pub challenge_after: Instant,
}

impl Connection {
    /// A free slot.
    pub fn vacant() -> Self {
        let nowhere = ([0, 0, 0, 0], 0).into();
        Self {
            generation: 0,
            flow: PackedFlow::new(&Flow { peer: nowhere, local: nowhere }),
            hash: 0,
            phase: Phase::Vacant,
            tx: TxMap::default(),
            disk_awaited_at: u64::MAX,
            head: None,
            holds_back: false,
            peer_closed: false,
            fin_queued: false,
            asked: false,
            idle: false,
            ready: false,
            unanswered: false,
            marks: None,
            marks_asked: None,
            is_accepted: false,
            speaks: false,
            acknowledge_by: Moment::NONE,
            sender: Sender::default(),
            armed: [NEVER; 2],
            sequence: SequenceState::default(),
            since: Instant::ZERO,
            heard: Instant::ZERO,
            unacknowledged_since: Moment::NONE,
            next_hop: None,
            delivered: Instant::ZERO,
        }
    }

    /// Makes a vacant slot the connection of `flow`.
    pub fn occupy(&mut self, now: Instant, flow: &Flow, hash: u64, phase: Phase) {
        let (generation, armed) = (self.generation, self.armed);
        *self = Self {
            generation,
            armed,
            flow: PackedFlow::new(flow),
            hash: hash as u32,
            phase,
            is_accepted: phase == Phase::Embryonic,
            since: now,
            heard: now,
            delivered: now,
            ..Self::vacant()
        };
    }

    /// Its id, given its slot.
    pub fn id(&self, slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: self.generation }
    }

    /// Whether the caller knows of it.
    pub fn is_known(&self) -> bool {
        !matches!(self.phase, Phase::Vacant | Phase::Embryonic)
    }

    /// Whether incoming bytes have nobody to go to.
    pub fn discards(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Aborting(_))
    }

    /// Whether there is neither a request without an answer nor anything in flight.
    pub fn has_nothing_pending(&self) -> bool {
        !self.asked && !self.holds_back && self.tx.pending() == 0 && self.unconsumed().is_empty()
    }

    /// Brings what may have to be sent again towards the core's cache, and what is known of it.
    pub fn prefetch_sent(&self) {
        self.sender.prefetch();
        self.tx.prefetch();
    }

    /// Received bytes that are not consumed.
    pub fn unconsumed(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], |head| head.unconsumed())
    }

    /// The first sequence number that is not acknowledged.
    pub fn unacknowledged(&self) -> u32 {
        self.sequence_of(self.sender.acknowledged())
    }

    /// The sequence number of a stream offset.
    pub fn sequence_of(&self, offset: u64) -> u32 {
        self.sequence.initial_sent.wrapping_add(1).wrapping_add(offset as u32)
    }

    /// The stream offset of a sequence number near the present ones. `None` before the stream.
    pub fn offset_of(&self, sequence: u32) -> Option<u64> {
        let ahead = ahead(sequence, self.unacknowledged());
        self.sender.acknowledged().checked_add_signed(i64::from(ahead))
    }

    /// Whether the peer has acknowledged our FIN.
    pub fn fin_acknowledged(&self) -> bool {
        self.fin_queued && self.sender.acknowledged() > self.tx.submitted()
    }

    /// Whether something received has not been acknowledged.
    pub fn owes_acknowledgement(&self) -> bool {
        self.sequence.receive_next != self.sequence.receive_told
    }

    /// The sequence and acknowledgement numbers of a segment in the socket's numbers: what has passed it by
    /// was never there, and of what we send it knows our SYN and FIN, and no byte between them.
    pub fn numbers_for_socket(&self, segment: &Segment<'_>) -> (u32, u32) {
        let sequence = segment.sequence.wrapping_sub(self.sequence.passed);
        (sequence, self.sequence_of(u64::from(self.fin_acknowledged())))
    }

    /// Whether there is, or may be, something to send.
    pub fn wants_turn(&self) -> bool {
        self.tx.unqueued() > 0
            || self.speaks
            || self.sender.has_lost()
            || (self.phase == Phase::Closing && !self.fin_queued)
            || !matches!(self.phase, Phase::Open | Phase::Closing)
    }

    /// The handshake is complete: what it has settled goes to the sender. `mtu` is the link's.
    pub fn begin_sending(&mut self, now: Instant, mtu: usize) {
        let headers = if self.flow.is_ipv6() { 60 } else { 40 };
        let options = if self.sequence.recent_timestamp.is_some() { 12 } else { 0 };
        let offered = &self.sequence.offered;
        let mss = usize::from(offered.mss).max(LEAST_MSS).min(mtu - headers) - options;
        // The window of a SYN-ACK is not scaled (RFC 7323 section 2.2).
        let scale = offered.window_scale.filter(|_| self.is_accepted).unwrap_or(0);
        let rtt = now - self.since;
        let timeouts = [1, 3].map(|times| rtt >= SYN_RETRANSMISSION * times);
        let terms = Terms {
            mss: mss as u32,
            has_sack: offered.sack_permitted,
            window: u32::from(self.sequence.peer_window) << scale,
            window_sequence: self.sequence.receive_next.wrapping_sub(1),
            // Of a handshake that a cookie stands for nothing was measured.
            rtt: Some(rtt).filter(|rtt| !rtt.is_zero() && *rtt < SYN_RETRANSMISSION),
            timeouts: timeouts.map(u8::from).iter().sum(),
        };
        self.sender = Sender::new(now, &terms);
    }

    /// When the connection is to be given up or let go, unless something happens.
    pub fn deadline(&self, limits: &UserLimits) -> Option<Instant> {
        match self.phase {
            Phase::Vacant | Phase::Aborting(_) => None,
            Phase::Embryonic | Phase::Connecting => Some(self.since + limits.handshake),
            Phase::Open | Phase::Closing => match self.unacknowledged_since.get() {
                Some(since) => Some(since.max(self.heard) + limits.silence),
                None if self.phase == Phase::Closing && self.fin_queued => {
                    Some(self.since + limits.linger)
                }
                None => None,
            },
        }
    }

    /// Flags of the SYN that is about to be sent on a connection that we open. A second SYN does without
    /// marks, in case it is them that somebody on the path does not let through (RFC 3168 section 6.1.1.1).
    pub fn syn_marks(&mut self) -> u8 {
        let asks = self.marks_asked.is_none();
        self.marks_asked = Some(asks);
        if asks { flags::ECE | flags::CWR } else { 0 }
    }

    /// Takes the answer to our SYN: whether the peer heeds marks too.
    pub fn agree_on_marks(&mut self, answer: &Segment<'_>) {
        // Who sends back what it has not understood sets both flags.
        let agrees =
            answer.flags & (flags::ACK | flags::ECE | flags::CWR) == flags::ACK | flags::ECE;
        self.marks = (agrees && self.marks_asked == Some(true)).then(Marks::default);
    }

    /// The peer's address.
    pub fn peer_ip(&self) -> IpAddr {
        self.flow.peer_ip()
    }
}
