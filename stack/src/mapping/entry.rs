//! One place of the registry: changed under a lock, read whole or not at all by a handler that takes none.
//!
//! `tests/registry_model.rs` includes this file once more, with atomics whose every interleaving is tried.

use super::atomics::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

/// One live mapping, or none.
pub struct Entry {
    /// Odd while the entry changes.
    pub version: AtomicU32,
    /// Whether a page was missing.
    pub damaged: AtomicBool,
    /// Address of the first byte; zero in a free entry.
    pub start: AtomicUsize,
    /// Address behind the last byte.
    pub end: AtomicUsize,
}

impl Entry {
    /// Only under the registrar's lock.
    pub fn set(&self, start: usize, end: usize) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.damaged.store(false, Ordering::Relaxed);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The end of the entry's range if `address` is in it and the entry holds still.
    pub fn end_if_holding(&self, address: usize) -> Option<usize> {
        let version = self.version.load(Ordering::Acquire);
        let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let still = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        (still && start <= address && address < end).then_some(end)
    }
}
