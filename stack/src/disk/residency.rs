//! Whether a file's bytes can be read without waiting for the disk, asked by one core.
//!
//! `mincore` and `cachestat` answer an unprivileged process as they please about somebody else's
//! file. `preadv2(RWF_NOWAIT)` tells the truth, but has a missing page read in the name of the core
//! that asks, and takes a call a page. A process's own page table (`/proc/self/pagemap`) tells the truth to
//! everybody: a page that is in it is in memory, since the kernel takes it out before it gives the
//! memory away; and a thousand pages are asked about in one call that reads no disk. So, for windows
//! of [`WINDOW`] bytes:
//! - Objects in memory are resident.
//! - A window seen to be resident within the last second is trusted: the kernel rarely takes pages so
//!   recently used. One that is in use is looked after by a helper before that second is over.
//! - A window whose pages are all in the page table is resident. Who looks needs the lock of the address
//!   space, for which helpers that map what they read may have to be waited for. So a core looks at whole
//!   windows only while helpers have nothing to do.
//! - Where files have to be read, for whatever core, others are about to lose their memory; with little of it
//!   and a quick disk that does not take a second. For a second after a helper had to read, and for longer
//!   after a window in use was found to have lost pages, only what was seen a moment ago is trusted: a core
//!   looks at the pages that it is about to send, which are few.
//! - Else a helper has the window read and puts its pages into the page table (`MADV_POPULATE_READ`), and
//!   more of them ahead of need ([`read_ahead`](super::read_ahead)). A cut file is found by the helper as
//!   EFAULT, never as a signal.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use pagewire_driver::{Instant, Waker};

use super::{
    DiskPool,
    populate::{Found, PageMap, populate},
    read_ahead::{Arrival, ReadAhead},
};
use crate::{CloseReason, ConnectionId, FileObject};

/// Bytes of a large object that are asked about at once.
pub(crate) const WINDOW: u64 = 1 << 20;

/// How long an answer is trusted.
const TRUST: Duration = Duration::from_secs(1);

/// After how long a window in use is looked after, so that it is trusted further.
const RENEW: Duration = Duration::from_millis(500);

/// How long only what is seen is trusted, after something had to be read, or a window had lost pages.
const CAREFUL_AFTER_READ: Duration = TRUST;
const CAREFUL_AFTER_LOSS: Duration = Duration::from_secs(10);

/// Most bytes that are looked at then at once, and how long they are trusted after that.
const LOOK: u64 = 128 << 10;
const LOOK_TRUST: Duration = Duration::from_micros(500);

/// Connections whose last look is remembered. A power of two.
const LOOKS: usize = 1_024;

/// How soon a request that found the helpers' queue full is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// Most windows that helpers work on for one core; more wait in line.
const IN_FLIGHT_MAX: usize = 256;

/// The same where the next in line is ahead of need: so many do not hold up what is needed.
const AHEAD_IN_FLIGHT_MAX: usize = 16;

/// Most windows that are requested ahead of need and not there yet, of all transfers of one core.
const AHEAD_MAX: usize = 64;

/// Among so many of those that wait for a window and asked last nobody is twice.
const LATEST: usize = 64;

/// Windows whose answer is remembered. A power of two.
const REMEMBERED: usize = 4_096;

/// May the bytes be read now?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Those up to `end` (at least one, at most the object's length) may, for now.
    Resident {
        /// Offset in the object.
        end: u64,
    },
    /// Not yet: a [`Completion`] follows. Asking again before it is harmless.
    Pending,
}

/// What a connection waited for has come, or never will.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    /// Who asked. The connection may be gone by now.
    pub(crate) id: ConnectionId,
    /// Whether the bytes may be read now: ask again, or close for this reason.
    pub(crate) result: Result<(), CloseReason>,
}

/// What one core has asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ResidencyCounters {
    /// Windows, or pieces of them, looked up in the page table.
    pub looked_up: u64,
    /// Windows that a connection had to wait for.
    pub waited: u64,
    /// Windows requested ahead of need.
    pub ahead: u64,
    /// Windows looked after again before their time was over.
    pub renewed: u64,
    /// Those among them that had lost pages.
    pub lost: u64,
    /// Requests that found the helpers' queue full and had to be tried again.
    pub queue_full: u64,
    /// Windows that could not be read, or whose file had changed.
    pub failed: u64,
}

/// A window of an object.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Key {
    serial: u64,
    window: u64,
}

impl Key {
    fn of(object: &FileObject, offset: u64) -> Self {
        Self { serial: object.serial(), window: offset / WINDOW }
    }

    fn range(self, object: &FileObject) -> Range<u64> {
        let start = self.window * WINDOW;
        start..(start + WINDOW).min(object.len())
    }
}

/// What was seen to be resident a moment ago.
#[derive(Clone, Debug)]
struct Look {
    /// Of the object; zero is nobody's.
    serial: u64,
    range: Range<u64>,
    at: Instant,
}

impl Look {
    fn covers(&self, now: Instant, serial: u64, start: u64) -> bool {
        // An `at` in the future is of another clock.
        let is_recent = self.at <= now && now - self.at < LOOK_TRUST;
        self.serial == serial && self.range.contains(&start) && is_recent
    }
}

/// Why a window is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    /// A connection waits for it.
    Needed(ConnectionId),
    /// It is to be trusted further.
    Renewal,
    /// It will be needed.
    Ahead,
}

/// A window that has been asked for and not been answered.
#[derive(Debug)]
struct Wanted {
    object: Arc<FileObject>,
    /// Why it was asked for at first.
    why: Why,
    waiting: Vec<ConnectionId>,
}

/// What a helper sends back.
#[derive(Debug)]
struct Populated {
    key: Key,
    result: Result<Found, CloseReason>,
}

/// One core's questions about residency.
#[derive(Debug)]
pub(crate) struct Residency {
    pool: DiskPool,
    waker: Waker,
    answers: (Sender<Populated>, Receiver<Populated>),
    wanted: HashMap<Key, Wanted>,
    /// Wanted, but not yet given to a helper: what is needed, and after that what will be.
    needed: VecDeque<Key>,
    ahead: VecDeque<Key>,
    /// How many helpers have.
    in_flight: usize,
    /// How many were asked for ahead of need.
    wanted_ahead: usize,
    ready: VecDeque<Completion>,
    /// Direct-mapped: which windows were seen to be resident, and when.
    remembered: Vec<(Key, Instant)>,
    /// What helpers had to read until a moment ago.
    reads: u64,
    /// Until when only what is seen is trusted.
    careful_until: Instant,
    /// What connections have seen last, by their slots.
    looks: Vec<Look>,
    read_ahead: ReadAhead,
    page_map: &'static PageMap,
    counters: ResidencyCounters,
}

impl Residency {
    /// A client of `pool` whose core is woken through `waker` when helpers answer.
    pub(crate) fn new(pool: &DiskPool, waker: Waker) -> Self {
        Self {
            pool: pool.clone(),
            waker,
            answers: bounded(IN_FLIGHT_MAX),
            wanted: HashMap::new(),
            needed: VecDeque::new(),
            ahead: VecDeque::new(),
            in_flight: 0,
            wanted_ahead: 0,
            ready: VecDeque::new(),
            remembered: vec![(Key::default(), Instant::ZERO); REMEMBERED],
            reads: 0,
            careful_until: Instant::ZERO,
            looks: vec![Look { serial: 0, range: 0..0, at: Instant::ZERO }; LOOKS],
            read_ahead: ReadAhead::new(),
            page_map: PageMap::shared(),
            counters: ResidencyCounters::default(),
        }
    }

    /// Whether the first of `bytes` can be read without waiting. If not, it is being seen to, and a
    /// [`Completion`] for `id` follows. `bytes` is not empty and within the object; its end only
    /// bounds what is requested ahead.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        id: ConnectionId,
        object: &Arc<FileObject>,
        bytes: Range<u64>,
    ) -> Answer {
        if object.mapped().is_none() {
            return Answer::Resident { end: object.len() };
        }
        let key = Key::of(object, bytes.start);
        let resident = self.resident_from(now, id, object, bytes.start);
        let arrival = match resident {
            Some(_) => Arrival::InTime,
            None if self.wanted.contains_key(&key) => Arrival::TooSoon,
            None => Arrival::Missing,
        };
        if resident.is_none() {
            self.want(key, object, Why::Needed(id));
        }
        if key.range(object).end < bytes.end {
            self.look_ahead(now, id, key, object, arrival, bytes.end);
        }
        resident.map_or(Answer::Pending, |end| Answer::Resident { end })
    }

    /// Up to where bytes of a window from `start` on are resident; none if already the first are not.
    fn resident_from(
        &mut self,
        now: Instant,
        id: ConnectionId,
        object: &Arc<FileObject>,
        start: u64,
    ) -> Option<u64> {
        let key = Key::of(object, start);
        let end = key.range(object).end;
        if !self.is_careful(now) || !self.page_map.is_complete() {
            return self.is_resident(now, key, object).then_some(end);
        }
        if let Some(age) = self.seen(now, key) {
            self.renew(key, object, age);
        }
        let look = &mut self.looks[id.slot as usize % LOOKS];
        if look.covers(now, key.serial, start) {
            return Some(look.range.end.min(end));
        }
        let range = start..end.min(start + LOOK);
        self.counters.looked_up += 1;
        let end = self.page_map.holds(object, &range).then_some(range.end);
        if end.is_some() {
            *look = Look { serial: key.serial, range, at: now };
        }
        end
    }

    /// Whether only what is seen is trusted.
    fn is_careful(&mut self, now: Instant) -> bool {
        let reads = self.pool.reads().count();
        if reads != self.reads {
            self.reads = reads;
            self.be_careful(now + CAREFUL_AFTER_READ);
        }
        now < self.careful_until
    }

    fn be_careful(&mut self, until: Instant) {
        self.careful_until = self.careful_until.max(until);
    }

    /// Requests what will be needed next, up to `end`.
    fn look_ahead(
        &mut self,
        now: Instant,
        id: ConnectionId,
        here: Key,
        object: &Arc<FileObject>,
        arrival: Arrival,
        end: u64,
    ) {
        let windows = self.read_ahead.arrive(id, here.serial, here.window, arrival);
        let last = (here.window + windows).min((end - 1) / WINDOW);
        for window in here.window + 1..=last {
            let next = Key { window, ..here };
            if self.wanted_ahead >= AHEAD_MAX {
                return;
            }
            if !self.wanted.contains_key(&next) && !self.is_resident(now, next, object) {
                self.want(next, object, Why::Ahead);
            }
        }
    }

    /// The next connection whose wait is over.
    pub(crate) fn completed(&mut self, now: Instant) -> Option<Completion> {
        let waits = !self.needed.is_empty() || !self.ahead.is_empty();
        if self.in_flight == 0 && !waits && self.ready.is_empty() {
            return None;
        }
        while let Ok(Populated { key, result }) = self.answers.1.try_recv() {
            self.in_flight -= 1;
            let Some(Wanted { why, waiting, .. }) = self.wanted.remove(&key) else { continue };
            self.wanted_ahead -= usize::from(why == Why::Ahead);
            match result {
                Ok(found) => {
                    if found == Found::Absent && self.seen(now, key).is_some() {
                        self.counters.lost += 1;
                        self.be_careful(now + CAREFUL_AFTER_LOSS);
                    }
                    self.remembered[place(key)] = (key, now);
                }
                Err(_) => self.counters.failed += 1,
            }
            let result = result.map(|_| ());
            self.ready.extend(waiting.into_iter().map(|id| Completion { id, result }));
        }
        self.hand_out();
        self.ready.pop_front()
    }

    /// When [`completed`](Self::completed) is to be called although no helper has answered.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        // With work in flight an answer comes and wakes the core.
        let waits = !self.needed.is_empty() || !self.ahead.is_empty();
        (waits && self.in_flight == 0).then(|| now + RETRY)
    }

    pub(crate) fn counters(&self) -> ResidencyCounters {
        self.counters
    }

    /// How long ago a window was seen to be resident, if that is to be trusted as a rule.
    fn seen(&self, now: Instant, key: Key) -> Option<Duration> {
        let (remembered, at) = self.remembered[place(key)];
        // An `at` in the future is of another clock.
        (remembered == key && at <= now && now - at < TRUST).then(|| now - at)
    }

    fn is_resident(&mut self, now: Instant, key: Key, object: &Arc<FileObject>) -> bool {
        if let Some(age) = self.seen(now, key) {
            self.renew(key, object, age);
            return true;
        }
        if !self.pool.is_idle() || self.is_careful(now) {
            return false;
        }
        self.counters.looked_up += 1;
        let resident = self.page_map.holds(object, &key.range(object));
        if resident {
            self.remembered[place(key)] = (key, now);
        }
        resident
    }

    /// Has a window in use looked after before its time is over.
    fn renew(&mut self, key: Key, object: &Arc<FileObject>, age: Duration) {
        if age >= RENEW && !self.wanted.contains_key(&key) {
            self.want(key, object, Why::Renewal);
        }
    }

    /// Has a window populated.
    fn want(&mut self, key: Key, object: &Arc<FileObject>, why: Why) {
        match (self.wanted.entry(key), why) {
            (hash_map::Entry::Occupied(mut entry), Why::Needed(id)) => {
                let waiting = &mut entry.get_mut().waiting;
                // A connection asks once before it is answered, as a rule. Others may be many: not all of
                // them are gone through.
                if !waiting.iter().rev().take(LATEST).any(|other| *other == id) {
                    waiting.push(id);
                }
                if let Some(at) = self.ahead.iter().position(|it| *it == key) {
                    self.ahead.remove(at);
                    self.needed.push_back(key);
                }
            }
            (hash_map::Entry::Occupied(_), _) => {}
            (hash_map::Entry::Vacant(entry), _) => {
                let (object, mut waiting) = (Arc::clone(object), Vec::new());
                match why {
                    Why::Needed(id) => {
                        waiting.push(id);
                        self.counters.waited += 1;
                        self.needed.push_back(key);
                    }
                    Why::Renewal => {
                        self.counters.renewed += 1;
                        self.needed.push_back(key);
                    }
                    Why::Ahead => {
                        self.counters.ahead += 1;
                        self.wanted_ahead += 1;
                        self.ahead.push_back(key);
                    }
                }
                entry.insert(Wanted { object, why, waiting });
            }
        }
        self.hand_out();
    }

    /// Gives helpers what is in line, as far as they take it.
    fn hand_out(&mut self) {
        while self.in_flight < IN_FLIGHT_MAX {
            let line = match self.needed.is_empty() {
                false => &mut self.needed,
                true if self.in_flight < AHEAD_IN_FLIGHT_MAX => &mut self.ahead,
                true => return,
            };
            let Some(&key) = line.front() else { return };
            if let Some(Wanted { object, .. }) = self.wanted.get(&key) {
                let (object, answers) = (Arc::clone(object), self.answers.0.clone());
                let (waker, reads) = (self.waker.clone(), self.pool.reads().clone());
                let job = move || {
                    let result = populate(&object, key.range(&object), &reads);
                    // There is room: no more than `IN_FLIGHT_MAX` are on their way.
                    let _ = answers.try_send(Populated { key, result });
                    waker.wake();
                };
                if self.pool.submit(Box::new(job)).is_err() {
                    self.counters.queue_full += 1;
                    return;
                }
                self.in_flight += 1;
            }
            line.pop_front();
        }
    }
}

/// Where a window's answer is remembered.
fn place(key: Key) -> usize {
    // Neighbouring windows of one object take neighbouring places.
    let spread = key.serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    spread.wrapping_add(key.window) as usize % REMEMBERED
}

#[cfg(test)]
mod tests;
