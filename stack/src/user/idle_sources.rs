//! Which idle connections each source has, in the order in which they became idle.
//!
//! Kept only where their number is limited: it costs each request two changes of a map. A source without idle
//! connections has no entry.

use std::collections::BTreeMap;

use super::source_map::SourceMap;
use crate::{Source, pages};

/// The idle connections of one core's sources.
#[derive(Debug)]
pub struct IdleSources {
    /// Slots by when they became idle: the lowest number first.
    sources: SourceMap<BTreeMap<u64, u32>>,
    /// Where each slot stands with its source: one more than the number there, or zero.
    places: Vec<u64>,
    next: u64,
}

impl IdleSources {
    /// For up to `connections` connections.
    pub fn new(connections: usize) -> Self {
        let places = Vec::with_capacity(connections);
        Self { sources: SourceMap::new(connections), places, next: 0 }
    }

    /// Takes note that a connection of `source` has become idle, and returns how many of the source are.
    pub fn enter(&mut self, slot: u32, source: Source) -> usize {
        self.leave(slot, source);
        let place = self.next;
        self.next += 1;
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, 0);
        }
        self.places[slot as usize] = place + 1;
        // There are no more sources than connections.
        let Some(idle) = self.sources.get_or_insert(source) else { return 0 };
        idle.insert(place, slot);
        idle.len()
    }

    /// Takes note that a connection of `source` is no longer idle, or gone.
    pub fn leave(&mut self, slot: u32, source: Source) {
        let Some(place) = self.places.get_mut(slot as usize).map(std::mem::take) else { return };
        let Some(place) = place.checked_sub(1) else { return };
        if let Some(idle) = self.sources.get_mut(source) {
            idle.remove(&place);
            if idle.is_empty() {
                self.sources.remove(source);
            }
        }
    }

    /// The source's connection that has been idle for longest.
    pub fn oldest(&self, source: Source) -> Option<u32> {
        self.sources.get(source)?.first_key_value().map(|(_, &slot)| slot)
    }

    /// Gives memory back when there is no connection.
    pub fn give_back(&mut self) {
        self.sources.give_back();
        pages::give_back(&mut self.places);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_and_order_are_those_of_a_plain_list(
            steps in prop::collection::vec((any::<bool>(), 0u32..12), 0..200),
        ) {
            let source = |slot: u32| Source::V4(slot % 3);
            let mut idle = IdleSources::new(12);
            let mut plain: Vec<u32> = Vec::new();
            for (enters, slot) in steps {
                plain.retain(|&other| other != slot);
                if enters {
                    plain.push(slot);
                    let mine = plain.iter().filter(|&&other| source(other) == source(slot));
                    prop_assert_eq!(idle.enter(slot, source(slot)), mine.count());
                } else {
                    idle.leave(slot, source(slot));
                }
                for of in 0..3 {
                    let oldest = plain.iter().copied().find(|&slot| source(slot) == Source::V4(of));
                    prop_assert_eq!(idle.oldest(Source::V4(of)), oldest);
                }
                let placed = idle.places.iter().filter(|&&place| place > 0).count();
                prop_assert_eq!(placed, plain.len());
                let of = |of| idle.sources.get(Source::V4(of)).map(BTreeMap::len);
                let lists: Vec<usize> = (0..3).filter_map(of).collect();
                prop_assert_eq!(lists.iter().sum::<usize>(), plain.len());
                prop_assert_eq!(lists.len(), idle.sources.len());
                prop_assert!(!lists.contains(&0));
            }
        }
    }
}
