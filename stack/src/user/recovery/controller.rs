//! Congestion control behind one small interface, so that another algorithm is a variant and nothing else.
//!
//! A controller says how the window grows and where it falls to. When it falls, and how it is got through
//! until then, is the sender's business, and the same for all.

use std::time::Duration;

use pagewire_driver::Instant;

use super::{
    cubic::Cubic,
    hystart::{Growth, HyStart},
};

/// Least initial window in bytes for segments of up to 1,460 bytes (RFC 6928 section 2).
const INITIAL_WINDOW: u64 = 14_600;
/// Largest window, in bytes: far beyond what windows of peers allow.
const GREATEST_WINDOW: u64 = 1 << 30;

/// How a connection's window moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Controller {
    /// RFC 9438.
    Cubic(Cubic),
}

impl Default for Controller {
    fn default() -> Self {
        Self::Cubic(Cubic::default())
    }
}

/// The congestion window, and all that moves it. `Copy`, so that a reduction can be taken back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Bytes that may be in flight.
    pub cwnd: u64,
    /// Slow start ends here.
    pub threshold: u64,
    controller: Controller,
}

/// An acknowledgement as a controller sees it.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// When.
    pub now: Instant,
    /// Bytes newly acknowledged.
    pub acked: u64,
    /// Everything before this is acknowledged.
    pub una: u64,
    /// What is sent next.
    pub next: u64,
    /// A round-trip time measured by it, in microseconds.
    pub rtt_us: Option<u32>,
    /// The smoothed round-trip time, in microseconds.
    pub smoothed_us: u32,
    /// Segment size.
    pub mss: u32,
}

impl Window {
    /// The window of a new connection (RFC 6928).
    pub fn new(mss: u32) -> Self {
        Self { cwnd: initial(mss), threshold: u64::MAX, controller: Controller::default() }
    }

    /// Whether the window is still sought by doubling.
    pub fn is_slow_start(&self) -> bool {
        self.cwnd < self.threshold
    }

    /// Grows after an acknowledgement, if the window was what held the sender back.
    pub fn grow(&mut self, hystart: &mut HyStart, progress: &Progress) {
        let &Progress { now, acked, smoothed_us, mss, .. } = progress;
        if self.is_slow_start() {
            // Once there is a threshold it ends slow start in time (RFC 9406 section 4.3).
            let is_first = self.threshold == u64::MAX;
            let growth = if is_first { hystart.on_ack(progress) } else { Growth::By(acked) };
            match growth {
                Growth::By(bytes) => self.cwnd = (self.cwnd + bytes).min(self.threshold),
                Growth::Over => self.threshold = self.cwnd,
            }
        } else {
            let Controller::Cubic(cubic) = &mut self.controller;
            self.cwnd = cubic.grow(now, acked, self.cwnd, mss, smoothed_us);
        }
        self.cwnd = self.cwnd.min(GREATEST_WINDOW);
    }

    /// Takes note of congestion: the threshold falls, and the window is to follow.
    pub fn reduce(&mut self, mss: u32) {
        let Controller::Cubic(cubic) = &mut self.controller;
        self.threshold = cubic.reduce(self.cwnd, mss);
    }

    /// Takes note of a timeout. The threshold has fallen already.
    pub fn time_out(&mut self) {
        let Controller::Cubic(cubic) = &mut self.controller;
        cubic.time_out();
    }

    /// Takes a reduction back.
    pub fn restore(&mut self, before: &Self) {
        let cwnd = self.cwnd.max(before.cwnd);
        *self = Self { cwnd, ..*before };
    }

    /// Makes room for segments that have become longer.
    pub fn floor(&mut self, mss: u32) {
        let least = 2 * u64::from(mss);
        self.cwnd = self.cwnd.max(least);
        self.threshold = self.threshold.max(least);
    }

    /// After a pause in sending, the window is no longer vouched for: it is halved for each timeout that
    /// has passed, down to the initial one (RFC 7661 section 4.4.2's caution, in the way of RFC 2861 and
    /// of Linux, `tcp_cwnd_restart`).
    pub fn resume(&mut self, idle: Duration, timeout: Duration, mss: u32) {
        let restart = initial(mss).min(self.cwnd);
        let timeouts = idle.as_micros() / timeout.as_micros().max(1);
        if timeouts > 0 {
            self.threshold = self.threshold.max(self.cwnd - self.cwnd / 4);
            let halvings = u32::try_from(timeouts).unwrap_or(u32::MAX);
            self.cwnd = self.cwnd.checked_shr(halvings).unwrap_or(0).max(restart);
        }
        let Controller::Cubic(cubic) = &mut self.controller;
        cubic.pause(idle);
    }
}

fn initial(mss: u32) -> u64 {
    let mss = u64::from(mss);
    (10 * mss).min(INITIAL_WINDOW.max(2 * mss))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_460;

    #[test]
    fn initial_windows_are_those_of_rfc_6928() {
        let windows = [536, 1_460, 1_500, 3_400, 8_960].map(initial);
        assert_eq!(windows, [5_360, 14_600, 14_600, 14_600, 17_920]);
    }

    #[test]
    fn a_pause_halves_the_window_per_timeout_down_to_the_initial_one() {
        let timeout = Duration::from_millis(250);
        let after = |idle_ms: u64| {
            let mut window = Window { cwnd: 200_000, ..Window::new(MSS) };
            window.resume(Duration::from_millis(idle_ms), timeout, MSS);
            window.cwnd
        };
        assert_eq!([100, 260, 600].map(after), [200_000, 100_000, 50_000]);
        assert_eq!(after(60_000), 14_600);
        let mut small = Window { cwnd: 2_920, ..Window::new(MSS) };
        small.resume(Duration::from_mins(1), timeout, MSS);
        assert_eq!(small.cwnd, 2_920, "a pause is no reason to grow");
    }

    #[test]
    fn slow_start_doubles_and_stops_at_the_threshold() {
        let mut window = Window { threshold: 30_000, ..Window::new(MSS) };
        let mut hystart = HyStart::default();
        let progress = |acked| Progress {
            now: Instant::ZERO,
            acked,
            una: 0,
            next: 1,
            rtt_us: None,
            smoothed_us: 10_000,
            mss: MSS,
        };
        window.grow(&mut hystart, &progress(14_600));
        assert_eq!(window.cwnd, 29_200);
        window.grow(&mut hystart, &progress(14_600));
        assert_eq!((window.cwnd, window.is_slow_start()), (30_000, false));
    }
}
