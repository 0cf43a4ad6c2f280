//! Segments one by one, in the order of the stream, and two lists through them.
//!
//! Records are numbered from `first` on, modulo 2^32; a link to itself is none. One that was received is in
//! neither list, and its link says where the next record that may not have been received begins; such
//! links are shortened as they are followed (as in union-find).

use std::{
    collections::VecDeque,
    ops::{Index, IndexMut},
};

use super::{Fate, Record};

#[derive(Clone, Copy, Debug, Default)]
struct List {
    ends: Option<(u32, u32)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Records {
    deque: VecDeque<Record>,
    first: u32,
    flying: List,
    lost: List,
}

impl Index<usize> for Records {
    type Output = Record;

    fn index(&self, at: usize) -> &Record {
        &self.deque[at]
    }
}

impl IndexMut<usize> for Records {
    fn index_mut(&mut self, at: usize) -> &mut Record {
        &mut self.deque[at]
    }
}

impl Records {
    /// None, the first of which will have this number.
    #[cfg(test)]
    pub fn starting_at(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.deque.is_empty()
    }

    pub fn len(&self) -> usize {
        self.deque.len()
    }

    pub fn get(&self, at: usize) -> Option<&Record> {
        self.deque.get(at)
    }

    pub fn front(&self) -> Option<&Record> {
        self.deque.front()
    }

    pub fn back(&self) -> Option<&Record> {
        self.deque.back()
    }

    /// What lies first in memory.
    pub fn head(&self) -> &[Record] {
        let (front, _) = self.deque.as_slices();
        &front[..front.len().min(2)]
    }

    /// The first place whose record begins at `start` or later.
    pub fn place_of(&self, start: u64) -> usize {
        self.deque.partition_point(|record| record.start < start)
    }

    /// Adds a flying segment behind all others, and last in its list.
    pub fn push(&mut self, record: Record) {
        let number = self.number(self.deque.len());
        self.deque.push_back(Record { previous: number, next: number, ..record });
        self.append(record.fate, number);
    }

    /// Takes the first off. It must be in no list.
    pub fn pop(&mut self) {
        self.deque.pop_front();
        self.first = self.first.wrapping_add(1);
    }

    /// Forgets everything, and gives back memory beyond `keep` records.
    pub fn clear(&mut self, keep: usize) {
        let mut deque = std::mem::take(&mut self.deque);
        deque.clear();
        deque.shrink_to(keep);
        *self = Self { deque, ..Self::default() };
    }

    /// Empties a list without a look at its records' links.
    pub fn forget(&mut self, fate: Fate) {
        *self.list(fate) = List::default();
    }

    /// The first place from `at` on whose record was not received, or the end.
    pub fn skip_received(&mut self, mut at: usize) -> usize {
        while let Some(record) = self.deque.get(at) {
            if record.fate != Fate::Received {
                break;
            }
            let next = self.place(record.next);
            if let Some(beyond) = self.deque.get(next)
                && beyond.fate == Fate::Received
            {
                self.deque[at].next = beyond.next;
            }
            at = next;
        }
        at
    }

    pub fn number(&self, at: usize) -> u32 {
        self.first.wrapping_add(at as u32)
    }

    pub fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.first) as usize
    }

    pub fn record(&mut self, number: u32) -> &mut Record {
        let at = self.place(number);
        &mut self.deque[at]
    }

    /// The first and the last of a list.
    pub fn ends(&self, fate: Fate) -> Option<(u32, u32)> {
        if fate == Fate::Lost { self.lost.ends } else { self.flying.ends }
    }

    fn list(&mut self, fate: Fate) -> &mut List {
        if fate == Fate::Lost { &mut self.lost } else { &mut self.flying }
    }

    /// Puts a record that is in no list at the end of one.
    pub fn append(&mut self, fate: Fate, number: u32) {
        let list = self.list(fate);
        let Some((head, tail)) = list.ends else {
            list.ends = Some((number, number));
            return;
        };
        list.ends = Some((head, number));
        self.record(tail).next = number;
        self.record(number).previous = tail;
    }

    /// Puts a record that is in no list at the head of one.
    pub fn prepend(&mut self, fate: Fate, number: u32) {
        let list = self.list(fate);
        let Some((head, tail)) = list.ends else {
            list.ends = Some((number, number));
            return;
        };
        list.ends = Some((number, tail));
        self.record(head).previous = number;
        self.record(number).next = head;
    }

    /// Takes a record out of the list that it is in.
    pub fn remove(&mut self, fate: Fate, number: u32) {
        let record = self.record(number);
        let (previous, next) = (record.previous, record.next);
        (record.previous, record.next) = (number, number);
        let (is_head, is_tail) = (previous == number, next == number);
        if !is_head {
            self.record(previous).next = if is_tail { previous } else { next };
        }
        if !is_tail {
            self.record(next).previous = if is_head { next } else { previous };
        }
        let list = self.list(fate);
        if let Some((head, tail)) = list.ends {
            list.ends = match (is_head, is_tail) {
                (true, true) => None,
                (true, false) => Some((next, tail)),
                (false, true) => Some((head, previous)),
                (false, false) => list.ends,
            };
        }
    }
}
