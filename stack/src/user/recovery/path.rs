//! The segment size: lowered by what the path is said to carry, or by silence where only large segments
//! are lost; tried again at full size after minutes (RFC 1191, RFC 8201, RFC 4821; RFC 8899's idea of a
//! base size).

use pagewire_driver::Instant;

/// Sizes tried in turn when larger segments seem to vanish: what RFC 8899 section 5.1.2 takes for a base
/// that nearly all paths carry, and what IPv4 promises (RFC 9293 section 3.7.1).
const SAFE_SIZES: [u32; 2] = [1_200, 536];
/// Least size that is believed: below it a stranger could make us send mostly headers (Linux:
/// `tcp_min_snd_mss` is 48, `min_pmtu` 552).
const LEAST: u16 = 512;
/// Timeouts in a row of which the size is suspected.
const SUSPICIOUS: u8 = 2;
/// When a lowered size is given another try (RFC 8899 section 5.1.1: 600 s).
const RAISE_AFTER_S: u32 = 600;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct PathLimit {
    full: u16,
    mss: u16,
    /// In seconds of the clock.
    lowered_s: u32,
}

impl PathLimit {
    /// A path of which nothing is known but what both ends accept.
    pub fn new(mss: u32) -> Self {
        let mss = u16::try_from(mss).unwrap_or(u16::MAX);
        Self { full: mss, mss, lowered_s: 0 }
    }

    /// The size to use.
    pub fn mss(self) -> u32 {
        self.mss.into()
    }

    /// Takes what somebody on the path has said to be its limit. Says whether that changes anything.
    pub fn limit(&mut self, now: Instant, mss: u32) -> bool {
        let mss = u16::try_from(mss).unwrap_or(u16::MAX).max(LEAST.min(self.full));
        let lower = mss < self.mss;
        if lower {
            (self.mss, self.lowered_s) = (mss, seconds(now));
        }
        lower
    }

    /// Takes note of that many timeouts in a row of a segment of this size. Says whether the size is
    /// lowered.
    pub fn suspect(&mut self, now: Instant, timeouts: u8, len: u32) -> bool {
        if timeouts < SUSPICIOUS {
            return false;
        }
        let safer = SAFE_SIZES.into_iter().find(|&size| size < self.mss() && size < len);
        safer.is_some_and(|size| self.limit(now, size))
    }

    /// Goes back to the full size if it is time. Says whether it does.
    pub fn refresh(&mut self, now: Instant) -> bool {
        let is_due =
            self.mss < self.full && seconds(now).saturating_sub(self.lowered_s) > RAISE_AFTER_S;
        if is_due {
            self.mss = self.full;
        }
        is_due
    }
}

fn seconds(now: Instant) -> u32 {
    (now.millis() / 1_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    #[test]
    fn a_stated_limit_lowers_the_size_but_not_below_reason() {
        let mut path = PathLimit::new(1_460);
        assert!(path.limit(NOW, 1_400));
        assert!(!path.limit(NOW, 1_450));
        assert!(path.limit(NOW, 0));
        assert_eq!(path.mss(), u32::from(LEAST));
        let mut small = PathLimit::new(200);
        assert!(!small.limit(NOW, 100));
        assert_eq!(small.mss(), 200);
    }

    #[test]
    fn timeouts_in_a_row_of_large_segments_lower_it_step_by_step() {
        let mut path = PathLimit::new(1_460);
        assert!(!path.suspect(NOW, 1, 1_460));
        assert!(!path.suspect(NOW, 2, 300), "small segments vanish for other reasons");
        assert!(path.suspect(NOW, 2, 1_460));
        assert_eq!(path.mss(), 1_200);
        assert!(path.suspect(NOW, 3, 1_460));
        assert_eq!(path.mss(), 536);
        assert!(!path.suspect(NOW, 4, 1_460));
        let later = |s: u32| Instant::from_millis(1_000 + u64::from(s) * 1_000);
        assert!(!path.refresh(later(RAISE_AFTER_S)));
        assert_eq!(path.mss(), 536);
        assert!(path.refresh(later(RAISE_AFTER_S + 1)));
        assert_eq!(path.mss(), 1_460);
    }
}
