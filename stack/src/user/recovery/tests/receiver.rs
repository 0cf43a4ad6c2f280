//! An exact model of a receiver: reassembly, delayed acknowledgements, SACK with duplicates (RFC 2018,
//! 2883), timestamps (RFC 7323), and an application that may be slow to read.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use pagewire_driver::Instant;

/// A segment under way.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub start: u64,
    pub len: u64,
    pub timestamp: u32,
}

/// An acknowledgement under way.
#[derive(Clone, Debug)]
pub struct Answer {
    pub offset: u64,
    pub window: u32,
    pub blocks: Vec<Range<u64>>,
    pub echo: Option<u32>,
}

/// What a receiver does.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub has_sack: bool,
    pub has_duplicate_sack: bool,
    pub has_timestamps: bool,
    pub capacity: u64,
    /// Bytes that the application reads in a millisecond; none is at once.
    pub reads_per_ms: Option<u64>,
}

pub struct Receiver {
    manners: Manners,
    /// Everything before has arrived.
    next: u64,
    /// Everything before has been read.
    read: u64,
    read_at: Instant,
    /// What has arrived beyond, by start.
    islands: BTreeMap<u64, u64>,
    /// Starts of islands, the latest change first.
    recent: Vec<u64>,
    timestamp: u32,
    unanswered: u32,
    answer_by: Option<Instant>,
    window: u64,
}

impl Receiver {
    pub fn new(manners: Manners) -> Self {
        Self {
            manners,
            next: 0,
            read: 0,
            read_at: Instant::ZERO,
            islands: BTreeMap::new(),
            recent: Vec::new(),
            timestamp: 0,
            unanswered: 0,
            answer_by: None,
            window: manners.capacity,
        }
    }

    /// Everything before has arrived in order.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// When a delayed acknowledgement or a window update is due.
    pub fn due(&self) -> Option<Instant> {
        let reads = self.manners.reads_per_ms.is_some() && self.read < self.next;
        let update = reads.then(|| self.read_at + Duration::from_millis(10));
        [self.answer_by, update].into_iter().flatten().min()
    }

    /// What is due by now.
    pub fn turn(&mut self, now: Instant) -> Option<Answer> {
        let before = self.window;
        self.read(now);
        let opened =
            self.free() >= before + self.manners.capacity / 2 || (before == 0 && self.free() > 0);
        if opened || self.answer_by.is_some_and(|at| at <= now) {
            return Some(self.answer(None));
        }
        None
    }

    pub fn receive(&mut self, now: Instant, segment: Segment) -> Option<Answer> {
        self.read(now);
        let Segment { start, len, timestamp } = segment;
        let end = (start + len).min(self.read + self.manners.capacity);
        if start <= self.next && timestamp.wrapping_sub(self.timestamp).cast_signed() >= 0 {
            self.timestamp = timestamp;
        }
        if end <= self.next || start >= end {
            // Old, or beyond the window.
            let duplicate = (start < self.next).then(|| start..(start + len).min(self.next));
            return Some(self.answer(duplicate));
        }
        if start > self.next {
            let known = self.islands.range(..=start).next_back();
            let duplicate = known.is_some_and(|(_, &island_end)| island_end >= end);
            self.insert(start, end);
            return Some(self.answer(duplicate.then_some(start..end)));
        }
        let had_islands = !self.islands.is_empty();
        self.next = end;
        while let Some(island) = self.islands.first_entry() {
            if *island.key() > self.next {
                break;
            }
            self.next = self.next.max(*island.get());
            let start = *island.key();
            island.remove();
            self.recent.retain(|&recent| recent != start);
        }
        self.read(now);
        self.unanswered += 1;
        if had_islands || self.unanswered >= 2 {
            return Some(self.answer(None));
        }
        self.answer_by.get_or_insert(now + Duration::from_millis(40));
        None
    }

    fn insert(&mut self, mut start: u64, mut end: u64) {
        let touching: Vec<u64> = self
            .islands
            .range(..=end)
            .filter(|(_, island_end)| **island_end >= start)
            .map(|(&at, _)| at)
            .collect();
        for at in touching {
            let island_end = self.islands.remove(&at).unwrap_or(at);
            (start, end) = (start.min(at), end.max(island_end));
            self.recent.retain(|&recent| recent != at);
        }
        self.islands.insert(start, end);
        self.recent.insert(0, start);
    }

    fn read(&mut self, now: Instant) {
        match self.manners.reads_per_ms {
            None => self.read = self.next,
            Some(rate) => {
                let ms = (now - self.read_at).as_millis() as u64;
                self.read = (self.read + ms * rate).min(self.next);
                self.read_at += Duration::from_millis(ms);
            }
        }
    }

    fn free(&self) -> u64 {
        self.manners.capacity - (self.next - self.read)
    }

    fn answer(&mut self, duplicate: Option<Range<u64>>) -> Answer {
        self.unanswered = 0;
        self.answer_by = None;
        self.window = self.free();
        let mut blocks = Vec::new();
        if self.manners.has_sack {
            if self.manners.has_duplicate_sack {
                blocks.extend(duplicate);
            }
            blocks.extend(self.recent.iter().map(|start| *start..self.islands[start]));
            blocks.truncate(if self.manners.has_timestamps { 3 } else { 4 });
        }
        Answer {
            offset: self.next,
            window: self.window as u32,
            blocks,
            echo: self.manners.has_timestamps.then_some(self.timestamp),
        }
    }
}
