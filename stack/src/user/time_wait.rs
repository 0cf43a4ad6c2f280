//! Connections in TIME-WAIT: a few numbers each, so that a slot is free as soon as both FINs are
//! acknowledged (RFC 9293 section 3.6.1).

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
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
/// Least time by which a repeated FIN prolongs it, so that one who repeats it without end takes up few places.
const GRAIN: Duration = Duration::from_secs(1);
/// Most entries; beyond it the oldest end early.
const MOST: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Entry {
    flow: Flow,
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

/// Takes a flow's hash, which is keyed, for what it is.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The connections in TIME-WAIT of one core, by the hashes of their flows. Of two flows with one hash,
/// which nobody can bring about and chance does not, the later one takes the place.
#[derive(Debug, Default)]
pub struct TimeWait {
    entries: HashMap<u64, Entry, BuildHasherDefault<Hashed>>,
    /// In the order of expiry. A flow that came again has an older entry here that is skipped.
    order: VecDeque<(Instant, u64)>,
}

impl TimeWait {
    /// Adds a connection whose last segment had these numbers, and whose peer sent this timestamp last.
    pub fn add(
        &mut self,
        now: Instant,
        (flow, hash): (Flow, u64),
        (sequence, acknowledgement): (u32, u32),
        timestamp: Option<u32>,
    ) {
        self.expire(now);
        if self.order.len() >= MOST
            && let Some((expires, oldest)) = self.order.pop_front()
        {
            self.forget(expires, oldest);
        }
        let expires = now + DURATION;
        self.entries.insert(hash, Entry { flow, sequence, acknowledgement, timestamp, expires });
        self.order.push_back((expires, hash));
    }

    /// What to do about a segment that belongs to no open connection.
    pub fn answer(&mut self, now: Instant, segment: &Segment<'_>, hash: u64) -> Answer {
        if self.entries.is_empty() {
            return Answer::NotHere;
        }
        self.expire(now);
        let found = self.entries.get_mut(&hash).filter(|entry| entry.flow == segment.flow);
        let Some(entry) = found else { return Answer::NotHere };
        if segment.has(flags::RST) {
            // Heeding it would cut TIME-WAIT short (RFC 1337).
            return Answer::Ignore;
        }
        if segment.has(flags::SYN) && !segment.has(flags::ACK) && entry.is_before(segment) {
            let last = entry.sequence;
            self.entries.remove(&hash);
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
            let expires = now + DURATION;
            if expires - entry.expires >= GRAIN && self.order.len() < 2 * MOST {
                entry.expires = expires;
                self.order.push_back((expires, hash));
            }
        }
        let &mut Entry { sequence, acknowledgement, timestamp, .. } = entry;
        Answer::Acknowledge { sequence, acknowledgement, timestamp }
    }

    /// Whether the flow is in TIME-WAIT, so that its 4-tuple is not to be used again.
    pub fn contains(&self, now: Instant, flow: &Flow, hash: u64) -> bool {
        self.entries.get(&hash).is_some_and(|entry| entry.flow == *flow && entry.expires > now)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((expires, hash)) = self.order.pop_front_if(|(expires, _)| *expires <= now) {
            self.forget(expires, hash);
        }
    }

    fn forget(&mut self, expires: Instant, hash: u64) {
        if self.entries.get(&hash).is_some_and(|entry| entry.expires == expires) {
            self.entries.remove(&hash);
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
        time_wait.add(Instant::ZERO, (flow, 7), (1, 1), None);
        assert!(time_wait.contains(Instant::from_millis(59_999), &flow, 7));
        assert!(!time_wait.contains(Instant::from_millis(60_000), &flow, 7));
    }
}
