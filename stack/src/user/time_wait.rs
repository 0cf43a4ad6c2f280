//! Connections in TIME-WAIT: a few numbers each, so that a slot is free as soon as both FINs are
//! acknowledged (RFC 9293 section 3.6.1).
//!
//! They stand in a line in the order of their coming, and a table that never grows tells where. Each addition
//! and each segment takes a few of them out of the line whose time is over, so that no turn has to take many;
//! whether the time of one is over that is asked about, is looked at with it.

use std::{collections::VecDeque, time::Duration};

use pagewire_driver::Instant;

use super::{
    flow_table::{Flow, FlowTable, PackedFlow},
    packet::{Segment, flags},
    sequence::ahead,
};

/// Twice the maximum segment lifetime, as Linux has it (`TCP_TIMEWAIT_LEN`, include/net/tcp.h).
const DURATION: Duration = Duration::from_mins(1);
/// Most entries; beyond it the oldest end early.
const MOST: usize = 65_536;
/// Most entries that are taken out of the line at a time: more than come in, so that it becomes empty.
const TAKEN_OUT: usize = 2;

#[derive(Clone, Copy, Debug)]
struct Entry {
    flow: PackedFlow,
    /// The lower half of the flow's hash.
    hash: u32,
    sequence: u32,
    acknowledgement: u32,
    timestamp: Option<u32>,
    expires: Instant,
    standing: Standing,
}

/// What becomes of an entry at the head of the line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// It goes when its time is over.
    Waits,
    /// The wait has begun anew: it goes to the end of the line.
    Renewed,
    /// It is not in the table any more.
    Gone,
}

impl Entry {
    /// Whether a SYN is of a later connection (RFC 6191 section 2, RFC 9293 section 3.6.1): by its
    /// timestamp if both have one and they differ, else by its sequence number.
    fn is_before(&self, syn: &Segment<'_>) -> bool {
        let later_number = ahead(syn.sequence, self.acknowledgement) > 0;
        match (self.timestamp, syn.timestamps) {
            (Some(last), Some((tsval, _))) if tsval != last => ahead(tsval, last) > 0,
            (None, Some(_)) => true,
            _ => later_number,
        }
    }
}

/// What a segment of a connection in TIME-WAIT calls for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It is of no such connection.
    NotHere,
    /// Nothing.
    Ignore,
    /// The last acknowledgement again.
    Acknowledge {
        /// Its sequence number.
        sequence: u32,
        /// Its acknowledgement number.
        acknowledgement: u32,
        /// The peer's timestamp that it echoes, if there are any.
        timestamp: Option<u32>,
    },
    /// The peer opens a new connection: the entry is gone. Our last sequence number of the earlier one.
    Reopen(u32),
}

/// The connections in TIME-WAIT of one core.
#[derive(Debug)]
pub struct TimeWait {
    line: VecDeque<Entry>,
    /// The number of the first in the line. Numbers go around, far beyond the length of any line.
    first: u32,
    /// Numbers by the hashes of flows.
    table: FlowTable,
}

/// Numbers are modulo this.
const NUMBERS: u32 = 1 << 31;

impl TimeWait {
    /// None yet.
    pub fn new() -> Self {
        Self { line: VecDeque::with_capacity(MOST), first: 0, table: FlowTable::new(MOST) }
    }

    /// Adds a connection whose last segment had these numbers, and whose peer sent this timestamp last.
    pub fn add(
        &mut self,
        now: Instant,
        (flow, hash): (Flow, u64),
        (sequence, acknowledgement): (u32, u32),
        timestamp: Option<u32>,
    ) {
        self.expire(now);
        let flow = PackedFlow::new(&flow);
        if let Some(number) = self.find(&flow, hash) {
            self.forget(number);
        }
        if self.line.len() >= MOST {
            self.take_first();
        }
        self.push(Entry {
            flow,
            hash: hash as u32,
            sequence,
            acknowledgement,
            timestamp,
            expires: now + DURATION,
            standing: Standing::Waits,
        });
    }

    /// Brings the place of a flow with this hash towards the core's cache.
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// What to do about a segment that belongs to no open connection.
    pub fn answer(&mut self, now: Instant, segment: &Segment<'_>, hash: u64) -> Answer {
        if self.line.is_empty() {
            return Answer::NotHere;
        }
        self.expire(now);
        let Some(number) = self.find(&PackedFlow::new(&segment.flow), hash) else {
            return Answer::NotHere;
        };
        let place = self.place(number);
        let entry = &mut self.line[place];
        if entry.expires <= now {
            return Answer::NotHere;
        }
        if segment.has(flags::RST) {
            // Heeding it would cut TIME-WAIT short (RFC 1337).
            return Answer::Ignore;
        }
        if segment.has(flags::SYN) && !segment.has(flags::ACK) && entry.is_before(segment) {
            let last = entry.sequence;
            self.forget(number);
            return Answer::Reopen(last);
        }
        if segment.sequence_len() == 0 && segment.sequence == entry.acknowledgement {
            return Answer::Ignore;
        }
        if segment.has(flags::FIN)
            && segment.sequence.wrapping_add(segment.sequence_len()) == entry.acknowledgement
        {
            // RFC 9293 section 3.10.7.4: the wait begins anew.
            if let (Some(last), Some((tsval, _))) = (entry.timestamp, segment.timestamps)
                && ahead(tsval, last) > 0
            {
                entry.timestamp = Some(tsval);
            }
            (entry.expires, entry.standing) = (now + DURATION, Standing::Renewed);
        }
        let &mut Entry { sequence, acknowledgement, timestamp, .. } = entry;
        Answer::Acknowledge { sequence, acknowledgement, timestamp }
    }

    /// Whether the flow is in TIME-WAIT, so that its 4-tuple is not to be used again.
    pub fn contains(&self, now: Instant, flow: &Flow, hash: u64) -> bool {
        let number = self.find(&PackedFlow::new(flow), hash);
        number.is_some_and(|number| self.line[self.place(number)].expires > now)
    }

    /// Takes out of the line what has been there for long enough, but few at a time.
    fn expire(&mut self, now: Instant) {
        for _ in 0..TAKEN_OUT {
            let Some(&first) = self.line.front() else { return };
            let is_due = first.expires <= now;
            if first.standing == Standing::Waits && !is_due {
                return;
            }
            self.take_first();
            if first.standing == Standing::Renewed && !is_due {
                self.push(Entry { standing: Standing::Waits, ..first });
            }
        }
    }

    fn find(&self, flow: &PackedFlow, hash: u64) -> Option<u32> {
        self.table.find(hash, |number| self.line[self.place(number)].flow == *flow)
    }

    /// Puts an entry at the end of the line, where there is room for it.
    fn push(&mut self, entry: Entry) {
        let number = (self.first + self.line.len() as u32) % NUMBERS;
        if self.table.insert(entry.hash.into(), number) {
            self.line.push_back(entry);
        }
    }

    /// Takes the first one out of the line and the table.
    fn take_first(&mut self) {
        let Some(entry) = self.line.pop_front() else { return };
        if entry.standing != Standing::Gone {
            self.table.remove(entry.hash, self.first);
        }
        self.first = (self.first + 1) % NUMBERS;
    }

    /// Takes one out of the table. It stays in the line until it is the first.
    fn forget(&mut self, number: u32) {
        let place = self.place(number);
        let entry = &mut self.line[place];
        entry.standing = Standing::Gone;
        self.table.remove(entry.hash, number);
    }

    /// Where in the line the entry of a number is.
    fn place(&self, number: u32) -> usize {
        (number.wrapping_sub(self.first) % NUMBERS) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(port: u16) -> Flow {
        Flow { peer: ([10, 0, 0, 1], 80).into(), local: ([10, 0, 0, 2], port).into() }
    }

    fn segment(port: u16, flags: u8, sequence: u32) -> Segment<'static> {
        Segment {
            flow: flow(port),
            packet: &[],
            sequence,
            acknowledgement: 0,
            flags,
            payload_len: 0,
            timestamps: None,
        }
    }

    fn second(number: u64) -> Instant {
        Instant::from_millis(number * 1_000)
    }

    #[test]
    fn a_flow_may_be_used_again_when_its_time_is_over_though_nothing_else_happens() {
        let mut time_wait = TimeWait::new();
        time_wait.add(Instant::ZERO, (flow(1), 7), (1, 1), None);
        assert!(time_wait.contains(Instant::from_millis(59_999), &flow(1), 7));
        assert!(!time_wait.contains(second(60), &flow(1), 7));
    }

    #[test]
    fn however_many_are_over_at_once_few_are_taken_out_at_a_time_and_all_in_the_end() {
        let mut time_wait = TimeWait::new();
        let memory = time_wait.line.capacity();
        for port in 0..50_000 {
            time_wait.add(Instant::ZERO, (flow(port), port.into()), (1, 1), None);
        }
        for port in 0..50_000 {
            let before = time_wait.line.len();
            let answer = time_wait.answer(second(90), &segment(port, flags::ACK, 1), port.into());
            assert_eq!(answer, Answer::NotHere);
            assert!(before - time_wait.line.len() <= TAKEN_OUT);
        }
        assert_eq!((time_wait.line.len(), time_wait.table.len()), (0, 0));
        assert_eq!(time_wait.line.capacity(), memory);
    }

    #[test]
    fn beyond_the_most_the_oldest_end_early_and_nothing_is_moved() {
        let mut time_wait = TimeWait::new();
        let memory = time_wait.line.capacity();
        for number in 0..MOST as u64 + 100 {
            let one =
                Flow { peer: ([10, 0, 0, 1], (number >> 16) as u16).into(), ..flow(number as u16) };
            time_wait.add(Instant::ZERO, (one, number), (1, 1), None);
        }
        assert_eq!((time_wait.line.len(), time_wait.line.capacity()), (MOST, memory));
        let old = Flow { peer: ([10, 0, 0, 1], 0).into(), ..flow(99) };
        assert!(!time_wait.contains(Instant::ZERO, &old, 99));
        let first = Flow { peer: ([10, 0, 0, 1], 0).into(), ..flow(100) };
        assert!(time_wait.contains(Instant::ZERO, &first, 100));
    }

    proptest! {
        /// The oracle is a list. Few hashes, so that some are of several flows.
        #[test]
        fn flows_wait_as_in_a_list(
            steps in prop::collection::vec((0u8..4, 0u16..8, 0u64..30), 0..200),
        ) {
            let mut time_wait = TimeWait::new();
            let mut model: Vec<(u16, Instant)> = Vec::new();
            let mut now = Instant::ZERO;
            for (what, port, seconds) in steps {
                now += Duration::from_secs(seconds);
                model.retain(|&(_, expires)| expires > now);
                let hash = u64::from(port % 3);
                let known = model.iter().position(|&(other, _)| other == port);
                let answer = |time_wait: &mut TimeWait, flags, sequence| {
                    time_wait.answer(now, &segment(port, flags, sequence), hash)
                };
                match what {
                    0 => {
                        time_wait.add(now, (flow(port), hash), (1, 100), None);
                        model.retain(|&(other, _)| other != port);
                        model.push((port, now + DURATION));
                    }
                    1 => {
                        // The FIN again.
                        let found = answer(&mut time_wait, flags::FIN | flags::ACK, 99);
                        prop_assert_eq!(matches!(found, Answer::Acknowledge { .. }), known.is_some());
                        if let Some(known) = known {
                            model[known].1 = now + DURATION;
                        }
                    }
                    2 => {
                        let found = answer(&mut time_wait, flags::SYN, 1_000);
                        prop_assert_eq!(found == Answer::Reopen(1), known.is_some());
                        model.retain(|&(other, _)| other != port);
                    }
                    _ => {
                        let found = answer(&mut time_wait, flags::RST, 0);
                        prop_assert_eq!(found == Answer::Ignore, known.is_some());
                    }
                }
                for port in 0..8 {
                    let is_there = model.iter().any(|&(other, _)| other == port);
                    let found = time_wait.contains(now, &flow(port), u64::from(port % 3));
                    prop_assert_eq!(found, is_there);
                }
            }
        }
    }
}
