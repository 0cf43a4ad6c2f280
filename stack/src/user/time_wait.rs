//! Connections in TIME-WAIT: a few numbers each, so that a slot is free as soon as both FINs are
//! acknowledged (RFC 9293 section 3.6.1).

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use pagewire_driver::Instant;

use super::{
    flow_table::Flow,
    packet::{Segment, flags},
    sequence::ahead,
};

/// Twice the maximum segment lifetime, as Linux has it (`TCP_TIMEWAIT_LEN`, include/net/tcp.h).
const DURATION: Duration = Duration::from_mins(1);
/// Most entries; beyond it the oldest end early.
const MOST: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u32,
    acknowledgement: u32,
    timestamp: Option<u32>,
    expires: Instant,
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
    /// The last acknowledgement again, with these sequence and acknowledgement numbers.
    Acknowledge(u32, u32),
    /// The peer opens a new connection: the entry is gone. Our last sequence number of the earlier one.
    Reopen(u32),
}

/// The connections in TIME-WAIT of one core.
#[derive(Debug, Default)]
pub struct TimeWait {
    entries: HashMap<Flow, Entry>,
    /// In the order of expiry. A flow that came again has an older entry here that is skipped.
    order: VecDeque<(Instant, Flow)>,
}

impl TimeWait {
    /// Adds a connection whose last segment had these numbers, and whose peer sent this timestamp last.
    pub fn add(
        &mut self,
        now: Instant,
        flow: Flow,
        (sequence, acknowledgement): (u32, u32),
        timestamp: Option<u32>,
    ) {
        self.expire(now);
        if self.order.len() >= MOST
            && let Some((expires, oldest)) = self.order.pop_front()
        {
            self.forget(expires, &oldest);
        }
        let expires = now + DURATION;
        self.entries.insert(flow, Entry { sequence, acknowledgement, timestamp, expires });
        self.order.push_back((expires, flow));
    }

    /// What to do about a segment that belongs to no open connection.
    pub fn answer(&mut self, now: Instant, segment: &Segment<'_>) -> Answer {
        if self.entries.is_empty() {
            return Answer::NotHere;
        }
        self.expire(now);
        let Some(entry) = self.entries.get(&segment.flow) else { return Answer::NotHere };
        if segment.has(flags::RST) {
            // Heeding it would cut TIME-WAIT short (RFC 1337).
            return Answer::Ignore;
        }
        if segment.has(flags::SYN) && !segment.has(flags::ACK) && entry.is_before(segment) {
            let last = entry.sequence;
            self.entries.remove(&segment.flow);
            return Answer::Reopen(last);
        }
        if segment.sequence_len() == 0 && segment.sequence == entry.acknowledgement {
            return Answer::Ignore;
        }
        Answer::Acknowledge(entry.sequence, entry.acknowledgement)
    }

    /// Whether the flow is in TIME-WAIT, so that its 4-tuple is not to be used again.
    pub fn contains(&self, now: Instant, flow: &Flow) -> bool {
        self.entries.get(flow).is_some_and(|entry| entry.expires > now)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((expires, flow)) = self.order.pop_front_if(|(expires, _)| *expires <= now) {
            self.forget(expires, &flow);
        }
    }

    fn forget(&mut self, expires: Instant, flow: &Flow) {
        if self.entries.get(flow).is_some_and(|entry| entry.expires == expires) {
            self.entries.remove(flow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_may_be_used_again_when_its_time_is_over_though_nothing_else_happens() {
        let flow = Flow { peer: ([10, 0, 0, 1], 80).into(), local: ([10, 0, 0, 2], 50_000).into() };
        let mut time_wait = TimeWait::default();
        time_wait.add(Instant::ZERO, flow, (1, 1), None);
        assert!(time_wait.contains(Instant::from_millis(59_999), &flow));
        assert!(!time_wait.contains(Instant::from_millis(60_000), &flow));
    }
}
