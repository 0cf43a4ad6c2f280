//! A harness with the log of what both ends have reported, and the moves that cases are made of.

use std::{collections::HashMap, io::Write, sync::Arc};

use pagewire_stack::{
    Close, CloseReason, ConnectionId, Event, EventBatch, FileObject, FileRange, Part, Parts,
    Refused, Transport,
};

use super::Harness;

/// Most steps that a case waits for one thing.
const STEPS_MAX: usize = 60_000;

/// Which end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    Server,
    Client,
}

/// One connection, by its ids at both ends.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub server: ConnectionId,
    pub client: ConnectionId,
}

/// Two ends and what they have reported.
pub struct World<H: Harness> {
    pub harness: H,
    server_log: EventBatch,
    client_log: EventBatch,
    server_index: Index,
    client_index: Index,
}

/// What of a log is asked for often.
#[derive(Default)]
struct Index {
    /// Events of the log that are in here.
    seen: usize,
    /// In the order of opening.
    opened: Vec<ConnectionId>,
    closed: HashMap<ConnectionId, CloseReason>,
}

impl Index {
    fn follow(&mut self, log: &EventBatch) {
        for event in &log[self.seen..] {
            match *event {
                Event::Opened { id, .. } => self.opened.push(id),
                Event::Closed(id, reason) => {
                    assert_eq!(self.closed.insert(id, reason), None, "{id:?} closed twice");
                }
                _ => {}
            }
        }
        self.seen = log.len();
    }
}

impl<H: Harness> World<H> {
    pub fn new(harness: H) -> Self {
        Self {
            harness,
            server_log: Vec::new(),
            client_log: Vec::new(),
            server_index: Index::default(),
            client_index: Index::default(),
        }
    }

    pub fn step(&mut self) {
        self.harness.step(&mut self.server_log, &mut self.client_log);
        self.server_index.follow(&self.server_log);
        self.client_index.follow(&self.client_log);
    }

    /// Steps until `done`; a case that waits too long fails with both logs.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if done(self) {
                return;
            }
            self.step();
        }
        let last = |log: &EventBatch| format!("{:#?}", &log[log.len().saturating_sub(8)..]);
        panic!(
            "{what} did not happen; last events at the server {}, at the client {}",
            last(&self.server_log),
            last(&self.client_log)
        );
    }

    /// Opens a connection and waits until both ends say so.
    pub fn open(&mut self) -> Pair {
        let (now, address) = (self.harness.now(), self.harness.address());
        let seen = self.server_index.opened.len();
        let client = self.harness.client().connect(now, address).unwrap();
        self.until("opening", |world| {
            world.server_index.opened.len() > seen
                && world.client_index.opened.last() == Some(&client)
        });
        Pair { server: self.server_index.opened[seen], client }
    }

    pub fn log(&self, end: End) -> &EventBatch {
        match end {
            End::Server => &self.server_log,
            End::Client => &self.client_log,
        }
    }

    /// How often `end` has reported `event`.
    pub fn count(&self, end: End, event: Event) -> usize {
        self.log(end).iter().filter(|&&other| other == event).count()
    }

    pub fn closed(&self, end: End, id: ConnectionId) -> Option<CloseReason> {
        let index = match end {
            End::Server => &self.server_index,
            End::Client => &self.client_index,
        };
        index.closed.get(&id).copied()
    }

    /// Waits until a connection's end is reported.
    pub fn closing(&mut self, end: End, id: ConnectionId) -> CloseReason {
        self.until("closing", |world| world.closed(end, id).is_some());
        self.closed(end, id).unwrap()
    }

    /// Takes what has arrived.
    pub fn take(&mut self, end: End, id: ConnectionId) -> Vec<u8> {
        fn take(transport: &mut impl Transport, id: ConnectionId) -> Vec<u8> {
            let bytes = transport.received(id).to_vec();
            transport.consume(id, bytes.len());
            bytes
        }
        match end {
            End::Server => take(self.harness.server(), id),
            End::Client => take(self.harness.client(), id),
        }
    }

    /// Reads until `len` bytes have arrived.
    pub fn read(&mut self, end: End, id: ConnectionId, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until("reading", |world| {
            bytes.extend(world.take(end, id));
            bytes.len() >= len
        });
        bytes
    }

    /// Reads until the peer's end or the connection's.
    pub fn read_to_end(&mut self, end: End, id: ConnectionId) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until("reading to the end", |world| {
            let ended = world.count(end, Event::PeerClosed(id)) > 0;
            let taken = world.take(end, id);
            let idle = taken.is_empty();
            bytes.extend(taken);
            (ended && idle) || world.closed(end, id).is_some()
        });
        bytes
    }

    pub fn submit(&mut self, end: End, id: ConnectionId, mut parts: Parts) -> Result<(), Refused> {
        let result = match end {
            End::Server => self.harness.server().submit(id, &mut parts),
            End::Client => self.harness.client().submit(id, &mut parts),
        };
        assert_eq!(parts.is_empty(), result.is_ok());
        result
    }

    pub fn send(&mut self, end: End, id: ConnectionId, bytes: &[u8]) {
        self.submit(end, id, vec![Part::Bytes(bytes.to_vec())]).unwrap();
    }

    pub fn pending(&mut self, end: End, id: ConnectionId) -> u64 {
        match end {
            End::Server => self.harness.server().pending(id),
            End::Client => self.harness.client().pending(id),
        }
    }

    pub fn close(&mut self, end: End, id: ConnectionId, how: Close) {
        match end {
            End::Server => self.harness.server().close(id, how),
            End::Client => self.harness.client().close(id, how),
        }
    }

    /// Closes from both ends in order and waits until no connection is left.
    pub fn close_all(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            self.close(End::Client, pair.client, Close::AfterSent);
            self.close(End::Server, pair.server, Close::AfterSent);
        }
        self.until("leaving no connection", |world| {
            world.harness.server().connections() + world.harness.client().connections() == 0
        });
    }

    /// Shows that a connection works both ways.
    pub fn echo(&mut self, pair: Pair) {
        self.send(End::Client, pair.client, b"question");
        assert_eq!(self.read(End::Server, pair.server, 8), b"question");
        self.send(End::Server, pair.server, b"answer");
        assert_eq!(self.read(End::Client, pair.client, 6), b"answer");
    }
}

/// Bytes that show when any of them is lost, repeated or moved.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A file that holds `bytes`, and the object made of it.
pub fn file_of(bytes: &[u8]) -> (tempfile::NamedTempFile, Arc<FileObject>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let object = FileObject::load(file.reopen().unwrap()).unwrap();
    (file, object)
}

/// All of an object.
pub fn whole(object: &Arc<FileObject>) -> Part {
    range(object, 0, object.len())
}

/// A range of an object.
pub fn range(object: &Arc<FileObject>, start: u64, len: u64) -> Part {
    Part::File(FileRange { object: Arc::clone(object), start, len })
}
