//! What is in flight: sent when, lost, or received out of order (RFC 6675, RFC 8985).
//!
//! As long as nothing is lost there is one [`Run`] for all that was sent together, and an acknowledgement
//! takes runs from the front. `records` hold what must be told apart, segment by segment, and lie before all
//! runs: a SACK block unfolds the runs that begin before its end, and a retransmission all of them, so that
//! everything in a run was sent after everything in the records. A segment is unfolded once at most.
//!
//! An acknowledgement pops records from the front and a SACK block finds its first by bisection. A record is
//! in one of two lists through its own links: of those flying, in the order of transmission, whose head is
//! the next that can be found lost; or of those lost, to be sent again. So a block costs O(log n) however
//! often it is repeated, and all else is a constant for each segment sent or change of its fate: a hostile
//! peer can cause no more work than the bytes that it has made us send.

mod record;
mod records;
mod run;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, ops::Range};

use pagewire_driver::{Instant, prefetch};

use self::{records::Records, run::Run};

pub use self::record::{Fate, Record};

/// See the module.
#[derive(Debug, Default)]
pub struct Scoreboard {
    records: Records,
    runs: VecDeque<Run>,
    flying_bytes: u64,
    received_bytes: u64,
    received_records: usize,
}

impl Scoreboard {
    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.runs.is_empty()
    }

    /// Whether but one segment is.
    pub fn is_single(&self) -> bool {
        match (self.records.len(), self.runs.len()) {
            (1, 0) => true,
            (0, 1) => self.runs[0].is_single(),
            _ => false,
        }
    }

    /// Brings the first segments towards the core's cache.
    pub fn prefetch(&self) {
        let (runs, _) = self.runs.as_slices();
        prefetch(&runs[..runs.len().min(1)]);
        prefetch(self.records.head());
    }

    /// How many segments there are.
    pub fn count(&mut self) -> usize {
        self.unfold_before(u64::MAX);
        self.records.len()
    }

    /// Bytes that are thought to be on the way (RFC 6675's pipe).
    pub fn flying_bytes(&self) -> u64 {
        self.flying_bytes
    }

    /// Bytes that the peer has received out of order.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Segments that the peer has received out of order.
    pub fn received_records(&self) -> usize {
        self.received_records
    }

    /// The first segment that is not acknowledged.
    pub fn front(&self) -> Option<Record> {
        self.records.front().copied().or_else(|| self.runs.front().map(Run::first))
    }

    /// The last segment.
    pub fn back(&self) -> Option<Record> {
        self.runs.back().map(Run::last).or_else(|| self.records.back().copied())
    }

    /// Adds segments of `size` that have just been sent for the first time, behind all others: at least one
    /// byte, the last of which is a FIN if `fin` says so.
    pub fn push(&mut self, now: Instant, start: u64, len: u32, size: u32, fin: bool) {
        self.runs.push_back(Run { start, sent: now, len, size: size.max(1), fin });
        self.flying_bytes += u64::from(len);
    }

    /// Takes everything before `end` off the board, and shows what had not been received before. What is
    /// acknowledged in part is shown as that part and stays with the rest.
    pub fn acknowledge(&mut self, end: u64, mut delivered: impl FnMut(&Record)) {
        while let Some(record) = self.records.front().copied() {
            if record.start >= end {
                return;
            }
            if record.end() > end {
                let cut = (end - record.start) as u32;
                if record.fate != Fate::Received {
                    delivered(&Record { len: cut, ..record });
                }
                self.uncount(record.fate, cut);
                let front = &mut self.records[0];
                (front.start, front.len) = (end, record.len - cut);
                return;
            }
            if record.fate == Fate::Received {
                self.received_records -= 1;
            } else {
                delivered(&record);
                self.records.remove(record.fate, self.records.number(0));
            }
            self.uncount(record.fate, record.len);
            self.records.pop();
        }
        while let Some(run) = self.runs.front_mut() {
            if run.start >= end {
                return;
            }
            let mut record = run.whole();
            if record.end() > end {
                record.len = (end - record.start) as u32;
                if let Some(rest) = run.cut(record.len) {
                    self.records.push(rest);
                }
            } else {
                run.len = 0;
            }
            if run.len == 0 {
                self.runs.pop_front();
            }
            delivered(&record);
            self.flying_bytes -= u64::from(record.len);
        }
    }

    /// Marks what lies wholly in `block` as received and shows each segment for which that is news.
    pub fn receive(&mut self, block: Range<u64>, mut delivered: impl FnMut(&Record)) {
        self.unfold_before(block.end);
        let mut at = self.records.place_of(block.start);
        loop {
            at = self.records.skip_received(at);
            let Some(record) = self.records.get(at).copied() else { return };
            if record.end() > block.end {
                return;
            }
            let number = self.records.number(at);
            self.records.remove(record.fate, number);
            self.uncount(record.fate, record.len);
            delivered(&record);
            let record = &mut self.records[at];
            record.fate = Fate::Received;
            record.next = number.wrapping_add(1);
            self.received_bytes += u64::from(record.len);
            self.received_records += 1;
            at += 1;
        }
    }

    /// The segment that was sent longest ago and of which nothing is known.
    pub fn oldest_flying(&self) -> Option<Record> {
        match self.records.ends(Fate::Flying) {
            Some((head, _)) => Some(self.records[self.records.place(head)]),
            None => self.runs.front().map(Run::first),
        }
    }

    /// Takes the oldest flying segment for lost. One that was lost before comes first among the lost: it
    /// most likely holds up the stream.
    pub fn lose_oldest(&mut self) {
        if self.records.ends(Fate::Flying).is_none() {
            self.unfold_first();
        }
        if let Some((head, _)) = self.records.ends(Fate::Flying) {
            self.lose(head);
        }
    }

    /// Takes the first segment for lost if it is flying. Says whether it was.
    pub fn lose_front(&mut self) -> bool {
        if self.records.is_empty() {
            self.unfold_first();
        }
        let flying = self.records.front().is_some_and(|record| record.fate == Fate::Flying);
        if flying {
            self.lose(self.records.number(0));
        }
        flying
    }

    /// Takes for lost what was last sent at `until` or before, and the first segment in any case, as after
    /// a timeout; all that is lost is then sent again in the order of the stream. A peer that has gone back
    /// on what it said to have received, as shows by the first segment, is believed nothing more (RFC 2018
    /// section 8).
    pub fn lose_older(&mut self, until: Instant) {
        self.unfold_before(u64::MAX);
        let broken = self.records.front().is_some_and(|record| record.fate == Fate::Received);
        self.records.forget(Fate::Lost);
        if broken {
            self.records.forget(Fate::Flying);
            (self.flying_bytes, self.received_bytes, self.received_records) = (0, 0, 0);
        }
        for at in 0..self.records.len() {
            let number = self.records.number(at);
            let Record { fate, sent, len, .. } = self.records[at];
            if !broken {
                match fate {
                    Fate::Flying if at == 0 || sent <= until => {
                        self.records.remove(Fate::Flying, number);
                        self.flying_bytes -= u64::from(len);
                    }
                    Fate::Lost => {}
                    Fate::Flying | Fate::Received => continue,
                }
            }
            let record = &mut self.records[at];
            (record.fate, record.previous, record.next) = (Fate::Lost, number, number);
            self.records.append(Fate::Lost, number);
        }
    }

    /// Takes for lost every flying segment longer than `len`: the path does not carry it.
    pub fn lose_longer(&mut self, len: u32) {
        self.unfold_before(u64::MAX);
        for at in 0..self.records.len() {
            if self.records[at].fate == Fate::Flying && self.records[at].len > len {
                self.lose(self.records.number(at));
            }
        }
    }

    /// Takes back that segments were lost which have not been sent again.
    pub fn find_lost(&mut self) {
        while let Some((_, tail)) = self.records.ends(Fate::Lost) {
            self.records.remove(Fate::Lost, tail);
            let record = self.records.record(tail);
            record.fate = Fate::Flying;
            self.flying_bytes += u64::from(record.len);
            self.records.prepend(Fate::Flying, tail);
        }
    }

    /// The next segment to send again.
    pub fn next_lost(&self) -> Option<&Record> {
        let (head, _) = self.records.ends(Fate::Lost)?;
        Some(&self.records[self.records.place(head)])
    }

    /// Takes note that the next lost segment has just been sent again.
    pub fn sent_again(&mut self, now: Instant) {
        let Some((head, _)) = self.records.ends(Fate::Lost) else { return };
        self.resend(now, head);
    }

    /// Takes note that the first or the last segment has just been sent again as a probe, whatever is
    /// known of it.
    pub fn probed(&mut self, now: Instant, is_last: bool) {
        self.unfold_before(u64::MAX);
        let Some(last) = self.records.len().checked_sub(1) else { return };
        let at = if is_last { last } else { 0 };
        if self.records[at].fate == Fate::Received {
            self.records[at].again = true;
        } else {
            self.resend(now, self.records.number(at));
        }
    }

    /// Forgets everything, and gives back memory beyond `keep` segments.
    pub fn clear(&mut self, keep: usize) {
        let (mut records, mut runs) =
            (std::mem::take(&mut self.records), std::mem::take(&mut self.runs));
        records.clear(keep);
        runs.clear();
        runs.shrink_to(keep);
        *self = Self { records, runs, ..Self::default() };
    }

    /// Makes records of the segments of the first run.
    fn unfold_first(&mut self) {
        let Some(mut run) = self.runs.pop_front() else { return };
        while run.len > 0 {
            let record = run.first();
            run.skip(record.len);
            self.records.push(record);
        }
    }

    /// The same for all runs that begin before `end`.
    fn unfold_before(&mut self, end: u64) {
        while self.runs.front().is_some_and(|run| run.start < end) {
            self.unfold_first();
        }
    }

    /// Takes note that a segment that was not received has just been sent again.
    fn resend(&mut self, now: Instant, number: u32) {
        self.unfold_before(u64::MAX);
        let Record { fate, len, .. } = *self.records.record(number);
        self.records.remove(fate, number);
        self.uncount(fate, len);
        let record = self.records.record(number);
        (record.fate, record.sent, record.again) = (Fate::Flying, now, true);
        self.flying_bytes += u64::from(len);
        self.records.append(Fate::Flying, number);
    }

    fn lose(&mut self, number: u32) {
        self.records.remove(Fate::Flying, number);
        let record = self.records.record(number);
        record.fate = Fate::Lost;
        let (len, again) = (record.len, record.again);
        self.flying_bytes -= u64::from(len);
        if again {
            self.records.prepend(Fate::Lost, number);
        } else {
            self.records.append(Fate::Lost, number);
        }
    }

    fn uncount(&mut self, fate: Fate, len: u32) {
        match fate {
            Fate::Flying => self.flying_bytes -= u64::from(len),
            Fate::Received => self.received_bytes -= u64::from(len),
            Fate::Lost => {}
        }
    }
}
