//! How fast transfers are beside what theory allows, and what acknowledgements cost a sender under attack.

use std::time::{Duration, Instant as Clock};

use pagewire_driver::{Impairment, Instant};

use super::{receiver::Manners, world::World};
use crate::user::recovery::{Ack, Chance, FlightPool, Sender, Terms};

const MSS: u32 = 1_448;
const MANNERS: Manners = Manners {
    has_sack: true,
    has_duplicate_sack: true,
    has_timestamps: true,
    capacity: 16 << 20,
    reads_per_ms: None,
};

/// Median goodput in Mbit/s of `total` bytes over several seeds, and retransmitted bytes in percent.
fn goodput(total: u64, rate_mbit: u64, rtt_ms: u64, loss: f64, bdp_parts: u64) -> (f64, f64) {
    let delay = Duration::from_micros(rtt_ms * 500);
    let bdp = rate_mbit * rtt_ms * 125;
    let there = Impairment {
        loss,
        rate_bits_per_s: Some(rate_mbit * 1_000_000),
        queue_bytes: Some(bdp / bdp_parts),
        delay,
        ..Impairment::default()
    };
    let back = Impairment { delay, ..Impairment::default() };
    let (mut rates, mut again) = (Vec::new(), 0.0);
    for seed in 0..5 {
        let mut world = World::new(total, MSS, MANNERS, there, back, seed);
        let time = world.run(Duration::from_hours(1)).unwrap();
        rates.push(total as f64 * 8.0 / time.as_secs_f64() / 1e6);
        again += world.tally.again as f64 / total as f64 * 20.0;
        assert_eq!(world.tally.timeouts, 0, "seed {seed}: {:?}", world.tally);
    }
    rates.sort_by(f64::total_cmp);
    (rates[2], again)
}

#[test]
fn a_clean_path_is_filled() {
    let (rate, again) = goodput(20 << 20, 100, 10, 0.0, 1);
    assert!(rate > 90.0 && again < 1.5, "{rate} Mbit/s, {again} %");
    let (rate, again) = goodput(20 << 20, 100, 50, 0.0, 4);
    assert!(rate > 75.0 && again < 3.0, "{rate} Mbit/s, {again} %");
}

/// Nothing else is lost here. To double the window once too often loses as much as path and queue hold.
#[test]
fn slow_start_ends_before_a_queue_of_one_bdp_runs_over_by_more_than_two_fifths_of_it() {
    for (rate_mbit, rtt_ms) in [(20, 50), (100, 50), (100, 200), (1_000, 20)] {
        let bdp = rate_mbit * rtt_ms * 125;
        let total = 8 * bdp;
        let (rate, again) = goodput(total, rate_mbit, rtt_ms, 0.0, 1);
        let lost = again / 100.0 * total as f64;
        assert!(
            lost < bdp as f64 * 0.4,
            "{rate_mbit} Mbit/s, {rtt_ms} ms: {lost} of {bdp}, {rate} Mbit/s"
        );
    }
}

/// Mathis et al., 1997: a Reno-like sender reaches about 1.22 segments per round trip and root of loss.
#[test]
fn random_loss_costs_what_theory_says_and_no_timeout() {
    for (loss, least) in [(0.01, 0.9), (0.03, 0.75)] {
        let (rate, again) = goodput(4 << 20, 100, 50, loss, 1);
        let theory = 1.22 * f64::from(MSS) * 8.0 / 0.05 / loss.sqrt() / 1e6;
        assert!(rate > theory * least, "{rate} Mbit/s at {loss}, in theory {theory}");
        assert!(again < loss * 100.0 * 1.3 + 1.0, "{again} % at {loss}");
    }
}

/// A sender with 16 MiB in flight.
fn full(now: Instant, pool: &mut FlightPool) -> (Sender, u64) {
    let total = 16 << 20;
    let rtt = Some(Duration::from_millis(1));
    let terms = Terms {
        mss: MSS,
        has_sack: true,
        window: total as u32,
        window_sequence: 0,
        rtt,
        timeouts: 0,
    };
    let mut sender = Sender::new(now, &terms);
    sender.window.cwnd = total;
    while let Chance::Fresh { len } = sender.next(now + Duration::from_secs(1), total - sender.next)
    {
        sender.sent_fresh(now, len, false, pool);
    }
    let sent = sender.sent();
    assert!(sent > total - u64::from(MSS));
    (sender, sent)
}

/// Nanoseconds for each of many acknowledgements, whose blocks are made by `blocks`.
fn cost(blocks: impl Fn(u64, u64) -> [std::ops::Range<u64>; 3]) -> f64 {
    const ACKS: u64 = 20_000;
    let mut pool = FlightPool::default();
    let now = Instant::from_millis(5_000);
    let (mut sender, sent) = full(now, &mut pool);
    let start = Clock::now();
    for number in 0..ACKS {
        let blocks = blocks(number, sent);
        let ack = Ack {
            offset: 0,
            window: 16 << 20,
            sequence: 0,
            blocks: &blocks,
            echo: None,
            has_data: false,
            is_marked: false,
        };
        sender.on_ack(now + Duration::from_micros(number), &ack, &mut pool);
        while let Chance::Again { .. } = sender.next(now, 0) {
            sender.sent_again(now, 0);
        }
    }
    start.elapsed().as_nanos() as f64 / ACKS as f64
}

/// The least that it costs in three tries.
fn least(blocks: impl Fn(u64, u64) -> [std::ops::Range<u64>; 3]) -> f64 {
    (0..3).map(|_| cost(&blocks)).fold(f64::INFINITY, f64::min)
}

/// The same work a byte, whatever the blocks are: a peer that repeats, scatters or reverses them gains
/// nothing. Ratios, and generous ones: the clock is that of a shared machine. For the same reason each kind has
/// several tries, of which the quickest counts.
#[test]
fn hostile_blocks_cost_no_more_than_honest_ones() {
    let mss = u64::from(MSS);
    let honest = least(|number, sent| {
        let end = ((number + 2) * mss).min(sent);
        [mss..end, 0..0, 0..0]
    });
    let repeated = least(|_, sent| [mss..sent, mss..sent - mss, 2 * mss..sent]);
    let scattered = least(|number, sent| {
        let at = |salt: u64| (number * 7_919 + salt * 104_729) % (sent / mss - 2) + 1;
        [1, 2, 3].map(|salt| at(salt) * mss..(at(salt) + 1) * mss)
    });
    let reversed = least(|number, sent| {
        let at = sent / mss - 2 - (2 * number) % (sent / mss - 3);
        [at * mss..(at + 1) * mss, at * mss..sent, mss..2 * mss]
    });
    println!("{honest:.0}, {repeated:.0}, {scattered:.0}, {reversed:.0} ns");
    for hostile in [repeated, scattered, reversed] {
        assert!(hostile < honest * 20.0 + 20_000.0, "{hostile} ns beside {honest} ns");
    }
}
