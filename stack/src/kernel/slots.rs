//! A bounded table of connections whose ids carry a generation.

use crate::ConnectionId;

/// Values in slots. A slot whose value was taken stays in use until it is freed.
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    limit: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new(limit: u32) -> Self {
        Self { entries: Vec::new(), free: Vec::new(), limit }
    }

    /// How many slots are in use.
    pub(super) fn used(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.limit()
    }

    /// Puts a value into a free slot, if there is one.
    pub(super) fn insert(&mut self, value: T) -> Option<ConnectionId> {
        if self.is_full() {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, value: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[slot as usize];
        entry.value = Some(value);
        Some(ConnectionId { slot, generation: entry.generation })
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&T> {
        let entry = self.entries.get(id.slot as usize)?;
        entry.value.as_ref().filter(|_| entry.generation == id.generation)
    }

    /// How many slots have ever been used.
    pub(super) fn seen(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The value in a slot, with its generation.
    pub(super) fn at(&self, slot: u32) -> Option<(u32, &T)> {
        let entry = self.entries.get(slot as usize)?;
        Some((entry.generation, entry.value.as_ref()?))
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        entry.value.as_mut().filter(|_| entry.generation == id.generation)
    }

    /// Takes the value out. The id is void from here on; the slot is in use until [`free`](Self::free).
    pub(super) fn take(&mut self, id: ConnectionId) -> Option<T> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        entry.value.take_if(|_| entry.generation == id.generation)
    }

    /// Makes the slot of a taken value usable again. Once for each value taken.
    pub(super) fn free(&mut self, id: ConnectionId) {
        let entry = &mut self.entries[id.slot as usize];
        debug_assert!(entry.value.is_none() && entry.generation == id.generation);
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(id.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_does_not_reach_the_next_connection_in_its_slot() {
        let mut slots = Slots::new(2);
        let old = slots.insert('a').unwrap();
        assert_eq!(slots.take(old), Some('a'));
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.used(), 1);
        slots.free(old);
        let new = slots.insert('b').unwrap();
        assert_eq!(new.slot, old.slot);
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.get_mut(old), None);
        assert_eq!(slots.take(old), None);
        assert_eq!(slots.get(new), Some(&'b'));
    }

    #[test]
    fn no_more_than_the_limit_are_in_use() {
        let mut slots = Slots::new(2);
        let ids: Vec<_> = (0..2).map(|number| slots.insert(number).unwrap()).collect();
        assert!(slots.is_full() && slots.insert(9).is_none());
        slots.take(ids[0]);
        assert!(slots.insert(9).is_none());
        slots.free(ids[0]);
        assert!(slots.insert(9).is_some());
    }

    #[test]
    fn an_id_from_elsewhere_is_void() {
        let mut slots = Slots::<char>::new(2);
        let id = ConnectionId { slot: 7, generation: 0 };
        assert_eq!(slots.get(id), None);
        assert_eq!(slots.get_mut(id), None);
        assert_eq!(slots.take(id), None);
    }
}
