//! Timers of slots: any number, added in constant time, never cancelled.
//!
//! A hierarchical timing wheel (Varghese and Lauck, 1987): four levels of 64 buckets. A bucket is a list of
//! chunks of entries, so adding, cascading and expiring go through memory in order, and cost no line of a
//! slot's own. A tick is 2^20 ns, about a millisecond; the levels reach about 4.8 hours, and a later deadline
//! waits in the last bucket and is looked at again from there. A timer fires at most one tick late and,
//! within 26 days, never early.
//!
//! Whoever has lost interest in a timer lets it fire, and ignores it; [`retain`](TimerWheel::retain) throws
//! such timers out when they have become many.

use pagewire_driver::Instant;

const LEVELS: usize = 4;
const BUCKETS: usize = 64;
const BUCKET_BITS: u32 = 6;
/// Nanoseconds of a tick, as a power of two.
const TICK_BITS: u32 = 20;
/// How many ticks ahead a timer may be.
const HORIZON: u64 = 1 << 31;
/// No chunk: the end of a list.
const NONE: u32 = u32::MAX;
/// Entries of a chunk: with them it is two cache lines.
const CHUNK: usize = 15;

/// A tick of the wheel, counted from the clock's origin.
pub type Tick = u64;

#[derive(Clone, Copy, Default)]
struct Entry {
    slot: u32,
    /// The lower half of the tick, which is not before the wheel's.
    tick: u32,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Chunk {
    next: u32,
    len: u32,
    entries: [Entry; CHUNK],
}

/// The timers of one core.
pub struct TimerWheel {
    /// Ticks before this one have been expired.
    tick: Tick,
    heads: [[u32; BUCKETS]; LEVELS],
    /// Which buckets of a level have timers.
    occupied: [u64; LEVELS],
    chunks: Vec<Chunk>,
    /// The list of chunks that nobody uses.
    free: u32,
    len: usize,
}

impl TimerWheel {
    /// A wheel without timers whose time is `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            tick: now.nanos() >> TICK_BITS,
            heads: [[NONE; BUCKETS]; LEVELS],
            occupied: [0; LEVELS],
            chunks: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// How many timers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The tick at which a timer for `deadline` fires.
    pub fn tick_for(&self, deadline: Instant) -> Tick {
        // Rounded up: never early.
        let tick = deadline.nanos().div_ceil(1 << TICK_BITS);
        tick.clamp(self.tick, self.tick + HORIZON)
    }

    /// Adds a timer for `slot` at a tick from [`tick_for`](Self::tick_for).
    pub fn add(&mut self, slot: u32, tick: Tick) {
        self.len += 1;
        self.insert(Entry { slot, tick: tick as u32 });
    }

    /// Keeps only the timers for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(u32, Tick) -> bool) {
        for level in 0..LEVELS {
            for bucket in 0..BUCKETS {
                let mut rest = self.take(level, bucket);
                while let Some((chunk, next)) = self.read(rest) {
                    for entry in &chunk.entries[..chunk.len as usize] {
                        if keep(entry.slot, self.full_tick(*entry)) {
                            self.push(level, bucket, *entry);
                        } else {
                            self.len -= 1;
                        }
                    }
                    rest = next;
                }
            }
        }
    }

    /// Forgets all timers and gives their memory back.
    pub fn give_back(&mut self) {
        *self = Self { tick: self.tick, ..Self::new(Instant::ZERO) };
    }

    /// Takes out every timer whose deadline has passed and appends it to `expired`, in order.
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<(u32, Tick)>) {
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
            let mut rest = self.take(0, self.tick as usize % BUCKETS);
            while let Some((chunk, next)) = self.read(rest) {
                let entries = &chunk.entries[..chunk.len as usize];
                expired.extend(entries.iter().map(|entry| (entry.slot, self.tick)));
                self.len -= entries.len();
                rest = next;
            }
            self.tick += 1;
        }
    }

    /// When [`expire`](Self::expire) next has something to do: not after the first deadline, but
    /// possibly before it.
    pub fn next(&self) -> Option<Instant> {
        self.next_tick().map(|tick| Instant::from_nanos(tick << TICK_BITS))
    }

    fn full_tick(&self, entry: Entry) -> Tick {
        self.tick + u64::from(entry.tick.wrapping_sub(self.tick as u32))
    }

    fn insert(&mut self, entry: Entry) {
        let tick = self.full_tick(entry);
        // The highest group of bits in which the deadline differs from the present is the level.
        let differing = ((tick ^ self.tick) | 1).ilog2();
        let level = ((differing / BUCKET_BITS) as usize).min(LEVELS - 1);
        let shift = level as u32 * BUCKET_BITS;
        let last = (self.tick >> shift) + BUCKETS as u64 - 1;
        let bucket = (tick >> shift).min(last) as usize % BUCKETS;
        self.push(level, bucket, entry);
    }

    fn push(&mut self, level: usize, bucket: usize, entry: Entry) {
        let mut head = self.heads[level][bucket];
        if self.chunks.get(head as usize).is_none_or(|chunk| chunk.len as usize == CHUNK) {
            head = self.new_chunk(head);
            self.heads[level][bucket] = head;
            self.occupied[level] |= 1 << bucket;
        }
        let chunk = &mut self.chunks[head as usize];
        chunk.entries[chunk.len as usize] = entry;
        chunk.len += 1;
    }

    /// An empty chunk in front of `next`.
    fn new_chunk(&mut self, next: u32) -> u32 {
        let chunk = self.free;
        if let Some(place) = self.chunks.get_mut(chunk as usize) {
            self.free = place.next;
            (place.next, place.len) = (next, 0);
            return chunk;
        }
        self.chunks.push(Chunk { next, len: 0, entries: [Entry::default(); CHUNK] });
        self.chunks.len() as u32 - 1
    }

    /// What a chunk of a list taken out holds, and the chunk behind it. The chunk is free then.
    fn read(&mut self, chunk: u32) -> Option<(Chunk, u32)> {
        let place = self.chunks.get_mut(chunk as usize)?;
        let read = *place;
        place.next = self.free;
        self.free = chunk;
        Some((read, read.next))
    }

    /// The first tick, not before the present one, at which a bucket of some level comes up.
    fn next_tick(&self) -> Option<Tick> {
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
                let mut rest = self.take(level, (self.tick >> shift) as usize % BUCKETS);
                while let Some((chunk, next)) = self.read(rest) {
                    for entry in &chunk.entries[..chunk.len as usize] {
                        self.insert(*entry);
                    }
                    rest = next;
                }
            }
        }
    }

    /// Empties a bucket and returns the head of what was its list.
    fn take(&mut self, level: usize, bucket: usize) -> u32 {
        self.occupied[level] &= !(1 << bucket);
        std::mem::replace(&mut self.heads[level][bucket], NONE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: u64 = 1 << TICK_BITS;

    fn set(wheel: &mut TimerWheel, slot: u32, deadline: Instant) -> Tick {
        let tick = wheel.tick_for(deadline);
        wheel.add(slot, tick);
        tick
    }

    fn expire(wheel: &mut TimerWheel, nanos: u64) -> Vec<(u32, Tick)> {
        let mut expired = Vec::new();
        wheel.expire(Instant::from_nanos(nanos), &mut expired);
        assert!(expired.is_sorted_by_key(|&(_, tick)| tick));
        expired.sort_unstable();
        expired
    }

    #[test]
    fn a_timer_fires_once_and_within_a_tick() {
        let mut wheel = TimerWheel::new(Instant::ZERO);
        let tick = set(&mut wheel, 3, Instant::from_millis(100));
        assert!(expire(&mut wheel, 99_999_999).is_empty());
        assert_eq!(expire(&mut wheel, 100_000_000 + TICK), [(3, tick)]);
        assert!(expire(&mut wheel, u64::MAX >> 4).is_empty());
        assert_eq!((wheel.next(), wheel.len()), (None, 0));
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = TimerWheel::new(Instant::from_millis(5_000));
        expire(&mut wheel, 5_000_000_000);
        let tick = set(&mut wheel, 0, Instant::ZERO);
        assert_eq!(expire(&mut wheel, 5_000_000_000 + TICK), [(0, tick)]);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_still_fires_in_time() {
        let mut wheel = TimerWheel::new(Instant::ZERO);
        let deadline = (1u64 << (24 + TICK_BITS)) * 3 + 12_345 * TICK;
        set(&mut wheel, 7, Instant::from_nanos(deadline));
        assert!(expire(&mut wheel, deadline - 1).is_empty());
        assert_eq!(expire(&mut wheel, deadline + TICK).len(), 1);
    }

    #[test]
    fn memory_is_used_again() {
        let mut wheel = TimerWheel::new(Instant::ZERO);
        for round in 0..100u64 {
            for slot in 0..1_000 {
                set(&mut wheel, slot, Instant::from_millis(round * 300 + u64::from(slot) / 4));
            }
            assert_eq!(expire(&mut wheel, (round + 1) * 300_000_000).len(), 1_000);
        }
        assert!(wheel.chunks.len() < 500, "{}", wheel.chunks.len());
    }

    proptest! {
        /// The oracle is a list.
        #[test]
        fn timers_fire_as_from_a_list(
            steps in prop::collection::vec((0u32..12, 0u32..44, 0u64..64, 0u8..4), 1..300),
        ) {
            let mut wheel = TimerWheel::new(Instant::ZERO);
            let mut model: Vec<(u32, Tick, u64)> = Vec::new();
            let mut now = 0u64;
            for (slot, scale, factor, what) in steps {
                if what == 0 {
                    wheel.retain(|other, _| other != slot);
                    model.retain(|&(other, ..)| other != slot);
                } else {
                    let deadline = now + (factor << scale);
                    let tick = set(&mut wheel, slot, Instant::from_nanos(deadline));
                    model.push((slot, tick, deadline));
                }
                let mut known = Vec::new();
                wheel.retain(|slot, tick| {
                    known.push((slot, tick));
                    true
                });
                known.sort_unstable();
                let mut expected: Vec<_> = model.iter().map(|&(slot, tick, _)| (slot, tick)).collect();
                expected.sort_unstable();
                prop_assert_eq!(known, expected);
                let first = model.iter().map(|&(.., deadline)| deadline).min();
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next.nanos() <= first.max(now) + TICK);
                }
                prop_assert_eq!(wheel.next().is_some(), !model.is_empty());
                prop_assert_eq!(wheel.len(), model.len());
                now += factor << (scale / 2 + 8);
                for (slot, tick) in expire(&mut wheel, now) {
                    let found = model.iter().position(|timer| (timer.0, timer.1) == (slot, tick));
                    let found = found.map(|index| model.swap_remove(index));
                    prop_assert!(found.is_some_and(|(.., deadline)| deadline <= now), "never early");
                }
                for &(.., deadline) in &model {
                    prop_assert!(deadline + 2 * TICK > now, "never more than a tick late");
                }
            }
        }
    }
}
