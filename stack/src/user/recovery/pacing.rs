//! Pacing: a window is spread over its round trip instead of leaving in one burst.
//!
//! What may leave is kept as a point in time: everything up to it is paid for. Time saved up by keeping
//! still is worth [`QUANTUM`] at most, and as much may be sent ahead; below the timer wheel's tick a finer
//! grain could not be kept. Where a whole window takes less than that, pacing is without effect.

use pagewire_driver::Instant;

/// Bursts are worth at most this long, in nanoseconds (Linux aims at as much: `sk_pacing_shift`, 1/1024 s).
const QUANTUM: u64 = 1_000_000;
/// The rate as a multiple of a window per round trip, in percent, in slow start and after it (Linux:
/// `tcp_pacing_ss_ratio`, `tcp_pacing_ca_ratio`).
const SLOW_START_PERCENT: u64 = 200;
const AVOIDANCE_PERCENT: u64 = 120;
/// Binary digits of a [`Rate`] behind the point.
const FRACTION: u32 = 16;

/// When a connection may send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacing {
    paid_until: Instant,
}

/// How fast it may: the time for a byte, in nanoseconds and 2^-16 parts of them, so that what many bytes
/// take costs no division.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    per_byte: u64,
}

impl Rate {
    /// Before there is a round-trip time: as good as at once.
    pub const UNLIMITED: Self = Self { per_byte: 1 };

    /// The rate for a window and a round-trip time.
    pub fn of(cwnd: u64, rtt_us: u32, is_slow_start: bool) -> Self {
        let percent = if is_slow_start { SLOW_START_PERCENT } else { AVOIDANCE_PERCENT };
        // Round-trip times are below 2^29 us, and windows below 2^31.
        let time = (u64::from(rtt_us) * 100_000) << FRACTION;
        Self { per_byte: (time / (cwnd * percent).max(1)).max(1) }
    }

    /// How many nanoseconds that many bytes take.
    fn nanos(self, bytes: u64) -> u64 {
        ((u128::from(bytes) * u128::from(self.per_byte)) >> FRACTION) as u64
    }

    /// Bytes a second.
    pub fn bytes_per_s(self) -> u64 {
        (1_000_000_000 << FRACTION) / self.per_byte
    }
}

impl Pacing {
    /// How many of `wanted` bytes may leave at `now`, no earlier than [`next`](Self::next): all, or whole
    /// segments.
    pub fn allowance(
        self,
        now: Instant,
        rate: impl FnOnce() -> Rate,
        wanted: u64,
        mss: u32,
    ) -> u64 {
        let saved = now.nanos().saturating_sub(self.paid_until.nanos());
        let mss = u64::from(mss);
        // Two segments, so that a delayed acknowledgement is not waited for.
        if wanted <= 2 * mss {
            return wanted;
        }
        let (rate, time) = (rate(), saved.min(QUANTUM) + QUANTUM);
        if rate.nanos(wanted) <= time {
            return wanted;
        }
        let bytes = (time << FRACTION) / rate.per_byte;
        (bytes - bytes % mss).clamp(2 * mss, wanted)
    }

    /// When something may leave again.
    pub fn next(self) -> Instant {
        self.paid_until
    }

    /// Takes note of bytes that leave.
    pub fn sent(&mut self, now: Instant, bytes: u64, rate: Rate) {
        let from = self.paid_until.nanos().max(now.nanos().saturating_sub(QUANTUM));
        self.paid_until = Instant::from_nanos(from.saturating_add(rate.nanos(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: u64 = 1 << 30;

    #[test]
    fn a_window_is_spread_over_its_round_trip() {
        // 100 kB in 100 ms, after slow start: 1.2 MB/s.
        let rate = Rate::of(100_000, 100_000, false);
        assert_eq!(rate.bytes_per_s(), 1_200_000);
        let (mut pacing, mut sent) = (Pacing::default(), 0);
        for ms in 100..200 {
            let now = Instant::from_millis(ms);
            if pacing.next() <= now {
                let allowance = pacing.allowance(now, || rate, WHOLE, 1_000);
                assert!(allowance <= 2_400, "{allowance}");
                pacing.sent(now, allowance, rate);
                sent += allowance;
            }
        }
        assert!((118_000..=124_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_short_path_is_not_paced() {
        let rate = Rate::of(14_600, 100, true);
        let now = Instant::from_millis(5);
        assert_eq!(Pacing::default().allowance(now, || rate, 14_601, 1_460), 14_601);
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let rate = Rate::of(100_000, 100_000, false);
        let mut pacing = Pacing::default();
        let now = Instant::from_millis(60_000);
        assert!(pacing.allowance(now, || rate, WHOLE, 1_000) <= 2_400);
        pacing.sent(now, 2_400, rate);
        assert!(pacing.next() > now);
    }

    #[test]
    fn the_slowest_and_the_fastest_rates_are_within_range() {
        let slowest = Rate::of(1_072, u32::MAX / 8, false);
        assert!((1..=3).contains(&slowest.bytes_per_s()), "{slowest:?}");
        let mut pacing = Pacing::default();
        pacing.sent(Instant::from_millis(2), WHOLE, slowest);
        assert!(pacing.next() > Instant::from_millis(2));
        let fastest = Rate::of(WHOLE, 1, true);
        assert_eq!(Pacing::default().allowance(Instant::ZERO, || fastest, WHOLE, 1_460), WHOLE);
    }
}
