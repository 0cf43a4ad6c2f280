//! One timer per slot, set and cancelled in constant time.
//!
//! A hierarchical timing wheel (Varghese and Lauck, 1987): four levels of 64 buckets, each bucket a
//! doubly linked list through the slots' own links, so no timer is ever allocated. A tick is 2^20 ns,
//! about a millisecond; the levels reach about 4.8 hours, and a later deadline waits in the last bucket
//! and is looked at again from there. A timer fires at most one tick late and never early.

use pagewire_driver::Instant;

use crate::pages;

const LEVELS: usize = 4;
const BUCKETS: usize = 64;
const BUCKET_BITS: u32 = 6;
/// Nanoseconds of a tick, as a power of two.
const TICK_BITS: u32 = 20;
/// No slot: the end of a list, or a bucket number for a timer that is not set.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// Level times `BUCKETS` plus bucket, or `NONE`.
    place: u32,
    /// First tick at which the deadline has passed.
    tick: u64,
}

const UNSET: Link = Link { next: NONE, previous: NONE, place: NONE, tick: 0 };

/// The timers of all slots of one core.
pub struct TimerWheel {
    /// Ticks before this one have been expired.
    tick: u64,
    heads: [[u32; BUCKETS]; LEVELS],
    /// Which buckets of a level have timers.
    occupied: [u64; LEVELS],
    links: Vec<Link>,
}

impl TimerWheel {
    /// A wheel without timers whose time is `now`, for slots below `capacity`.
    pub fn new(now: Instant, capacity: usize) -> Self {
        Self {
            tick: now.nanos() >> TICK_BITS,
            heads: [[NONE; BUCKETS]; LEVELS],
            occupied: [0; LEVELS],
            links: pages::reserve(capacity),
        }
    }

    /// Sets the timer of `slot`, in place of an earlier one.
    pub fn set(&mut self, slot: u32, deadline: Instant) {
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, UNSET);
        }
        // Rounded up: never early.
        let tick = deadline.nanos().div_ceil(1 << TICK_BITS);
        let link = &self.links[slot as usize];
        if link.place != NONE && link.tick == tick {
            return;
        }
        self.cancel(slot);
        self.insert(slot, tick);
    }

    /// Cancels the timer of `slot`, if it is set.
    pub fn cancel(&mut self, slot: u32) {
        let Some(&Link { next, previous, place, .. }) = self.links.get(slot as usize) else {
            return;
        };
        if place == NONE {
            return;
        }
        let (level, bucket) = (place as usize / BUCKETS, place as usize % BUCKETS);
        if previous == NONE {
            self.heads[level][bucket] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << bucket);
            }
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.links[slot as usize].place = NONE;
    }

    /// Forgets all slots, none of which has a timer, and gives their memory back.
    pub fn give_back(&mut self) {
        debug_assert_eq!(self.occupied, [0; LEVELS], "a timer is set");
        pages::give_back(&mut self.links);
    }

    /// Unsets every timer whose deadline has passed and appends its slot to `expired`.
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<u32>) {
        let target = now.nanos() >> TICK_BITS;
        while self.tick <= target {
            // Skip to the next tick at which any level has something to do.
            let next = self.next_tick().unwrap_or(u64::MAX);
            if next > target {
                self.tick = target + 1;
                return;
            }
            self.tick = next;
            self.cascade();
            let mut slot = self.take(0, self.tick as usize % BUCKETS);
            while slot != NONE {
                expired.push(slot);
                slot = self.unlink(slot);
            }
            self.tick += 1;
        }
    }

    /// When [`expire`](Self::expire) next has something to do: not after the first deadline, but
    /// possibly before it.
    pub fn next(&self) -> Option<Instant> {
        self.next_tick().map(|tick| Instant::from_nanos(tick << TICK_BITS))
    }

    fn insert(&mut self, slot: u32, tick: u64) {
        let tick = tick.max(self.tick);
        // The highest group of bits in which the deadline differs from the present is the level.
        let differing = ((tick ^ self.tick) | 1).ilog2();
        let level = ((differing / BUCKET_BITS) as usize).min(LEVELS - 1);
        let shift = level as u32 * BUCKET_BITS;
        let last = (self.tick >> shift) + BUCKETS as u64 - 1;
        let bucket = (tick >> shift).min(last) as usize % BUCKETS;
        let head = self.heads[level][bucket];
        let place = (level * BUCKETS + bucket) as u32;
        self.links[slot as usize] = Link { next: head, previous: NONE, place, tick };
        if head != NONE {
            self.links[head as usize].previous = slot;
        }
        self.heads[level][bucket] = slot;
        self.occupied[level] |= 1 << bucket;
    }

    /// The first tick, not before the present one, at which a bucket of some level comes up.
    fn next_tick(&self) -> Option<u64> {
        let next = |level: usize| {
            let shift = level as u32 * BUCKET_BITS;
            let present = self.tick >> shift;
            // Above level 0 the present bucket has been cascaded unless its start is right now, and
            // what is in it then belongs to the next turn of the wheel.
            let aligned = self.tick & ((1 << shift) - 1) == 0;
            let from = if aligned { present } else { present + 1 };
            let rotated = self.occupied[level].rotate_right((from % BUCKETS as u64) as u32);
            (rotated != 0).then(|| (from + u64::from(rotated.trailing_zeros())) << shift)
        };
        (0..LEVELS).filter_map(next).min()
    }

    /// Moves the timers of every bucket that starts at the present tick to where they belong now.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            let shift = level as u32 * BUCKET_BITS;
            if self.tick & ((1 << shift) - 1) == 0 {
                let mut slot = self.take(level, (self.tick >> shift) as usize % BUCKETS);
                while slot != NONE {
                    let (tick, next) = (self.links[slot as usize].tick, self.unlink(slot));
                    self.insert(slot, tick);
                    slot = next;
                }
            }
        }
    }

    /// Empties a bucket and returns the head of what was its list.
    fn take(&mut self, level: usize, bucket: usize) -> u32 {
        self.occupied[level] &= !(1 << bucket);
        std::mem::replace(&mut self.heads[level][bucket], NONE)
    }

    /// Unsets a timer of a taken list and returns the one behind it.
    fn unlink(&mut self, slot: u32) -> u32 {
        let link = &mut self.links[slot as usize];
        link.place = NONE;
        link.next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: u64 = 1 << TICK_BITS;

    fn expire(wheel: &mut TimerWheel, nanos: u64) -> Vec<u32> {
        let mut expired = Vec::new();
        wheel.expire(Instant::from_nanos(nanos), &mut expired);
        expired.sort_unstable();
        expired
    }

    #[test]
    fn a_timer_fires_once_and_within_a_tick() {
        let mut wheel = TimerWheel::new(Instant::ZERO, 0);
        wheel.set(3, Instant::from_millis(100));
        assert!(expire(&mut wheel, 99_999_999).is_empty());
        assert_eq!(expire(&mut wheel, 100_000_000 + TICK), [3]);
        assert!(expire(&mut wheel, u64::MAX >> 4).is_empty());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = TimerWheel::new(Instant::from_millis(5_000), 0);
        expire(&mut wheel, 5_000_000_000);
        wheel.set(0, Instant::ZERO);
        assert_eq!(expire(&mut wheel, 5_000_000_000 + TICK), [0]);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_still_fires_in_time() {
        let mut wheel = TimerWheel::new(Instant::ZERO, 0);
        let deadline = (1u64 << (24 + TICK_BITS)) * 3 + 12_345 * TICK;
        wheel.set(7, Instant::from_nanos(deadline));
        assert!(expire(&mut wheel, deadline - 1).is_empty());
        assert_eq!(expire(&mut wheel, deadline + TICK), [7]);
    }

    proptest! {
        #[test]
        fn timers_fire_as_in_a_sorted_map(
            steps in prop::collection::vec((0u32..12, 0u32..44, 0u64..64, any::<bool>()), 1..300),
        ) {
            let mut wheel = TimerWheel::new(Instant::ZERO, 0);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0u64;
            for (slot, scale, factor, cancel) in steps {
                if cancel {
                    wheel.cancel(slot);
                    model.remove(&slot);
                } else {
                    let deadline = now + (factor << scale);
                    wheel.set(slot, Instant::from_nanos(deadline));
                    model.insert(slot, deadline);
                }
                if let (Some(next), Some(first)) = (wheel.next(), model.values().min()) {
                    prop_assert!(next.nanos() <= first.max(&now) + TICK);
                }
                prop_assert_eq!(wheel.next().is_some(), !model.is_empty());
                now += factor << (scale / 2 + 8);
                for fired in expire(&mut wheel, now) {
                    let deadline = model.remove(&fired);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "never early");
                }
                for &deadline in model.values() {
                    prop_assert!(deadline + 2 * TICK > now, "never more than a tick late");
                }
            }
        }
    }
}
