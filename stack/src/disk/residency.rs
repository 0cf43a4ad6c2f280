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
//!   space, which may be held for long while helpers map what they read; and where windows have to be read,
//!   others are about to lose their memory, those first that were not used for long. So a core looks only
//!   while helpers have nothing to do, and not within a second of such a window.
//! - Else a helper has the window read and puts its pages into the page table (`MADV_POPULATE_READ`),
//!   and one window more ahead of need. A cut file is found by the helper as EFAULT, never as a signal.

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
    populate::{PageMap, populate},
};
use crate::{CloseReason, ConnectionId, FileObject};

/// Bytes of a large object that are asked about at once.
pub(crate) const WINDOW: u64 = 1 << 20;

/// How long an answer is trusted.
const TRUST: Duration = Duration::from_secs(1);

/// After how long a window in use is looked after, so that it is trusted further.
const RENEW: Duration = Duration::from_millis(500);

/// How soon a request that found the helpers' queue full is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// Most windows that helpers work on for one core; more wait in line.
const IN_FLIGHT_MAX: usize = 256;

/// Windows whose answer is remembered. A power of two.
const REMEMBERED: usize = 4_096;

/// May the bytes be read now?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Those up to `end` (at least one, at most the object's length) may, for a second or so.
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
    /// Windows looked up in the page table.
    pub looked_up: u64,
    /// Windows that a connection had to wait for.
    pub waited: u64,
    /// Windows requested ahead of need, or again before their time was over.
    pub ahead: u64,
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

/// A window that has been asked for and not been answered.
#[derive(Debug)]
struct Wanted {
    object: Arc<FileObject>,
    waiting: Vec<ConnectionId>,
}

/// What a helper sends back.
#[derive(Debug)]
struct Populated {
    key: Key,
    result: Result<(), CloseReason>,
}

/// One core's questions about residency.
#[derive(Debug)]
pub(crate) struct Residency {
    pool: DiskPool,
    waker: Waker,
    answers: (Sender<Populated>, Receiver<Populated>),
    wanted: HashMap<Key, Wanted>,
    /// Wanted, but not yet given to a helper; oldest first.
    in_line: VecDeque<Key>,
    in_flight: usize,
    ready: VecDeque<Completion>,
    /// Direct-mapped: which windows were seen to be resident, and when.
    remembered: Vec<(Key, Instant)>,
    page_map: PageMap,
    /// When a connection last had to wait for a window.
    missed: Option<Instant>,
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
            in_line: VecDeque::new(),
            in_flight: 0,
            ready: VecDeque::new(),
            remembered: vec![(Key::default(), Instant::ZERO); REMEMBERED],
            page_map: PageMap::open(),
            missed: None,
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
        let end = key.range(object).end;
        let resident = self.is_resident(now, key, object);
        if !resident {
            self.missed = Some(now);
            self.want(key, object, Some(id));
        }
        if end < bytes.end {
            let next = Key::of(object, end);
            if !self.wanted.contains_key(&next) && !self.is_resident(now, next, object) {
                self.want(next, object, None);
            }
        }
        if resident { Answer::Resident { end } } else { Answer::Pending }
    }

    /// The next connection whose wait is over.
    pub(crate) fn completed(&mut self, now: Instant) -> Option<Completion> {
        if self.in_flight == 0 && self.in_line.is_empty() && self.ready.is_empty() {
            return None;
        }
        while let Ok(Populated { key, result }) = self.answers.1.try_recv() {
            self.in_flight -= 1;
            let Some(Wanted { waiting, .. }) = self.wanted.remove(&key) else { continue };
            match result {
                Ok(()) => self.remembered[place(key)] = (key, now),
                Err(_) => self.counters.failed += 1,
            }
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
        (!self.in_line.is_empty() && self.in_flight == 0).then(|| now + RETRY)
    }

    pub(crate) fn counters(&self) -> ResidencyCounters {
        self.counters
    }

    fn is_resident(&mut self, now: Instant, key: Key, object: &Arc<FileObject>) -> bool {
        let (remembered, at) = self.remembered[place(key)];
        // An `at` in the future is of another clock.
        if remembered == key && at <= now && now - at < TRUST {
            if now - at >= RENEW && !self.wanted.contains_key(&key) {
                self.want(key, object, None);
            }
            return true;
        }
        if !self.pool.is_idle() || self.missed.is_some_and(|at| now.since(at) < TRUST) {
            return false;
        }
        self.counters.looked_up += 1;
        let resident = self.page_map.holds(object, &key.range(object));
        if resident {
            self.remembered[place(key)] = (key, now);
        }
        resident
    }

    /// Has a window populated, for `id` or ahead of need.
    fn want(&mut self, key: Key, object: &Arc<FileObject>, id: Option<ConnectionId>) {
        match self.wanted.entry(key) {
            hash_map::Entry::Occupied(mut entry) => {
                let waiting = &mut entry.get_mut().waiting;
                waiting.extend(id.filter(|id| !waiting.contains(id)));
            }
            hash_map::Entry::Vacant(entry) => {
                let waiting = Vec::from_iter(id);
                entry.insert(Wanted { object: Arc::clone(object), waiting });
                // Who waits now goes before what is only requested ahead.
                if id.is_some() {
                    self.counters.waited += 1;
                    self.in_line.push_front(key);
                } else {
                    self.counters.ahead += 1;
                    self.in_line.push_back(key);
                }
                self.hand_out();
            }
        }
    }

    /// Gives helpers what is in line, as far as they take it.
    fn hand_out(&mut self) {
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(&key) = self.in_line.front() else { return };
            if let Some(Wanted { object, .. }) = self.wanted.get(&key) {
                let (object, answers) = (Arc::clone(object), self.answers.0.clone());
                let waker = self.waker.clone();
                let job = move || {
                    let result = populate(&object, key.range(&object));
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
            self.in_line.pop_front();
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
