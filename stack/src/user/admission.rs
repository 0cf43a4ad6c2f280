//! Who may have a connection: counts by source, and which connection goes when there is no room.
//!
//! Counts are exact and their memory is bounded by the number of connections: a source without any has no entry.
//! It is reserved at the start, so that no connection waits for the memory of others to be moved.
//!
//! Idle connections stand in order of when they were last heard of, to the second. A connection is put
//! into that order when it opens and is not moved when it is used: its place is corrected when it is
//! looked at, so that requests cost nothing here. A slot has at most one place, whichever connection
//! it holds.

use std::collections::BTreeMap;

use pagewire_driver::Instant;

use super::source_map::SourceMap;
use crate::{Source, pages};

/// How many connections there are of a kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// All, those in a handshake included.
    pub connections: usize,
    /// Those in a handshake.
    pub embryonic: usize,
}

/// Where an accepted connection stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Standing {
    /// The slot holds none that was accepted.
    #[default]
    None,
    Embryonic,
    Established,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    standing: Standing,
    /// Whether the slot is in `order`.
    is_ordered: bool,
}

/// Counts and order of one core's accepted connections.
#[derive(Debug)]
pub struct Admission {
    sources: SourceMap<Counts>,
    all: Counts,
    places: Vec<Place>,
    /// Slots by the second in which their connection was last heard of, or an earlier one.
    order: BTreeMap<u64, Vec<u32>>,
}

impl Admission {
    /// For up to `connections` connections.
    pub fn new(connections: usize) -> Self {
        Self {
            sources: SourceMap::new(connections),
            all: Counts::default(),
            places: Vec::with_capacity(connections),
            order: BTreeMap::new(),
        }
    }

    /// What a source has.
    pub fn of(&self, source: Source) -> Counts {
        self.sources.get(source).copied().unwrap_or_default()
    }

    /// What all sources have.
    pub fn all(&self) -> Counts {
        self.all
    }

    /// Counts a connection whose handshake has begun.
    pub fn begin(&mut self, slot: u32, source: Source) {
        self.place(slot).standing = Standing::Embryonic;
        // There are no more sources than connections.
        let of_source = self.sources.get_or_insert(source);
        for counts in of_source.into_iter().chain([&mut self.all]) {
            counts.connections += 1;
            counts.embryonic += 1;
        }
    }

    /// Takes note that a handshake is complete.
    pub fn establish(&mut self, now: Instant, slot: u32, source: Source) {
        let place = self.place(slot);
        if place.standing != Standing::Embryonic {
            return;
        }
        place.standing = Standing::Established;
        let is_ordered = std::mem::replace(&mut place.is_ordered, true);
        self.all.embryonic -= 1;
        if let Some(counts) = self.sources.get_mut(source) {
            counts.embryonic -= 1;
        }
        if !is_ordered {
            self.order.entry(second(now)).or_default().push(slot);
        }
    }

    /// Takes a connection out, if it was counted.
    pub fn end(&mut self, slot: u32, source: Source) {
        let standing = std::mem::take(&mut self.place(slot).standing);
        if standing == Standing::None {
            return;
        }
        let embryonic = usize::from(standing == Standing::Embryonic);
        self.all.connections -= 1;
        self.all.embryonic -= embryonic;
        if let Some(counts) = self.sources.get_mut(source) {
            counts.connections -= 1;
            counts.embryonic -= embryonic;
            if counts.connections == 0 {
                self.sources.remove(source);
            }
        }
    }

    /// The idle connection that was not heard of for longest, taken out of the order. `idle_since` says
    /// of a slot when its connection was last heard of if it is idle, and `None` if it is not.
    ///
    /// Looks at no more than `tries` connections; what it has corrected meanwhile stays so.
    pub fn oldest_idle(
        &mut self,
        now: Instant,
        tries: usize,
        mut idle_since: impl FnMut(u32) -> Option<Instant>,
    ) -> Option<u32> {
        for _ in 0..tries {
            let mut first = self.order.first_entry()?;
            let at = *first.key();
            let Some(slot) = first.get_mut().pop() else {
                first.remove();
                continue;
            };
            if first.get().is_empty() {
                first.remove();
            }
            let place = &mut self.places[slot as usize];
            if place.standing != Standing::Established {
                place.is_ordered = false;
                continue;
            }
            let since = idle_since(slot).map_or(second(now), second);
            if since <= at && idle_since(slot).is_some() {
                place.is_ordered = false;
                return Some(slot);
            }
            self.order.entry(since.max(at + 1)).or_default().push(slot);
        }
        None
    }

    /// Gives memory back when there is no connection.
    pub fn give_back(&mut self) {
        self.sources.give_back();
        pages::give_back(&mut self.places);
        self.order.clear();
    }

    fn place(&mut self, slot: u32) -> &mut Place {
        let index = slot as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, Place::default());
        }
        &mut self.places[index]
    }
}

fn second(now: Instant) -> u64 {
    now.millis() / 1_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admission() -> Admission {
        Admission::new(12)
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn the_idle_connection_unheard_for_longest_goes_first_and_busy_ones_never() {
        let mut admission = admission();
        let source = Source::V4(1);
        for slot in 0..5 {
            admission.begin(slot, source);
            admission.establish(at(u64::from(slot)), slot, source);
        }
        // 0 was used at 10, 1 is busy, 2 and 3 were not heard of since, 4 is gone.
        admission.end(4, source);
        let heard = [Some(at(10)), None, Some(at(2)), Some(at(3)), None];
        let mut next = || admission.oldest_idle(at(20), 64, |slot| heard[slot as usize]);
        assert_eq!([next(), next(), next(), next()], [Some(2), Some(3), Some(0), None]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin,
        Establish,
        End,
        Evict,
    }

    proptest! {
        #[test]
        fn counts_and_places_equal_a_plain_count(
            steps in prop::collection::vec(
                (
                    prop_oneof![
                        Just(Step::Begin), Just(Step::Establish), Just(Step::End), Just(Step::Evict)
                    ],
                    0u32..12,
                ),
                0..200,
            )
        ) {
            let source = |slot: u32| Source::V4(slot % 3);
            let mut admission = admission();
            let mut plain: Vec<Option<bool>> = vec![None; 12];
            for (now, (step, slot)) in (0u64..).zip(steps) {
                let one = &mut plain[slot as usize];
                match step {
                    Step::Begin if one.is_none() => {
                        *one = Some(true);
                        admission.begin(slot, source(slot));
                    }
                    Step::Establish if one.is_some() => {
                        *one = Some(false);
                        admission.establish(at(now), slot, source(slot));
                    }
                    Step::End => {
                        *one = None;
                        admission.end(slot, source(slot));
                    }
                    Step::Evict => {
                        let found = admission.oldest_idle(at(now), 64, |_| Some(at(0)));
                        let any = plain.contains(&Some(false));
                        prop_assert_eq!(found.is_some(), any);
                        if let Some(slot) = found {
                            prop_assert_eq!(plain[slot as usize], Some(false));
                            plain[slot as usize] = None;
                            admission.end(slot, source(slot));
                        }
                    }
                    _ => {}
                }
                for of in 0..3 {
                    let mine = || (0u32..).zip(&plain).filter(|(slot, _)| slot % 3 == of);
                    let connections = mine().filter(|(_, one)| one.is_some()).count();
                    let embryonic = mine().filter(|(_, one)| **one == Some(true)).count();
                    prop_assert_eq!(admission.of(Source::V4(of)), Counts { connections, embryonic });
                }
                prop_assert_eq!(
                    admission.sources.len(),
                    (0..3).filter(|&of| admission.of(Source::V4(of)).connections > 0).count()
                );
                let ordered: usize = admission.order.values().map(Vec::len).sum();
                prop_assert!(ordered <= plain.len(), "no slot has two places");
            }
        }
    }
}
