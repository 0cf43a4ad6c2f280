//! Transfers over links drawn from seeds: everything arrives, nothing is left, and no window is ever
//! exceeded (the world checks that with every byte it sends).
//!
//! `PAGEWIRE_SEEDS=first..end` runs other seeds, for instance the one that a failure has printed.

use std::{env, ops::Range, time::Duration};

use pagewire_driver::{BurstLoss, Impairment, Random};

use super::{receiver::Manners, world::World};

/// The terms of one transfer.
#[derive(Debug)]
struct Terms {
    total: u64,
    mss: u32,
    manners: Manners,
    there: Impairment,
    back: Impairment,
}

fn draw(seed: u64) -> Terms {
    let mut random = Random::new(seed);
    let mut pick = |most: u64| random.below(most + 1);
    let percent = |value: u64| value as f64 / 100.0;
    let delay = Duration::from_micros(pick(60_000));
    let mut link = |losses: [u64; 5], rate: bool| Impairment {
        loss: percent(losses[pick(4) as usize]),
        burst_loss: [None, None, Some(BurstLoss { enter: 0.005, leave: 0.3, loss: 0.9 })]
            [pick(2) as usize],
        corruption: percent([0, 0, 2][pick(2) as usize]),
        duplication: percent([0, 0, 10][pick(2) as usize]),
        rate_bits_per_s: [None, Some(2_000_000), Some(100_000_000)][pick(2) as usize]
            .filter(|_| rate),
        queue_bytes: Some([20_000, 64_000, 400_000][pick(2) as usize]),
        delay,
        jitter: Duration::from_micros([0, 0, 5_000][pick(2) as usize]),
        reorder: percent([0, 0, 20][pick(2) as usize]),
        reorder_delay: Duration::from_millis(pick(20)),
        ..Impairment::default()
    };
    let there = link([0, 1, 3, 10, 25], true);
    let back = link([0, 0, 1, 5, 20], false);
    let longest = [100, 20_000, 600_000][pick(2) as usize];
    Terms {
        total: 1 + pick(longest),
        mss: [100, 536, 1_448, 3_000][pick(3) as usize],
        manners: Manners {
            has_sack: pick(3) > 0,
            has_duplicate_sack: pick(1) == 1,
            has_timestamps: pick(1) == 1,
            capacity: [700, 20_000, 1 << 20][pick(2) as usize],
            reads_per_ms: [None, None, Some(200)][pick(2) as usize],
        },
        there,
        back,
    }
}

fn run(seed: u64) {
    let terms = draw(seed);
    let Terms { total, mss, manners, there, back } = terms;
    let mut world = World::new(total, mss, manners, there, back, seed);
    if let Err(text) = world.run(Duration::from_hours(4)) {
        panic!("seed {seed}: {text}; {:?}; {:?}", draw(seed), world.tally);
    }
}

fn seeds(default: Range<u64>) -> Range<u64> {
    let chosen = env::var("PAGEWIRE_SEEDS").ok().and_then(|text| {
        let (first, end) = text.split_once("..")?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    chosen.unwrap_or(default)
}

#[test]
fn every_transfer_ends_with_every_byte_and_within_the_windows() {
    seeds(0..500).for_each(run);
}

#[test]
#[ignore = "long: run by ./dev soak"]
fn ten_thousand_transfers_end_with_every_byte_and_within_the_windows() {
    seeds(500..10_500).for_each(run);
}
