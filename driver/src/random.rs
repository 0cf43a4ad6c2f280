//! A small pseudo-random generator, so that every random choice replays from its seed.

/// Random numbers from a seed, by Steele, Lea and Flood's `SplitMix64`. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`; zero if the limit is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product: even to one part in 2^64 / limit.
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// Whether an event of this probability happens. At 0 it never does, at 1 always.
    pub fn chance(&mut self, probability: f64) -> bool {
        const STEPS: f64 = (1u64 << 53) as f64;
        ((self.bits() >> 11) as f64) < probability * STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut two) = (Random::new(7), Random::new(7));
        let numbers = |random: &mut Random| [random.bits(), random.bits(), random.below(1_000)];
        assert_eq!(numbers(&mut one), numbers(&mut two));
        assert_ne!(Random::new(7).bits(), Random::new(8).bits());
    }

    #[test]
    fn certain_and_impossible_events_are_so() {
        let mut random = Random::new(1);
        assert!((0..1_000).all(|_| random.chance(1.0) && !random.chance(0.0)));
    }

    #[test]
    fn numbers_stay_below_the_limit_and_reach_all_of_it() {
        let mut random = Random::new(2);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1_200).contains(&count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
