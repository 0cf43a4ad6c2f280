//! Round-trip times: smoothed, their variation, their minimum, and the retransmission timeout from them
//! (RFC 6298).

use std::time::Duration;

use pagewire_driver::Instant;

/// Timeout before any measurement (RFC 6298 section 2.1).
const INITIAL_TIMEOUT_US: u32 = 1_000_000;
/// The same if a timer has run out during the handshake (section 5.7).
const CAUTIOUS_TIMEOUT_US: u32 = 3_000_000;
/// Least allowance for variation, and so the floor of the timeout. RFC 6298 section 2.4 would have a whole
/// second as the floor; this is Linux's (`TCP_RTO_MIN`, include/net/tcp.h), and as there it is added to
/// the smoothed time, so that a delayed acknowledgement on a long path is no timeout.
const LEAST_VARIATION_US: u32 = 200_000;
/// No timeout is shorter, in nanoseconds.
pub const LEAST_TIMEOUT_NANOS: u64 = LEAST_VARIATION_US as u64 * 1_000;
/// Greatest timeout, also with back-off: a minute (RFC 6298 section 2.5; `TCP_RTO_MAX` is twice that).
const GREATEST_TIMEOUT_NANOS: u64 = 60_000_000_000;
/// How long a minimum is trusted (Linux: `tcp_min_rtt_wlen`).
const MINIMUM_LASTS_S: u32 = 300;

/// Times are in microseconds; zero is none yet.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrip {
    smoothed_us: u32,
    /// Before any measurement, a quarter of the timeout.
    variation_us: u32,
    minimum_us: u32,
    /// In seconds of the clock.
    minimum_since_s: u32,
}

impl Default for RoundTrip {
    fn default() -> Self {
        let variation_us = INITIAL_TIMEOUT_US / 4;
        Self { smoothed_us: 0, variation_us, minimum_us: 0, minimum_since_s: 0 }
    }
}

impl RoundTrip {
    /// Of a path on which a timer has run out during the handshake, and nothing was measured.
    pub fn cautious() -> Self {
        Self { variation_us: CAUTIOUS_TIMEOUT_US / 4, ..Self::default() }
    }

    /// Takes a measurement. It must not be of something that was sent twice (Karn's rule).
    pub fn sample(&mut self, now: Instant, time: Duration) {
        self.sample_us(now, u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// The same of what was sent then and is acknowledged now.
    pub fn sample_since(&mut self, now: Instant, sent: Instant) {
        self.sample_us(now, us_between(sent, now));
    }

    fn sample_us(&mut self, now: Instant, us: u32) {
        let us = us.clamp(1, u32::MAX / 8);
        if self.smoothed_us == 0 {
            // RFC 6298 section 2.2.
            (self.smoothed_us, self.variation_us) = (us, us / 2);
        } else {
            // RFC 6298 section 2.3, in this order.
            let difference = self.smoothed_us.abs_diff(us);
            self.variation_us = self.variation_us - self.variation_us / 4 + difference / 4;
            self.smoothed_us = self.smoothed_us - self.smoothed_us / 8 + us / 8;
            self.smoothed_us = self.smoothed_us.max(1);
        }
        self.see_minimum_us(now, us);
    }

    /// Takes a time that counts for the minimum alone: of the segment that was sent last among several.
    pub fn see_minimum_since(&mut self, now: Instant, sent: Instant) {
        self.see_minimum_us(now, us_between(sent, now).max(1));
    }

    fn see_minimum_us(&mut self, now: Instant, us: u32) {
        let second = (now.nanos() / 1_000_000_000) as u32;
        let expired = second.saturating_sub(self.minimum_since_s) > MINIMUM_LASTS_S;
        if self.minimum_us == 0 || us <= self.minimum_us || expired {
            (self.minimum_us, self.minimum_since_s) = (us, second);
        }
    }

    /// The smoothed round-trip time in microseconds, less than 2^29, if there is one.
    pub fn smoothed_us(&self) -> Option<u32> {
        (self.smoothed_us > 0).then_some(self.smoothed_us)
    }

    /// The smoothed round-trip time, if there is one.
    pub fn smoothed(&self) -> Option<Duration> {
        (self.smoothed_us > 0).then(|| Duration::from_micros(self.smoothed_us.into()))
    }

    /// Its mean deviation.
    pub fn variation(&self) -> Duration {
        Duration::from_micros(self.variation_us.into())
    }

    /// The shortest of the last minutes; zero before any.
    pub fn minimum(&self) -> Duration {
        Duration::from_micros(self.minimum_us.into())
    }

    /// The retransmission timeout, doubled `backoff` times.
    pub fn timeout(&self, backoff: u8) -> Duration {
        Duration::from_nanos(self.timeout_nanos(backoff))
    }

    /// The same in nanoseconds.
    pub fn timeout_nanos(&self, backoff: u8) -> u64 {
        let variation = self.variation_us.saturating_mul(4).max(LEAST_VARIATION_US);
        let once = (u64::from(self.smoothed_us) + u64::from(variation)) * 1_000;
        (once << backoff.min(16)).min(GREATEST_TIMEOUT_NANOS)
    }
}

/// Microseconds from one moment to another.
pub fn us_between(from: Instant, to: Instant) -> u32 {
    let us = to.nanos().saturating_sub(from.nanos()) / 1_000;
    u32::try_from(us).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_and_second_samples_are_as_in_rfc_6298() {
        let mut rtt = RoundTrip::default();
        assert_eq!(rtt.timeout(0), ms(1_000));
        assert_eq!(RoundTrip::cautious().timeout(0), ms(3_000));
        rtt.sample(NOW, ms(800));
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(ms(800)), ms(400)));
        assert_eq!(rtt.timeout(0), ms(800 + 4 * 400));
        // RTTVAR = 3/4 * 400 + 1/4 * 400, SRTT = 7/8 * 800 + 1/8 * 1200.
        rtt.sample(NOW, ms(1_200));
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(ms(850)), ms(400)));
    }

    #[test]
    fn the_timeout_has_a_floor_of_200_ms_and_doubles_up_to_a_minute() {
        let mut rtt = RoundTrip::default();
        for _ in 0..100 {
            rtt.sample(NOW, Duration::from_micros(50));
        }
        assert!(rtt.timeout(0) >= ms(200) && rtt.timeout(0) < ms(201));
        assert_eq!(rtt.timeout(3), rtt.timeout(0) * 8);
        assert_eq!(rtt.timeout(200), Duration::from_mins(1));
    }

    #[test]
    fn the_minimum_is_forgotten_after_minutes() {
        let mut rtt = RoundTrip::default();
        rtt.sample(NOW, ms(10));
        rtt.sample(NOW + ms(1_000), ms(30));
        assert_eq!(rtt.minimum(), ms(10));
        rtt.sample(NOW + Duration::from_secs(1 + u64::from(MINIMUM_LASTS_S)), ms(30));
        assert_eq!(rtt.minimum(), ms(30));
    }
}
