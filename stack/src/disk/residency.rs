//! Whether a file's bytes can be read without waiting for the disk, asked by one core.
//!
//! `mincore` and `cachestat` answer an unprivileged process as they please about somebody else's
//! file, so neither is asked. What tells the truth is trying:
//! - Objects in memory are resident.
//! - Mapped objects up to [`PROBED_MAX`] bytes: the core reads one byte of every page with
//!   `preadv2(RWF_NOWAIT)`, which answers EAGAIN rather than wait. At most once per [`TRUST`] and
//!   object.
//! - Larger ones are taken in windows of [`WINDOW`] bytes: a helper maps and populates the window,
//!   which costs little if the pages are there, and answers. One window more than asked for is
//!   requested ahead.
//!
//! An answer is trusted for [`TRUST`]; pages that the kernel drops within it, under memory pressure,
//! are read by the core. A cut file is found by the helper as EFAULT, never as a signal.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    ops::Range,
    os::fd::BorrowedFd,
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use pagewire_driver::{Instant, Waker};

use super::{
    DiskPool,
    populate::{are_cached, populate},
};
use crate::{CloseReason, ConnectionId, FileObject};

/// Bytes of a large object that are asked about at once.
const WINDOW: u64 = 1 << 20;

/// Objects up to this many bytes are probed by the core: at most 64 system calls of 0.3 µs.
const PROBED_MAX: u64 = 256 << 10;

/// How long an answer is trusted.
const TRUST: Duration = Duration::from_secs(1);

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
    /// Objects probed by the core.
    pub probed: u64,
    /// Of these, those with bytes that were not resident or could not be asked about.
    pub probed_cold: u64,
    /// Windows that a connection had to wait for.
    pub waited: u64,
    /// Windows requested ahead of need.
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
    /// Direct-mapped: which windows were populated, and when.
    remembered: Vec<(Key, Instant)>,
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
        let Some((descriptor, _)) = object.mapped() else {
            return Answer::Resident { end: object.len() };
        };
        let key = Key::of(object, bytes.start);
        let end = key.range(object).end;
        let resident = if object.len() <= PROBED_MAX {
            is_recent(now, object.resident_at()) || self.probe(now, object, descriptor)
        } else {
            self.remembers(now, key)
        };
        if !resident {
            self.want(now, key, object, Some(id));
        }
        if end < bytes.end {
            self.want(now, Key::of(object, end), object, None);
        }
        if resident { Answer::Resident { end } } else { Answer::Pending }
    }

    /// The next connection whose wait is over.
    pub(crate) fn completed(&mut self, now: Instant) -> Option<Completion> {
        while let Ok(Populated { key, result }) = self.answers.1.try_recv() {
            self.in_flight -= 1;
            let Some(Wanted { object, waiting }) = self.wanted.remove(&key) else { continue };
            match result {
                Ok(()) if object.len() <= PROBED_MAX => object.set_resident_at(now),
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

    fn remembers(&self, now: Instant, key: Key) -> bool {
        let (remembered, at) = self.remembered[place(key)];
        remembered == key && is_recent(now, at)
    }

    /// Probes all pages of an object.
    fn probe(&mut self, now: Instant, object: &FileObject, descriptor: BorrowedFd<'_>) -> bool {
        self.counters.probed += 1;
        let resident = are_cached(descriptor, object.len());
        if resident {
            object.set_resident_at(now);
        } else {
            self.counters.probed_cold += 1;
        }
        resident
    }

    /// Has a window populated, unless it is known to be, for `id` or ahead of need.
    fn want(&mut self, now: Instant, key: Key, object: &Arc<FileObject>, id: Option<ConnectionId>) {
        match self.wanted.entry(key) {
            hash_map::Entry::Occupied(mut entry) => {
                let waiting = &mut entry.get_mut().waiting;
                waiting.extend(id.filter(|id| !waiting.contains(id)));
            }
            hash_map::Entry::Vacant(entry) => {
                let (remembered, at) = self.remembered[place(key)];
                if id.is_none() && remembered == key && is_recent(now, at) {
                    return;
                }
                let waiting = Vec::from_iter(id);
                entry.insert(Wanted { object: Arc::clone(object), waiting });
                self.counters.waited += u64::from(id.is_some());
                self.counters.ahead += u64::from(id.is_none());
                // Who waits now goes before what is only requested ahead.
                if id.is_some() {
                    self.in_line.push_front(key);
                } else {
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

/// Whether something seen at `at` is still to be trusted. An `at` in the future is of another clock.
fn is_recent(now: Instant, at: Instant) -> bool {
    at != Instant::ZERO && at <= now && now - at < TRUST
}

#[cfg(test)]
mod tests;
