//! Which slot holds the connection of a 4-tuple: a keyed hash table with room for prefetching.
//!
//! Open addressing with linear probing and backward-shift deletion: no tombstones, so the table never
//! degrades. An entry is half of the flow's 64-bit hash and a slot number; the 4-tuple itself is in the
//! slot, and the caller compares it there. The hash is keyed with secret random numbers, so that a
//! remote party cannot pile flows into one bucket.

use std::net::{IpAddr, SocketAddr};

use pagewire_driver::prefetch;

use crate::pages;

/// A connection's two ends, seen from here.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Flow {
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
}

impl Flow {
    /// The flow as numbers, for a hash: different flows have different ones.
    pub fn words(&self) -> [u64; 5] {
        let ports = u64::from(self.peer.port()) << 16 | u64::from(self.local.port());
        let (peer, local) = (halves(self.peer.ip()), halves(self.local.ip()));
        [peer.0, peer.1, local.0, local.1, ports]
    }
}

/// A flow in as few bytes as may be, for whoever keeps many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PackedFlow {
    peer: [u8; 16],
    local: [u8; 16],
    ports: [u16; 2],
    is_ipv6: bool,
}

impl PackedFlow {
    /// `flow`, packed. What an IPv6 address may have beside itself is left out: packets do not tell it.
    pub fn new(flow: &Flow) -> Self {
        let bytes = |address: IpAddr| match address {
            IpAddr::V4(address) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&address.octets());
                bytes
            }
            IpAddr::V6(address) => address.octets(),
        };
        Self {
            peer: bytes(flow.peer.ip()),
            local: bytes(flow.local.ip()),
            ports: [flow.peer.port(), flow.local.port()],
            is_ipv6: flow.peer.is_ipv6(),
        }
    }

    /// The flow.
    pub fn flow(&self) -> Flow {
        let [peer, local] = self.ports;
        Flow {
            peer: SocketAddr::new(self.address(self.peer), peer),
            local: SocketAddr::new(self.address(self.local), local),
        }
    }

    /// The other end's address.
    pub fn peer_ip(&self) -> IpAddr {
        self.address(self.peer)
    }

    /// Whether it is over IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    fn address(&self, bytes: [u8; 16]) -> IpAddr {
        match bytes {
            bytes if self.is_ipv6 => bytes.into(),
            [a, b, c, d, ..] => [a, b, c, d].into(),
        }
    }
}

/// The secret of the hash.
#[derive(Clone, Copy, Debug)]
pub struct FlowKey([u64; 4]);

impl FlowKey {
    /// A key from secret random numbers.
    pub fn new(secret: [u64; 4]) -> Self {
        Self(secret)
    }

    /// The flow's hash.
    pub fn hash(&self, flow: &Flow) -> u64 {
        let Self([k0, k1, k2, k3]) = *self;
        let ports = u64::from(flow.peer.port()) << 16 | u64::from(flow.local.port());
        let (peer, local) = (halves(flow.peer.ip()), halves(flow.local.ip()));
        let front = fold_multiply(peer.0 ^ k0, peer.1 ^ k1);
        let back = fold_multiply(local.0 ^ k2, local.1 ^ ports ^ k3);
        fold_multiply(front ^ k3, back ^ ports.wrapping_add(k0))
    }

    /// The hash of two numbers.
    pub fn hash_pair(&self, first: u64, second: u64) -> u64 {
        let Self([k0, k1, k2, k3]) = *self;
        fold_multiply(fold_multiply(first ^ k0, second ^ k1) ^ k2, first ^ k3)
    }
}

fn halves(address: IpAddr) -> (u64, u64) {
    match address {
        IpAddr::V4(address) => (u64::from(u32::from(address)), 4),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            ((bits >> 64) as u64, bits as u64)
        }
    }
}

/// Both halves of the 128-bit product, folded.
fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// No entry. All others hold the lower half of a hash above the number of a slot plus one. The hash says
/// where the flow belongs, and, where the table is not of its greatest size, more.
const VACANT: u64 = 0;

fn entry(hash: u32, slot: u32) -> u64 {
    (u64::from(hash) << 32) | (u64::from(slot) + 1)
}

fn hash_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

/// Maps hashes to slots. Never more than half full. It has its greatest size from the start, so that nothing
/// is ever moved at once; a small one takes memory where entries are written.
#[derive(Debug)]
pub struct FlowTable {
    entries: Box<[u64]>,
    mask: usize,
    len: usize,
}

impl FlowTable {
    /// A table for up to `capacity` flows.
    pub fn new(capacity: usize) -> Self {
        let size = (capacity.clamp(8, 1 << 31) * 2).next_power_of_two();
        // Zeroes from the system, which are not there before they are asked for.
        let entries = vec![VACANT; size];
        pages::advise(&entries);
        if size_of_val(&entries[..]) >= pages::HUGE_PAGE {
            // A page of it would be long in coming.
            pages::populate(&entries, size);
        }
        Self { entries: entries.into_boxed_slice(), mask: size - 1, len: 0 }
    }

    /// How many flows are in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The slot of a flow with this hash for which `is_it` holds.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut index = hash as usize & self.mask;
        loop {
            let entry = self.entries[index];
            // Vacant ones have no slot.
            let slot = (entry as u32).checked_sub(1)?;
            if hash_of(entry) == hash as u32 && is_it(slot) {
                return Some(slot);
            }
            index = (index + 1) & self.mask;
        }
    }

    /// Brings the place of a flow with this hash towards the core's cache.
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.entries[hash as usize & self.mask]);
    }

    /// The slot that [`find`](Self::find) will most likely return: of a flow with this very hash.
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds a flow that is not in the table. False, and nothing done, if the table is full.
    #[must_use]
    pub fn insert(&mut self, hash: u64, slot: u32) -> bool {
        if self.len * 2 >= self.entries.len() {
            return false;
        }
        let mut index = hash as usize & self.mask;
        while self.entries[index] != VACANT {
            index = (index + 1) & self.mask;
        }
        self.entries[index] = entry(hash as u32, slot);
        self.len += 1;
        true
    }

    /// Removes the flow in `slot`, whose hash's lower half this is. False if there is none.
    pub fn remove(&mut self, hash: u32, slot: u32) -> bool {
        let wanted = entry(hash, slot);
        let mut hole = hash as usize & self.mask;
        while self.entries[hole] != wanted {
            if self.entries[hole] == VACANT {
                return false;
            }
            hole = (hole + 1) & self.mask;
        }
        let mut next = hole;
        loop {
            next = (next + 1) & self.mask;
            let entry = self.entries[next];
            if entry == VACANT {
                break;
            }
            let origin = hash_of(entry) as usize & self.mask;
            // May this entry move back to the hole without passing where its probing starts?
            if next.wrapping_sub(origin) & self.mask >= next.wrapping_sub(hole) & self.mask {
                self.entries[hole] = entry;
                hole = next;
            }
        }
        self.entries[hole] = VACANT;
        self.len -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn flow(peer: &str, local: &str) -> Flow {
        Flow { peer: peer.parse().unwrap(), local: local.parse().unwrap() }
    }

    #[test]
    fn the_hash_depends_on_every_part_of_the_flow_and_on_the_key() {
        let flows = [
            flow("10.0.0.1:1000", "10.0.0.9:80"),
            flow("10.0.0.2:1000", "10.0.0.9:80"),
            flow("10.0.0.1:1001", "10.0.0.9:80"),
            flow("10.0.0.1:1000", "10.0.0.8:80"),
            flow("10.0.0.1:1000", "10.0.0.9:81"),
            flow("[fd00::1]:1000", "[fd00::9]:80"),
            flow("[fd00:0:0:1::1]:1000", "[fd00::9]:80"),
        ];
        let keys = [FlowKey::new([1, 2, 3, 4]), FlowKey::new([1, 2, 3, 5])];
        let mut hashes: Vec<_> =
            keys.iter().flat_map(|key| flows.iter().map(|flow| key.hash(flow))).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), keys.len() * flows.len());
    }

    #[test]
    fn a_packed_flow_is_the_same_flow() {
        for text in ["10.0.0.1:1000 10.0.0.9:80", "[fd00::1]:1000 [fd00::9]:80", "[::]:0 [::1]:1"] {
            let (peer, local) = text.split_once(' ').unwrap();
            let flow = flow(peer, local);
            let packed = PackedFlow::new(&flow);
            assert_eq!(packed.flow(), flow);
            assert_eq!(packed.peer_ip(), flow.peer.ip());
            assert_eq!(packed.is_ipv6(), flow.peer.is_ipv6());
        }
        // The same bytes are another flow in the other family.
        let four = PackedFlow::new(&flow("1.2.0.0:1", "0.0.0.0:2"));
        assert_ne!(four, PackedFlow::new(&flow("[102::]:1", "[::]:2")));
    }

    #[test]
    fn a_full_table_refuses_and_stays_whole() {
        let mut table = FlowTable::new(8);
        let mut kept = 0;
        while table.insert(u64::from(kept) * 7, kept) {
            kept += 1;
        }
        assert!(kept >= 8);
        for slot in 0..kept {
            assert_eq!(table.find(u64::from(slot) * 7, |_| true), Some(slot));
        }
    }

    proptest! {
        /// Few distinct hashes, so that probes collide and wrap around.
        #[test]
        fn inserts_and_removals_agree_with_a_map(
            steps in prop::collection::vec((0u64..24, any::<bool>()), 0..400),
        ) {
            let mut table = FlowTable::new(24);
            let mut model: HashMap<u64, u32> = HashMap::new();
            let mut next_slot = 0;
            for (flow, add) in steps {
                // Hashes that share a home near the end of the table.
                let hash = (flow % 5) + 28 + ((flow / 5) << 16);
                if add && !model.contains_key(&hash) {
                    prop_assert!(table.insert(hash, next_slot));
                    model.insert(hash, next_slot);
                    next_slot += 1;
                } else if let Some(slot) = model.remove(&hash) {
                    prop_assert!(table.remove(hash as u32, slot));
                    prop_assert!(!table.remove(hash as u32, slot));
                }
                prop_assert_eq!(table.len(), model.len());
                for (&hash, &slot) in &model {
                    prop_assert_eq!(table.find(hash, |found| found == slot), Some(slot));
                }
            }
        }
    }
}
