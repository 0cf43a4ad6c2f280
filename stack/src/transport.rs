//! The stream seam: what a server or client knows of the network.
//!
//! Completion-shaped: the caller submits a whole response and is told when it is sent. Partial
//! writes, EAGAIN, windows, retransmissions and cold pages stay inside.
//!
//! Events are level-triggered hints: an event says "look at this connection". The caller acts on what
//! it then finds ([`Transport::received`], [`Transport::pending`]) and must bear an event that brings
//! nothing new. Bytes left unconsumed are not reported again until more arrive; a caller that stops
//! before the end of them looks again by itself, for instance at [`Event::Sent`].

use std::{net::SocketAddr, sync::Arc};

use pagewire_driver::{Instant, Waker};
use thiserror::Error;

use crate::FileObject;

/// A connection of one transport. The generation tells it from earlier ones in the same slot, so an
/// old id is never mistaken for a new connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId {
    /// Index below the transport's connection limit; good for indexing the caller's own table.
    pub slot: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// It is established: accepted from a listener, or asked for by [`Transport::connect`].
    Opened {
        /// The connection.
        id: ConnectionId,
        /// The other end.
        peer: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// Bytes have arrived.
    Received(ConnectionId),
    /// The peer will send no more. All bytes before that have been reported.
    PeerClosed(ConnectionId),
    /// Everything submitted so far is sent: acknowledged by the peer in the user stack, accepted by
    /// the kernel in kernel mode. Also while it is closing, unless the end comes at once.
    Sent(ConnectionId),
    /// It is gone, and its id is void. The last event of a connection, for every way to end; a
    /// connection that never was `Opened` (a failed [`Transport::connect`]) has it too.
    Closed(ConnectionId, CloseReason),
}

impl Event {
    /// Whom it is about.
    pub fn id(&self) -> ConnectionId {
        match *self {
            Self::Opened { id, .. }
            | Self::Received(id)
            | Self::PeerClosed(id)
            | Self::Sent(id)
            | Self::Closed(id, _) => id,
        }
    }
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CloseReason {
    /// Both sides ended in order.
    Finished,
    /// The caller ended it with [`Close::Now`].
    Aborted,
    /// The peer reset it.
    Reset,
    /// The peer stopped answering.
    TimedOut,
    /// The peer refused it, or it or the way to it is unreachable.
    Unreachable,
    /// It was idle, and another connection needed its place.
    Displaced,
    /// The file behind a response shrank or changed while it was being sent.
    ContentChanged,
    /// The file behind a response could not be read.
    ContentUnreadable,
}

/// Events of one [`Transport::poll`], to be drained in order.
pub type EventBatch = Vec<Event>;

/// A range of a file. Keeps the file object alive until it is sent.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub object: Arc<FileObject>,
    /// Offset of the first byte.
    pub start: u64,
    /// Bytes. `start + len` is at most the object's length.
    pub len: u64,
}

/// A piece of a response.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes that the part owns, such as a head. Get the buffer from [`Transport::buffer`].
    Bytes(Vec<u8>),
    /// Bytes of a file, taken from the page cache when they are sent.
    File(FileRange),
}

impl Part {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(range) => range.len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The pieces of a response in order. Reused by the caller: [`Transport::submit`] drains it.
pub type Parts = Vec<Part>;

/// Why a call was refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refused {
    /// The connection is gone or closing.
    #[error("the connection is gone or closing")]
    Gone,
    /// Too much is queued on this connection: try again at [`Event::Sent`].
    #[error("too much is queued on this connection; wait until it is sent")]
    Busy,
    /// All slots, ports or descriptors are in use: try again after [`Event::Closed`].
    #[error("all slots, ports or descriptors are in use; raise the limit or close connections")]
    Exhausted,
    /// There is no route to that address from ours.
    #[error("no route to that address")]
    NoRoute,
}

/// How to close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// After what is queued is sent, in order: FIN. Bytes that the peer still sends are discarded, so
    /// that they do not turn the end into a reset, for a bounded time.
    AfterSent,
    /// The same where the peer has said that it sends nothing more, as by `Connection: close`: then
    /// nothing has to be discarded, and what it sends all the same may end in a reset.
    Concluded,
    /// At once, with a reset.
    Now,
}

/// A TCP on one core. Bound to its thread.
pub trait Transport {
    /// Does what is due by `now`, without ever blocking, and appends what happened to `events`.
    fn poll(&mut self, now: Instant, events: &mut EventBatch);

    /// Bytes received and not yet consumed, contiguous. At most the transport's head limit: when that
    /// many are waiting the peer is held back. Empty for an id that is void.
    fn received(&mut self, id: ConnectionId) -> &[u8];

    /// Drops the first `len` received bytes, or all if there are fewer.
    fn consume(&mut self, id: ConnectionId, len: usize);

    /// An empty buffer for [`Part::Bytes`], recycled from parts already sent where possible.
    fn buffer(&mut self) -> Vec<u8>;

    /// Queues all of `parts`, in order, behind what was submitted before, and leaves `parts` empty.
    /// Sending begins at the latest with the next [`poll`](Self::poll).
    ///
    /// # Errors
    ///
    /// [`Refused::Gone`] or [`Refused::Busy`]; `parts` is then untouched.
    fn submit(&mut self, id: ConnectionId, parts: &mut Parts) -> Result<(), Refused>;

    /// Bytes submitted and not yet sent. Zero for an id that is void.
    fn pending(&self, id: ConnectionId) -> u64;

    /// Opens a connection to `to`. [`Event::Opened`] or [`Event::Closed`] follows.
    ///
    /// # Errors
    ///
    /// [`Refused::Exhausted`] or [`Refused::NoRoute`].
    fn connect(&mut self, now: Instant, to: SocketAddr) -> Result<ConnectionId, Refused>;

    /// Closes a connection. [`Event::Closed`] follows in a later [`poll`](Self::poll).
    fn close(&mut self, id: ConnectionId, how: Close);

    /// Takes no more connections from listeners. Those that are open, or already opening, go on.
    fn stop_listening(&mut self);

    /// How many connections there are, those still opening or closing included.
    fn connections(&self) -> usize;

    /// Sleeps until there is something to do, `deadline` or the waker, or not at all if there is work
    /// left. The deadline is on the clock whose present is `now`. May end early.
    fn wait(&mut self, now: Instant, deadline: Option<Instant>);

    /// What ends [`wait`](Self::wait) from another thread.
    fn waker(&self) -> Waker;
}
