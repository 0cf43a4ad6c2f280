//! CUBIC (RFC 9438): the window grows with the cube of the time since the last reduction, and at least as
//! fast as Reno's would.
//!
//! Windows are in bytes here and in segments in the RFC; where its formulas need segments, bytes are
//! divided by the segment size.

use std::time::Duration;

use pagewire_driver::Instant;

/// The constant C (RFC 9438 section 5.1), in segments per second cubed.
const C: f32 = 0.4;
/// Multiplicative decrease (section 4.6).
const BETA: f32 = 0.7;
/// Reno's growth per window while the window is below what it was before the reduction (section 4.3).
const ALPHA: f32 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The window grows when this part of it has been acknowledged: as good as with every acknowledgement, and
/// far cheaper where windows are large.
const GRAIN: u64 = 32;

/// One connection's CUBIC. `Copy`, so that a reduction can be taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cubic {
    /// When the present stage of congestion avoidance began; zero before it has.
    epoch: Instant,
    /// The window before the last reduction, in bytes (`W_max`, perhaps lowered by fast convergence).
    most: f32,
    /// The same, not lowered (`cwnd_prior`).
    before: f32,
    /// Seconds from the epoch until the window is at `most` again (K).
    rise: f32,
    /// What Reno's window would be, in bytes (`W_est`).
    reno: f32,
    /// Growth that is less than a byte.
    rest: f32,
    /// Bytes acknowledged for which it has not grown yet.
    acked: u32,
}

impl Cubic {
    /// The window after `acked` bytes have been acknowledged in congestion avoidance.
    pub fn grow(&mut self, now: Instant, acked: u64, cwnd: u64, mss: u32, rtt_us: u32) -> u64 {
        let acked = acked + u64::from(self.acked);
        if acked < cwnd / GRAIN && self.epoch > Instant::ZERO {
            self.acked = acked as u32;
            return cwnd;
        }
        self.acked = 0;
        let (window, mss) = (cwnd as f32, mss as f32);
        if self.epoch == Instant::ZERO {
            // Without a reduction before, the curve begins at its flat point (section 4.2).
            if self.most <= window {
                (self.most, self.rise) = (window, 0.0);
            } else {
                self.rise = ((self.most - window) / mss / C).cbrt();
            }
            self.reno = window;
            self.epoch = now.max(Instant::from_nanos(1));
        }
        let elapsed_us = (now.nanos().saturating_sub(self.epoch.nanos()) / 1_000) as f32;
        let time = (elapsed_us + rtt_us as f32) / 1e6 - self.rise;
        let curve = self.most + C * time * time * time * mss;
        // Section 4.2: no less than now, no more than half as much again in a round.
        let target = curve.clamp(window, window * 1.5);
        let alpha = if self.reno >= self.before { 1.0 } else { ALPHA };
        self.reno += alpha * mss * (acked as f32 / window);
        let cubic = window + (target - window) * (acked as f32 / window);
        let grown = cubic.max(self.reno.min(window + acked as f32)) + self.rest;
        self.rest = grown.fract();
        bytes(grown).max(cwnd)
    }

    /// Takes note of congestion at this window, and returns the slow start threshold from it.
    pub fn reduce(&mut self, cwnd: u64, mss: u32) -> u64 {
        let window = cwnd as f32;
        (self.epoch, self.acked) = (Instant::ZERO, 0);
        self.before = window;
        // Fast convergence (section 4.7): room for newcomers.
        self.most = if window < self.most { window * (1.0 + BETA) / 2.0 } else { window };
        bytes(window * BETA).max(2 * u64::from(mss))
    }

    /// After a timeout the curve begins at its flat point, whatever the window was before (section 4.8).
    pub fn time_out(&mut self) {
        self.epoch = Instant::ZERO;
        self.most = 0.0;
    }

    /// Leaves out time in which nothing was sent: it is no reason to grow (section 5.8).
    pub fn pause(&mut self, idle: Duration) {
        if self.epoch > Instant::ZERO {
            self.epoch += idle;
        }
    }
}

/// Whole bytes of a window, which is never negative.
#[expect(clippy::cast_sign_loss, reason = "a negative number would become zero")]
fn bytes(window: f32) -> u64 {
    window as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;

    /// The window after `seconds` of congestion avoidance with a whole window acknowledged each round.
    fn after(cubic: &mut Cubic, mut cwnd: u64, seconds: u64, rtt: Duration) -> u64 {
        let mut now = Instant::ZERO;
        while now < Instant::from_millis(seconds * 1_000) {
            let mut left = cwnd;
            while left > 0 {
                let acked = left.min(2 * u64::from(MSS));
                cwnd = cubic.grow(now, acked, cwnd, MSS, rtt.as_micros() as u32);
                left -= acked;
            }
            now += rtt;
        }
        cwnd
    }

    #[test]
    fn a_reduction_is_to_seven_tenths_and_at_least_two_segments() {
        let mut cubic = Cubic::default();
        assert_eq!(cubic.reduce(100_000, MSS), 70_000);
        assert_eq!(cubic.reduce(1_000, MSS), 2_000);
    }

    #[test]
    fn a_second_reduction_below_the_first_lowers_the_plateau() {
        let mut cubic = Cubic::default();
        cubic.reduce(100_000, MSS);
        cubic.reduce(80_000, MSS);
        assert!((cubic.most - 68_000.0).abs() < 1.0);
        cubic.reduce(90_000, MSS);
        assert!((cubic.most - 90_000.0).abs() < 1.0, "above it, the plateau is the window again");
    }

    #[test]
    fn the_window_is_back_where_it_was_after_k_seconds() {
        let mut cubic = Cubic::default();
        let cwnd = cubic.reduce(1_000_000, MSS);
        // K = cbrt(300 / 0.4) = 9.09 s.
        let rtt = Duration::from_millis(100);
        let at_k = after(&mut cubic, cwnd, 9, rtt);
        assert!((980_000..1_020_000).contains(&at_k), "{at_k}");
    }

    #[test]
    fn on_a_short_path_it_grows_as_reno_would() {
        let mut cubic = Cubic::default();
        let cwnd = cubic.reduce(20_000, MSS);
        // 14 segments, 100 rounds of 10 ms: 0.53 segments each up to 20, then one each.
        let rounds = f64::from(100) - 6.0 / f64::from(ALPHA);
        let expected = 20_000.0 + rounds * 1_000.0;
        let grown = after(&mut cubic, cwnd, 1, Duration::from_millis(10)) as f64;
        assert!((grown / expected - 1.0).abs() < 0.1, "{grown} beside {expected}");
    }

    #[test]
    fn after_a_timeout_the_curve_begins_flat() {
        let rtt = Duration::from_millis(100);
        let mut cubic = Cubic::default();
        let threshold = cubic.reduce(1_000_000, MSS);
        let mut timed_out = cubic;
        timed_out.time_out();
        let (rising, flat) =
            (after(&mut cubic, threshold, 3, rtt), after(&mut timed_out, threshold, 3, rtt));
        // C * t^3 segments, and Reno's 0.53 for each of 30 rounds.
        assert!((715_000..730_000).contains(&flat), "{flat}");
        assert!(rising > 800_000, "{rising}");
    }

    #[test]
    fn idle_time_does_not_count() {
        let mut cubic = Cubic::default();
        cubic.grow(Instant::ZERO, 4_000, 100_000, MSS, 100_000);
        let mut paused = cubic;
        let later = Instant::from_millis(60_000);
        paused.pause(Duration::from_mins(1));
        assert!(paused.grow(later, 4_000, 100_000, MSS, 100_000) < 100_200);
        assert!(cubic.grow(later, 4_000, 100_000, MSS, 100_000) > 100_900);
    }
}
