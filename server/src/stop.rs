//! How the control thread tells the shards to stop, or that there is something to adopt.
//!
//! Both are in one word, which a shard reads once a turn. From a drain the shards go together, when the last
//! of them has nothing left to do: a packet may arrive at another one than its connection's, and who has gone
//! passes nothing on.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

/// What a shard is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Serve.
    Serve,
    /// Finish what is under way, then end.
    Drain,
    /// End at once.
    Halt,
}

/// The bits of the word that are the order: 0 to serve, [`DRAIN`], and [`HALT`] whatever the other is. The
/// bits above count announcements.
const DRAIN: u32 = 1;
const HALT: u32 = 2;
const ANNOUNCEMENT: u32 = 4;

/// The order in force, shared by all shards. It only ever becomes stricter. Whoever changes it wakes
/// the shards afterwards.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    word: Arc<AtomicU32>,
    /// Shards that have something left to do.
    on_duty: Arc<AtomicUsize>,
}

/// What was read at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Heard(u32);

impl Heard {
    /// The order in force.
    pub fn order(self) -> Order {
        match self.0 {
            word if word & HALT != 0 => Order::Halt,
            word if word & DRAIN != 0 => Order::Drain,
            _ => Order::Serve,
        }
    }

    /// How often something was announced, wrapping.
    pub fn announcements(self) -> u32 {
        self.0 / ANNOUNCEMENT
    }
}

impl Stop {
    /// What is in force now.
    pub fn hear(&self) -> Heard {
        Heard(self.word.load(Ordering::Acquire))
    }

    /// Puts a shard on duty, which the others wait for in a drain.
    pub fn duty(&self) -> Duty {
        self.on_duty.fetch_add(1, Ordering::AcqRel);
        Duty { stop: self.clone(), is_done: false }
    }

    /// Asks for a drain.
    pub fn drain(&self) {
        self.word.fetch_or(DRAIN, Ordering::AcqRel);
    }

    /// Asks for the end.
    pub fn halt(&self) {
        self.word.fetch_or(HALT, Ordering::AcqRel);
    }

    /// Says that there is something in the channels of the shards.
    pub fn announce(&self) {
        self.word.fetch_add(ANNOUNCEMENT, Ordering::AcqRel);
    }
}

/// One shard's part in it. Whoever drops it, however that comes, is not waited for.
#[derive(Debug)]
pub struct Duty {
    stop: Stop,
    is_done: bool,
}

impl Duty {
    /// What is in force now.
    pub fn hear(&self) -> Heard {
        self.stop.hear()
    }

    /// Says that in a drain this shard has nothing left to do. True once no shard has.
    pub fn done(&mut self) -> bool {
        if !std::mem::replace(&mut self.is_done, true) {
            self.stop.on_duty.fetch_sub(1, Ordering::AcqRel);
        }
        self.stop.on_duty.load(Ordering::Acquire) == 0
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_go_together() {
        let stop = Stop::default();
        let [mut first, mut second, third] = [stop.duty(), stop.duty(), stop.duty()];
        assert!(!first.done());
        assert!(!first.done(), "counted once");
        assert!(!second.done());
        drop(third);
        assert!(first.done() && second.done());
    }

    #[test]
    fn orders_only_become_stricter() {
        let stop = Stop::default();
        assert_eq!(stop.hear().order(), Order::Serve);
        stop.drain();
        stop.drain();
        assert_eq!(stop.hear().order(), Order::Drain);
        stop.halt();
        stop.drain();
        assert_eq!(stop.hear().order(), Order::Halt);
    }

    #[test]
    fn announcements_leave_the_order_alone() {
        let stop = Stop::default();
        for count in 0..5 {
            assert_eq!((stop.hear().order(), stop.hear().announcements()), (Order::Serve, count));
            stop.announce();
        }
    }
}
