//! A new configuration on its way to a running shard.
//!
//! The control thread puts one [`Change`] into the channel of every shard, announces that by
//! [`Stop`](crate::stop::Stop), and wakes them; each takes it over between two turns. The channel has room for
//! one: the next takes the place of one that is still there. Connections notice nothing: a request is answered by
//! what held when its answer was found, and one that waits for a helper then is asked anew.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never};
use pagewire_driver::Instant;
use pagewire_stack::Transport;

use super::{Shard, Timeouts, connection::Reading};
use crate::{
    content::{CacheLimits, Catalogue},
    http::Limits,
};

/// What shards are to go on with.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is served.
    pub catalogue: Arc<Catalogue>,
    /// How much of a request is accepted, no more than the transport has room for.
    pub limits: Limits,
    /// What each core keeps open.
    pub cache: CacheLimits,
    /// How long a connection may take for what. Times that have begun are kept.
    pub timeouts: Timeouts,
    /// Dropped when the shard has taken it over, or is no more.
    pub taken: Sender<()>,
}

/// The channel to one shard.
pub fn channel() -> (Handover, Changes) {
    let (sender, waiting) = bounded(1);
    (Handover { sender, waiting: waiting.clone() }, Changes { waiting, announced: 0 })
}

/// The control thread's end of the channel.
#[derive(Debug)]
pub struct Handover {
    sender: Sender<Change>,
    waiting: Receiver<Change>,
}

impl Handover {
    /// Puts `change` there, in place of one that the shard has not taken over. Never waits.
    pub fn put(&self, change: Change) {
        let mut change = change;
        while let Err(TrySendError::Full(again)) = self.sender.try_send(change) {
            let _ = self.waiting.try_recv();
            change = again;
        }
    }
}

/// The shard's end of the channel.
#[derive(Debug)]
pub struct Changes {
    waiting: Receiver<Change>,
    /// Announcements heard so far.
    announced: u32,
}

/// A shard's that nobody can change.
impl Default for Changes {
    fn default() -> Self {
        Self { waiting: never(), announced: 0 }
    }
}

impl Changes {
    /// The one that waits, if there is something new after `announcements`.
    pub fn after(&mut self, announcements: u32) -> Option<Change> {
        if announcements == self.announced {
            return None;
        }
        self.announced = announcements;
        self.waiting.try_recv().ok()
    }
}

impl<T: Transport> Shard<T> {
    /// The same shard, which takes over what comes there.
    #[must_use]
    pub fn with_changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// Goes on with `change`.
    pub fn adopt(&mut self, change: &Change, now: Instant) {
        self.timeouts = change.timeouts;
        let waiting = self.service.adopt(change);
        for id in waiting {
            let Some(connection) = self.connections.get(id) else { continue };
            if connection.reading == Reading::Resolving {
                connection.reading = Reading::Idle;
                self.proceed(id, now);
            }
        }
    }
}
