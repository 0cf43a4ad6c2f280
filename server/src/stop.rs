//! How the control thread tells the shards to stop.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
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

/// The order in force, shared by all shards. It only ever becomes stricter. Whoever changes it wakes
/// the shards afterwards.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    order: Arc<AtomicU8>,
}

impl Stop {
    /// The order in force.
    pub fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Halt,
        }
    }

    /// Asks for a drain.
    pub fn drain(&self) {
        self.order.fetch_max(1, Ordering::AcqRel);
    }

    /// Asks for the end.
    pub fn halt(&self) {
        self.order.fetch_max(2, Ordering::AcqRel);
    }
}
