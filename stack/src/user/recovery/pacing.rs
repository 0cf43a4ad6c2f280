//! Pacing: a window is spread over its round trip instead of leaving in one burst.
//!
//! What may leave is kept as a point in time: everything up to it is paid for. Time saved up by keeping
//! still is worth [`QUANTUM`] at most, and as much may be sent ahead; below the timer wheel's tick a finer
//! grain could not be kept. Where a whole window takes less than that, pacing is without effect.

use std::time::Duration;

use pagewire_driver::Instant;

/// Bursts are worth at most this long (Linux aims at as much: `sk_pacing_shift`, 1/1024 s).
const QUANTUM: Duration = Duration::from_millis(1);
/// The rate as a multiple of a window per round trip, in percent, in slow start and after it (Linux:
/// `tcp_pacing_ss_ratio`, `tcp_pacing_ca_ratio`).
const SLOW_START_PERCENT: u64 = 200;
const AVOIDANCE_PERCENT: u64 = 120;

/// When a connection may send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacing {
    paid_until: Instant,
}

/// How fast it may.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    bytes_per_s: u64,
}

impl Rate {
    /// The rate for a window and a round-trip time.
    pub fn of(cwnd: u64, rtt: Duration, is_slow_start: bool) -> Self {
        let percent = if is_slow_start { SLOW_START_PERCENT } else { AVOIDANCE_PERCENT };
        let us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { bytes_per_s: (cwnd.saturating_mul(percent * 10_000) / us).max(1) }
    }

    /// How long that many bytes take.
    fn time(self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.bytes_per_s)
    }

    /// Bytes a second.
    pub fn bytes_per_s(self) -> u64 {
        self.bytes_per_s
    }
}

impl Pacing {
    /// How many bytes may leave now, in whole segments: zero is none before [`next`](Self::next).
    pub fn allowance(self, now: Instant, rate: Rate, mss: u32) -> u64 {
        if self.paid_until > now {
            return 0;
        }
        let time = (now - self.paid_until).min(QUANTUM) + QUANTUM;
        let bytes = u128::from(rate.bytes_per_s) * time.as_nanos() / 1_000_000_000;
        let mss = u64::from(mss);
        // Two segments, so that a delayed acknowledgement is not waited for.
        (bytes as u64 / mss * mss).max(2 * mss)
    }

    /// When something may leave again.
    pub fn next(self) -> Instant {
        self.paid_until
    }

    /// Takes note of bytes that leave.
    pub fn sent(&mut self, now: Instant, bytes: u64, rate: Rate) {
        let saved = (now - self.paid_until).min(QUANTUM);
        let from = Instant::from_nanos(now.nanos().saturating_sub(saved.as_nanos() as u64));
        self.paid_until = self.paid_until.max(from) + rate.time(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_spread_over_its_round_trip() {
        // 100 kB in 100 ms, after slow start: 1.2 MB/s.
        let rate = Rate::of(100_000, Duration::from_millis(100), false);
        assert_eq!(rate.bytes_per_s(), 1_200_000);
        let (mut pacing, mut sent) = (Pacing::default(), 0);
        for ms in 100..200 {
            let now = Instant::from_millis(ms);
            let allowance = pacing.allowance(now, rate, 1_000);
            assert!(allowance <= 2_400, "{allowance}");
            if allowance > 0 {
                pacing.sent(now, allowance, rate);
                sent += allowance;
            }
        }
        assert!((118_000..=124_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_short_path_is_not_paced() {
        let rate = Rate::of(14_600, Duration::from_micros(100), true);
        assert!(Pacing::default().allowance(Instant::from_millis(5), rate, 1_460) >= 14_600);
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let rate = Rate::of(100_000, Duration::from_millis(100), false);
        let mut pacing = Pacing::default();
        let now = Instant::from_millis(60_000);
        assert!(pacing.allowance(now, rate, 1_000) <= 2_400);
        pacing.sent(now, 2_400, rate);
        assert!(pacing.next() > now);
        assert_eq!(pacing.allowance(now, rate, 1_000), 0);
    }
}
