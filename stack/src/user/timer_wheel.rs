//! Timers of slots: any number, added in constant time, never cancelled.
//!
//! A hierarchical timing wheel (Varghese and Lauck, 1987): four levels of 64 buckets. A bucket is a list of
//! chunks of entries, so adding, cascading and expiring go through memory in order, and cost no line of a
//! slot's own. A tick is 2^20 ns, about a millisecond; the levels reach about 4.8 hours, and a later deadline
//! waits in the last bucket and is looked at again from there. A timer fires at most one tick late and,
//! within 26 days, never early.
//!
//! Whoever has lost interest in a timer lets it fire, and ignores it; [`sweep`](TimerWheel::sweep) throws
//! such timers out when they have become many.
//!
//! Nothing here takes long. What is due, and what moves down a level when a bucket of it comes up, is taken in
//! pieces; meanwhile the wheel's time stands still, so what is behind comes later but in order. A sweep looks
//! at one chunk for each timer that is added. Memory for as many timers as there are to be is reserved at the
//! start.

use pagewire_driver::{Instant, prefetch};

use crate::pages;

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
/// What it takes to let a timer fire, whose connection is then looked at, in moves from list to list.
pub const FIRING: usize = 8;

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

impl Chunk {
    fn entries(&self) -> &[Entry] {
        &self.entries[..self.len as usize]
    }
}

/// The timers of one core.
pub struct TimerWheel {
    /// Ticks before this one have been expired.
    tick: Tick,
    /// Levels of the present tick whose bucket has not come up yet: all of them between two ticks.
    level: usize,
    /// The list of chunks that were taken out of a bucket which has come up, or is swept.
    rest: u32,
    /// The bucket behind the one that was swept last, all levels counted through.
    swept: usize,
    heads: [[u32; BUCKETS]; LEVELS],
    /// Which buckets of a level have timers.
    occupied: [u64; LEVELS],
    chunks: Vec<Chunk>,
    /// The list of chunks that nobody uses.
    free: u32,
    len: usize,
}

impl TimerWheel {
    /// A wheel without timers whose time is `now`. Up to `most` timers never make it move its memory.
    pub fn new(now: Instant, most: usize) -> Self {
        // Of each list one chunk, and of what is taken out one, may be filled in part.
        let chunks = most.div_ceil(CHUNK) + LEVELS * BUCKETS + 1;
        Self::on(now, pages::reserve(chunks))
    }

    /// Has the memory of the first `timers` provided now.
    pub fn populate(&self, timers: usize) {
        pages::populate(&self.chunks, timers.div_ceil(CHUNK));
    }

    fn on(now: Instant, chunks: Vec<Chunk>) -> Self {
        Self {
            tick: now.nanos() >> TICK_BITS,
            level: LEVELS,
            rest: NONE,
            swept: 0,
            heads: [[NONE; BUCKETS]; LEVELS],
            occupied: [0; LEVELS],
            chunks,
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
        // To a tick under way nothing is added.
        let first = self.tick + u64::from(self.level < LEVELS);
        tick.clamp(first, self.tick + HORIZON)
    }

    /// Adds a timer for `slot` at a tick from [`tick_for`](Self::tick_for).
    pub fn add(&mut self, slot: u32, tick: Tick) {
        self.len += 1;
        self.insert(Entry { slot, tick: tick as u32 });
    }

    /// Looks at a few timers, and throws those out of which `keep` does not say that they are wanted. Called
    /// again and again it comes to all of them. Returns at how many it has looked.
    pub fn sweep(&mut self, mut keep: impl FnMut(u32, Tick) -> bool) -> usize {
        if self.level < LEVELS {
            // What a tick has taken out comes first.
            return 0;
        }
        if self.rest == NONE
            && let Some((level, bucket)) = self.next_to_sweep()
        {
            self.rest = self.take(level, bucket);
            self.swept = level * BUCKETS + bucket + 1;
        }
        let Some((chunk, next)) = self.read(self.rest) else { return 0 };
        self.rest = next;
        for entry in chunk.entries() {
            if keep(entry.slot, self.full_tick(*entry)) {
                self.insert(*entry);
            } else {
                self.len -= 1;
            }
        }
        chunk.entries().len()
    }

    /// Forgets all timers and gives their memory back.
    pub fn give_back(&mut self) {
        pages::give_back(&mut self.chunks);
        *self =
            Self { tick: self.tick, ..Self::on(Instant::ZERO, std::mem::take(&mut self.chunks)) };
    }

    /// Takes out timers whose deadline has passed and appends them to `expired`, in order: all of them, unless
    /// that takes more than `most` moves of timers, by about a chunk. Then [`next`](Self::next) is not after
    /// `now`.
    pub fn expire(&mut self, now: Instant, mut most: usize, expired: &mut Vec<(u32, Tick)>) {
        let target = now.nanos() >> TICK_BITS;
        loop {
            while self.rest != NONE {
                if most == 0 {
                    return;
                }
                most = most.saturating_sub(self.handle_chunk(expired));
            }
            if self.level == 0 {
                (self.tick, self.level) = (self.tick + 1, LEVELS);
            }
            if self.level == LEVELS {
                // Skip to the next tick at which any level has something to do.
                let next = self.next_tick().unwrap_or(u64::MAX);
                if next > target {
                    self.tick = self.tick.max(target + 1);
                    return;
                }
                self.tick = next;
            }
            self.level -= 1;
            let shift = self.level as u32 * BUCKET_BITS;
            if self.tick & ((1 << shift) - 1) == 0 {
                self.rest = self.take(self.level, (self.tick >> shift) as usize % BUCKETS);
            }
        }
    }

    /// Puts the timers of a chunk that was taken out to where they belong: those of a tick under way are
    /// expired. Returns what that takes.
    fn handle_chunk(&mut self, expired: &mut Vec<(u32, Tick)>) -> usize {
        let Some((chunk, next)) = self.read(self.rest) else { return 0 };
        self.rest = next;
        let mut moves = 0;
        for entry in chunk.entries() {
            if self.level < LEVELS && entry.tick == self.tick as u32 {
                expired.push((entry.slot, self.tick));
                self.len -= 1;
                moves += FIRING;
            } else {
                self.insert(*entry);
                moves += 1;
            }
        }
        moves
    }

    /// The tick that is next to be expired, or under way.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Brings the first chunk of the timers of a tick that is `ahead` of the next one towards the core's cache.
    pub fn prefetch(&self, ahead: u64) {
        if let Some(chunk) = self.coming(ahead) {
            prefetch(chunk);
        }
    }

    /// Slots of timers of a tick that is `ahead` of the next one, as far as they are in the first chunk, and that
    /// tick is near enough to be told apart from others.
    pub fn slots(&self, ahead: u64) -> impl Iterator<Item = u32> {
        self.coming(ahead).into_iter().flat_map(Chunk::entries).map(|entry| entry.slot)
    }

    fn coming(&self, ahead: u64) -> Option<&Chunk> {
        let tick = self.tick + ahead;
        let is_near = tick / BUCKETS as u64 == self.tick / BUCKETS as u64;
        let head = self.heads[0][tick as usize % BUCKETS];
        self.chunks.get(head as usize).filter(|_| is_near)
    }

    /// When [`expire`](Self::expire) next has something to do: not after the first deadline, but
    /// possibly before it.
    pub fn next(&self) -> Option<Instant> {
        let is_under_way = self.level < LEVELS || self.rest != NONE;
        let tick = if is_under_way { Some(self.tick) } else { self.next_tick() };
        tick.map(|tick| Instant::from_nanos(tick << TICK_BITS))
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

    /// The first bucket with timers at or behind the place where the sweep has got to, and around.
    fn next_to_sweep(&self) -> Option<(usize, usize)> {
        let first = self.swept % (LEVELS * BUCKETS);
        // The first level once more at the end, for the buckets before that place.
        (0..=LEVELS).find_map(|step| {
            let level = (first / BUCKETS + step) % LEVELS;
            let from = if step == 0 { first % BUCKETS } else { 0 };
            let left = self.occupied[level] >> from << from;
            (left != 0).then(|| (level, left.trailing_zeros() as usize))
        })
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
        wheel.expire(Instant::from_nanos(nanos), usize::MAX, &mut expired);
        assert!(expired.is_sorted_by_key(|&(_, tick)| tick));
        expired.sort_unstable();
        expired
    }

    #[test]
    fn a_timer_fires_once_and_within_a_tick() {
        let mut wheel = TimerWheel::new(Instant::ZERO, 1_000);
        let tick = set(&mut wheel, 3, Instant::from_millis(100));
        assert!(expire(&mut wheel, 99_999_999).is_empty());
        assert_eq!(expire(&mut wheel, 100_000_000 + TICK), [(3, tick)]);
        assert!(expire(&mut wheel, u64::MAX >> 4).is_empty());
        assert_eq!((wheel.next(), wheel.len()), (None, 0));
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = TimerWheel::new(Instant::from_millis(5_000), 10);
        expire(&mut wheel, 5_000_000_000);
        let tick = set(&mut wheel, 0, Instant::ZERO);
        assert_eq!(expire(&mut wheel, 5_000_000_000 + TICK), [(0, tick)]);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_still_fires_in_time() {
        let mut wheel = TimerWheel::new(Instant::ZERO, 1_000);
        let deadline = (1u64 << (24 + TICK_BITS)) * 3 + 12_345 * TICK;
        set(&mut wheel, 7, Instant::from_nanos(deadline));
        assert!(expire(&mut wheel, deadline - 1).is_empty());
        assert_eq!(expire(&mut wheel, deadline + TICK).len(), 1);
    }

    #[test]
    fn what_comes_up_soon_is_known_before() {
        let mut wheel = TimerWheel::new(Instant::ZERO, 1_000);
        assert!(expire(&mut wheel, TICK).is_empty());
        assert_eq!(wheel.tick(), 2);
        for slot in 0..20 {
            set(&mut wheel, slot, Instant::from_nanos(3 * TICK));
        }
        set(&mut wheel, 30, Instant::from_nanos(4 * TICK));
        set(&mut wheel, 31, Instant::from_nanos(64 * TICK));
        let slots = |ahead| wheel.slots(ahead).collect::<Vec<_>>();
        assert_eq!(slots(0), []);
        assert_eq!(slots(1), [15, 16, 17, 18, 19], "of the first chunk");
        assert_eq!(slots(2), [30]);
        assert_eq!(slots(62), [], "in a bucket of the next level");
    }

    #[test]
    fn memory_is_used_again() {
        let mut wheel = TimerWheel::new(Instant::ZERO, 1_000);
        for round in 0..100u64 {
            for slot in 0..1_000 {
                set(&mut wheel, slot, Instant::from_millis(round * 300 + u64::from(slot) / 4));
            }
            assert_eq!(expire(&mut wheel, (round + 1) * 300_000_000).len(), 1_000);
        }
        assert!(wheel.chunks.len() < 500, "{}", wheel.chunks.len());
    }

    /// All timers, in order.
    fn all(wheel: &TimerWheel) -> Vec<(u32, Tick)> {
        let mut all = Vec::new();
        for mut list in wheel.heads.into_iter().flatten().chain([wheel.rest]) {
            while let Some(chunk) = wheel.chunks.get(list as usize) {
                all.extend(
                    chunk.entries().iter().map(|entry| (entry.slot, wheel.full_tick(*entry))),
                );
                list = chunk.next;
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn however_many_timers_come_up_at_once_a_call_does_no_more_than_it_may() {
        const TIMERS: u32 = 100_000;
        const MOST: usize = 1_000;
        let mut wheel = TimerWheel::new(Instant::ZERO, TIMERS as usize);
        let memory = wheel.chunks.as_ptr();
        for slot in 0..TIMERS {
            set(&mut wheel, slot, Instant::from_millis(10_000 + u64::from(slot) % 2));
        }
        let now = Instant::from_millis(60_000);
        let (mut expired, mut calls) = (Vec::new(), 0);
        while wheel.next().is_some_and(|next| next <= now) {
            let before = expired.len();
            wheel.expire(now, MOST, &mut expired);
            assert!(expired.len() - before <= MOST / FIRING + CHUNK);
            calls += 1;
            // What is added meanwhile comes in its turn.
            set(&mut wheel, TIMERS, Instant::from_millis(70_000));
        }
        // Each moves twice and fires.
        let work = TIMERS as usize * (FIRING + 2);
        assert!((work / MOST / 2..work / MOST * 2).contains(&calls), "{calls}");
        assert_eq!((expired.len(), wheel.len()), (TIMERS as usize, calls));
        assert!(expired.is_sorted_by_key(|&(_, tick)| tick));
        assert_eq!(wheel.chunks.as_ptr(), memory);
    }

    #[test]
    fn a_sweep_looks_at_a_chunk_at_a_time_and_comes_to_all() {
        const TIMERS: u32 = 10_000;
        let mut wheel = TimerWheel::new(Instant::ZERO, TIMERS as usize);
        let memory = wheel.chunks.as_ptr();
        for slot in 0..TIMERS {
            set(&mut wheel, slot, Instant::from_millis(u64::from(slot) * 7));
        }
        let mut looked = 0;
        while looked < TIMERS as usize {
            let now = wheel.sweep(|slot, _| slot % 10 == 0);
            assert!((1..=CHUNK).contains(&now));
            looked += now;
        }
        assert_eq!(wheel.len(), TIMERS as usize / 10);
        assert_eq!(expire(&mut wheel, 100_000_000_000).len(), TIMERS as usize / 10);
        assert_eq!(wheel.chunks.as_ptr(), memory);
    }

    proptest! {
        /// The oracle is a list. Some calls may not do all that is due.
        #[test]
        fn timers_fire_as_from_a_list(
            steps in prop::collection::vec((0u32..12, 0u32..44, 0u64..64, 0u8..4), 1..300),
            few in 1usize..40,
        ) {
            let mut wheel = TimerWheel::new(Instant::ZERO, 1_000);
            let mut model: Vec<(u32, Tick, u64)> = Vec::new();
            let (mut now, mut last) = (0u64, 0);
            for (slot, scale, factor, what) in steps {
                if what == 0 {
                    // Anybody in the way of a sweep, and all of them once.
                    let (mut looked, goal) = (0, 2 * wheel.len());
                    wheel.sweep(|other, _| other != slot);
                    while wheel.level == LEVELS && looked < goal && wheel.len() > 0 {
                        looked += wheel.sweep(|other, _| other != slot);
                    }
                    if wheel.level == LEVELS {
                        model.retain(|&(other, ..)| other != slot);
                    }
                } else {
                    let deadline = now + (factor << scale);
                    let tick = set(&mut wheel, slot, Instant::from_nanos(deadline));
                    model.push((slot, tick, deadline));
                }
                let mut expected: Vec<_> = model.iter().map(|&(slot, tick, _)| (slot, tick)).collect();
                expected.sort_unstable();
                prop_assert_eq!(all(&wheel), expected);
                let first = model.iter().map(|&(.., deadline)| deadline).min();
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next.nanos() <= first.max(now) + TICK);
                }
                prop_assert!(wheel.next().is_some() || model.is_empty());
                prop_assert_eq!(wheel.len(), model.len());
                now += factor << (scale / 2 + 8);
                let most = if slot % 2 == 0 { few } else { usize::MAX };
                let mut expired = Vec::new();
                wheel.expire(Instant::from_nanos(now), most, &mut expired);
                prop_assert!(expired.len() <= most / FIRING + CHUNK || most == usize::MAX);
                for (slot, tick) in expired {
                    prop_assert!(tick >= last, "in order");
                    last = tick;
                    let found = model.iter().position(|timer| (timer.0, timer.1) == (slot, tick));
                    let found = found.map(|index| model.swap_remove(index));
                    prop_assert!(found.is_some_and(|(.., deadline)| deadline <= now), "never early");
                }
                if most == usize::MAX {
                    for &(.., deadline) in &model {
                        prop_assert!(deadline + 2 * TICK > now, "never more than a tick late");
                    }
                }
            }
        }
    }
}
