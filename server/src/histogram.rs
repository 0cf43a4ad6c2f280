//! How long something took, by one core, for percentiles: fixed buckets, no allocation.
//!
//! Buckets are log-linear, as in HDR histograms: each power of two of microseconds is cut into
//! [`STEPS`] equal parts, so a value is known to one part in [`STEPS`]. Written by its core alone, read
//! by anybody.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Buckets in each power of two. A power of two itself.
const STEPS: u64 = 8;

/// Bits of a step within its power.
const STEP_BITS: u32 = STEPS.ilog2();

/// Longer times (134 s) fall into the last bucket.
const LARGEST_BITS: u32 = 27;

/// Buckets in all.
const BUCKETS: usize = ((LARGEST_BITS - STEP_BITS + 1) as usize) * STEPS as usize;

/// See the module.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one. For the core that it belongs to alone: it is not a read-modify-write.
    pub fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min((1 << LARGEST_BITS) - 1);
        add(&self.buckets[bucket_of(us)], 1);
        add(&self.sum_us, us);
    }

    /// What has been counted so far.
    pub fn read(&self) -> Distribution {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        Distribution { buckets, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

fn add(value: &AtomicU64, amount: u64) {
    value.store(value.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The bucket of a number of microseconds. The first [`STEPS`] numbers have one each.
fn bucket_of(us: u64) -> usize {
    let power = us.max(STEPS).ilog2();
    let shift = power - STEP_BITS;
    (u64::from(shift) * STEPS + (us >> shift)) as usize
}

/// The first number of microseconds behind a bucket.
fn end_of(bucket: usize) -> u64 {
    let bucket = bucket as u64 + 1;
    let shift = (bucket / STEPS).saturating_sub(1);
    (bucket - shift * STEPS) << shift
}

/// What a [`Histogram`] held at a moment, or several together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Distribution {
    buckets: Vec<u64>,
    sum_us: u64,
}

impl Distribution {
    /// Takes over what came through a file or socket, by [`buckets`](Self::buckets). Buckets that do not
    /// exist are left out.
    pub fn from_buckets(counts: impl IntoIterator<Item = (u64, u64)>, sum_us: u64) -> Self {
        let mut buckets = vec![0; BUCKETS];
        for (end, count) in counts {
            let bucket = bucket_of(end.clamp(1, 1 << LARGEST_BITS) - 1);
            buckets[bucket] += count;
        }
        Self { buckets, sum_us }
    }

    /// The buckets that are not empty: the number of microseconds that all in it are below, and how many
    /// there are.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.buckets.iter().enumerate();
        all.filter(|(_, count)| **count > 0).map(|(bucket, &count)| (end_of(bucket), count))
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many were below a power of two of microseconds.
    pub fn below(&self, us: u64) -> u64 {
        self.buckets().take_while(|(end, _)| *end <= us).map(|(_, count)| count).sum()
    }

    /// The sum of all.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The time that a share of all were below, rounded up by a bucket; none if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (self.count() as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        let mut buckets = self.buckets();
        let found = buckets.find(|(_, count)| {
            seen += count;
            seen as f64 >= rank
        });
        found.map(|(end, _)| Duration::from_micros(end))
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.buckets.resize(BUCKETS, 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(to, from)| *to += from);
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }

    /// What came since `earlier`, which was read from the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets =
            self.buckets.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        Self { buckets: buckets.collect(), sum_us: self.sum_us.saturating_sub(earlier.sum_us) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut expected = 0;
        for us in 0..1 << 16 {
            let bucket = bucket_of(us);
            assert!(bucket == expected || bucket == expected + 1, "{us} us: {bucket}");
            if bucket > expected {
                assert_eq!(end_of(expected), us);
            }
            expected = bucket;
        }
        assert_eq!(bucket_of((1 << LARGEST_BITS) - 1), BUCKETS - 1);
        assert_eq!(end_of(BUCKETS - 1), 1 << LARGEST_BITS);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        for ms in 1..=1_000 {
            histogram.record(Duration::from_millis(ms));
        }
        let read = histogram.read();
        assert_eq!((read.count(), read.sum()), (1_000, Duration::from_millis(500_500)));
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = read.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!(found >= ms && found <= ms * 1.15, "{share}: {found} ms for {ms}");
        }
    }

    #[test]
    fn what_is_too_long_is_in_the_last_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(1_000_000));
        assert_eq!(histogram.read().buckets().collect::<Vec<_>>(), [(1 << LARGEST_BITS, 1)]);
    }

    proptest! {
        #[test]
        fn a_distribution_survives_being_told(times in proptest::collection::vec(0u64..1 << 30, 0..50)) {
            let histogram = Histogram::default();
            for &us in &times {
                histogram.record(Duration::from_micros(us));
            }
            let read = histogram.read();
            let told = Distribution::from_buckets(read.buckets(), read.sum_us);
            prop_assert_eq!(&told, &read);
            prop_assert_eq!(read.since(&Distribution::default()), read.clone());
            prop_assert_eq!(read.since(&told).count(), 0);
            prop_assert_eq!(read.below(1 << LARGEST_BITS), times.len() as u64);
        }
    }
}
