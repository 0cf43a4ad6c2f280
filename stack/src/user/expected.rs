//! The expected segment: the very next bytes, on an open connection to which none are missing. It goes past
//! smoltcp, as header prediction goes past the long way in other stacks (Jacobson, 1990).
//!
//! smoltcp need not know of such bytes at all, just as it knows of none that we send: they are counted
//! (`passed`), and segments that it is given, and acknowledgements that it emits, are put into numbers in
//! which those bytes never were. All else is as it is: what comes early, twice or in part, windows, FIN and
//! RST are smoltcp's business. While it holds anything, be it early bytes or some for which the caller has
//! no room, nothing passes it by, so the order of bytes is the stream's.
//!
//! The window that the peer is told ends no later than the socket's. That end moves on with every byte that
//! passes, since the socket's buffer stays as empty as it was; `window_spare` is by how much, until the peer
//! is told.

use pagewire_driver::{Instant, Port};

use super::{
    Connection, Phase, UserStack,
    connection::SequenceState,
    packet::{Segment, be32, flags},
    sequence::ahead,
    settle::Progress,
};

/// The option's kind (RFC 2018 section 3).
const SACK: u8 = 5;

impl Connection {
    /// Whether the segment brings just the bytes that come next, and there is room for them: at most `head`
    /// bytes wait for the caller.
    pub fn expects(&self, segment: &Segment<'_>, head: usize) -> bool {
        let numbers = &self.sequence;
        let plain = segment.flags & !(flags::PSH | flags::CWR | flags::ECE) == flags::ACK;
        plain
            && self.phase == Phase::Open
            && segment.payload_len > 0
            && segment.sequence == numbers.receive_next
            && segment.payload_len as u64 <= numbers.window_left().into()
            && !numbers.has_end
            && !self.holds_back
            && numbers.early_end.is_none()
            && self.unconsumed().len() + segment.payload_len <= head
    }
}

impl SequenceState {
    /// Bytes that the peer may still send, as far as it was told.
    pub fn window_left(&self) -> u32 {
        let received = self.receive_next.wrapping_sub(self.receive_told);
        u32::from(self.window_told).saturating_sub(received)
    }

    /// Bytes that the socket takes from here on.
    pub fn window(&self) -> u32 {
        let received = self.receive_next.wrapping_sub(self.receive_told);
        (u32::from(self.window_told) + u32::from(self.window_spare)).saturating_sub(received)
    }

    /// The next segment acknowledges all that was received and offers what the socket takes.
    pub fn tell(&mut self) {
        self.window_told = u16::try_from(self.window()).unwrap_or(u16::MAX);
        self.window_spare = 0;
        self.receive_told = self.receive_next;
    }

    /// Takes note of bytes that the socket is given before their time, if it has room for them.
    pub fn note_early(&mut self, segment: &Segment<'_>, window: u32) {
        let early = ahead(segment.sequence, self.receive_next);
        if segment.payload_len == 0 || early <= 0 || early.unsigned_abs() > window {
            return;
        }
        let end = segment.sequence.wrapping_add(segment.payload_len as u32);
        let last = self.early_end.unwrap_or(end);
        self.early_end = Some(if ahead(end, last) > 0 { end } else { last });
    }

    /// Forgets about early bytes when all before them, and they themselves, have come.
    pub fn forget_early(&mut self) {
        self.early_end = self.early_end.filter(|&end| ahead(end, self.receive_next) > 0);
    }

    /// Takes bytes that pass the socket by.
    fn pass(&mut self, len: usize) {
        self.passed = self.passed.wrapping_add(len as u32);
        self.receive_next = self.receive_next.wrapping_add(len as u32);
        self.window_spare = self.window_spare.saturating_add(len as u16);
    }

    /// Puts what a packet of smoltcp's says of the peer's stream into the peer's numbers: its acknowledgement
    /// and its SACK blocks.
    pub fn say_passed(&self, packet: &mut [u8]) {
        let ip_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let tcp = &mut packet[ip_len..];
        if self.passed == 0 || tcp[13] & flags::ACK == 0 {
            return;
        }
        let add = |field: &mut [u8]| {
            let number = be32(field, 0).wrapping_add(self.passed);
            field.copy_from_slice(&number.to_be_bytes());
        };
        add(&mut tcp[8..12]);
        let header_len = usize::from(tcp[12] >> 4) * 4;
        let mut options = &mut tcp[20..header_len];
        while let [kind, rest @ ..] = options {
            let len = match *kind {
                0 => return,
                1 => 1,
                _ => usize::from(rest.first().copied().unwrap_or(0)).max(2),
            };
            let kind = *kind;
            let Some((option, others)) = options.split_at_mut_checked(len) else { return };
            if kind == SACK {
                option[2..].chunks_exact_mut(4).for_each(add);
            }
            options = others;
        }
    }
}

impl<P: Port> UserStack<P> {
    /// Takes the payload of a segment that was expected. `progress` is what it has acknowledged.
    pub(super) fn take_expected(
        &mut self,
        now: Instant,
        slot: u32,
        segment: &Segment<'_>,
        progress: Progress,
    ) {
        let connection = &mut self.connections[slot as usize];
        let head = connection.head.get_or_insert_with(|| self.heads.take());
        head.extend(segment.payload());
        connection.sequence.pass(segment.payload_len);
        self.report_received(slot, true, progress);
        self.rest(now, slot, true);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::user::{
        flow_table::Flow,
        reply::{self, BareSegment},
    };

    /// A packet of smoltcp's with an acknowledgement, a SACK block and timestamps, and where its TCP is.
    fn packet(is_ipv6: bool, acknowledgement: u32) -> ([u8; 120], usize, usize) {
        let (peer, local) = if is_ipv6 {
            ("[fd00::2]:40000", "[fd00::1]:80")
        } else {
            ("10.0.0.2:40000", "10.0.0.1:80")
        };
        let flow = Flow { peer: peer.parse().unwrap(), local: local.parse().unwrap() };
        let bare = BareSegment {
            sequence: 7,
            acknowledgement,
            flags: flags::ACK,
            window: 100,
            timestamps: Some((1, 2)),
        };
        let mut packet = [0; 120];
        let len = reply::bare_segment(&mut packet, &flow, &bare);
        let tcp = if is_ipv6 { 40 } else { 20 };
        // Padding, two blocks, and an end of the list behind them.
        packet[len..len + 20].copy_from_slice(&[
            1, 1, SACK, 18, 0, 0, 1, 0, 0, 0, 1, 9, 255, 255, 255, 250, 255, 255, 255, 255,
        ]);
        packet[tcp + 12] = 13 << 4;
        (packet, tcp, len + 20)
    }

    #[test]
    fn acknowledgement_and_sack_blocks_are_put_into_the_peers_numbers() {
        for is_ipv6 in [false, true] {
            let (mut packet, tcp, len) = packet(is_ipv6, u32::MAX);
            let before = packet;
            let mut state = SequenceState::default();
            state.say_passed(&mut packet[..len]);
            assert_eq!(packet, before, "nothing has passed");
            state.passed = 10;
            state.say_passed(&mut packet[..len]);
            assert_eq!(be32(&packet, tcp + 8), 9);
            let blocks = [0, 4, 8, 12].map(|at| be32(&packet, tcp + 36 + at));
            assert_eq!(blocks, [266, 275, 4, 9]);
            let unchanged = |range: std::ops::Range<usize>| {
                assert_eq!(packet[range.clone()], before[range]);
            };
            unchanged(0..tcp + 8);
            unchanged(tcp + 12..tcp + 36);
        }
    }

    proptest! {
        #[test]
        fn options_of_any_shape_are_gone_through(bytes in prop::collection::vec(any::<u8>(), 40)) {
            let (mut packet, tcp, _) = packet(false, 0);
            packet[tcp + 20..tcp + 60].copy_from_slice(&bytes);
            packet[tcp + 12] = 15 << 4;
            SequenceState { passed: 1, ..SequenceState::default() }.say_passed(&mut packet[..80]);
        }

        /// The window told never ends behind the socket's, and `tell` makes it end there.
        #[test]
        fn windows_end_where_the_sockets_does(
            lens in prop::collection::vec((1u32..200, any::<bool>(), any::<bool>()), 1..50),
        ) {
            let mut state = SequenceState { window_told: 1_000, ..SequenceState::default() };
            let mut socket_end = 1_000;
            for (len, passes, tells) in lens {
                if len > state.window_left() {
                    state.tell();
                }
                if len > state.window_left() {
                    break;
                }
                if passes {
                    state.pass(len as usize);
                    socket_end += len;
                } else {
                    state.receive_next += len;
                }
                if tells {
                    state.tell();
                    prop_assert_eq!(state.window_left(), state.window());
                }
                prop_assert_eq!(state.receive_next + state.window(), socket_end);
                prop_assert!(state.receive_told + u32::from(state.window_told) <= socket_end);
            }
        }
    }
}
