//! The registry of mappings: every interleaving of one who changes an entry and a handler that reads it.
//!
//! In a process of its own: loom's threads have a handler for SIGBUS too.

#[path = "../src/mapping/entry.rs"]
mod entry;

use loom::{sync::Arc, thread};

use atomics::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use entry::Entry;

mod atomics {
    pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
}

fn free() -> Entry {
    Entry {
        version: AtomicU32::new(0),
        damaged: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
    }
}

#[test]
fn an_address_between_two_ranges_is_never_found_while_one_becomes_the_other() {
    loom::model(|| {
        let entry = Arc::new(free());
        entry.set(100, 200);
        let changed = Arc::clone(&entry);
        let thread = thread::spawn(move || changed.set(300, 400));
        // Half of the change is the range from 100 to 400, or an empty one.
        assert_eq!(entry.end_if_holding(250), None);
        assert!(matches!(entry.end_if_holding(150), None | Some(200)));
        thread.join().unwrap();
        assert_eq!(entry.end_if_holding(150), None);
        assert_eq!(entry.end_if_holding(350), Some(400));
    });
}

#[test]
fn an_entry_that_is_used_again_begins_undamaged() {
    loom::model(|| {
        let entry = Arc::new(free());
        entry.set(100, 200);
        entry.damaged.store(true, Ordering::SeqCst);
        let changed = Arc::clone(&entry);
        let thread = thread::spawn(move || {
            changed.set(0, 0);
            changed.set(100, 200);
        });
        // Whoever finds the second mapping there finds no mark of the first.
        let version = entry.version.load(Ordering::Acquire);
        if version == 6 && entry.end_if_holding(150).is_some() {
            assert!(!entry.damaged.load(Ordering::Relaxed));
        }
        thread.join().unwrap();
        assert!(!entry.damaged.load(Ordering::Relaxed));
    });
}
