//! Things that are under way until they are due.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

use crate::Instant;

/// Things under way. They come out when they are due, those due at the same instant in the order in
/// which they went in.
#[derive(Debug)]
pub struct DelayLine<T> {
    /// Those that are due no earlier than all that went in before them: the usual case, for which a heap
    /// would be slow.
    in_order: VecDeque<Underway<T>>,
    overtaking: BinaryHeap<Reverse<Underway<T>>>,
    next_number: u64,
}

/// Ordered by when it is due, then by when it went in.
#[derive(Debug)]
struct Underway<T> {
    due: Instant,
    number: u64,
    item: T,
}

impl<T> Underway<T> {
    const fn key(&self) -> (Instant, u64) {
        (self.due, self.number)
    }
}

impl<T> PartialEq for Underway<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Underway<T> {}

impl<T> PartialOrd for Underway<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Underway<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Default for DelayLine<T> {
    fn default() -> Self {
        Self { in_order: VecDeque::new(), overtaking: BinaryHeap::new(), next_number: 0 }
    }
}

impl<T> DelayLine<T> {
    /// Puts `item` under way until `due`.
    pub fn push(&mut self, due: Instant, item: T) {
        let number = self.next_number;
        self.next_number += 1;
        let underway = Underway { due, number, item };
        if self.in_order.back().is_none_or(|last| last.due <= due) {
            self.in_order.push_back(underway);
        } else {
            self.overtaking.push(Reverse(underway));
        }
    }

    /// Takes out the first thing that is due by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let first = self.in_order.front().filter(|underway| underway.due <= now);
        let overtaking = self.overtaking.peek().map(|Reverse(underway)| underway);
        let overtaking = overtaking.filter(|underway| underway.due <= now);
        let overtakes = match (first, overtaking) {
            (Some(first), Some(overtaking)) => overtaking < first,
            (_, overtaking) => overtaking.is_some(),
        };
        if overtakes {
            self.overtaking.pop().map(|Reverse(underway)| underway.item)
        } else if first.is_some() {
            self.in_order.pop_front().map(|underway| underway.item)
        } else {
            None
        }
    }

    /// When the next thing is due.
    pub fn next_due(&self) -> Option<Instant> {
        let first = self.in_order.front().map(|underway| underway.due);
        let overtaking = self.overtaking.peek().map(|Reverse(underway)| underway.due);
        first.into_iter().chain(overtaking).min()
    }

    /// How many things are under way.
    pub fn len(&self) -> usize {
        self.in_order.len() + self.overtaking.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn things_come_out_when_due_and_in_the_order_they_went_in() {
        let mut line = DelayLine::default();
        for (due, item) in [(5, 'a'), (5, 'b'), (3, 'c'), (9, 'd'), (3, 'e'), (5, 'f')] {
            line.push(Instant::from_nanos(due), item);
        }
        assert_eq!((line.len(), line.next_due()), (6, Some(Instant::from_nanos(3))));
        assert_eq!(line.pop(Instant::from_nanos(2)), None);
        let at_five: String = std::iter::from_fn(|| line.pop(Instant::from_nanos(5))).collect();
        assert_eq!(at_five, "ceabf");
        assert_eq!(line.pop(Instant::from_nanos(9)), Some('d'));
        assert!(line.is_empty() && line.next_due().is_none());
    }

    #[test]
    fn it_agrees_with_a_sorted_list() {
        let mut random = Random::new(5);
        let (mut line, mut list) = (DelayLine::default(), Vec::new());
        for number in 0..5_000u32 {
            let now = u64::from(number);
            let due = now + random.below(20);
            line.push(Instant::from_nanos(due), number);
            list.push((due, number));
            while let Some(item) = line.pop(Instant::from_nanos(now)) {
                let first = *list.iter().min().unwrap();
                assert_eq!(first.1, item);
                list.retain(|&entry| entry != first);
            }
            assert!(list.iter().all(|&(due, _)| due > now));
        }
    }
}
