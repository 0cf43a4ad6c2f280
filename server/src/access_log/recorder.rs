//! A core's side of the access log: what is under way, and the buffer being filled.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, Sender};
use pagewire_driver::Instant;
use pagewire_stack::{CloseReason, ConnectionId};

use super::{
    Ending, Format,
    line::Facts,
    writer::{Batch, Message},
};
use crate::counters::{Counter, Counters};

/// Bytes of a buffer.
pub(super) const BATCH_BYTES: usize = 64 << 10;

/// How long a line may stay in a buffer that is not full.
const FLUSH: Duration = Duration::from_millis(200);

/// Most responses of one core that are under way and will be logged. A line of a further one is lost.
const MOST_RECORDS: usize = 1 << 16;

/// Room that a record keeps between uses, in bytes.
const RECORD_BYTES: usize = 1 << 10;

/// Most bytes that an ending adds to a line.
const ENDING_BYTES: usize = 128;

/// The end of a list of records.
const NONE: u32 = u32::MAX;

/// A response that has been submitted.
#[derive(Clone, Copy, Debug)]
pub struct Submitted<'a> {
    /// The present, as HTTP has it.
    pub date: &'a str,
    /// All of the request, or what was refused.
    pub request: &'a [u8],
    /// The status.
    pub status: u16,
    /// Bytes of its content.
    pub content_bytes: u64,
    /// When the request was first seen.
    pub asked_at: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    format: Format,
    sample: u32,
    /// Requests until the next that is logged.
    until_next: u32,
    connections: Vec<Connection>,
    records: Vec<Record>,
    vacant: Vec<u32>,
    /// The buffer being filled; without capacity if all are with the writer.
    batch: Vec<u8>,
    lines: u32,
    /// When the oldest line in it is due.
    flush_at: Option<Instant>,
    spare: Receiver<Vec<u8>>,
    home: Sender<Vec<u8>>,
    writer: Sender<Message>,
    counters: Arc<Counters>,
}

/// What is logged of a connection, by its transport's slot.
#[derive(Clone, Copy, Debug)]
struct Connection {
    peer: SocketAddr,
    first: u32,
    last: u32,
}

/// A response under way.
#[derive(Debug, Default)]
struct Record {
    begun: Vec<u8>,
    /// Where in that the ending belongs.
    at: usize,
    status: u16,
    content_bytes: u64,
    asked_at: Instant,
    next: u32,
}

impl Recorder {
    /// A recorder whose buffers come from `spare`, and come back there by `home`.
    pub(super) fn new(
        (format, sample): (Format, u32),
        (home, spare): (Sender<Vec<u8>>, Receiver<Vec<u8>>),
        writer: Sender<Message>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            format,
            sample: sample.max(1),
            until_next: 0,
            connections: Vec::new(),
            records: Vec::new(),
            vacant: Vec::new(),
            batch: Vec::new(),
            lines: 0,
            flush_at: None,
            spare,
            home,
            writer,
            counters,
        }
    }

    /// A connection is open.
    pub fn opened(&mut self, id: ConnectionId, peer: SocketAddr) {
        let slot = id.slot as usize;
        let connection = Connection { peer, first: NONE, last: NONE };
        if slot >= self.connections.len() {
            self.connections.resize(slot + 1, connection);
        }
        self.connections[slot] = connection;
    }

    /// A response has been submitted.
    pub fn submitted(&mut self, id: ConnectionId, response: &Submitted<'_>) {
        if self.until_next > 0 {
            self.until_next -= 1;
            return;
        }
        self.until_next = self.sample - 1;
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let number = match self.vacant.pop() {
            Some(number) => number,
            None if self.records.len() < MOST_RECORDS => {
                self.records.push(Record::default());
                self.records.len() as u32 - 1
            }
            None => return self.counters.add(Counter::LogLost, 1),
        };
        let &Submitted { date, request, .. } = response;
        let record = &mut self.records[number as usize];
        let facts = Facts { peer: connection.peer, date, request };
        record.at = self.format.begin(&mut record.begun, &facts);
        record.status = response.status;
        record.content_bytes = response.content_bytes;
        record.asked_at = response.asked_at;
        record.next = NONE;
        let before = std::mem::replace(&mut connection.last, number);
        match self.records.get_mut(before as usize) {
            Some(before) => before.next = number,
            None => connection.first = number,
        }
    }

    /// All that was submitted on a connection has been sent.
    pub fn sent(&mut self, id: ConnectionId, now: Instant) {
        self.end(id, now, "sent", true);
    }

    /// A connection is gone.
    pub fn closed(&mut self, id: ConnectionId, reason: CloseReason, now: Instant) {
        match reason {
            CloseReason::Finished => self.sent(id, now),
            cut => self.end(id, now, Counter::of_close(cut).label(), false),
        }
    }

    fn end(&mut self, id: ConnectionId, now: Instant, how: &str, is_whole: bool) {
        let Some(connection) = self.connections.get_mut(id.slot as usize) else { return };
        let mut next = std::mem::replace(&mut connection.first, NONE);
        connection.last = NONE;
        while next != NONE {
            let number = next;
            let mut record = std::mem::take(&mut self.records[number as usize]);
            next = record.next;
            let ending = Ending {
                status: record.status,
                content_bytes: is_whole.then_some(record.content_bytes),
                time: now - record.asked_at,
                how,
            };
            self.write(&record.begun, record.at, &ending, now);
            record.begun.clear();
            record.begun.shrink_to(RECORD_BYTES);
            self.records[number as usize] = record;
            self.vacant.push(number);
        }
    }

    fn write(&mut self, begun: &[u8], at: usize, ending: &Ending<'_>, now: Instant) {
        if self.batch.len() + begun.len() + ENDING_BYTES > BATCH_BYTES {
            self.flush();
        }
        if self.batch.capacity() == 0 {
            match self.spare.try_recv() {
                Ok(buffer) => self.batch = buffer,
                Err(_) => return self.counters.add(Counter::LogLost, 1),
            }
        }
        self.format.end(&mut self.batch, begun, at, ending);
        self.lines += 1;
        self.flush_at.get_or_insert(now + FLUSH);
        self.counters.add(Counter::LogLines, 1);
    }

    /// When the buffer is to be handed over although it is not full.
    pub fn deadline(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Hands the buffer over if that is due.
    pub fn flush_due(&mut self, now: Instant) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        let lines = std::mem::take(&mut self.lines);
        if lines == 0 {
            return;
        }
        let bytes = std::mem::take(&mut self.batch);
        let batch = Batch { bytes, lines, home: self.home.clone() };
        // There is room for all buffers there are; only a writer that is gone refuses.
        if self.writer.try_send(Message::Lines(batch)).is_err() {
            self.counters.add(Counter::LogLost, lines.into());
        }
    }
}

/// What is in the buffer is written all the same.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{bounded, unbounded};

    use super::*;

    const ID: ConnectionId = ConnectionId { slot: 3, generation: 0 };

    struct Fixture {
        recorder: Recorder,
        batches: Receiver<Message>,
        counters: Arc<Counters>,
    }

    fn fixture(sample: u32, buffers: usize) -> Fixture {
        let (home, spare) = bounded(buffers);
        (0..buffers).for_each(|_| home.send(Vec::with_capacity(BATCH_BYTES)).unwrap());
        let (writer, batches) = unbounded();
        let counters = Arc::new(Counters::default());
        let line = (Format::Json, sample);
        let mut recorder = Recorder::new(line, (home, spare), writer, Arc::clone(&counters));
        recorder.opened(ID, "192.0.2.1:1".parse().unwrap());
        Fixture { recorder, batches, counters }
    }

    impl Fixture {
        fn submit(&mut self, path: &str) {
            let request = format!("GET {path} HTTP/1.1\r\n\r\n");
            let response = Submitted {
                date: "Thu, 26 Nov 2026 19:08:28 GMT",
                request: request.as_bytes(),
                status: 200,
                content_bytes: 7,
                asked_at: Instant::from_millis(1_000),
            };
            self.recorder.submitted(ID, &response);
        }

        /// What would be written by now; buffers go back if `recycle`.
        fn written(&mut self, recycle: bool) -> Vec<String> {
            self.recorder.flush();
            let mut lines = Vec::new();
            for message in self.batches.try_iter() {
                let Message::Lines(batch) = message else { panic!() };
                let text = String::from_utf8(batch.bytes.clone()).unwrap();
                assert_eq!(text.lines().count(), batch.lines as usize);
                lines.extend(text.lines().map(str::to_owned));
                if recycle {
                    let mut bytes = batch.bytes;
                    bytes.clear();
                    batch.home.send(bytes).unwrap();
                }
            }
            lines
        }
    }

    #[test]
    fn lines_come_in_order_once_their_responses_are_sent() {
        let mut fixture = fixture(1, 2);
        fixture.submit("/a");
        fixture.submit("/b");
        assert!(fixture.written(true).is_empty());
        fixture.recorder.sent(ID, Instant::from_millis(1_250));
        fixture.submit("/c");
        fixture.recorder.closed(ID, CloseReason::Reset, Instant::from_millis(1_500));
        let lines = fixture.written(true);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("GET /a ") && lines[1].contains("GET /b "), "{lines:?}");
        assert!(lines[1].contains(r#""bytes":7,"seconds":0.250000,"ending":"sent""#), "{lines:?}");
        let cut = r#""bytes":null,"seconds":0.500000,"ending":"reset by peer""#;
        assert!(lines[2].contains("GET /c ") && lines[2].contains(cut), "{lines:?}");
    }

    #[test]
    fn one_of_so_many_is_logged() {
        let mut fixture = fixture(10, 2);
        for number in 0..100 {
            fixture.submit(&format!("/{number}"));
            fixture.recorder.sent(ID, Instant::from_millis(2_000));
        }
        assert_eq!(fixture.written(true).len(), 10);
    }

    #[test]
    fn a_line_waits_no_longer_than_the_limit() {
        let mut fixture = fixture(1, 2);
        assert_eq!(fixture.recorder.deadline(), None);
        fixture.submit("/");
        let now = Instant::from_millis(5_000);
        fixture.recorder.sent(ID, now);
        assert_eq!(fixture.recorder.deadline(), Some(now + FLUSH));
        fixture.recorder.flush_due(now);
        assert!(fixture.batches.is_empty());
        fixture.recorder.flush_due(now + FLUSH);
        assert_eq!((fixture.batches.len(), fixture.recorder.deadline()), (1, None));
    }

    #[test]
    fn without_an_empty_buffer_lines_are_lost_and_counted() {
        let mut fixture = fixture(1, 2);
        for _ in 0..3_000 {
            fixture.submit("/some/path/that/is/not/too/short");
            fixture.recorder.sent(ID, Instant::from_millis(2_000));
        }
        let (kept, lost) =
            (fixture.written(true).len() as u64, fixture.counters.get(Counter::LogLost));
        assert!(kept > 500 && lost > 500, "{kept} {lost}");
        assert_eq!((kept + lost, fixture.counters.get(Counter::LogLines)), (3_000, kept));
        fixture.submit("/");
        fixture.recorder.sent(ID, Instant::from_millis(2_000));
        assert_eq!(fixture.written(true).len(), 1);
    }

    #[test]
    fn nothing_grows_once_it_is_warm() {
        let mut fixture = fixture(1, 2);
        let mut sizes = Vec::new();
        for round in 0..1_000 {
            for _ in 0..5 {
                fixture.submit("/some/path");
            }
            fixture.recorder.sent(ID, Instant::from_millis(2_000));
            fixture.written(true);
            let recorder = &fixture.recorder;
            let begun = recorder.records.iter().map(|record| record.begun.capacity());
            sizes.push((recorder.records.len(), recorder.vacant.capacity(), begun.sum::<usize>()));
            assert!(round < 2 || sizes[round] == sizes[1], "{sizes:?}");
        }
    }
}
