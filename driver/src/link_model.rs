//! What a bad link does to each frame, decided by a seed: never, when, and whether twice.
//!
//! A frame meets, in this order: random loss, loss in bursts, corruption, duplication, a queue that
//! drains at the link's rate, delay. Time is the `now` of the calls alone: the same frames at the same
//! instants and the same seed give the same decisions.

use std::{collections::VecDeque, time::Duration};

use crate::{Instant, Random};

/// What a link does to frames. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Loss in bursts besides.
    pub burst_loss: Option<BurstLoss>,
    /// Probability that one bit of a frame, anywhere in it, is flipped.
    pub corruption: f64,
    /// Probability that a frame arrives twice.
    pub duplication: f64,
    /// How fast the link's queue drains, in bits of L2 frame per second; `None` is at once.
    pub rate_bits_per_s: Option<u64>,
    /// A rate that takes turns with [`rate_bits_per_s`](Self::rate_bits_per_s). Means nothing without it.
    pub rate_step: Option<RateStep>,
    /// What the queue holds in front of the rate, in bytes of L2 frame, the frame on its way out
    /// included; a frame that does not fit is dropped. `None` is without bound. Means nothing without a
    /// rate.
    pub queue_bytes: Option<u64>,
    /// As [`queue_bytes`](Self::queue_bytes), in frames. Both bounds hold.
    pub queue_frames: Option<u64>,
    /// How long every frame is under way.
    pub delay: Duration,
    /// Up to how much longer, evenly spread: frames closer than this may overtake each other.
    pub jitter: Duration,
    /// Probability that a frame is held back by [`reorder_delay`](Self::reorder_delay) besides.
    pub reorder: f64,
    /// How long a reordered frame is held back.
    pub reorder_delay: Duration,
}

/// A rate that changes: for every second `period` it is another one, at first not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateStep {
    /// The other rate, in bits of L2 frame per second.
    pub bits_per_s: u64,
    /// For how long each of the two lasts.
    pub period: Duration,
}

/// Loss in bursts: a link that is good or bad, and loses frames while it is bad (Gilbert 1960, Elliott
/// 1963; the loss of the good state is [`Impairment::loss`]). Starts good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstLoss {
    /// Probability, with each frame, that a good link turns bad.
    pub enter: f64,
    /// Probability, with each frame, that a bad link turns good: one over a bad time's mean length in
    /// frames.
    pub leave: f64,
    /// Probability that a frame is lost while the link is bad.
    pub loss: f64,
}

/// What a [`LinkModel`] has decided so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LinkCounters {
    /// Frames that came to the link.
    pub arrived: u64,
    /// Frames lost at random.
    pub lost: u64,
    /// Frames lost in a burst.
    pub burst_lost: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
    /// Frames that were to arrive twice.
    pub duplicated: u64,
    /// Frames and twins that found the queue full.
    pub queue_full: u64,
    /// Frames and twins held back.
    pub reordered: u64,
    /// Frames and twins that were queued.
    pub queued: u64,
    /// How long these waited altogether for others in front of them, in nanoseconds.
    pub waited_ns: u64,
}

/// When a frame is due at the far end of the link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Arrival {
    /// The frame itself; `None` if it is lost.
    pub frame: Option<Instant>,
    /// A second one of the same bytes, if there is to be one.
    pub twin: Option<Instant>,
}

/// One direction of a bad link.
#[derive(Clone, Debug)]
pub struct LinkModel {
    impairment: Impairment,
    random: Random,
    /// Whether the link is in the bad state of its [`BurstLoss`].
    bad: bool,
    /// When the queue in front of the rate will be empty.
    drained: Instant,
    /// When each frame of the queue will have left it; kept only for a bound in frames.
    departures: VecDeque<Instant>,
    counters: LinkCounters,
}

impl LinkModel {
    /// A link with this `impairment`; `seed` decides all its random choices.
    #[must_use]
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            random: Random::new(seed),
            bad: false,
            drained: Instant::ZERO,
            departures: VecDeque::new(),
            counters: LinkCounters::default(),
        }
    }

    /// Changes the link from now on. What was decided stays.
    pub fn set_impairment(&mut self, impairment: Impairment) {
        self.impairment = impairment;
        self.bad &= impairment.burst_loss.is_some();
    }

    /// What has been decided so far.
    #[must_use]
    pub const fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// Decides about a frame that comes to the link `now`, and corrupts it in place if it is to be.
    pub fn pass(&mut self, now: Instant, frame: &mut [u8]) -> Arrival {
        self.counters.arrived += 1;
        if self.random.chance(self.impairment.loss) {
            self.counters.lost += 1;
            return Arrival::default();
        }
        if self.lost_in_burst() {
            self.counters.burst_lost += 1;
            return Arrival::default();
        }
        if self.random.chance(self.impairment.corruption) {
            self.counters.corrupted += 1;
            let bit = self.random.below(frame.len() as u64 * 8) as usize;
            if let Some(byte) = frame.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        let mut twin = None;
        if self.random.chance(self.impairment.duplication) {
            self.counters.duplicated += 1;
            twin = self.queue(now, frame.len());
        }
        Arrival { frame: self.queue(now, frame.len()), twin }
    }

    fn lost_in_burst(&mut self) -> bool {
        let Some(BurstLoss { enter, leave, loss }) = self.impairment.burst_loss else {
            return false;
        };
        let turn = if self.bad { leave } else { enter };
        self.bad ^= self.random.chance(turn);
        self.bad && self.random.chance(loss)
    }

    /// When a frame of `len` bytes is due that drains at the link's rate and then is under way; `None`
    /// if the queue is full.
    fn queue(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let departure = match self.rate(now) {
            None => now,
            Some(rate_bits_per_s) => {
                if !self.has_room(now, len, rate_bits_per_s) {
                    self.counters.queue_full += 1;
                    return None;
                }
                let waits = self.drained.since(now).as_nanos();
                self.counters.queued += 1;
                self.counters.waited_ns += u64::try_from(waits).unwrap_or(u64::MAX);
                self.drained = now.max(self.drained) + time_of(rate_bits_per_s, len);
                if self.impairment.queue_frames.is_some() {
                    self.departures.push_back(self.drained);
                }
                self.drained
            }
        };
        let jitter = u64::try_from(self.impairment.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.random.below(jitter));
        let mut due = departure + self.impairment.delay + jitter;
        if self.random.chance(self.impairment.reorder) {
            self.counters.reordered += 1;
            due += self.impairment.reorder_delay;
        }
        Some(due)
    }

    /// The rate at this time, in bits per second.
    fn rate(&self, now: Instant) -> Option<u64> {
        let rate = self.impairment.rate_bits_per_s?;
        let step = self.impairment.rate_step.filter(|step| !step.period.is_zero());
        let other = step.filter(|step| u128::from(now.nanos()) / step.period.as_nanos() % 2 == 1);
        Some(other.map_or(rate, |step| step.bits_per_s))
    }

    fn has_room(&mut self, now: Instant, len: usize, rate_bits_per_s: u64) -> bool {
        if let Some(limit) = self.impairment.queue_frames {
            while self.departures.front().is_some_and(|&departure| departure <= now) {
                self.departures.pop_front();
            }
            if self.departures.len() as u64 >= limit {
                return false;
            }
        }
        let waiting = bytes_in(rate_bits_per_s, self.drained - now);
        let limit = self.impairment.queue_bytes.unwrap_or(u64::MAX);
        waiting.saturating_add(len as u64) <= limit
    }
}

/// How long `bytes` take at this rate, rounded up to a nanosecond. A rate of nothing takes for ever.
fn time_of(rate_bits_per_s: u64, bytes: usize) -> Duration {
    let bit_nanos = bytes as u128 * 8 * 1_000_000_000;
    let nanos = bit_nanos.div_ceil(u128::from(rate_bits_per_s.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How many bytes drain in `time` at this rate, rounded down.
fn bytes_in(rate_bits_per_s: u64, time: Duration) -> u64 {
    let bits = time.as_nanos().saturating_mul(u128::from(rate_bits_per_s)) / 1_000_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `count` frames, one a microsecond, are lost.
    fn losses(burst_loss: BurstLoss, seed: u64, count: u64) -> Vec<bool> {
        let burst_loss = Some(burst_loss);
        let mut link = LinkModel::new(Impairment { burst_loss, ..Default::default() }, seed);
        let mut lost = |n| link.pass(Instant::from_micros(n), &mut [0; 100]).frame.is_none();
        (0..count).map(&mut lost).collect()
    }

    #[test]
    fn a_link_loses_in_bursts_of_the_length_and_as_often_as_asked() {
        let lost = losses(BurstLoss { enter: 0.01, leave: 0.1, loss: 1.0 }, 1, 100_000);
        let count = lost.iter().filter(|&&lost| lost).count();
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        // A share of enter / (enter + leave), in bursts of 1 / leave.
        assert!((8_500..9_700).contains(&count), "{count}");
        let mean_len = count as f64 / bursts as f64;
        assert!((9.0..11.0).contains(&mean_len), "{mean_len}");
    }

    #[test]
    fn a_bad_link_may_lose_only_some() {
        let lost = losses(BurstLoss { enter: 0.01, leave: 0.1, loss: 0.5 }, 1, 100_000);
        let count = lost.iter().filter(|&&lost| lost).count();
        assert!((4_200..4_900).contains(&count), "{count}");
    }

    #[test]
    fn a_rate_that_steps_is_the_other_one_every_second_time() {
        let impairment = Impairment {
            rate_bits_per_s: Some(8_000_000),
            rate_step: Some(RateStep { bits_per_s: 1_000_000, period: Duration::from_secs(1) }),
            ..Default::default()
        };
        let mut link = LinkModel::new(impairment, 1);
        let mut takes_ms = |ms| {
            let now = Instant::from_millis(ms);
            (link.pass(now, &mut [0; 1_000]).frame.unwrap() - now).as_millis()
        };
        assert_eq!([0, 999, 1_100, 1_900, 2_100].map(&mut takes_ms), [1, 1, 8, 8, 1]);
        assert_eq!((link.counters().queued, link.counters().waited_ns), (5, 0));
        link.pass(Instant::from_millis(2_100), &mut [0; 1_000]);
        assert_eq!(link.counters().waited_ns, 1_000_000);
    }

    #[test]
    fn a_queue_bounded_in_frames_takes_no_more_whatever_their_size() {
        let impairment = Impairment {
            rate_bits_per_s: Some(1_000_000),
            queue_frames: Some(3),
            ..Default::default()
        };
        for len in [100, 1_500] {
            let mut link = LinkModel::new(impairment, 1);
            let mut taken = |now| link.pass(now, &mut vec![0; len]).frame.is_some();
            assert_eq!([0; 5].map(|_| taken(Instant::ZERO)), [true, true, true, false, false]);
            // One has left meanwhile.
            let later = Instant::ZERO + time_of(1_000_000, len);
            assert_eq!([0; 2].map(|_| taken(later)), [true, false]);
        }
    }
}
