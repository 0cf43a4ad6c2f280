//! The links that are measured, and how.

/// Which cells are measured together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// Several links at once: each takes a small part of a core.
    Together,
    /// One link at a time: it needs the machine for itself.
    Alone,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Together, Self::Alone];
}

/// A link over which one flow sends as much as it can.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// What it is called: round trip, then what is wrong with it.
    pub name: &'static str,
    /// The link, as flags of `pw lab up`. The delay is that of one direction.
    pub link: &'static str,
    /// See [`Part`].
    pub part: Part,
    /// Whether it belongs to the short selection.
    pub quick: bool,
}

const fn bulk(name: &'static str, link: &'static str) -> Bulk {
    Bulk { name, link, part: Part::Together, quick: false }
}

const fn quick(name: &'static str, link: &'static str) -> Bulk {
    Bulk { quick: true, ..bulk(name, link) }
}

const fn alone(name: &'static str, link: &'static str) -> Bulk {
    Bulk { part: Part::Alone, ..bulk(name, link) }
}

/// All of them.
pub const BULK: [Bulk; 18] = [
    bulk("10 ms, no loss", "--delay 5ms --rate 100mbit"),
    bulk("10 ms, 0.1 % loss", "--delay 5ms --rate 100mbit --loss 0.1%"),
    quick("10 ms, 1 % loss", "--delay 5ms --rate 100mbit --loss 1%"),
    bulk("10 ms, 3 % loss", "--delay 5ms --rate 100mbit --loss 3%"),
    quick("50 ms, no loss", "--delay 25ms --rate 100mbit"),
    quick("50 ms, 0.1 % loss", "--delay 25ms --rate 100mbit --loss 0.1%"),
    bulk("50 ms, 1 % loss", "--delay 25ms --rate 100mbit --loss 1%"),
    quick("50 ms, 3 % loss", "--delay 25ms --rate 100mbit --loss 3%"),
    bulk("200 ms, no loss", "--delay 100ms --rate 100mbit"),
    bulk("200 ms, 0.1 % loss", "--delay 100ms --rate 100mbit --loss 0.1%"),
    bulk("200 ms, 1 % loss", "--delay 100ms --rate 100mbit --loss 1%"),
    bulk("200 ms, 3 % loss", "--delay 100ms --rate 100mbit --loss 3%"),
    bulk("50 ms, burst loss", "--delay 25ms --rate 100mbit --burst-loss 0.1%,8"),
    quick("50 ms, queue of 1/4 BDP", "--delay 25ms --rate 100mbit --queue 0.25bdp"),
    quick("50 ms, 1 % reordered", "--delay 25ms --rate 100mbit --reorder 1%,5ms"),
    bulk("50 ms, rate steps", "--delay 25ms --rate 100mbit --rate-step 25mbit,2s"),
    alone("20 ms at 1 Gbit/s, no loss", "--delay 10ms --rate 1gbit"),
    alone("20 ms at 1 Gbit/s, 0.1 % loss", "--delay 10ms --rate 1gbit --loss 0.1%"),
];

/// A link over which objects of 64 KiB are fetched, each by a connection of its own.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// What it is called.
    pub name: &'static str,
    /// The link, as flags of `pw lab up`.
    pub link: &'static str,
    /// Receivers that fetch one object after the other: so few that most of the link stays free.
    pub receivers: usize,
    /// Whether it belongs to the short selection.
    pub quick: bool,
}

/// All of them.
pub const OBJECTS: [Objects; 4] = [
    objects("64 KiB at 10 ms, 1 % loss", "--delay 5ms --rate 100mbit --loss 1%", 5),
    objects("64 KiB at 50 ms, no loss", "--delay 25ms --rate 100mbit", 20),
    objects("64 KiB at 50 ms, 1 % loss", "--delay 25ms --rate 100mbit --loss 1%", 20),
    objects("64 KiB at 200 ms, 1 % loss", "--delay 100ms --rate 100mbit --loss 1%", 64),
];

const fn objects(name: &'static str, link: &'static str, receivers: usize) -> Objects {
    Objects { name, link, receivers, quick: false }
}

/// Flows that share a bottleneck.
#[derive(Clone, Copy, Debug)]
pub struct Fairness {
    /// What it is called.
    pub name: &'static str,
    /// The link, as flags of `pw lab up`.
    pub link: &'static str,
    /// Flows of the user stack.
    pub ours: usize,
    /// Flows of Linux.
    pub linux: usize,
    /// Whether it belongs to the short selection.
    pub quick: bool,
}

const SHARED: &str = "--delay 25ms --rate 100mbit";

/// All of them. Those of Linux alone are what the others are held against.
pub const FAIRNESS: [Fairness; 4] = [
    fairness("fairness: 1 of ours, 1 of Linux", 1, 1),
    fairness("fairness: 2 of Linux", 0, 2),
    fairness("fairness: 8 of ours, 8 of Linux", 8, 8),
    fairness("fairness: 16 of Linux", 0, 16),
];

const fn fairness(name: &'static str, ours: usize, linux: usize) -> Fairness {
    Fairness { name, link: SHARED, ours, linux, quick: false }
}

/// The names of all cells, or of those of the short selection.
pub fn names(quick: bool) -> Vec<&'static str> {
    let bulk = BULK.iter().map(|cell| (cell.name, cell.quick));
    let objects = OBJECTS.iter().map(|cell| (cell.name, cell.quick));
    let fairness = FAIRNESS.iter().map(|cell| (cell.name, cell.quick));
    let all = bulk.chain(objects).chain(fairness);
    all.filter(|(_, is_quick)| *is_quick || !quick).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::scene, *};

    #[test]
    fn every_link_can_be_and_every_name_is_one_of_a_kind() {
        let links = BULK.iter().map(|cell| cell.link).chain(OBJECTS.iter().map(|cell| cell.link));
        for link in links.chain([SHARED]) {
            let config = scene::link(link, 7).unwrap();
            config.impairment(1_500).unwrap();
            assert!(config.delay.is_some() && config.rate.is_some(), "{link}");
            assert_eq!(config.seed, Some(7));
        }
        let all = names(false);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(names(true).len(), 6);
    }
}
