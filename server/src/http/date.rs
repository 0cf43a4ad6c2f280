//! The `Date` field, formatted once a second.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use httpdate::HttpDate;
use pagewire_driver::Instant;

/// Length of an IMF-fixdate (RFC 9110 §5.6.7), in bytes.
pub const DATE_LEN: usize = 29;

/// The present as HTTP writes it.
#[derive(Debug)]
pub struct DateCache {
    text: String,
    stale_at: Instant,
}

impl DateCache {
    /// The date of `wall`, which is the time at `now`.
    pub fn new(now: Instant, wall: SystemTime) -> Self {
        let mut cache = Self { text: String::with_capacity(DATE_LEN), stale_at: now };
        cache.refresh(now, wall);
        cache
    }

    /// Whether the second has passed, so that [`refresh`](Self::refresh) is due.
    pub fn is_stale(&self, now: Instant) -> bool {
        now >= self.stale_at
    }

    /// Formats `wall`, which is the time at `now`; good until its second has passed.
    pub fn refresh(&mut self, now: Instant, wall: SystemTime) {
        let since_epoch = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let rest = Duration::from_nanos(1_000_000_000 - u64::from(since_epoch.subsec_nanos()));
        self.stale_at = now + rest;
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{}", HttpDate::from(wall));
    }

    /// The date as last formatted.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_changes_with_the_second() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_250);
        let now = Instant::from_millis(5_000);
        let mut date = DateCache::new(now, wall);
        assert_eq!(date.text(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.text().len(), DATE_LEN);
        assert!(!date.is_stale(now + Duration::from_millis(749)));
        assert!(date.is_stale(now + Duration::from_millis(750)));
        date.refresh(now + Duration::from_millis(750), wall + Duration::from_millis(750));
        assert_eq!(date.text(), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
