//! SYN-RECEIVED after SYN-SENT: both ends have opened at once (RFC 9293 section 3.5, figure 8).
//!
//! The peer's numbers are known from its SYN, so its segments are judged as those of any connection. Two things
//! are of this state alone. An acknowledgement of anything but our SYN is reset (RFC 9293 section 3.10.7.4).
//! And the peer, which is in the same state, sends its SYN once more, now with an acknowledgement of ours: to
//! smoltcp, and to the letter of the acceptability test, an old duplicate, but it completes the handshake.

use super::{
    connection::SequenceState,
    flow_table::Flow,
    packet::{Segment, flags},
    reply::{self, BareSegment},
};

/// Room for the longest acknowledgement without payload.
pub const ROOM: usize = 80;

impl SequenceState {
    /// Whether the peer's SYN has come.
    pub fn has_begun(&self) -> bool {
        // An offer is never without a segment size.
        self.offered.mss > 0
    }

    /// Whether the segment is the peer's SYN again, with an acknowledgement of ours and nothing else.
    pub fn is_answered_by(&self, segment: &Segment<'_>) -> bool {
        self.has_begun()
            && segment.has(flags::SYN | flags::ACK)
            && segment.flags & (flags::RST | flags::FIN) == 0
            && segment.payload_len == 0
            && segment.sequence == self.initial_received
            && segment.acknowledgement == self.sent_end
    }
}

/// What of such a segment is news: its acknowledgement. It is written into `packet`.
pub fn acknowledgement_of<'a>(syn: &Segment<'_>, packet: &'a mut [u8; ROOM]) -> Segment<'a> {
    let sequence = syn.sequence.wrapping_add(1);
    let bare = BareSegment {
        sequence,
        acknowledgement: syn.acknowledgement,
        flags: flags::ACK,
        window: syn.window(),
        timestamps: syn.timestamps,
    };
    let reverse = Flow { peer: syn.flow.local, local: syn.flow.peer };
    let len = reply::bare_segment(packet, &reverse, &bare);
    Segment {
        flow: syn.flow,
        packet: &packet[..len],
        sequence,
        acknowledgement: syn.acknowledgement,
        flags: flags::ACK,
        payload_len: 0,
        timestamps: syn.timestamps,
    }
}
