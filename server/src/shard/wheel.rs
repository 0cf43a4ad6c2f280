//! When to look at which connection: a coarse timer wheel.
//!
//! Setting, and a turn of the wheel, cost O(1) per connection. A connection whose deadline moves later
//! leaves its entry where it is: when that comes up, the owner sees that it is early and sets it again.

use pagewire_driver::Instant;
use pagewire_stack::ConnectionId;

/// About 67 ms: deadlines are kept to that.
const TICK_SHIFT: u32 = 26;

const BUCKETS: usize = 1024;

/// Farther deadlines come up after this many ticks (69 s), early.
const SPAN: u32 = BUCKETS as u32 - 1;

/// A turn of the wheel, counted from the clock's origin: enough for nine years.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tick(u32);

impl Tick {
    /// The tick that `at` lies in.
    fn of(at: Instant) -> Self {
        Self(u32::try_from(at.nanos() >> TICK_SHIFT).unwrap_or(u32::MAX))
    }

    /// The tick after so many more.
    fn after(self, ticks: u32) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    fn instant(self) -> Instant {
        Instant::from_nanos(u64::from(self.0) << TICK_SHIFT)
    }

    fn bucket(self) -> usize {
        self.0 as usize % BUCKETS
    }
}

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    buckets: Vec<Vec<(Tick, ConnectionId)>>,
    /// One bit a bucket: whether it has entries.
    occupied: [u64; BUCKETS / 64],
    /// The last tick whose entries were taken out.
    current: Tick,
}

impl Wheel {
    /// An empty wheel at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            buckets: vec![Vec::new(); BUCKETS],
            occupied: [0; BUCKETS / 64],
            current: Tick::of(now),
        }
    }

    /// The tick at which an entry for `at` comes up.
    pub fn tick_for(&self, at: Instant) -> Tick {
        // The first that lies wholly after it.
        Tick::of(at).after(1).clamp(self.current.after(1), self.current.after(SPAN))
    }

    /// Adds an entry at a tick from [`tick_for`](Self::tick_for).
    pub fn insert(&mut self, tick: Tick, id: ConnectionId) {
        let bucket = tick.bucket();
        self.buckets[bucket].push((tick, id));
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Moves to `now` and appends to `due` what comes up.
    pub fn advance(&mut self, now: Instant, due: &mut Vec<(Tick, ConnectionId)>) {
        let target = Tick::of(now);
        let last = target.min(self.current.after(SPAN));
        while self.current < last {
            self.current = self.current.after(1);
            let bucket = self.current.bucket();
            // With its memory: a bucket is not used again for long.
            due.extend(std::mem::take(&mut self.buckets[bucket]));
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
        self.current = self.current.max(target);
    }

    /// When the next entry comes up.
    pub fn next(&self) -> Option<Instant> {
        let start = self.current.after(1);
        let mut ahead = 0;
        while ahead < BUCKETS as u32 {
            let bucket = start.after(ahead).bucket();
            let word = self.occupied[bucket / 64] >> (bucket % 64);
            if word != 0 {
                return Some(start.after(ahead + word.trailing_zeros()).instant());
            }
            ahead += 64 - (bucket % 64) as u32;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 0 }
    }

    #[test]
    fn an_entry_comes_up_after_its_time_and_once() {
        let mut wheel = Wheel::new(Instant::from_millis(5_000));
        assert_eq!(wheel.next(), None);
        let tick = wheel.tick_for(Instant::from_millis(15_000));
        wheel.insert(tick, id(7));
        let mut due = Vec::new();
        wheel.advance(Instant::from_millis(15_000), &mut due);
        assert!(due.is_empty());
        let next = wheel.next().unwrap();
        assert!(next > Instant::from_millis(15_000) && next < Instant::from_millis(15_070));
        wheel.advance(next, &mut due);
        assert_eq!(due, [(tick, id(7))]);
        wheel.advance(Instant::from_millis(500_000), &mut due);
        assert_eq!((due.len(), wheel.next()), (1, None));
    }

    #[test]
    fn a_sleep_longer_than_the_wheel_brings_up_everything() {
        let mut wheel = Wheel::new(Instant::ZERO);
        for slot in 0..200 {
            wheel.insert(wheel.tick_for(Instant::from_millis(u64::from(slot) * 1_000)), id(slot));
        }
        let mut due = Vec::new();
        wheel.advance(Instant::from_millis(10_000_000), &mut due);
        assert_eq!(due.len(), 200);
    }

    proptest! {
        #[test]
        fn entries_come_up_in_time(
            delays_ms in proptest::collection::vec(0u64..60_000, 1..40),
            step_ms in 1u64..3_000,
        ) {
            let start = Instant::from_millis(123_456);
            let mut wheel = Wheel::new(start);
            for (slot, delay) in delays_ms.iter().enumerate() {
                let tick = wheel.tick_for(start + Duration::from_millis(*delay));
                wheel.insert(tick, id(slot as u32));
            }
            let mut seen = 0;
            let mut now = start;
            while seen < delays_ms.len() {
                let next = wheel.next().expect("entries are left");
                now += Duration::from_millis(step_ms);
                let mut due = Vec::new();
                wheel.advance(now, &mut due);
                prop_assert!(due.is_empty() || next <= now);
                for (_, id) in due {
                    let at = start + Duration::from_millis(delays_ms[id.slot as usize]);
                    prop_assert!(now >= at && now.since(at) < Duration::from_millis(step_ms + 70));
                    seen += 1;
                }
            }
            prop_assert_eq!(wheel.next(), None);
        }
    }
}
