//! What a shard knows of its connections.

use pagewire_driver::{Instant, prefetch};
use pagewire_stack::{ConnectionId, Source, pages};

use super::wheel::Tick;

/// Where a connection is in reading requests. What it still has to send is the transport's affair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// Between requests.
    Idle,
    /// Within the head of a request of which `seen` bytes have been looked at.
    Head { seen: u32 },
    /// Within the content of a request of which `seen` bytes have been looked at.
    Body { seen: u32 },
    /// A whole request waits for a helper to find its file.
    Resolving,
    /// More requests may be there, but enough responses are queued: go on when they are sent.
    Held,
    /// No more requests are taken: it closes when what is queued is sent.
    Over,
}

/// Whether more bytes may come from the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    /// They may.
    Open,
    /// It has closed its side. Requests that came before that are still answered.
    Closed,
}

/// What a connection must do in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Duty {
    /// Ask something.
    Ask,
    /// Complete the head of a request.
    Complete,
    /// Go on with the content of a request.
    Deliver,
    /// Take some of what is sent to it.
    Take,
}

/// One connection. A request looks at nearly all of it, so it has two cache lines to itself.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub source: Source,
    pub reading: Reading,
    pub peer: Peer,
    /// What it must do next, and by when.
    pub deadline: Option<(Duty, Instant)>,
    /// Its earliest entry in the wheel.
    pub entry: Option<Tick>,
    /// When the request at the front was first seen.
    pub asked_at: Option<Instant>,
    /// When the request was first seen whose response is the oldest one not sent.
    pub answering_since: Option<Instant>,
    /// Responses submitted since all was last sent.
    pub queued: u32,
    /// Bytes submitted so far.
    pub submitted: u64,
    /// How far this side must have got with what it is judged for: bytes of the request that have come,
    /// or of all responses that have been taken.
    pub owed: u64,
    /// When it was last seen to have taken enough of what is sent to it, and how much it had then.
    pub glance: (Instant, u64),
}

const _: () = assert!(size_of::<Option<Connection>>() == 128);

impl Connection {
    /// Bytes of an incomplete request that have been looked at.
    pub fn seen(&self) -> usize {
        match self.reading {
            Reading::Head { seen } | Reading::Body { seen } => seen as usize,
            _ => 0,
        }
    }

    /// When the request at the front began to come, while it is not whole.
    pub fn began(&self) -> Option<Instant> {
        let is_part = matches!(self.reading, Reading::Head { .. } | Reading::Body { .. });
        self.asked_at.filter(|_| is_part)
    }
}

/// Connections by their transport's slot.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Connection>>,
}

impl Table {
    /// Adds a connection. An older one in the slot is forgotten.
    pub fn insert(&mut self, id: ConnectionId, source: Source) {
        let index = id.slot as usize;
        if index >= self.slots.len() {
            let capacity = self.slots.capacity();
            self.slots.resize_with(index + 1, || None);
            if self.slots.capacity() > capacity {
                pages::advise(&self.slots);
            }
        }
        self.slots[index] = Some(Connection {
            id,
            source,
            reading: Reading::Idle,
            peer: Peer::Open,
            deadline: None,
            entry: None,
            asked_at: None,
            answering_since: None,
            queued: 0,
            submitted: 0,
            owed: 0,
            glance: (Instant::ZERO, 0),
        });
    }

    /// The connection `id`, unless it is gone.
    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.as_mut().filter(|connection| connection.id == id)
    }

    /// Brings what is known of the connection `id` towards the core's cache.
    pub fn prefetch(&self, id: ConnectionId) {
        if let Some(slot) = self.slots.get(id.slot as usize) {
            prefetch(slot);
        }
    }

    /// Takes the connection `id` out, unless it is gone.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        self.slots[id.slot as usize].take()
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Who is in a slot, counted round and round.
    pub fn id_at(&self, index: usize) -> Option<ConnectionId> {
        let slot = index.checked_rem(self.slots.len())?;
        self.slots[slot].as_ref().map(|connection| connection.id)
    }

    /// The ids of all connections.
    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.slots.iter().flatten().map(|connection| connection.id)
    }
}
