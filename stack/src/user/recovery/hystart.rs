//! `HyStart++` (RFC 9406): slow start ends when round-trip times begin to rise, before packets are lost.
//!
//! Two things go beyond the RFC. A round is judged piece by piece, an eighth of it at a time, where the RFC
//! takes the minimum of all of it: the queue grows within a round, and a round later the window is twice as
//! large and a queue of a whole bandwidth-delay product runs over. And where times go on to rise in
//! conservative slow start, by a quarter, it is over at once: the path is full.

use pagewire_driver::Instant;

use super::{controller::Progress, rtt::us_between};

/// Bounds of the rise that counts, in microseconds (RFC 9406 section 4.3).
const LEAST_RISE: u32 = 4_000;
const GREATEST_RISE: u32 = 16_000;
/// The rise is this part of the last round's time.
const RISE_DIVISOR: u32 = 8;
/// A further rise by this part ends conservative slow start.
const FILLED_DIVISOR: u32 = 4;
/// Measurements before anything is judged by them.
const SAMPLES: u32 = 8;
/// A piece has this part of as many measurements as the last round, and lasts this part of its least time: so
/// acknowledgements that were all held up together, by whatever has nothing to do with the queue, are none.
const PIECES: u32 = 8;
/// Growth is divided by this in conservative slow start.
const SLOWER: u64 = 4;
/// Rounds of conservative slow start before congestion avoidance.
const CONSERVATIVE_ROUNDS: u8 = 5;

/// The least of several round-trip times in microseconds, how many they were, and when the first came.
#[derive(Clone, Copy, Debug)]
struct Least {
    us: u32,
    samples: u32,
    since: Instant,
}

impl Least {
    const NONE: Self = Self { us: u32::MAX, samples: 0, since: Instant::ZERO };

    fn add(&mut self, now: Instant, us: u32) {
        if self.samples == 0 {
            self.since = now;
        }
        self.us = self.us.min(us);
        self.samples += 1;
    }
}

/// The state of slow start.
#[derive(Clone, Copy, Debug)]
pub struct HyStart {
    round_end: u64,
    last: Least,
    current: Least,
    piece: Least,
    /// In conservative slow start: the round-trip time that it began with in microseconds, and rounds left.
    conservative: Option<(u32, u8)>,
}

impl Default for HyStart {
    fn default() -> Self {
        let (last, current, piece) = (Least::NONE, Least::NONE, Least::NONE);
        Self { round_end: 0, last, current, piece, conservative: None }
    }
}

/// What an acknowledgement in slow start calls for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Growth {
    /// Grow by this many bytes.
    By(u64),
    /// Slow start is over.
    Over,
}

impl HyStart {
    /// Takes an acknowledgement.
    pub fn on_ack(&mut self, progress: &Progress) -> Growth {
        let growth = self.step(progress);
        if growth == Growth::Over {
            // The next slow start begins anew.
            *self = Self::default();
        }
        growth
    }

    fn step(&mut self, progress: &Progress) -> Growth {
        let &Progress { now, una, next, acked, rtt_us, .. } = progress;
        if una >= self.round_end {
            self.round_end = next;
            (self.last, self.current, self.piece) = (self.current, Least::NONE, Least::NONE);
            if let Some((_, rounds)) = &mut self.conservative {
                *rounds -= 1;
                if *rounds == 0 {
                    return Growth::Over;
                }
            }
        }
        if let Some(us) = rtt_us {
            self.current.add(now, us);
            self.piece.add(now, us);
            let time = self.last.us.min(us) / PIECES;
            if self.piece.samples >= SAMPLES.max(self.last.samples / PIECES)
                && us_between(self.piece.since, now) >= time
            {
                let least = std::mem::replace(&mut self.piece, Least::NONE).us;
                if self.judge(least) == Growth::Over {
                    return Growth::Over;
                }
            }
        }
        Growth::By(if self.conservative.is_some() { acked / SLOWER } else { acked })
    }

    /// Judges the least time of a piece.
    fn judge(&mut self, least: u32) -> Growth {
        let rise = |from: u32| (from / RISE_DIVISOR).clamp(LEAST_RISE, GREATEST_RISE);
        match self.conservative {
            Some((baseline, _)) if least < baseline => self.conservative = None,
            Some((baseline, _)) if least - baseline >= baseline / FILLED_DIVISOR => {
                return Growth::Over;
            }
            None if self.last.samples > 0
                && least >= self.last.us.saturating_add(rise(self.last.us)) =>
            {
                // The round that is going on counts as none.
                self.conservative = Some((least, CONSERVATIVE_ROUNDS));
            }
            _ => {}
        }
        Growth::By(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An acknowledgement of 4,000 bytes.
    fn ack(now: Instant, una: u64, next: u64, rtt_us: u32) -> Progress {
        let (rtt_us, smoothed_us) = (Some(rtt_us), rtt_us);
        Progress { now, acked: 4_000, una, next, rtt_us, smoothed_us, mss: 1_000 }
    }

    /// Rounds of ten acknowledgements with these times; what each round's last one said.
    fn rounds(hystart: &mut HyStart, from: u64, times_ms: &[u32]) -> Vec<Growth> {
        let (mut said, mut now) = (Vec::new(), Instant::from_millis(from * 10_000));
        for (round, &ms) in (from..).zip(times_ms) {
            let mut growth = Growth::Over;
            for number in 0..10 {
                let una = round * 10 + number;
                now += Duration::from_millis(ms.into()) / 10;
                growth = hystart.on_ack(&ack(now, una, round * 10 + 10, ms * 1_000));
                if growth == Growth::Over {
                    break;
                }
            }
            said.push(growth);
        }
        said
    }

    #[test]
    fn steady_times_leave_slow_start_alone() {
        let mut hystart = HyStart::default();
        let said = rounds(&mut hystart, 0, &[100, 101, 99, 103, 100, 105]);
        assert_eq!(said, [Growth::By(4_000); 6]);
    }

    #[test]
    fn a_rise_slows_growth_to_a_quarter_and_ends_it_after_five_rounds() {
        let mut hystart = HyStart::default();
        let said = rounds(&mut hystart, 0, &[100, 113, 115, 115, 115, 115, 115]);
        assert_eq!(said[0], Growth::By(4_000));
        assert_eq!(said[1..6], [Growth::By(1_000); 5]);
        assert_eq!(said[6], Growth::Over);
    }

    #[test]
    fn a_rise_within_a_round_counts_before_the_round_is_over() {
        let mut hystart = HyStart::default();
        let mut round = |first: u64, time: &dyn Fn(u64) -> u32| {
            let growths = (0..80).map(|number| {
                let (una, rtt) = (first + number, time(number) * 1_000);
                let now = Instant::from_micros(una * 100_000 / 70);
                hystart.on_ack(&ack(now, una, first + 80, rtt))
            });
            growths.collect::<Vec<_>>()
        };
        assert_eq!(round(0, &|_| 100), [Growth::By(4_000); 80]);
        // The queue grows from the 20th acknowledgement on. A piece of ten that is all late tells.
        let growths = round(80, &|number| if number < 20 { 100 } else { 120 });
        assert_eq!(growths[28], Growth::By(4_000));
        assert_eq!(growths[29], Growth::By(1_000));
        // A queue that is gone at the beginning of the next round was a burst.
        let growths = round(160, &|_| 100);
        assert_eq!((growths[8], growths[9]), (Growth::By(1_000), Growth::By(4_000)));
    }

    #[test]
    fn acknowledgements_that_are_held_up_together_mean_nothing() {
        let mut hystart = HyStart::default();
        rounds(&mut hystart, 0, &[100]);
        let mut next = |now_ms: u64, una: u64, ms: u32| {
            hystart.on_ack(&ack(Instant::from_millis(now_ms), una, 90, ms * 1_000))
        };
        // Somebody had no time for 30 ms. Then all is as it was.
        for una in 10..40 {
            assert_eq!(next(2_000, una, 130), Growth::By(4_000));
        }
        for una in 40..60 {
            assert_eq!(next(2_000 + (una - 39), una, 100), Growth::By(4_000));
        }
        // A queue stays.
        let growths: Vec<_> = (60..90).map(|una| next(2_100 + (una - 60), una, 130)).collect();
        assert_eq!((growths[0], growths[29]), (Growth::By(4_000), Growth::By(1_000)));
    }

    #[test]
    fn a_slow_start_after_one_that_has_ended_begins_anew() {
        let mut hystart = HyStart::default();
        assert_eq!(rounds(&mut hystart, 0, &[100, 113, 115, 115, 115, 115, 115])[6], Growth::Over);
        assert_eq!(rounds(&mut hystart, 7, &[115, 115, 116]), [Growth::By(4_000); 3]);
    }

    #[test]
    fn times_that_go_on_to_rise_end_slow_start_at_once() {
        let mut hystart = HyStart::default();
        let said = rounds(&mut hystart, 0, &[100, 113, 142]);
        assert_eq!(said[1..], [Growth::By(1_000), Growth::Over]);
    }

    #[test]
    fn a_rise_that_goes_away_was_jitter() {
        let mut hystart = HyStart::default();
        let said = rounds(&mut hystart, 0, &[100, 113, 99, 100]);
        assert_eq!(said[1..], [Growth::By(1_000), Growth::By(4_000), Growth::By(4_000)]);
    }

    #[test]
    fn on_short_paths_the_rise_must_be_4_ms_and_on_long_ones_16() {
        let mut short = HyStart::default();
        assert_eq!(rounds(&mut short, 0, &[1, 4])[1], Growth::By(4_000));
        assert_eq!(rounds(&mut short, 2, &[8])[0], Growth::By(1_000));
        let mut long = HyStart::default();
        assert_eq!(rounds(&mut long, 0, &[400, 415])[1], Growth::By(4_000));
        assert_eq!(rounds(&mut long, 2, &[432])[0], Growth::By(1_000));
    }
}
