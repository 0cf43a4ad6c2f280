//! Which segments a connection's socket gets to see: blind attacks and old duplicates stop here
//! (RFC 5961, RFC 7323 section 5).
//!
//! Against RFC 7323 section 3.2, and as in Linux, a segment without a timestamp is taken on a connection that
//! has them: a router that strips one from our SYN-ACK would make the peer leave them all out.

use std::time::Duration;

use pagewire_driver::{Instant, Random};

use super::{
    connection::SequenceState,
    counters::DropCause,
    packet::{Segment, flags},
    sequence::ahead,
};

/// Distance between sequence numbers beyond which a segment cannot be of this connection. Half of what
/// comparison modulo 2^32 allows; windows are far smaller.
const FAR: u32 = 1 << 30;
/// Silence after which a peer's timestamp says nothing any more (RFC 7323 section 5.5).
const OUTDATED: Duration = Duration::from_hours(24 * 24);
/// Least time between two challenge ACKs of one connection.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// What to do with a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Give it to the socket.
    Pass,
    /// Drop it.
    Drop(DropCause),
    /// Drop it and acknowledge what was received so far.
    Challenge(DropCause),
}

/// What a segment is judged by, besides the numbers of its connection.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// The first sequence number not yet acknowledged (SND.UNA).
    pub unacknowledged: u32,
    /// The largest window that the peer has offered (MAX.SND.WND).
    pub send_window: u32,
    /// Our receive window.
    pub receive_window: u32,
    /// How long nothing has come from the peer.
    pub silence: Duration,
}

/// Judges a segment of a connection past its handshake.
pub fn judge(
    state: &mut SequenceState,
    now: Instant,
    segment: &Segment<'_>,
    measure: &Measure,
) -> Verdict {
    if segment.has(flags::SYN) {
        // RFC 5961 section 4.2: whatever its sequence number.
        return challenge(state, now, DropCause::SynOnConnection);
    }
    if segment.has(flags::RST) {
        // RFC 5961 section 3.2.
        return match segment.sequence.wrapping_sub(state.receive_next) {
            0 => Verdict::Pass,
            ahead if ahead < measure.receive_window => {
                challenge(state, now, DropCause::InexactReset)
            }
            _ => Verdict::Drop(DropCause::InexactReset),
        };
    }
    if ahead(segment.sequence, state.receive_next).unsigned_abs() > FAR {
        // RFC 9293 section 3.10.7.4: what is not acceptable is answered.
        return challenge(state, now, DropCause::BadSequence);
    }
    if segment.has(flags::ACK) {
        // RFC 5961 section 5.2.
        let oldest = measure.unacknowledged.wrapping_sub(measure.send_window);
        let newest = state.sent_end.wrapping_sub(oldest);
        if segment.acknowledgement.wrapping_sub(oldest) > newest {
            return challenge(state, now, DropCause::BadAcknowledgement);
        }
    }
    if state.has_end && ends_after(state, segment) {
        // RFC 9293 section 3.10.7.4: it should not occur, so the text is ignored.
        return Verdict::Drop(DropCause::BeyondEnd);
    }
    if let (Some(recent), Some((timestamp, _))) = (state.recent_timestamp, segment.timestamps) {
        if ahead(timestamp, recent) < 0 && measure.silence < OUTDATED {
            // A bare acknowledgement overtaken by another one is harmless.
            if segment.sequence_len() > 0 {
                return challenge(state, now, DropCause::OldTimestamp);
            }
        } else if ahead(segment.sequence, state.receive_told) <= 0
            && segment.has(flags::ACK)
            && reaches(state, segment)
        {
            // RFC 7323 section 4.3: of several that one acknowledgement is for, the earliest is echoed.
            state.recent_timestamp = Some(timestamp);
        }
    }
    Verdict::Pass
}

/// Whether a segment that does not begin too late ends late enough to be acceptable (RFC 9293 section
/// 3.10.7.4). An old one, or one made up by a stranger, must not renew the timestamp.
fn reaches(state: &SequenceState, segment: &Segment<'_>) -> bool {
    ahead(segment.sequence.wrapping_add(segment.sequence_len()), state.receive_next) >= 0
}

/// Whether a segment occupies numbers behind the next one expected.
fn ends_after(state: &SequenceState, segment: &Segment<'_>) -> bool {
    segment.sequence_len() > 0
        && ahead(segment.sequence.wrapping_add(segment.sequence_len()), state.receive_next) > 0
}

/// Whether the segment is a FIN that has come before bytes that belong before it. It holds nothing else,
/// so smoltcp would not answer it, and the peer would not learn what is missing (RFC 5681 section 4.2).
pub fn is_early_fin(state: &SequenceState, segment: &Segment<'_>) -> bool {
    segment.has(flags::FIN)
        && segment.payload_len == 0
        && ahead(segment.sequence, state.receive_next) > 0
}

/// Whether the segment is the SYN that the handshake began with.
pub fn is_syn_again(state: &SequenceState, segment: &Segment<'_>) -> bool {
    segment.flags & (flags::SYN | flags::ACK) == flags::SYN
        && segment.sequence == state.initial_received
}

/// Whether the segment may be the SYN or SYN-ACK that answers our SYN (RFC 9293 section 3.10.7.3).
pub fn may_begin(state: &SequenceState, segment: &Segment<'_>) -> bool {
    segment.has(flags::SYN)
        && (!segment.has(flags::ACK) || segment.acknowledgement == state.sent_end)
}

/// How many challenge ACKs one core sends in a second, all connections together (RFC 5961 section 10).
/// The number is drawn anew for each second, so that a stranger learns nothing from when it is used up.
#[derive(Debug)]
pub struct ChallengeBudget {
    second: u64,
    left: u64,
    random: Random,
}

/// Fewest challenge ACKs of a second, and how many more there may be.
const CHALLENGES: (u64, u64) = (500, 1_000);

impl ChallengeBudget {
    /// A budget from a secret random number.
    pub fn new(secret: u64) -> Self {
        Self { second: 0, left: CHALLENGES.0, random: Random::new(secret) }
    }

    /// Takes one, if there is one left.
    pub fn take(&mut self, now: Instant) -> bool {
        let second = now.millis() / 1_000;
        if second != self.second {
            self.second = second;
            self.left = CHALLENGES.0 + self.random.below(CHALLENGES.1);
        }
        let has = self.left > 0;
        self.left -= u64::from(has);
        has
    }
}

fn challenge(state: &mut SequenceState, now: Instant, cause: DropCause) -> Verdict {
    if now < state.challenge_after {
        return Verdict::Drop(cause);
    }
    state.challenge_after = now + CHALLENGE_INTERVAL;
    Verdict::Challenge(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::flow_table::Flow;

    const MEASURE: Measure = Measure {
        unacknowledged: 4_000,
        send_window: 60_000,
        receive_window: 4_096,
        silence: Duration::ZERO,
    };

    fn state() -> SequenceState {
        SequenceState {
            sent_end: 5_000,
            receive_next: 1_000,
            receive_told: 1_000,
            recent_timestamp: Some(70),
            ..SequenceState::default()
        }
    }

    fn judge_one(state: &mut SequenceState, now: Instant, segment: Segment<'_>) -> Verdict {
        judge(state, now, &segment, &MEASURE)
    }

    fn segment(flags: u8, sequence: u32, acknowledgement: u32) -> Segment<'static> {
        let nowhere = ([0, 0, 0, 0], 0).into();
        Segment {
            flow: Flow { peer: nowhere, local: nowhere },
            packet: &[],
            sequence,
            acknowledgement,
            flags,
            payload_len: 0,
            timestamps: None,
        }
    }

    #[test]
    fn only_the_exact_reset_passes() {
        let now = Instant::from_millis(10_000);
        let reset = |sequence| judge_one(&mut state(), now, segment(flags::RST, sequence, 0));
        assert_eq!(reset(1_000), Verdict::Pass);
        assert_eq!(reset(1_001), Verdict::Challenge(DropCause::InexactReset));
        assert_eq!(reset(999), Verdict::Drop(DropCause::InexactReset));
        assert_eq!(reset(1_000 + 4_096), Verdict::Drop(DropCause::InexactReset));
    }

    #[test]
    fn a_syn_is_challenged_however_far_its_sequence_number_is() {
        let now = Instant::from_millis(10_000);
        let syn = segment(flags::SYN, 1_000 + (1 << 31), 0);
        let verdict = judge_one(&mut state(), now, syn);
        assert_eq!(verdict, Verdict::Challenge(DropCause::SynOnConnection));
    }

    #[test]
    fn challenges_are_rate_limited() {
        let (mut state, now) = (state(), Instant::from_millis(10_000));
        let syn = segment(flags::SYN, 1_000, 0);
        assert_eq!(judge_one(&mut state, now, syn), Verdict::Challenge(DropCause::SynOnConnection));
        assert_eq!(judge_one(&mut state, now, syn), Verdict::Drop(DropCause::SynOnConnection));
        let later = now + CHALLENGE_INTERVAL;
        assert_eq!(
            judge_one(&mut state, later, syn),
            Verdict::Challenge(DropCause::SynOnConnection)
        );
    }

    #[test]
    fn an_acknowledgement_of_what_was_not_sent_is_dropped() {
        let now = Instant::from_millis(10_000);
        let ack = |number| judge_one(&mut state(), now, segment(flags::ACK, 1_000, number));
        assert_eq!(ack(4_000), Verdict::Pass);
        assert_eq!(ack(5_000), Verdict::Pass);
        let refused = Verdict::Challenge(DropCause::BadAcknowledgement);
        assert_eq!(ack(5_001), refused);
        assert_eq!(ack(4_000u32.wrapping_sub(60_000)), Verdict::Pass);
        assert_eq!(ack(4_000u32.wrapping_sub(60_001)), refused, "older than any window");
        assert_eq!(ack(4_000u32.wrapping_add(1 << 31)), refused);
    }

    #[test]
    fn an_older_timestamp_is_an_old_duplicate_and_a_newer_one_is_kept() {
        let (mut state, now) = (state(), Instant::from_millis(10_000));
        let stamped = |timestamp| Segment {
            timestamps: Some((timestamp, 0)),
            payload_len: 1,
            ..segment(flags::ACK, 1_000, 4_000)
        };
        assert_eq!(
            judge_one(&mut state, now, stamped(69)),
            Verdict::Challenge(DropCause::OldTimestamp)
        );
        assert_eq!(judge_one(&mut state, now, stamped(80)), Verdict::Pass);
        assert_eq!(state.recent_timestamp, Some(80));
    }

    #[test]
    fn after_a_month_of_silence_no_timestamp_is_older() {
        let now = Instant::from_millis(10_000);
        let stamped = Segment {
            timestamps: Some((69, 0)),
            payload_len: 1,
            ..segment(flags::ACK, 1_000, 4_000)
        };
        let after = |silence| {
            let (mut state, measure) = (state(), Measure { silence, ..MEASURE });
            (judge(&mut state, now, &stamped, &measure), state.recent_timestamp)
        };
        let old = (Verdict::Challenge(DropCause::OldTimestamp), Some(70));
        assert_eq!(after(OUTDATED.saturating_sub(Duration::from_secs(1))), old);
        assert_eq!(after(OUTDATED), (Verdict::Pass, Some(69)));
    }

    #[test]
    fn only_what_reaches_the_next_byte_expected_renews_the_timestamp() {
        let now = Instant::from_millis(10_000);
        let renewed = |flags, sequence, payload_len| {
            let mut state = state();
            let timestamps = Some((1 << 30, 0));
            let forged = Segment { payload_len, timestamps, ..segment(flags, sequence, 4_000) };
            judge_one(&mut state, now, forged);
            state.recent_timestamp == Some(1 << 30)
        };
        assert!(renewed(flags::ACK, 1_000, 0));
        assert!(renewed(flags::ACK, 900, 101), "a retransmission with something new");
        assert!(!renewed(flags::ACK, 900, 99));
        assert!(!renewed(flags::ACK, 1_001, 1));
        assert!(!renewed(flags::ACK, 1_000u32.wrapping_sub(FAR - 1), 1));
        assert!(!renewed(flags::ACK, 1_001, 0));
        assert!(!renewed(0, 1_000, 0), "smoltcp drops what acknowledges nothing");
    }

    #[test]
    fn challenges_of_all_connections_together_are_bounded_by_a_changing_number() {
        let mut budget = ChallengeBudget::new(7);
        let counts = [1, 2, 3].map(|second| {
            let now = Instant::from_millis(second * 1_000);
            (0..10_000).filter(|_| budget.take(now)).count()
        });
        assert!(counts.iter().all(|count| (500..1_500).contains(count)), "{counts:?}");
        assert!(counts[0] != counts[1] || counts[1] != counts[2], "{counts:?}");
    }

    #[test]
    fn a_sequence_number_far_away_is_challenged_but_for_a_reset() {
        let now = Instant::from_millis(10_000);
        let far = |flags| {
            let far = segment(flags, 1_000u32.wrapping_sub(FAR + 1), 4_000);
            judge_one(&mut state(), now, far)
        };
        assert_eq!(far(flags::ACK), Verdict::Challenge(DropCause::BadSequence));
        assert_eq!(far(flags::RST), Verdict::Drop(DropCause::InexactReset));
    }
}
