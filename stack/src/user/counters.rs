//! What one core's stack has counted: plain numbers, written by that core alone.

use std::fmt;

use super::recovery::Cause;

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Why a frame was dropped.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum DropCause { $($(#[$doc])* $name,)* }

        impl DropCause {
            /// All causes, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// A few words, for people and metrics.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl fmt::Display for DropCause {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

causes! {
    /// Too short for an Ethernet header.
    MalformedFrame => "malformed frame",
    /// For another station or address.
    NotForUs => "not for us",
    /// An L3 or ARP packet that contradicts itself.
    MalformedPacket => "malformed packet",
    /// A TCP segment that contradicts itself.
    MalformedSegment => "malformed segment",
    /// A checksum is wrong.
    BadChecksum => "bad checksum",
    /// A fragment: they are not reassembled.
    Fragment => "fragment",
    /// A source address that nobody may send from.
    BadSource => "bad source address",
    /// Neither ARP, TCP nor ICMP.
    UnknownProtocol => "unknown protocol",
    /// A segment of no connection of ours.
    NoConnection => "no connection",
    /// An acknowledgement of bytes never sent (RFC 5961 section 5).
    BadAcknowledgement => "acknowledges what was not sent",
    /// A sequence number far outside the window.
    BadSequence => "sequence number far outside the window",
    /// An RST without the exact sequence number (RFC 5961 section 3).
    InexactReset => "reset without the exact sequence number",
    /// A SYN on a live connection (RFC 5961 section 4).
    SynOnConnection => "SYN on a live connection",
    /// Bytes or a FIN behind the peer's FIN.
    BeyondEnd => "beyond the peer's end",
    /// A timestamp older than the last one (PAWS, RFC 7323 section 5).
    OldTimestamp => "timestamp older than the last one",
    /// A source has as many connections as it may have.
    SourceLimit => "too many connections of one source",
    /// No slot for a new connection.
    NoSlot => "no slot for a new connection",
    /// No frame for a reply, which the peer will ask for again.
    NoFrame => "no frame to reply with",
    /// The next hop has not answered ARP or NDP.
    NoNeighbor => "next hop not resolved",
    /// No route to the destination.
    NoRoute => "no route",
    /// The channel to the core that owns the flow was full.
    MeshFull => "hop channel full",
    /// An ICMP message of a kind that is not answered or does not fit a flow.
    IgnoredIcmp => "ignored ICMP message",
}

/// What one core's stack has counted since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UserCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections opened by us.
    pub connected: u64,
    /// Connections gone, for whatever reason.
    pub closed: u64,
    /// Handshakes that were given up.
    pub embryonic_expired: u64,
    /// SYNs answered with a cookie, since too many handshakes were going on.
    pub cookies_sent: u64,
    /// Connections opened by a cookie that came back.
    pub cookies_accepted: u64,
    /// ACKs of no connection, while cookies were out, that brought none of ours back.
    pub cookies_failed: u64,
    /// Idle connections closed to make room.
    pub idle_evicted: u64,
    /// Idle connections closed since their source had more than its share.
    pub idle_over_share: u64,
    /// ICMP errors that were believed and limit a path's packets.
    pub path_limits: u64,
    /// Other ICMP errors that were believed: they end no connection.
    pub soft_errors: u64,
    /// Challenge ACKs sent (RFC 5961).
    pub challenges_sent: u64,
    /// Challenge ACKs not sent since there had been too many.
    pub challenges_withheld: u64,
    /// Segments received and accepted by the parser.
    pub segments_received: u64,
    /// Segments sent, retransmissions included.
    pub segments_sent: u64,
    /// Payload bytes sent for the first time.
    pub bytes_sent: u64,
    /// Payload bytes sent again.
    pub bytes_retransmitted: u64,
    /// Segments sent again because something sent later had arrived (RACK, duplicate acknowledgements).
    pub again_overtaken: u64,
    /// Segments sent again after a timeout.
    pub again_timeout: u64,
    /// Segments sent again as probes.
    pub again_probe: u64,
    /// Retransmission timers that have run out.
    pub timeouts: u64,
    /// Tail loss probes.
    pub tail_probes: u64,
    /// Probes of closed windows.
    pub window_probes: u64,
    /// Times that a congestion window was reduced to repair losses or for a mark.
    pub recoveries: u64,
    /// Reductions that were not needed and taken back.
    pub recoveries_undone: u64,
    /// Timers of connections that have run out.
    pub timers: u64,
    /// Resets sent for segments of no connection.
    pub resets_sent: u64,
    /// ARP, NDP and ICMP echo replies sent.
    pub link_replies: u64,
    /// Packets handed to the core that owns their flow.
    pub hopped_out: u64,
    /// Packets received from other cores.
    pub hopped_in: u64,
    /// Questions asked to all other cores.
    pub questions: u64,
    /// Turns that ended with frames that the port would not take.
    pub back_pressure: u64,
    pub(super) drops: [u64; DropCause::ALL.len()],
}

impl UserCounters {
    /// Counts a dropped frame.
    pub fn drop_frame(&mut self, cause: DropCause) {
        self.drops[cause as usize] += 1;
    }

    /// Counts a stretch that was sent again.
    pub(super) fn count_again(&mut self, cause: Cause) {
        *match cause {
            Cause::Overtaken => &mut self.again_overtaken,
            Cause::Timeout => &mut self.again_timeout,
            Cause::Probe => &mut self.again_probe,
        } += 1;
    }

    /// How many frames were dropped for this cause.
    pub fn dropped(&self, cause: DropCause) -> u64 {
        self.drops[cause as usize]
    }

    /// All causes for which frames were dropped, with how many.
    pub fn drops(&self) -> impl Iterator<Item = (DropCause, u64)> + '_ {
        DropCause::ALL.iter().map(|&cause| (cause, self.dropped(cause))).filter(|drop| drop.1 > 0)
    }
}
