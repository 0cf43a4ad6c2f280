//! Open loop: when requests are to start, whatever becomes of those before them.
//!
//! A request that finds no free connection is late, and its latency counts from when it should have
//! started. So a server that stalls shows the stall in every request that it delayed, and not only in
//! the few that were under way: there is no coordinated omission.

use pagewire_driver::Instant;

/// Groups that requests are taken in at most.
const GROUPS: u64 = 1_000;

/// The intended starts of one core's requests: evenly spaced, those of several cores interleaved.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: Instant,
    /// Between two requests of this core, in nanoseconds.
    spacing_nanos: f64,
    /// How many have been taken.
    taken: u64,
}

impl Schedule {
    /// `rate_per_s` requests a second in all, of which core `index` of `cores` sends its share.
    pub(super) fn new(start: Instant, rate_per_s: f64, index: usize, cores: usize) -> Self {
        let all_nanos = 1e9 / rate_per_s;
        let start = later(start, all_nanos * index as f64);
        Self { start, spacing_nanos: all_nanos * cores as f64, taken: 0 }
    }

    /// When the next request is to start.
    pub(super) fn next(&self) -> Instant {
        // Multiplied, not summed up: errors do not add up.
        later(self.start, self.taken as f64 * self.spacing_nanos)
    }

    /// Takes the next request if it is due: when it should have started.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let next = self.next();
        (next <= now).then(|| {
            self.taken += 1;
            next
        })
    }

    /// Takes all requests that are due, at most `most`, in groups of the same intended start or nearly
    /// so: at most [`GROUPS`], however many there are. Each is that start and a count.
    pub(super) fn take_all_due(&mut self, now: Instant, most: u64) -> Vec<(Instant, u64)> {
        let nanos = now.nanos().saturating_sub(self.start.nanos());
        #[expect(clippy::cast_sign_loss, reason = "neither is below zero")]
        let due = (nanos as f64 / self.spacing_nanos) as u64 + u64::from(self.start <= now);
        let mut left = due.saturating_sub(self.taken).min(most);
        let group = left.div_ceil(GROUPS).max(1);
        let mut groups = Vec::new();
        while left > 0 {
            let count = group.min(left);
            groups.push((self.next(), count));
            self.taken += count;
            left -= count;
        }
        groups
    }

    /// Takes back the request taken last.
    pub(super) fn give_back(&mut self) {
        self.taken -= 1;
    }
}

#[expect(clippy::cast_sign_loss, reason = "what is below zero becomes zero")]
fn later(start: Instant, nanos: f64) -> Instant {
    Instant::from_nanos(start.nanos().saturating_add(nanos as u64))
}

#[cfg(test)]
#[expect(clippy::cast_sign_loss, reason = "the rates are positive")]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Instant = Instant::from_millis(5_000);

    fn starts(mut schedule: Schedule, until: Instant) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take_due(until)).map(Instant::nanos).collect()
    }

    #[test]
    fn as_many_are_due_as_the_rate_says() {
        for rate in [0.5, 1.0, 3.0, 1_000.0, 333_333.3] {
            let count =
                starts(Schedule::new(START, rate, 0, 1), START + Duration::from_secs(4)).len();
            let expected = (rate * 4.0) as usize;
            assert!((expected..=expected + 1).contains(&count), "{rate}: {count}");
        }
    }

    #[test]
    fn several_cores_together_keep_the_rate_and_spacing_of_one() {
        let until = START + Duration::from_millis(10);
        let one = starts(Schedule::new(START, 9_000.0, 0, 1), until);
        let mut three: Vec<_> =
            (0..3).flat_map(|core| starts(Schedule::new(START, 9_000.0, core, 3), until)).collect();
        three.sort_unstable();
        assert_eq!(one.len(), three.len());
        assert!(one.iter().zip(&three).all(|(one, three)| one.abs_diff(*three) <= 2));
    }

    #[test]
    fn what_was_late_keeps_its_intended_start() {
        let mut schedule = Schedule::new(START, 1_000.0, 0, 1);
        let late = START + Duration::from_millis(7);
        for number in 0..8 {
            assert_eq!(schedule.take_due(late), Some(START + Duration::from_millis(number)));
        }
        assert_eq!(schedule.take_due(late), None);
        assert_eq!(schedule.next(), START + Duration::from_millis(8));
    }

    #[test]
    fn those_never_sent_are_counted_without_counting_each() {
        for rate in [0.5, 7.0, 1_000.0, 1e9] {
            let until = START + Duration::from_secs(3);
            let mut schedule = Schedule::new(START, rate, 0, 1);
            schedule.take_due(until);
            let groups = schedule.take_all_due(until, u64::MAX);
            let count: u64 = groups.iter().map(|(_, count)| count).sum();
            let expected = (rate * 3.0) as u64;
            assert!(groups.len() <= 1_000 && (expected..=expected + 1).contains(&(count + 1)));
            assert!(groups.iter().all(|(start, _)| (START..=until).contains(start)));
            assert!(schedule.take_all_due(until, u64::MAX).is_empty());
        }
        let mut schedule = Schedule::new(START, 100.0, 0, 1);
        assert_eq!(schedule.take_all_due(START + Duration::from_secs(9), 5).len(), 5);
        assert!(schedule.take_all_due(START, 5).is_empty());
    }

    #[test]
    fn spacing_does_not_drift_over_many_requests() {
        let mut schedule = Schedule::new(START, 300_000.0, 0, 1);
        schedule.taken = 300_000 * 3_600;
        assert_eq!(schedule.next().since(START).as_micros(), 3_600_000_000);
    }
}
