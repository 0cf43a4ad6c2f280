//! Which MAC address the next hop has, and the frames that wait for it.
//!
//! Entries come from what hosts say of themselves (ARP and NDP messages to us), from other cores, and
//! from the kernel's own table. An entry that is not confirmed for a while, by such a message or by
//! acknowledgements that came because of it (RFC 4861 section 7.3.1), is asked about again and used
//! meanwhile; after three questions without an answer it is forgotten. What the kernel knows holds until
//! the kernel takes it back: it sees to the freshness of its own entries.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use pagewire_driver::{Frame, Instant, MacAddress};

use crate::Neighbour;

/// Most neighbours known or asked for. A link with more serves the first ones.
const MOST_NEIGHBORS: usize = 4_096;
/// Most frames that wait for one neighbour, such as the SYN-ACKs of all who come by one router.
const MOST_HELD: usize = 64;
/// Most frames that wait for all neighbours together, whoever claims to be on the link.
const MOST_HELD_IN_ALL: usize = 256;
/// Time between questions about one neighbour.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long an entry is trusted without confirmation.
const FRESH: Duration = Duration::from_secs(30);
/// Confirmations closer together than this are not worth telling other cores.
const CONFIRMED_LATELY: Duration = Duration::from_secs(1);
/// Questions without an answer after which a neighbour is forgotten.
const PATIENCE: u8 = 3;

#[derive(Debug)]
struct Entry {
    mac: Option<MacAddress>,
    /// Whether the kernel vouches for it.
    by_kernel: bool,
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
    /// The neighbour that was found last, as of this generation: most often it is a router.
    found: Option<(IpAddr, MacAddress, u32)>,
    next_check: Option<Instant>,
    /// Frames that wait, of all entries.
    held: usize,
}

impl Neighbors {
    /// Changes whenever a known MAC address or a route changes: what was cached before is void.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Makes void what was cached: routes have changed.
    pub fn begin_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// The neighbour's MAC address, if it is known.
    pub fn find(&mut self, address: IpAddr) -> Option<MacAddress> {
        if let Some((found, mac, generation)) = self.found
            && (found, generation) == (address, self.generation)
        {
            return Some(mac);
        }
        let mac = self.entries.get(&address)?.mac?;
        self.found = Some((address, mac, self.generation));
        Some(mac)
    }

    /// Takes note of a neighbour's MAC address. The frames that waited for it are appended to `ready`,
    /// addressed. Says whether other cores should hear of it.
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
        let is_new = entry.mac != Some(mac);
        let worth_telling = is_new || now - entry.confirmed >= CONFIRMED_LATELY;
        if is_new && entry.mac.is_some() {
            self.generation = self.generation.wrapping_add(1);
        }
        (entry.mac, entry.confirmed, entry.questions) = (Some(mac), now, 0);
        self.held -= entry.held.len();
        for mut frame in entry.held.drain(..) {
            frame.bytes_mut()[..6].copy_from_slice(&mac.0);
            ready.push(frame);
        }
        self.schedule(now + FRESH);
        worth_telling
    }

    /// Takes note that what was sent by way of a neighbour has arrived.
    pub fn confirm(&mut self, now: Instant, address: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&address)
            && entry.mac.is_some()
        {
            (entry.confirmed, entry.questions) = (now, 0);
        }
    }

    /// Takes over the kernel's table: what it no longer has, we do not know either.
    pub fn learn_from_kernel(&mut self, now: Instant, known: &[Neighbour], ready: &mut Vec<Frame>) {
        for entry in self.entries.values_mut() {
            entry.by_kernel = false;
        }
        for neighbour in known {
            self.learn(now, neighbour.address, neighbour.mac, ready);
            if let Some(entry) = self.entries.get_mut(&neighbour.address) {
                entry.by_kernel = entry.mac == Some(neighbour.mac);
            }
        }
        // Entries that the kernel has dropped are asked about as those that nobody vouches for are.
        self.schedule(now + FRESH);
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
        if entry.held.len() >= MOST_HELD || self.held >= MOST_HELD_IN_ALL {
            return Err(frame);
        }
        entry.held.push_back(frame);
        self.held += 1;
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
        let (mut dropped, mut next, mut forgotten) = (0, None::<Instant>, false);
        self.entries.retain(|&address, entry| {
            let Some(due) = entry.due() else { return true };
            if due <= now {
                if entry.questions >= PATIENCE {
                    dropped += entry.held.len();
                    forgotten |= entry.mac.is_some();
                    return false;
                }
                entry.questions += 1;
                entry.asked = now;
                ask.push(address);
            }
            next = next.into_iter().chain(entry.due()).min();
            true
        });
        self.generation = self.generation.wrapping_add(u32::from(forgotten));
        self.next_check = next;
        self.held -= dropped;
        dropped as u64
    }

    fn schedule(&mut self, check: Instant) {
        self.next_check = Some(self.next_check.map_or(check, |earlier| earlier.min(check)));
    }
}

impl Entry {
    fn unknown(now: Instant) -> Self {
        Self {
            mac: None,
            by_kernel: false,
            confirmed: now,
            asked: now,
            questions: 0,
            held: VecDeque::new(),
        }
    }

    /// When to ask next.
    fn due(&self) -> Option<Instant> {
        match (self.questions, self.mac) {
            (_, Some(_)) if self.by_kernel => None,
            (0, Some(_)) => Some(self.confirmed + FRESH),
            (0, None) => Some(self.asked),
            _ => Some(self.asked + ASK_AGAIN),
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
    fn a_neighbor_that_delivers_is_neither_asked_nor_forgotten() {
        let mut neighbors = Neighbors::default();
        neighbors.learn(Instant::ZERO, address(), MAC, &mut Vec::new());
        let mut ask = Vec::new();
        for second in 0..600 {
            let now = Instant::from_millis(second * 1_000);
            if second % 10 == 0 {
                neighbors.confirm(now, address());
            }
            neighbors.due(now, &mut ask);
        }
        assert!(ask.is_empty());
        assert_eq!(neighbors.find(address()), Some(MAC));
    }

    #[test]
    fn what_the_kernel_knows_is_never_asked_about_until_it_takes_it_back() {
        let mut neighbors = Neighbors::default();
        let known = [Neighbour { address: address(), mac: MAC }];
        let mut ready = Vec::new();
        neighbors.learn_from_kernel(Instant::ZERO, &known, &mut ready);
        let mut ask = Vec::new();
        for minute in 0..100 {
            neighbors.due(Instant::from_millis(minute * 60_000), &mut ask);
        }
        assert!(ask.is_empty());
        assert_eq!(neighbors.find(address()), Some(MAC));
        let later = Instant::from_millis(6_000_000);
        neighbors.learn_from_kernel(later, &[], &mut ready);
        for second in 0..40 {
            neighbors.due(later + ASK_AGAIN * second, &mut ask);
        }
        assert_eq!(ask, [address(); 3]);
        assert_eq!(neighbors.find(address()), None);
    }

    #[test]
    fn frames_beyond_the_bound_come_back() {
        let pool = Pool::heap(100);
        let mut neighbors = Neighbors::default();
        let refused = (0..100).filter(|_| {
            let mut frame = pool.allocate().unwrap();
            frame.copy_from(&[0; 60]);
            neighbors.hold(Instant::ZERO, address(), frame).is_err()
        });
        assert_eq!(refused.count(), 100 - MOST_HELD);
    }

    #[test]
    fn a_group_address_is_no_neighbor() {
        let mut neighbors = Neighbors::default();
        assert!(!neighbors.learn(Instant::ZERO, address(), MacAddress::BROADCAST, &mut Vec::new()));
        assert_eq!(neighbors.find(address()), None);
    }
}
