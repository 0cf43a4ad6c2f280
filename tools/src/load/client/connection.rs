//! One connection: what it was asked, and how far the answer has come.

use std::collections::VecDeque;

use pagewire_driver::Instant;
use pagewire_stack::ConnectionId;

use crate::load::{
    content::{Hashing, References},
    response::{Head, Heads},
    tally::Cause,
};

/// The longest head of a response, in bytes. Transports must let this many wait.
pub const HEAD_MAX: usize = 64 << 10;

/// A request whose response is not complete.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// The number of its path.
    pub path: u32,
    /// When it was started, or should have been.
    pub intended: Instant,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The slot is free.
    Vacant,
    /// Not established yet.
    Opening,
    /// In use.
    Open,
    /// Done with; it only waits for the server's end, so that the port is free again at once.
    Finishing,
}

/// What is expected next.
#[derive(Debug)]
enum Reading {
    Head,
    Body { left: u64, keep_alive: bool, fault: Option<Fault>, hashing: Option<Box<Hashing>> },
}

/// What was wrong with a response that is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// This status.
    Status(u16),
    /// Its length.
    Length,
    /// Its content.
    Content,
}

/// What bytes have brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// More are needed.
    More,
    /// A response is complete.
    Done { fault: Option<Fault>, keep_alive: bool },
    /// They are no response.
    Broken,
}

/// What responses are read with, for all connections of a core.
#[derive(Debug)]
pub struct Reader<'a> {
    pub heads: &'a mut Heads,
    pub references: &'a References,
    pub expect: u16,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub state: State,
    /// Requests in the order of their responses.
    pub pending: VecDeque<Pending>,
    /// When something last came, or a request went out while none was under way.
    pub heard: Instant,
    /// Whether it is in the list of those that can take a request.
    pub listed: bool,
    /// Whether the server has closed its side.
    pub peer_closed: bool,
    reading: Reading,
}

impl Connection {
    fn vacant() -> Self {
        Self {
            id: ConnectionId { slot: 0, generation: 0 },
            state: State::Vacant,
            pending: VecDeque::new(),
            heard: Instant::ZERO,
            listed: false,
            peer_closed: false,
            reading: Reading::Head,
        }
    }

    /// Why the response under way cannot be completed any more when the server has closed.
    pub fn cause_of_close(&self) -> Cause {
        match self.reading {
            Reading::Head => Cause::Closed,
            Reading::Body { .. } => Cause::ShortBody,
        }
    }

    /// Reads from the front of `bytes` up to the end of one response, and says how many it has used.
    pub fn step(&mut self, bytes: &[u8], reader: &mut Reader<'_>) -> (usize, Step) {
        let Some(&Pending { path, .. }) = self.pending.front() else {
            return (0, if bytes.is_empty() { Step::More } else { Step::Broken });
        };
        if bytes.is_empty() {
            return (0, Step::More);
        }
        let mut used = 0;
        if matches!(self.reading, Reading::Head) {
            match reader.heads.read(path, bytes) {
                Ok(Some(head)) => {
                    used = head.len;
                    if let Some(done) = self.begin(path, &head, &bytes[used..], reader) {
                        return (used + head.body_len as usize, done);
                    }
                }
                Ok(None) if bytes.len() < HEAD_MAX => return (0, Step::More),
                Ok(None) | Err(_) => return (0, Step::Broken),
            }
        }
        let (more, step) = self.proceed(path, &bytes[used..], reader);
        (used + more, step)
    }

    /// Begins a body. If all of it is there, the response is complete.
    fn begin(&mut self, path: u32, head: &Head, rest: &[u8], reader: &Reader<'_>) -> Option<Step> {
        let Head { status, body_len, keep_alive, .. } = *head;
        let mut fault = if status != reader.expect {
            Some(Fault::Status(status))
        } else if !reader.references.is_len(path, body_len) {
            Some(Fault::Length)
        } else {
            None
        };
        let hashes = fault.is_none() && reader.references.hashes();
        let body = usize::try_from(body_len).ok().and_then(|len| rest.get(..len));
        if let Some(body) = body {
            if hashes && !reader.references.is_content(path, body) {
                fault = Some(Fault::Content);
            }
            return Some(Step::Done { fault, keep_alive });
        }
        let hashing = hashes.then(|| Box::new(reader.references.hashing(path)));
        self.reading = Reading::Body { left: body_len, keep_alive, fault, hashing };
        None
    }

    /// Goes on with a body.
    fn proceed(&mut self, path: u32, bytes: &[u8], reader: &Reader<'_>) -> (usize, Step) {
        let Reading::Body { left, keep_alive, fault, hashing } = &mut self.reading else {
            return (0, Step::More);
        };
        let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
        *left -= len as u64;
        if let Some(hashing) = hashing {
            hashing.update(&bytes[..len]);
        }
        if *left > 0 {
            return (len, Step::More);
        }
        let (mut fault, keep_alive, hashing) = (fault.take(), *keep_alive, hashing.take());
        self.reading = Reading::Head;
        if hashing.is_some_and(|hashing| !reader.references.is_hash(path, *hashing)) {
            fault = Some(Fault::Content);
        }
        (len, Step::Done { fault, keep_alive })
    }
}

/// Connections by their transport's slot. Their memory is kept for the next ones.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Connection>,
}

impl Table {
    /// Makes `id` a connection that is opening.
    pub fn insert(&mut self, id: ConnectionId, now: Instant) -> &mut Connection {
        let index = id.slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Connection::vacant);
        }
        let connection = &mut self.slots[index];
        let mut pending = std::mem::take(&mut connection.pending);
        pending.clear();
        *connection =
            Connection { id, state: State::Opening, pending, heard: now, ..Connection::vacant() };
        connection
    }

    /// The connection `id`, unless it is gone.
    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.slots.get_mut(id.slot as usize)?;
        (connection.id == id && connection.state != State::Vacant).then_some(connection)
    }

    /// All that are not gone.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().filter(|connection| connection.state != State::Vacant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::content::Verify;

    const TWO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhullo";

    fn connection(asked: usize) -> Connection {
        let pending = Pending { path: 0, intended: Instant::ZERO };
        Connection { pending: VecDeque::from(vec![pending; asked]), ..Connection::vacant() }
    }

    /// The steps but [`Step::More`] when bytes come in pieces of this size.
    fn steps(bytes: &[u8], asked: usize, piece: usize, verify: &Verify) -> Vec<Step> {
        let references = References::new(&["/".to_owned()], verify).unwrap();
        let mut heads = Heads::new(1);
        let mut reader = Reader { heads: &mut heads, references: &references, expect: 200 };
        let (mut connection, mut waiting, mut steps) = (connection(asked), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            waiting.extend_from_slice(piece);
            loop {
                let (used, step) = connection.step(&waiting, &mut reader);
                waiting.drain(..used);
                match step {
                    Step::More => break,
                    Step::Done { .. } => drop(connection.pending.pop_front()),
                    Step::Broken => return [steps, vec![step]].concat(),
                }
                steps.push(step);
            }
        }
        steps
    }

    #[test]
    fn responses_are_read_however_they_are_cut() {
        let done = |keep_alive| Step::Done { fault: None, keep_alive };
        for piece in 1..=TWO.len() {
            let steps = steps(TWO, 2, piece, &Verify::Length);
            assert_eq!(steps, [done(true), done(false)], "{piece}");
        }
    }

    #[test]
    fn another_content_is_noticed_however_it_is_cut() {
        let wrong = Step::Done { fault: Some(Fault::Content), keep_alive: false };
        for piece in 1..=TWO.len() {
            assert_eq!(steps(TWO, 2, piece, &Verify::First)[1], wrong, "{piece}");
        }
    }

    #[test]
    fn another_status_or_length_is_noticed() {
        let other = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 404 No\r\n\
            Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx";
        let done = |fault| Step::Done { fault, keep_alive: true };
        for piece in 1..=other.len() {
            let expected = [None, Some(Fault::Status(404)), Some(Fault::Length)].map(done).to_vec();
            assert_eq!(steps(other, 3, piece, &Verify::First), expected, "{piece}");
        }
    }

    #[test]
    fn more_than_was_asked_for_and_endless_heads_are_no_responses() {
        assert_eq!(steps(TWO, 1, 7, &Verify::Length).last(), Some(&Step::Broken));
        assert_eq!(steps(b"x", 0, 1, &Verify::Length), [Step::Broken]);
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; HEAD_MAX]].concat();
        assert_eq!(steps(&endless, 1, 1 << 14, &Verify::Length), [Step::Broken]);
    }

    #[test]
    fn a_close_is_a_short_body_only_within_one() {
        let references = References::new(&["/".to_owned()], &Verify::Length).unwrap();
        let mut heads = Heads::new(1);
        let mut reader = Reader { heads: &mut heads, references: &references, expect: 200 };
        let mut connection = connection(1);
        connection.step(b"HTTP/1.1 200 OK\r\n", &mut reader);
        assert_eq!(connection.cause_of_close(), Cause::Closed);
        connection.step(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", &mut reader);
        assert_eq!(connection.cause_of_close(), Cause::ShortBody);
    }

    #[test]
    fn an_old_id_does_not_reach_the_next_connection_in_its_slot() {
        let mut table = Table::default();
        let old = ConnectionId { slot: 3, generation: 0 };
        table
            .insert(old, Instant::ZERO)
            .pending
            .push_back(Pending { path: 0, intended: Instant::ZERO });
        let new = ConnectionId { slot: 3, generation: 1 };
        assert!(table.insert(new, Instant::ZERO).pending.is_empty());
        assert!(table.get(old).is_none() && table.get(new).is_some());
        assert_eq!(table.iter().count(), 1);
    }
}
