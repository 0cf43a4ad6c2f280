//! Which MAC address the next hop has, and the frames that wait for it.
//!
//! Entries come from what hosts say of themselves (ARP and NDP messages to us), from the kernel's own
//! table, and from other cores. An entry that is not confirmed for a while is asked about again and
//! used meanwhile; after three questions without an answer it is forgotten.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use pagewire_driver::{Frame, Instant, MacAddress};

/// Most neighbours known or asked for. A link with more serves the first ones.
const MOST_NEIGHBORS: usize = 4_096;
/// Most frames that wait for one neighbour. Few: they are SYN-ACKs and echo replies.
const MOST_HELD: usize = 16;
/// Time between questions about one neighbour.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long an entry is trusted without confirmation.
const FRESH: Duration = Duration::from_secs(30);
/// Questions without an answer after which a neighbour is forgotten.
const PATIENCE: u8 = 3;

#[derive(Debug)]
struct Entry {
    mac: Option<MacAddress>,
    confirmed: Instant,
    /// Last question, and how many since the last answer.
    asked: Instant,
    questions: u8,
    held: VecDeque<Frame>,
}

/// The neighbours of one core.
#[derive(Debug, Default)]
pub struct Neighbors {
    entries: HashMap<IpAddr, Entry>,
    generation: u32,
    next_check: Option<Instant>,
}

impl Neighbors {
    /// Changes whenever a known MAC address changes: what was cached before is void.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The neighbour's MAC address, if it is known.
    pub fn find(&self, address: IpAddr) -> Option<MacAddress> {
        self.entries.get(&address)?.mac
    }

    /// Takes note of a neighbour's MAC address. The frames that waited for it are appended to `ready`,
    /// addressed. Says whether this was news.
    pub fn learn(
        &mut self,
        now: Instant,
        address: IpAddr,
        mac: MacAddress,
        ready: &mut Vec<Frame>,
    ) -> bool {
        if mac.0[0] & 1 == 1 || mac == MacAddress::default() {
            return false;
        }
        if self.entries.len() >= MOST_NEIGHBORS && !self.entries.contains_key(&address) {
            return false;
        }
        let entry = self.entries.entry(address).or_insert_with(|| Entry::unknown(now));
        let news = entry.mac != Some(mac);
        if news && entry.mac.is_some() {
            self.generation = self.generation.wrapping_add(1);
        }
        (entry.mac, entry.confirmed, entry.questions) = (Some(mac), now, 0);
        for mut frame in entry.held.drain(..) {
            frame.bytes_mut()[..6].copy_from_slice(&mac.0);
            ready.push(frame);
        }
        self.schedule(now + FRESH);
        news
    }

    /// Keeps a frame for a neighbour whose MAC address is not known. [`due`](Self::due) then says whom
    /// to ask.
    ///
    /// # Errors
    ///
    /// The frame, if too many wait already.
    pub fn hold(&mut self, now: Instant, address: IpAddr, frame: Frame) -> Result<(), Frame> {
        if self.entries.len() >= MOST_NEIGHBORS && !self.entries.contains_key(&address) {
            return Err(frame);
        }
        let entry = self.entries.entry(address).or_insert_with(|| Entry::unknown(now));
        if entry.held.len() >= MOST_HELD {
            return Err(frame);
        }
        entry.held.push_back(frame);
        if entry.questions == 0 {
            self.schedule(now);
        }
        Ok(())
    }

    /// When [`due`](Self::due) next has something to say.
    pub fn next_check(&self) -> Option<Instant> {
        self.next_check
    }

    /// Appends the neighbours that are to be asked about now, and forgets those that do not answer.
    /// Returns how many frames were dropped with them.
    pub fn due(&mut self, now: Instant, ask: &mut Vec<IpAddr>) -> u64 {
        if self.next_check.is_none_or(|check| check > now) {
            return 0;
        }
        self.next_check = None;
        let (mut dropped, mut next, mut forgotten) = (0, None, false);
        self.entries.retain(|&address, entry| {
            let due = entry.due();
            if due <= now {
                if entry.questions >= PATIENCE {
                    dropped += entry.held.len() as u64;
                    forgotten |= entry.mac.is_some();
                    return false;
                }
                entry.questions += 1;
                entry.asked = now;
                ask.push(address);
            }
            let due = entry.due();
            next = Some(next.map_or(due, |next: Instant| next.min(due)));
            true
        });
        self.generation = self.generation.wrapping_add(u32::from(forgotten));
        self.next_check = next;
        dropped
    }

    fn schedule(&mut self, check: Instant) {
        self.next_check = Some(self.next_check.map_or(check, |earlier| earlier.min(check)));
    }
}

impl Entry {
    fn unknown(now: Instant) -> Self {
        Self { mac: None, confirmed: now, asked: now, questions: 0, held: VecDeque::new() }
    }

    /// When to ask next.
    fn due(&self) -> Instant {
        match (self.questions, self.mac) {
            (0, Some(_)) => self.confirmed + FRESH,
            (0, None) => self.asked,
            _ => self.asked + ASK_AGAIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use pagewire_driver::Pool;

    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn address() -> IpAddr {
        "10.0.0.1".parse().unwrap()
    }

    #[test]
    fn held_frames_are_released_addressed_when_the_neighbor_answers() {
        let pool = Pool::heap(2);
        let mut neighbors = Neighbors::default();
        let mut frame = pool.allocate().unwrap();
        frame.copy_from(&[0; 60]);
        neighbors.hold(Instant::ZERO, address(), frame).unwrap();
        let (mut ask, mut ready) = (Vec::new(), Vec::new());
        neighbors.due(Instant::ZERO, &mut ask);
        assert_eq!(ask, [address()]);
        assert!(neighbors.learn(Instant::ZERO, address(), MAC, &mut ready));
        assert_eq!(ready[0].bytes()[..6], MAC.0);
        assert_eq!(neighbors.find(address()), Some(MAC));
    }

    #[test]
    fn a_neighbor_that_never_answers_is_forgotten_and_its_frames_return() {
        let pool = Pool::heap(1);
        let mut neighbors = Neighbors::default();
        let mut frame = pool.allocate().unwrap();
        frame.copy_from(&[0; 60]);
        neighbors.hold(Instant::ZERO, address(), frame).unwrap();
        let (mut questions, mut dropped) = (Vec::new(), 0);
        for second in 0..10 {
            dropped += neighbors.due(Instant::from_millis(second * 1_000), &mut questions);
        }
        assert_eq!((questions.len(), dropped, pool.available()), (3, 1, 1));
        assert_eq!(neighbors.next_check(), None);
    }

    #[test]
    fn a_stale_neighbor_is_asked_again_and_used_meanwhile() {
        let mut neighbors = Neighbors::default();
        neighbors.learn(Instant::ZERO, address(), MAC, &mut Vec::new());
        let (mut ask, later) = (Vec::new(), Instant::ZERO + FRESH);
        neighbors.due(later, &mut ask);
        assert_eq!(ask, [address()]);
        assert_eq!(neighbors.find(address()), Some(MAC));
        let generation = neighbors.generation();
        for second in 1..5 {
            neighbors.due(later + ASK_AGAIN * second, &mut ask);
        }
        assert_eq!(neighbors.find(address()), None);
        assert_ne!(neighbors.generation(), generation);
    }

    #[test]
    fn frames_beyond_the_bound_come_back() {
        let pool = Pool::heap(64);
        let mut neighbors = Neighbors::default();
        let refused = (0..64).filter(|_| {
            let mut frame = pool.allocate().unwrap();
            frame.copy_from(&[0; 60]);
            neighbors.hold(Instant::ZERO, address(), frame).is_err()
        });
        assert_eq!(refused.count(), 64 - MOST_HELD);
    }

    #[test]
    fn a_group_address_is_no_neighbor() {
        let mut neighbors = Neighbors::default();
        assert!(!neighbors.learn(Instant::ZERO, address(), MacAddress::BROADCAST, &mut Vec::new()));
        assert_eq!(neighbors.find(address()), None);
    }
}
