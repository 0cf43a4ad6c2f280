//! The protocol of a waker: an event that can be slept for, and a flag that spares it what is pending already.
//!
//! `tests/waker_model.rs` includes this file once more, with primitives whose every interleaving is tried.

use super::primitives::{AtomicBool, Event, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Flag {
    event: Event,
    pending: AtomicBool,
}

impl Flag {
    pub fn new(event: Event) -> Self {
        Self { event, pending: AtomicBool::new(false) }
    }

    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Signals the event, unless that was done and not taken back.
    pub fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.event.signal();
        }
    }

    /// Takes the event back and says whether anybody had called [`wake`](Self::wake).
    pub fn clear(&self) -> bool {
        if !self.pending.load(Ordering::Acquire) {
            return false;
        }
        // A waker between its swap and its signal: leave `pending` up, its signal is still to come.
        if self.event.take() {
            // A swap, not a store: it synchronises with a `wake` that found `pending` still up.
            self.pending.swap(false, Ordering::AcqRel);
        }
        true
    }
}
