//! What a bad link does to frames, in virtual time.

use std::time::Duration;

use super::*;
use crate::{BurstLoss, MemoryConfig, MemoryPort, RateStep, memory_link};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A sender and a receiver behind `impairment`.
fn link(impairment: Impairment, seed: u64) -> (MemoryPort, Impaired<MemoryPort>) {
    let (sender, receiver) = memory_link(MemoryConfig::default()).unwrap();
    (sender, Impaired::new(receiver, impairment, seed))
}

/// Sends one frame of `len` bytes that begins with `number`.
fn send(sender: &mut MemoryPort, number: u32, len: usize) {
    let mut frame = sender.allocate().unwrap();
    frame.set_len(len);
    frame.bytes_mut().fill(0);
    frame.bytes_mut()[..4].copy_from_slice(&number.to_be_bytes());
    sender.transmit(frame).unwrap();
    assert_eq!(sender.flush(Instant::ZERO), Flush::Taken);
}

/// The numbers of all frames that have arrived by `now`.
fn numbers(receiver: &mut Impaired<MemoryPort>, now: Instant) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let mut burst = Burst::new();
        receiver.receive(now, &mut burst);
        if burst.is_empty() {
            return all;
        }
        all.extend(
            burst
                .frames()
                .iter()
                .map(|frame| u32::from_be_bytes(frame.bytes()[..4].try_into().unwrap())),
        );
    }
}

/// Sends 1,000 frames, one a millisecond, and says what arrived when.
fn trace(impairment: Impairment, seed: u64) -> (Vec<(Instant, u32)>, ImpairmentCounters) {
    let (mut sender, mut receiver) = link(impairment, seed);
    let mut trace = Vec::new();
    let mut now = Instant::ZERO;
    for number in 0..2_000 {
        if number < 1_000 {
            send(&mut sender, number, 100);
        }
        trace.extend(numbers(&mut receiver, now).into_iter().map(|number| (now, number)));
        now += MILLISECOND;
    }
    assert_eq!(receiver.underway(), 0);
    for pool in [sender.pool(), receiver.port().pool()] {
        assert_eq!(pool.available(), pool.chunks());
    }
    (trace, receiver.impairment_counters())
}

#[test]
fn a_good_link_delivers_all_at_once_and_in_order() {
    let (trace, counters) = trace(Impairment::default(), 1);
    let expected: Vec<_> = (0..1_000).map(|n| (Instant::from_millis(n.into()), n)).collect();
    assert_eq!(trace, expected);
    let link = LinkCounters { arrived: 1_000, ..Default::default() };
    assert_eq!(counters, ImpairmentCounters { link, delivered: 1_000, not_duplicated: 0 });
}

#[test]
fn the_same_seed_replays_and_another_does_not() {
    let impairment = Impairment {
        loss: 0.1,
        burst_loss: Some(BurstLoss { enter: 0.01, leave: 0.3, loss: 0.9 }),
        corruption: 0.1,
        duplication: 0.1,
        rate_bits_per_s: Some(1_000_000),
        rate_step: Some(RateStep { bits_per_s: 500_000, period: 20 * MILLISECOND }),
        queue_bytes: Some(2_000),
        queue_frames: Some(30),
        delay: 20 * MILLISECOND,
        jitter: 5 * MILLISECOND,
        reorder: 0.1,
        reorder_delay: 10 * MILLISECOND,
    };
    assert_eq!(trace(impairment, 1), trace(impairment, 1));
    assert_ne!(trace(impairment, 1), trace(impairment, 2));
}

#[test]
fn loss_duplication_and_corruption_happen_as_often_as_asked() {
    let (trace, counters) = trace(Impairment { loss: 0.1, ..Default::default() }, 1);
    assert!((70..130).contains(&counters.link.lost), "{counters:?}");
    assert_eq!(trace.len() as u64 + counters.link.lost, 1_000);

    let (trace, counters) = self::trace(Impairment { duplication: 0.1, ..Default::default() }, 1);
    assert!((70..130).contains(&counters.link.duplicated), "{counters:?}");
    assert_eq!(trace.len() as u64, 1_000 + counters.link.duplicated);

    let (_, counters) = self::trace(Impairment { corruption: 0.1, ..Default::default() }, 1);
    assert!((70..130).contains(&counters.link.corrupted), "{counters:?}");
}

#[test]
fn corruption_flips_one_bit() {
    let (mut sender, mut receiver) = link(Impairment { corruption: 1.0, ..Default::default() }, 3);
    send(&mut sender, 0, 1_000);
    let mut burst = Burst::new();
    receiver.receive(Instant::ZERO, &mut burst);
    let ones: u32 = burst.frames()[0].bytes().iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones, 1);
}

#[test]
fn a_delayed_frame_is_due_when_next_release_says() {
    let delay = 20 * MILLISECOND;
    let (mut sender, mut receiver) = link(Impairment { delay, ..Default::default() }, 1);
    send(&mut sender, 5, 100);
    assert_eq!(numbers(&mut receiver, Instant::from_millis(1)), []);
    assert_eq!(receiver.next_release(), Some(Instant::from_millis(21)));
    assert_eq!(numbers(&mut receiver, Instant::from_nanos(20_999_999)), []);
    assert_eq!(numbers(&mut receiver, Instant::from_millis(21)), [5]);
    assert_eq!(receiver.next_release(), None);
}

#[test]
fn waiting_ends_when_a_frame_is_due() {
    let (mut sender, port) =
        memory_link(MemoryConfig { real_time: true, ..Default::default() }).unwrap();
    let mut receiver =
        Impaired::new(port, Impairment { delay: 20 * MILLISECOND, ..Default::default() }, 1);
    send(&mut sender, 5, 100);
    let start = std::time::Instant::now();
    assert_eq!(numbers(&mut receiver, Instant::ZERO), []);
    receiver.wait(Instant::ZERO, Some(Instant::from_millis(60_000)));
    assert!((20 * MILLISECOND..Duration::from_secs(30)).contains(&start.elapsed()));
    assert_eq!(numbers(&mut receiver, Instant::from_millis(20)), [5]);
}

#[test]
fn frames_leave_at_the_rate_and_the_queue_is_bounded() {
    // 125 bytes take 1 ms at 1 Mbit/s; four of them fit into the queue.
    let impairment = Impairment {
        rate_bits_per_s: Some(1_000_000),
        queue_bytes: Some(500),
        ..Default::default()
    };
    let (mut sender, mut receiver) = link(impairment, 1);
    for number in 0..6 {
        send(&mut sender, number, 125);
    }
    assert_eq!(numbers(&mut receiver, Instant::ZERO), []);
    assert_eq!(receiver.impairment_counters().link.queue_full, 2);
    assert_eq!(numbers(&mut receiver, Instant::from_millis(1)), [0]);
    send(&mut sender, 6, 125);
    assert_eq!(numbers(&mut receiver, Instant::from_millis(4)), [1, 2, 3]);
    assert_eq!(numbers(&mut receiver, Instant::from_millis(5)), [6]);
}

#[test]
fn jitter_and_holding_back_reorder_but_lose_nothing() {
    let jittery = Impairment { jitter: 10 * MILLISECOND, ..Default::default() };
    let held = Impairment { reorder: 0.1, reorder_delay: 5 * MILLISECOND, ..Default::default() };
    for impairment in [jittery, held] {
        let (trace, _) = trace(impairment, 1);
        let mut order: Vec<_> = trace.into_iter().map(|(_, number)| number).collect();
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert_eq!(order, (0..1_000).collect::<Vec<_>>());
    }
}

#[test]
fn a_changed_link_leaves_frames_under_way_alone() {
    let slow = Impairment { delay: 50 * MILLISECOND, ..Default::default() };
    let (mut sender, mut receiver) = link(slow, 1);
    send(&mut sender, 1, 100);
    assert_eq!(numbers(&mut receiver, Instant::ZERO), []);
    receiver.set_impairment(Impairment::default());
    send(&mut sender, 2, 100);
    assert_eq!(numbers(&mut receiver, Instant::from_millis(1)), [2]);
    assert_eq!(numbers(&mut receiver, Instant::from_millis(50)), [1]);
}
