//! Every interleaving of wakers and a sleeper: no message stays unseen.

#[path = "../src/wake/flag.rs"]
mod flag;

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use flag::Flag;

mod primitives {
    pub use loom::sync::atomic::{AtomicBool, Ordering};

    pub use super::Event;
}

/// What an eventfd is to its users.
#[derive(Debug)]
pub struct Event {
    is_readable: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    fn new() -> Self {
        Self { is_readable: Mutex::new(false), changed: Condvar::new() }
    }

    fn signal(&self) {
        *self.is_readable.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn take(&self) -> bool {
        std::mem::take(&mut *self.is_readable.lock().unwrap())
    }

    fn sleep(&self) {
        let mut is_readable = self.is_readable.lock().unwrap();
        while !*is_readable {
            is_readable = self.changed.wait(is_readable).unwrap();
        }
    }
}

/// Lets `senders` put a message each where the core looks, and the core sleep until it has seen all. A
/// sleep that nothing ends is a deadlock, which fails. Preemptions, where they are bounded, are so many a run.
fn every_message_is_seen(senders: usize, preemption_bound: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemption_bound;
    model.check(move || {
        let flag = Arc::new(Flag::new(Event::new()));
        let messages = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..senders)
            .map(|_| {
                let (flag, messages) = (Arc::clone(&flag), Arc::clone(&messages));
                thread::spawn(move || {
                    // Relaxed: that it is seen is the flag's affair.
                    messages.fetch_add(1, Ordering::Relaxed);
                    flag.wake();
                })
            })
            .collect();
        loop {
            flag.clear();
            if messages.load(Ordering::Relaxed) == senders {
                break;
            }
            flag.event().sleep();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_wakers_message_is_seen() {
    every_message_is_seen(1, None);
}

#[test]
fn two_wakers_messages_are_seen_with_up_to_two_preemptions() {
    // Without a bound there are more interleavings than there is time for.
    every_message_is_seen(2, Some(2));
}
