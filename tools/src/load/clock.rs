//! The clock of a run. It goes on from one run to the next, since peers compare the timestamps of
//! segments with those of earlier connections from the same address and port (RFC 6191): a clock that
//! began anew would have their SYNs ignored while the server remembers the ones before.

use nix::time::{ClockId, clock_gettime};
use pagewire_driver::Instant;

/// Reads the system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock;

impl Clock {
    /// The present, since the system was started.
    #[expect(clippy::unused_self, reason = "only who holds the clock reads it")]
    pub(super) fn now(self) -> Instant {
        // It exists on every system.
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Instant::ZERO, |time| {
            let part = |part: i64| part.unsigned_abs();
            Instant::from_nanos(part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec()))
        })
    }
}
