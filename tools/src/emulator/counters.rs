//! What the link has done, for people and for tests.

use std::{fmt, time::Duration};

use pagewire_driver::LinkCounters;

/// What one direction of the link has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WayCounters {
    /// What it did to frames because it was asked to.
    pub link: LinkCounters,
    /// Frames that have arrived at the far side.
    pub delivered: u64,
    /// Frames under way.
    pub underway: u64,
    /// Bytes of TCP data that came.
    pub data_bytes: u64,
    /// Of these, bytes that had come before: sent again by their sender.
    pub repeated_bytes: u64,
    /// Frames with packets that were larger than the path carries.
    pub too_large: u64,
    /// Frames that the emulator was too slow to take.
    pub not_taken: u64,
    /// Frames that it had no memory for.
    pub not_held: u64,
    /// Frames lost on the way out because the receiver was too slow.
    pub kick_lost: u64,
}

impl WayCounters {
    /// How long a frame waited for others in front of the rate, in the mean.
    pub fn mean_wait(&self) -> Duration {
        Duration::from_nanos(self.link.waited_ns / self.link.queued.max(1))
    }

    /// Which share of the TCP data was sent again.
    pub fn repeated_share(&self) -> f64 {
        self.repeated_bytes as f64 / self.data_bytes.max(1) as f64
    }

    /// Frames lost that nobody asked to lose.
    pub fn failures(&self) -> u64 {
        self.not_taken + self.not_held + self.kick_lost
    }
}

impl fmt::Display for WayCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = &self.link;
        write!(
            f,
            "{} came, {} delivered, {} under way",
            link.arrived, self.delivered, self.underway
        )?;
        [
            ("lost", link.lost),
            ("lost in bursts", link.burst_lost),
            ("found the queue full", link.queue_full),
            ("were too large", self.too_large),
            ("corrupted", link.corrupted),
            ("duplicated", link.duplicated),
            ("held back", link.reordered),
            ("DROPPED because the emulator was too slow", self.not_taken),
            ("DROPPED because the emulator had no memory", self.not_held),
            ("DROPPED because the receiver was too slow", self.kick_lost),
        ]
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .try_for_each(|(what, count)| write!(f, ", {count} {what}"))?;
        if link.waited_ns > 0 {
            write!(f, "; queued for {:.1} ms in the mean", self.mean_wait().as_secs_f64() * 1e3)?;
        }
        if self.data_bytes > 0 {
            write!(f, "; {:.2}% of TCP data sent again", self.repeated_share() * 100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_shown() {
        let link = LinkCounters { arrived: 10, lost: 1, ..LinkCounters::default() };
        let counters =
            WayCounters { link, delivered: 7, underway: 1, kick_lost: 1, ..WayCounters::default() };
        let text = "10 came, 7 delivered, 1 under way, 1 lost, 1 DROPPED because the receiver was too slow";
        assert_eq!(counters.to_string(), text);
        assert_eq!(counters.failures(), 1);
    }
}
