//! Which idle connections each source has, in the order in which they became idle.
//!
//! Kept only where their number is limited: it costs each request two changes of a map. A source without idle
//! connections has no entry.

use std::collections::{BTreeMap, HashMap};

use crate::Source;

/// The idle connections of one core's sources.
#[derive(Debug, Default)]
pub struct IdleSources {
    /// Slots by when they became idle: the lowest number first.
    sources: HashMap<Source, BTreeMap<u64, u32>>,
    /// Where each slot stands with its source.
    places: HashMap<u32, u64>,
    next: u64,
}

impl IdleSources {
    /// Takes note that a connection of `source` has become idle, and returns how many of the source are.
    pub fn enter(&mut self, slot: u32, source: Source) -> usize {
        self.leave(slot, source);
        let place = self.next;
        self.next += 1;
        self.places.insert(slot, place);
        let idle = self.sources.entry(source).or_default();
        idle.insert(place, slot);
        idle.len()
    }

    /// Takes note that a connection of `source` is no longer idle, or gone.
    pub fn leave(&mut self, slot: u32, source: Source) {
        let Some(place) = self.places.remove(&slot) else { return };
        if let Some(idle) = self.sources.get_mut(&source) {
            idle.remove(&place);
            if idle.is_empty() {
                self.sources.remove(&source);
            }
        }
    }

    /// The source's connection that has been idle for longest.
    pub fn oldest(&self, source: Source) -> Option<u32> {
        self.sources.get(&source)?.first_key_value().map(|(_, &slot)| slot)
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
            let mut idle = IdleSources::default();
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
                prop_assert_eq!(idle.places.len(), plain.len());
                let listed: usize = idle.sources.values().map(BTreeMap::len).sum();
                prop_assert_eq!(listed, plain.len());
                prop_assert!(idle.sources.values().all(|of| !of.is_empty()));
            }
        }
    }
}
