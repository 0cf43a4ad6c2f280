//! What the connections of a shard are doing, from a sample of them when there are many.

use std::time::Duration;

use pagewire_stack::ConnectionState;

use super::observer::Observer;
use crate::shard::inquiry::{Activity, Row};

/// About how many connections of a shard are looked at.
const SAMPLE: u32 = 2_048;

/// Shares for which percentiles are told.
pub const PERCENTILES: [u8; 3] = [50, 90, 99];

/// The values of some quantity at [`PERCENTILES`].
pub type Percentiles<T> = [T; PERCENTILES.len()];

/// See the module. Counts are estimates where the connections were sampled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Census {
    /// Connections by state; states that no connection is in are left out.
    pub states: Vec<(ConnectionState, u64)>,
    /// Connections by what the server does with them; the same holds.
    pub activities: Vec<(Activity, u64)>,
    /// Round-trip times of those whose is known.
    pub rtt: Option<Percentiles<Duration>>,
    /// Congestion windows of those whose is known, in bytes.
    pub cwnd_bytes: Option<Percentiles<u64>>,
}

impl Census {
    /// Counts the connections of a shard. None if it does not answer.
    pub fn of(observer: &Observer, shard: usize) -> Option<Self> {
        let mut taken = Taken::default();
        for piece in observer.rows(shard, Some(SAMPLE)) {
            let piece = piece?;
            piece.rows.iter().for_each(|row| taken.add(row, piece.stride.into()));
        }
        Some(taken.census())
    }
}

#[derive(Default)]
struct Taken {
    states: [u64; ConnectionState::ALL.len()],
    activities: [u64; Activity::ALL.len()],
    rtt: Vec<Duration>,
    cwnd_bytes: Vec<u64>,
}

impl Taken {
    fn add(&mut self, row: &Row, weight: u64) {
        self.states[row.view.state as usize] += weight;
        self.activities[row.activity as usize] += weight;
        self.rtt.extend(row.view.rtt);
        self.cwnd_bytes.extend(row.view.cwnd_bytes);
    }

    fn census(self) -> Census {
        Census {
            states: present(&ConnectionState::ALL, &self.states),
            activities: present(&Activity::ALL, &self.activities),
            rtt: percentiles(self.rtt),
            cwnd_bytes: percentiles(self.cwnd_bytes),
        }
    }
}

fn present<T: Copy>(all: &[T], counts: &[u64]) -> Vec<(T, u64)> {
    all.iter().copied().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
}

/// The values that so many percent are at or below.
fn percentiles<T: Copy + Ord>(mut values: Vec<T>) -> Option<Percentiles<T>> {
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    let rank = |percent: u8| (values.len() * usize::from(percent)).div_ceil(100).max(1) - 1;
    Some(PERCENTILES.map(|percent| values[rank(percent).min(last)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_there_are() {
        assert_eq!(percentiles::<u64>(Vec::new()), None);
        assert_eq!(percentiles(vec![7]), Some([7, 7, 7]));
        assert_eq!(percentiles((1..=1_000).rev().collect()), Some([500, 900, 990]));
        assert_eq!(percentiles(vec![3, 1, 2]), Some([2, 3, 3]));
    }

    #[test]
    fn states_and_activities_are_numbered_in_order() {
        let in_order = |numbers: Vec<usize>| numbers.into_iter().enumerate().all(|(n, it)| n == it);
        assert!(in_order(ConnectionState::ALL.iter().map(|&it| it as usize).collect()));
        assert!(in_order(Activity::ALL.iter().map(|&it| it as usize).collect()));
    }
}
