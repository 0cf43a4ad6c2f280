//! What is kept of each source: a keyed hash table of a fixed size, in which nothing is ever moved at once.
//!
//! A general hash map doubles when it is full, and with a million sources the one connection for which it does
//! so waits for tens of milliseconds. Here memory is reserved for as many sources as there can be: that of records
//! is taken as they come, that of a large index at once. The hash is keyed with secret random numbers, as that of
//! flows is.

use std::hash::{BuildHasher, RandomState};

use super::flow_table::{FlowKey, FlowTable};
use crate::{Source, pages};

/// Maps sources to values: as many as were asked for at the start, without ever moving them all at once.
#[derive(Debug)]
pub struct SourceMap<V> {
    key: FlowKey,
    index: FlowTable,
    capacity: usize,
    records: Vec<(Source, V)>,
    /// Records without a source.
    vacant: Vec<u32>,
}

impl<V: Default> SourceMap<V> {
    /// Room for `capacity` sources.
    pub fn new(capacity: usize) -> Self {
        let secret = RandomState::new();
        Self {
            key: FlowKey::new([0, 1, 2, 3].map(|number: u64| secret.hash_one(number))),
            index: FlowTable::new(capacity),
            capacity,
            records: Vec::with_capacity(capacity),
            vacant: Vec::with_capacity(capacity),
        }
    }

    /// How many sources there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept of a source.
    pub fn get(&self, source: Source) -> Option<&V> {
        let number = self.find(source, self.hash(source))?;
        Some(&self.records[number as usize].1)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, source: Source) -> Option<&mut V> {
        let number = self.find(source, self.hash(source))?;
        Some(&mut self.records[number as usize].1)
    }

    /// The same; a source that was not there comes in. `None` if there is no room for it.
    pub fn get_or_insert(&mut self, source: Source) -> Option<&mut V> {
        let hash = self.hash(source);
        if let Some(number) = self.find(source, hash) {
            return Some(&mut self.records[number as usize].1);
        }
        let record = (source, V::default());
        let number = if let Some(number) = self.vacant.pop() {
            self.records[number as usize] = record;
            number
        } else if self.records.len() < self.capacity {
            self.records.push(record);
            self.records.len() as u32 - 1
        } else {
            return None;
        };
        // There is room: the table is made for as many as there are records.
        let is_in = self.index.insert(hash, number);
        debug_assert!(is_in, "the table is larger than the records are many");
        Some(&mut self.records[number as usize].1)
    }

    /// Takes a source out, if it is there.
    pub fn remove(&mut self, source: Source) {
        let hash = self.hash(source);
        if let Some(number) = self.find(source, hash) {
            self.index.remove(hash as u32, number);
            self.records[number as usize].1 = V::default();
            self.vacant.push(number);
        }
    }

    /// Gives the memory of records back if there is no source.
    pub fn give_back(&mut self) {
        if self.is_empty() {
            pages::give_back(&mut self.records);
            self.vacant = Vec::with_capacity(self.capacity);
        }
    }

    fn find(&self, source: Source, hash: u64) -> Option<u32> {
        self.index.find(hash, |number| self.records[number as usize].0 == source)
    }

    fn hash(&self, source: Source) -> u64 {
        match source {
            Source::V4(address) => self.key.hash_pair(address.into(), 4),
            Source::V6(prefix) => self.key.hash_pair(prefix, 6),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const CAPACITY: usize = 10;

    proptest! {
        #[test]
        fn it_is_a_map_that_refuses_what_is_too_much_and_never_moves(
            steps in prop::collection::vec((0u8..4, 0u32..16), 0..300),
        ) {
            let mut map = SourceMap::<u64>::new(CAPACITY);
            let place = map.records.as_ptr();
            let mut model = HashMap::new();
            for (what, number) in steps {
                let source = match number % 2 {
                    0 => Source::V4(number / 2),
                    _ => Source::V6((number / 2).into()),
                };
                if what == 0 {
                    map.remove(source);
                    model.remove(&source);
                } else if let Some(value) = map.get_or_insert(source) {
                    *value += 1;
                    *model.entry(source).or_insert(0) += 1;
                } else {
                    prop_assert!(model.len() == CAPACITY && !model.contains_key(&source));
                }
                prop_assert_eq!(map.len(), model.len());
                for (source, value) in &model {
                    prop_assert_eq!(map.get(*source), Some(value));
                    prop_assert_eq!(map.get_mut(*source).map(|value| *value), Some(*value));
                }
                prop_assert_eq!(map.get(source), model.get(&source));
            }
            prop_assert_eq!(map.records.as_ptr(), place);
        }
    }
}
