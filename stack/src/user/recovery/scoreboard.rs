//! What is in flight, segment by segment: sent when, lost, or received out of order (RFC 6675, RFC 8985).
//!
//! Records lie in the order of the stream, so an acknowledgement pops them from the front and a SACK block
//! finds its first by bisection. A record is in one of two lists through its own links: `flying`, in the
//! order of transmission, whose head is the next that can be found lost; or `lost`, those to be sent
//! again. One that was received out of order is in neither, and its link says where the next record that
//! may not have been received begins; such links are shortened as they are followed (as in union-find).
//! So a block costs O(log n) however often it is repeated, and all else is a constant for each change of
//! a record's fate: a hostile peer can cause no more work than the bytes that it has made us send.
//!
//! Records are numbered from `first` on, modulo 2^32; a link to itself is none.

use std::{collections::VecDeque, ops::Range};

use pagewire_driver::Instant;

use crate::prefetch::prefetch;

/// What is known of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Nothing.
    Flying,
    /// It is taken for lost and has not been sent again since.
    Lost,
    /// The peer has it (RFC 2018).
    Received,
}

/// A segment that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Offset of its first byte in the stream.
    pub start: u64,
    /// When it was last sent.
    pub sent: Instant,
    /// Bytes; a FIN counts as one.
    pub len: u32,
    previous: u32,
    next: u32,
    /// What is known of it.
    pub fate: Fate,
    /// Whether it was sent more than once.
    pub again: bool,
}

impl Record {
    /// Offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }

    /// Whether it was sent before what was sent at that time with that end (RFC 8985 section 6.2).
    pub fn sent_before(&self, time: Instant, end: u64) -> bool {
        (self.sent, self.end()) < (time, end)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    ends: Option<(u32, u32)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Scoreboard {
    records: VecDeque<Record>,
    first: u32,
    flying: List,
    lost: List,
    flying_bytes: u64,
    received_bytes: u64,
    received_records: usize,
}

impl Scoreboard {
    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Brings the first segments towards the core's cache.
    pub fn prefetch(&self) {
        let (front, _) = self.records.as_slices();
        prefetch(&front[..front.len().min(2)]);
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
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
    pub fn front(&self) -> Option<&Record> {
        self.records.front()
    }

    /// The last segment.
    pub fn back(&self) -> Option<&Record> {
        self.records.back()
    }

    /// Adds a segment that has just been sent for the first time, behind all others.
    pub fn push(&mut self, now: Instant, start: u64, len: u32) {
        let number = self.first.wrapping_add(self.records.len() as u32);
        let (fate, again) = (Fate::Flying, false);
        let links = (number, number);
        let (previous, next) = links;
        self.records.push_back(Record { start, sent: now, len, previous, next, fate, again });
        self.flying_bytes += u64::from(len);
        self.append(Fate::Flying, number);
    }

    /// Takes everything before `end` off the board, and shows each record that had not been received
    /// before. One that is acknowledged in part is shown as that part and stays with the rest.
    pub fn acknowledge(&mut self, end: u64, mut delivered: impl FnMut(&Record)) {
        while let Some(record) = self.records.front().copied() {
            if record.start >= end {
                return;
            }
            let number = self.first;
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
                self.unlink(number);
            }
            self.uncount(record.fate, record.len);
            self.records.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Marks what lies wholly in `block` as received and shows each record for which that is news.
    pub fn receive(&mut self, block: Range<u64>, mut delivered: impl FnMut(&Record)) {
        let mut at = self.records.partition_point(|record| record.start < block.start);
        loop {
            at = self.skip_received(at);
            let Some(record) = self.records.get(at).copied() else { return };
            if record.end() > block.end {
                return;
            }
            let number = self.number(at);
            self.unlink(number);
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
    pub fn oldest_flying(&self) -> Option<&Record> {
        self.flying.ends.map(|(head, _)| &self.records[self.place(head)])
    }

    /// Takes the oldest flying segment for lost. One that was lost before comes first among the lost: it
    /// most likely holds up the stream.
    pub fn lose_oldest(&mut self) {
        let Some((head, _)) = self.flying.ends else { return };
        self.lose(head);
    }

    /// Takes the first segment for lost if it is flying. Says whether it was.
    pub fn lose_front(&mut self) -> bool {
        let flying = self.records.front().is_some_and(|record| record.fate == Fate::Flying);
        if flying {
            self.lose(self.first);
        }
        flying
    }

    /// Takes for lost what was last sent at `until` or before, and the first segment in any case, as after
    /// a timeout; all that is lost is then sent again in the order of the stream. A peer that has gone back
    /// on what it said to have received, as shows by the first segment, is believed nothing more (RFC 2018
    /// section 8).
    pub fn lose_older(&mut self, until: Instant) {
        let broken = self.records.front().is_some_and(|record| record.fate == Fate::Received);
        self.lost = List::default();
        if broken {
            self.flying = List::default();
            (self.flying_bytes, self.received_bytes, self.received_records) = (0, 0, 0);
        }
        for at in 0..self.records.len() {
            let number = self.number(at);
            let Record { fate, sent, len, .. } = self.records[at];
            if !broken {
                match fate {
                    Fate::Flying if at == 0 || sent <= until => {
                        self.remove(Fate::Flying, number);
                        self.flying_bytes -= u64::from(len);
                    }
                    Fate::Lost => {}
                    Fate::Flying | Fate::Received => continue,
                }
            }
            let record = &mut self.records[at];
            (record.fate, record.previous, record.next) = (Fate::Lost, number, number);
            self.append(Fate::Lost, number);
        }
    }

    /// Takes for lost every flying segment longer than `len`: the path does not carry it.
    pub fn lose_longer(&mut self, len: u32) {
        for at in 0..self.records.len() {
            if self.records[at].fate == Fate::Flying && self.records[at].len > len {
                self.lose(self.number(at));
            }
        }
    }

    /// Takes back that segments were lost which have not been sent again.
    pub fn find_lost(&mut self) {
        while let Some((_, tail)) = self.lost.ends {
            let record = self.record(tail);
            record.fate = Fate::Flying;
            let len = record.len;
            self.flying_bytes += u64::from(len);
            self.remove(Fate::Lost, tail);
            self.prepend(Fate::Flying, tail);
        }
    }

    /// The next segment to send again.
    pub fn next_lost(&self) -> Option<&Record> {
        self.lost.ends.map(|(head, _)| &self.records[self.place(head)])
    }

    /// Takes note that the next lost segment has just been sent again.
    pub fn sent_again(&mut self, now: Instant) {
        let Some((head, _)) = self.lost.ends else { return };
        self.remove(Fate::Lost, head);
        let record = self.record(head);
        (record.fate, record.sent, record.again) = (Fate::Flying, now, true);
        let len = record.len;
        self.flying_bytes += u64::from(len);
        self.append(Fate::Flying, head);
    }

    /// Takes note that the first or the last segment has just been sent again as a probe, whatever is
    /// known of it.
    pub fn probed(&mut self, now: Instant, is_last: bool) {
        let Some(last) = self.records.len().checked_sub(1) else { return };
        let at = if is_last { last } else { 0 };
        let number = self.number(at);
        let fate = self.records[at].fate;
        self.records[at].again = true;
        if fate != Fate::Received {
            let len = self.records[at].len;
            self.remove(fate, number);
            self.uncount(fate, len);
            let record = self.record(number);
            (record.fate, record.sent) = (Fate::Flying, now);
            self.flying_bytes += u64::from(len);
            self.append(Fate::Flying, number);
        }
    }

    /// Forgets everything, and gives back memory beyond `keep` records.
    pub fn clear(&mut self, keep: usize) {
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        records.shrink_to(keep);
        *self = Self { records, ..Self::default() };
    }

    fn lose(&mut self, number: u32) {
        self.remove(Fate::Flying, number);
        let record = self.record(number);
        record.fate = Fate::Lost;
        let (len, again) = (record.len, record.again);
        self.flying_bytes -= u64::from(len);
        if again {
            self.prepend(Fate::Lost, number);
        } else {
            self.append(Fate::Lost, number);
        }
    }

    fn uncount(&mut self, fate: Fate, len: u32) {
        match fate {
            Fate::Flying => self.flying_bytes -= u64::from(len),
            Fate::Received => self.received_bytes -= u64::from(len),
            Fate::Lost => {}
        }
    }

    /// The first place from `at` on whose record was not received, or the end.
    fn skip_received(&mut self, mut at: usize) -> usize {
        while let Some(record) = self.records.get(at) {
            if record.fate != Fate::Received {
                break;
            }
            let next = self.place(record.next);
            if let Some(beyond) = self.records.get(next)
                && beyond.fate == Fate::Received
            {
                self.records[at].next = beyond.next;
            }
            at = next;
        }
        at
    }

    fn number(&self, at: usize) -> u32 {
        self.first.wrapping_add(at as u32)
    }

    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.first) as usize
    }

    fn record(&mut self, number: u32) -> &mut Record {
        let at = self.place(number);
        &mut self.records[at]
    }

    fn list(&mut self, fate: Fate) -> &mut List {
        if fate == Fate::Lost { &mut self.lost } else { &mut self.flying }
    }

    fn unlink(&mut self, number: u32) {
        let fate = self.record(number).fate;
        self.remove(fate, number);
    }

    fn append(&mut self, fate: Fate, number: u32) {
        let list = self.list(fate);
        let Some((head, tail)) = list.ends else {
            list.ends = Some((number, number));
            return;
        };
        list.ends = Some((head, number));
        self.record(tail).next = number;
        self.record(number).previous = tail;
    }

    fn prepend(&mut self, fate: Fate, number: u32) {
        let list = self.list(fate);
        let Some((head, tail)) = list.ends else {
            list.ends = Some((number, number));
            return;
        };
        list.ends = Some((number, tail));
        self.record(head).previous = number;
        self.record(number).next = head;
    }

    /// Takes a record out of the list that it is in.
    fn remove(&mut self, fate: Fate, number: u32) {
        let record = self.record(number);
        let (previous, next) = (record.previous, record.next);
        (record.previous, record.next) = (number, number);
        let (is_head, is_tail) = (previous == number, next == number);
        if !is_head {
            self.record(previous).next = if is_tail { previous } else { next };
        }
        if !is_tail {
            self.record(next).previous = if is_head { next } else { previous };
        }
        let list = self.list(fate);
        if let Some((head, tail)) = list.ends {
            list.ends = match (is_head, is_tail) {
                (true, true) => None,
                (true, false) => Some((next, tail)),
                (false, true) => Some((head, previous)),
                (false, false) => list.ends,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEN: u32 = 100;

    fn board(count: u64) -> Scoreboard {
        let mut board = Scoreboard { first: u32::MAX - 3, ..Scoreboard::default() };
        for number in 0..count {
            board.push(Instant::from_micros(number), number * u64::from(LEN), LEN);
        }
        board
    }

    fn fates(board: &Scoreboard) -> Vec<Fate> {
        board.records.iter().map(|record| record.fate).collect()
    }

    /// The numbers of the segments in a list, by its links, in both directions.
    fn listed(board: &Scoreboard, list: List) -> Vec<u64> {
        let Some((head, tail)) = list.ends else { return Vec::new() };
        let walk = |from: u32, forward: bool| {
            let (mut at, mut seen) = (from, Vec::new());
            loop {
                let record = &board.records[board.place(at)];
                seen.push(record.start);
                let next = if forward { record.next } else { record.previous };
                if next == at {
                    return seen;
                }
                at = next;
            }
        };
        let forward = walk(head, true);
        let mut backward = walk(tail, false);
        backward.reverse();
        assert_eq!(forward, backward);
        forward
    }

    #[test]
    fn a_block_that_covers_part_of_a_segment_says_nothing_of_it() {
        let mut board = board(4);
        let mut seen = Vec::new();
        board.receive(150..399, |record| seen.push(record.start));
        assert_eq!(seen, [200]);
        assert_eq!((board.flying_bytes(), board.received_bytes()), (300, 100));
    }

    #[test]
    fn a_segment_acknowledged_in_part_keeps_the_rest() {
        let mut board = board(2);
        let mut seen = Vec::new();
        board.acknowledge(150, |record| seen.push((record.start, record.len)));
        assert_eq!(seen, [(0, 100), (100, 50)]);
        assert_eq!(board.front().map(|front| (front.start, front.len)), Some((150, 50)));
        assert_eq!(board.flying_bytes(), 50);
    }

    #[test]
    fn what_is_lost_again_is_sent_again_first() {
        let mut board = board(3);
        board.lose_oldest();
        board.sent_again(Instant::from_millis(5));
        board.lose_oldest();
        board.lose_oldest();
        board.lose_oldest();
        assert_eq!(listed(&board, board.lost), [0, 100, 200]);
        assert_eq!(board.flying_bytes(), 0);
    }

    #[test]
    fn a_peer_that_goes_back_on_its_word_is_believed_nothing_after_a_timeout() {
        let mut board = board(4);
        board.receive(100..300, |_| {});
        board.acknowledge(100, |_| {});
        board.lose_older(Instant::from_millis(1_000));
        assert_eq!(fates(&board), [Fate::Lost; 3]);
        assert_eq!((board.received_bytes(), board.received_records()), (0, 0));
        assert_eq!(listed(&board, board.lost), [100, 200, 300]);
    }

    /// As long as its runs are merged, a repeated block does not walk over what it has marked before.
    #[test]
    fn repeated_blocks_over_a_16_mb_window_take_few_steps() {
        let count = (16 << 20) / u64::from(LEN);
        let mut board = board(count);
        for at in (1..count).step_by(2) {
            let start = at * u64::from(LEN);
            board.receive(start..start + u64::from(LEN), |_| {});
        }
        board.receive(u64::from(LEN)..count * u64::from(LEN), |_| {});
        let (mut at, mut steps) = (1, 0);
        board.skip_received(1);
        while let Some(record) = board.records.get(at).filter(|r| r.fate == Fate::Received) {
            at = board.place(record.next);
            steps += 1;
        }
        let first = steps;
        for _ in 0..20 {
            board.skip_received(1);
        }
        (at, steps) = (1, 0);
        while let Some(record) = board.records.get(at).filter(|r| r.fate == Fate::Received) {
            at = board.place(record.next);
            steps += 1;
        }
        assert!(steps <= 2 && steps <= first, "{steps} steps, {first} before");
    }

    proptest! {
        /// The oracle keeps a fate for each segment and works them out one by one.
        #[test]
        fn fates_lists_and_sums_are_as_in_a_plain_table(
            steps in prop::collection::vec((0u8..7, 0u64..40, 0u64..40), 1..120),
        ) {
            let mut board = board(40);
            let mut table = [Fate::Flying; 40];
            let mut popped = 0;
            for (step, one, two) in steps {
                let (low, high) = (one.min(two), one.max(two));
                let bytes = |segments: u64| segments * u64::from(LEN);
                match step {
                    0 => {
                        board.acknowledge(bytes(low / 4), |_| {});
                        popped = popped.max((low / 4) as usize);
                    }
                    1 | 2 => {
                        board.receive(bytes(low)..bytes(high), |_| {});
                        for fate in &mut table[low as usize..high as usize] {
                            *fate = Fate::Received;
                        }
                    }
                    3 => if let Some(oldest) = board.oldest_flying().copied() {
                        board.lose_oldest();
                        table[(oldest.start / u64::from(LEN)) as usize] = Fate::Lost;
                    },
                    4 => if let Some(lost) = board.next_lost().copied() {
                        board.sent_again(Instant::from_millis(one));
                        table[(lost.start / u64::from(LEN)) as usize] = Fate::Flying;
                    },
                    5 => {
                        let broken = table.get(popped) == Some(&Fate::Received);
                        board.lose_older(Instant::from_millis(1_000));
                        for fate in table.iter_mut().filter(|fate| broken || **fate != Fate::Received) {
                            *fate = Fate::Lost;
                        }
                    }
                    _ => {
                        board.find_lost();
                        for fate in table.iter_mut().filter(|fate| **fate == Fate::Lost) {
                            *fate = Fate::Flying;
                        }
                    }
                }
                let rest = &table[popped..];
                prop_assert_eq!(&fates(&board)[..], rest);
                let count = |fate| rest.iter().filter(|one| **one == fate).count();
                prop_assert_eq!(board.flying_bytes(), bytes(count(Fate::Flying) as u64));
                prop_assert_eq!(board.received_bytes(), bytes(count(Fate::Received) as u64));
                prop_assert_eq!(board.received_records(), count(Fate::Received));
                for (list, fate) in [(board.flying, Fate::Flying), (board.lost, Fate::Lost)] {
                    let mut starts = listed(&board, list);
                    starts.sort_unstable();
                    let in_table = (popped..40).filter(|&at| table[at] == fate);
                    let expected: Vec<u64> = in_table.map(|at| bytes(at as u64)).collect();
                    prop_assert_eq!(starts, expected);
                }
            }
        }
    }
}
