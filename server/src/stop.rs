//! How the control thread tells the shards to stop, or that there is something to adopt.
//!
//! Both are in one word, which a shard reads once a turn.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
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

#[cfg(test)]
mod tests {
    use super::*;

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
