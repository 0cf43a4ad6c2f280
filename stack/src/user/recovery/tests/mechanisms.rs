//! Each mechanism by a script: what is sent, what comes back, what follows.

use std::time::Duration;

use pagewire_driver::Instant;

use super::script::{MSS, RTT_MS, Script, WINDOW, seg};
use crate::user::recovery::{Ack, Cause, Chance, Expired, Sender, Terms};

#[test]
fn ten_segments_leave_at_first() {
    let mut script = Script::new(true);
    assert_eq!(script.fresh(100), 10);
    assert_eq!(script.state().in_flight, 10_000);
}

#[test]
fn a_handshake_that_timed_out_makes_the_start_cautious() {
    let state = |timeouts| {
        let terms = Terms {
            mss: MSS,
            has_sack: true,
            window: WINDOW,
            window_sequence: 0,
            rtt: None,
            timeouts,
        };
        let state = Sender::new(Instant::from_millis(10_000), &terms).snapshot();
        (state.timeout.as_secs(), state.cwnd)
    };
    assert_eq!([0, 1, 2].map(state), [(1, 10_000), (3, 10_000), (3, 1_000)]);
}

#[test]
fn a_slow_start_to_a_known_threshold_goes_up_to_that() {
    // Times that rise end the first slow start, of which nobody knows where it leads, but no other.
    for (threshold, reaches_it) in [(u64::MAX, false), (200_000, true)] {
        let mut script = Script::new(true);
        script.sender.window.threshold = threshold;
        let (mut acked, mut rtt) = (0, RTT_MS);
        for _ in 0..5 {
            script.fresh(1_000);
            script.wait(rtt);
            let sent = script.state().next / u64::from(MSS);
            // Spread as they were sent, and something is always in flight.
            let gap = Duration::from_micros(rtt * 500 / (sent - acked));
            while acked + 1 < sent {
                acked += 1;
                script.now += gap;
                script.ack(acked, &[]);
            }
            rtt += RTT_MS / 4;
        }
        assert_eq!(script.state().cwnd >= 200_000, reaches_it, "{:?}", script.state());
    }
}

#[test]
fn a_mark_is_no_sign_that_what_is_missing_is_lost() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.wait(RTT_MS);
    script.ack_with(1, &[], None, true);
    script.ack(1, &[seg(2, 3)]);
    assert_eq!(script.again(), [], "it may be reordering");
    script.wait(RTT_MS / 4 + 1);
    assert_eq!(script.again(), [(1, Cause::Overtaken)]);
}

#[test]
fn three_segments_received_behind_a_hole_mean_that_it_is_lost() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.wait(RTT_MS);
    script.ack(0, &[seg(1, 3)]);
    assert_eq!(script.again(), [], "two may be reordering");
    script.ack(0, &[seg(1, 4)]);
    assert_eq!(script.again(), [(0, Cause::Overtaken)]);
    assert_eq!(script.state().threshold, 7_000);
    script.wait(RTT_MS);
    let done = script.ack(10, &[]);
    assert_eq!((done.bytes, script.state().cwnd), (10_000, 7_000));
}

#[test]
fn one_segment_behind_a_hole_is_enough_after_a_quarter_of_the_round_trip() {
    let mut script = Script::new(true);
    script.fresh(2);
    script.wait(RTT_MS);
    script.ack(0, &[seg(1, 2)]);
    assert_eq!(script.again(), []);
    assert_eq!(script.wait(RTT_MS / 4 + 1), Expired::Reordering);
    assert_eq!(script.again(), [(0, Cause::Overtaken)]);
}

#[test]
fn a_retransmission_that_is_lost_is_found_lost_too() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.wait(RTT_MS);
    script.ack(0, &[seg(1, 5)]);
    assert_eq!(script.again(), [(0, Cause::Overtaken)]);
    script.wait(1);
    assert_eq!(script.fresh(1), 1, "what arrives lets something new out");
    script.wait(RTT_MS);
    script.ack(0, &[seg(1, 11)]);
    assert_eq!(script.again(), [(0, Cause::Overtaken)]);
    assert_eq!(script.state().threshold, 7_000, "one reduction for all of it");
}

#[test]
fn a_lost_tail_is_probed_after_two_round_trips() {
    let mut script = Script::new(true);
    script.fresh(3);
    assert_eq!(script.timer(script.now), (2 * RTT_MS + 2, Expired::Tail));
    assert_eq!(script.again(), [(2, Cause::Probe)]);
    script.wait(RTT_MS);
    script.ack(0, &[seg(2, 3)]);
    script.wait(RTT_MS);
    assert_eq!(script.again(), [(0, Cause::Overtaken)], "as much as has arrived");
    script.wait(RTT_MS);
    script.ack(1, &[seg(2, 3)]);
    assert_eq!(script.again(), [(1, Cause::Overtaken)]);
}

#[test]
fn a_probe_sends_something_new_if_there_is_something() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.now += Duration::from_millis(2 * RTT_MS + 3);
    assert_eq!(script.sender.expire(script.now, true, &mut script.pool), Expired::Tail);
    assert_eq!(script.sender.next(script.now, 5_000), Chance::Fresh { len: 1_000 });
}

#[test]
fn a_single_segment_is_not_probed_while_its_acknowledgement_may_be_delayed() {
    let mut script = Script::new(true);
    script.fresh(1);
    // 2 * SRTT + 200 ms would be later than the retransmission timer, which the probe then replaces.
    assert_eq!(script.timer(script.now), (RTT_MS + 200, Expired::Tail));
    assert_eq!(script.again(), [(0, Cause::Probe)]);
    assert_eq!(script.timer(script.now), (RTT_MS + 200, Expired::Timeout));
}

#[test]
fn a_probe_that_has_repaired_the_loss_alone_counts_as_congestion() {
    let mut script = Script::new(true);
    script.fresh(3);
    assert_eq!(script.timer(script.now).1, Expired::Tail);
    script.again();
    script.wait(RTT_MS);
    script.ack(3, &[]);
    script.fresh(1);
    script.wait(RTT_MS);
    script.ack(4, &[]);
    assert_eq!(script.state().threshold, 7_000);
}

#[test]
fn a_probe_that_was_not_needed_costs_nothing() {
    let mut script = Script::new(true);
    script.fresh(3);
    assert_eq!(script.timer(script.now).1, Expired::Tail);
    script.again();
    script.ack(3, &[]);
    script.wait(RTT_MS);
    script.ack(3, &[seg(2, 3)]);
    script.fresh(1);
    script.wait(RTT_MS);
    script.ack(4, &[]);
    assert_eq!(script.state().threshold, u64::MAX);
}

#[test]
fn a_timeout_sends_one_segment_and_doubles_the_timer() {
    let mut script = Script::new(false);
    script.fresh(10);
    let timeout = script.state().timeout.as_millis() as u64;
    assert_eq!(script.timer(script.now).1, Expired::Timeout);
    assert_eq!(script.again(), [(0, Cause::Timeout)]);
    assert_eq!((script.state().cwnd, script.state().threshold), (1_000, 7_000));
    assert_eq!(script.timer(script.now), (2 * timeout, Expired::Timeout));
    assert_eq!(script.again(), [(0, Cause::Timeout)]);
    assert_eq!(script.state().threshold, 7_000, "one reduction for a row of timeouts");
    script.ack(1, &[]);
    assert_eq!(script.again(), [(1, Cause::Timeout), (2, Cause::Timeout)], "slow start");
}

#[test]
fn an_early_timestamp_takes_a_timeout_back() {
    let mut script = Script::new(false);
    script.fresh(10);
    let before = script.now.millis() as u32;
    script.wait(script.state().timeout.as_millis() as u64);
    script.again();
    let done = script.ack_with(1, &[], Some(before), false);
    assert!(done.is_undone);
    assert!(script.state().cwnd >= 10_000);
    assert_eq!(script.state().threshold, u64::MAX);
    assert_eq!(script.again(), [], "what was taken for lost is under way");
}

#[test]
fn an_echo_of_the_retransmission_takes_nothing_back() {
    let mut script = Script::new(false);
    script.fresh(10);
    script.wait(script.state().timeout.as_millis() as u64);
    script.again();
    let echo = script.now.millis() as u32;
    assert!(!script.ack_with(1, &[], Some(echo), false).is_undone);
}

#[test]
fn originals_that_arrive_after_a_timeout_take_it_back() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.wait(2 * RTT_MS + 3);
    script.again();
    while script.wait(50) != Expired::Timeout {}
    assert_eq!(script.again(), [(0, Cause::Timeout)]);
    let done = script.ack(3, &[]);
    assert!(done.is_undone);
    assert_eq!(script.state().threshold, u64::MAX);
}

/// RFC 5682 section 2.1: fresh data after the first acknowledgement, and the second one tells.
#[test]
fn without_sack_two_acknowledgements_that_advance_take_a_timeout_back() {
    for spurious in [true, false] {
        let mut script = Script::new(false);
        script.fresh(10);
        script.wait(script.state().timeout.as_millis() as u64);
        assert_eq!(script.again(), [(0, Cause::Timeout)]);
        assert!(!script.ack(1, &[]).is_undone);
        assert_eq!(script.fresh(5), 2, "fresh data rather than retransmissions");
        if spurious {
            assert!(script.ack(2, &[]).is_undone);
            assert_eq!(script.state().threshold, u64::MAX);
        } else {
            assert!(!script.ack(1, &[]).is_undone);
            assert_eq!(script.again(), [(1, Cause::Timeout)]);
        }
    }
}

#[test]
fn duplicates_of_all_retransmissions_take_a_recovery_back() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.wait(RTT_MS);
    script.ack(0, &[seg(2, 6)]);
    assert_eq!(script.again(), [(0, Cause::Overtaken), (1, Cause::Overtaken)]);
    script.wait(10);
    assert!(!script.ack(6, &[]).is_undone);
    assert!(!script.ack(6, &[seg(0, 1)]).is_undone, "one of two");
    assert!(script.ack(6, &[seg(1, 2)]).is_undone);
    assert!(script.state().cwnd >= 10_000);
    assert_eq!(script.state().threshold, u64::MAX);
}

#[test]
fn without_sack_three_duplicates_and_partial_acknowledgements_repair_hole_by_hole() {
    let mut script = Script::new(false);
    script.fresh(10);
    script.wait(RTT_MS);
    script.ack(0, &[]);
    script.ack(0, &[]);
    assert_eq!(script.again(), []);
    script.ack(0, &[]);
    assert_eq!(script.again(), [(0, Cause::Overtaken)]);
    script.wait(RTT_MS);
    script.ack(4, &[]);
    assert_eq!(script.again(), [(4, Cause::Overtaken)]);
    script.wait(RTT_MS);
    script.ack(10, &[]);
    assert_eq!((script.state().cwnd, script.state().in_flight), (7_000, 0));
}

#[test]
fn duplicate_acknowledgements_make_no_more_room_than_there_are_segments() {
    let mut script = Script::new(false);
    script.fresh(10);
    for _ in 0..1_000 {
        script.ack(0, &[]);
        script.fresh(5);
    }
    assert!(script.state().next <= 40_000, "{:?}", script.state());
}

#[test]
fn a_mark_reduces_the_window_once_a_round_trip_without_a_retransmission() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.wait(RTT_MS);
    assert!(script.ack_with(1, &[], None, true).is_reduced);
    for segment in 2..10 {
        assert!(!script.ack_with(segment, &[], None, true).is_reduced);
    }
    assert_eq!(script.again(), []);
    script.ack(10, &[]);
    assert_eq!(script.state().cwnd, script.state().threshold);
    assert_eq!(script.state().threshold, 7_000);
}

#[test]
fn a_closed_window_is_probed_with_one_byte_ever_more_rarely() {
    let mut script = Script::new(true);
    script.fresh(1);
    let shut = Ack {
        offset: 1_000,
        window: 0,
        sequence: 0,
        blocks: &[],
        echo: None,
        has_data: false,
        is_marked: false,
    };
    script.sender.on_ack(script.now, &shut, &mut script.pool);
    assert_eq!(script.sender.next(script.now, 5_000), Chance::Nothing);
    let mut gaps = Vec::new();
    for _ in 0..3 {
        let at = script.sender.timer(true).expect("a probe");
        gaps.push((at - script.now).as_millis());
        script.now = at;
        assert_eq!(script.sender.expire(script.now, true, &mut script.pool), Expired::Window);
        match script.sender.next(script.now, 5_000) {
            Chance::Fresh { len: 1 } => {
                script.sender.sent_fresh(script.now, 1, false, &mut script.pool);
            }
            Chance::Again { offset: 1_000, len: 1, cause: Cause::Probe } => {
                script.sender.sent_again(script.now, 0);
            }
            other => panic!("{other:?}"),
        }
        script.sender.on_ack(script.now, &shut, &mut script.pool);
    }
    assert!(gaps[1] >= 2 * gaps[0] && gaps[2] >= 2 * gaps[1], "{gaps:?}");
    let open = Ack { window: 9_000, ..shut };
    script.sender.on_ack(script.now, &open, &mut script.pool);
    assert!(matches!(
        script.sender.next(script.now, 5_000),
        Chance::Again { offset: 1_000, len: 1, .. }
    ));
    assert_eq!(script.state().threshold, u64::MAX, "no congestion");
}

#[test]
fn an_older_segment_does_not_change_the_window_back() {
    let mut script = Script::new(true);
    script.fresh(1);
    let newer = Ack {
        offset: 1_000,
        window: 50_000,
        sequence: 500,
        blocks: &[],
        echo: None,
        has_data: true,
        is_marked: false,
    };
    script.sender.on_ack(script.now, &newer, &mut script.pool);
    let older = Ack { window: 100, sequence: 400, ..newer };
    script.sender.on_ack(script.now, &older, &mut script.pool);
    assert_eq!(script.state().peer_window, 50_000);
}

#[test]
fn a_pause_shrinks_the_window_and_leaves_no_burst() {
    let mut script = Script::new(true);
    let mut acked = 0;
    for _ in 0..4 {
        let sent = script.fresh(1_000);
        script.wait(RTT_MS);
        acked += sent;
        script.ack(acked, &[]);
    }
    assert_eq!(script.state().cwnd, 160_000);
    script.wait(10_000);
    script.fresh(1);
    assert_eq!(script.state().cwnd, 10_000);
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let mut script = Script::new(true);
    for segment in 1..=50 {
        script.fresh(1);
        script.wait(RTT_MS);
        script.ack(segment, &[]);
    }
    assert_eq!(script.state().cwnd, 10_000);
}

#[test]
fn a_smaller_path_repairs_at_once_and_is_no_congestion() {
    let mut script = Script::new(true);
    script.fresh(4);
    assert!(script.sender.limit_segments(script.now, 600, &mut script.pool));
    let again: Vec<_> = script.again().into_iter().map(|(segment, _)| segment).collect();
    assert_eq!(again, [0, 1, 2, 3]);
    assert_eq!((script.state().mss, script.state().threshold), (600, u64::MAX));
}

#[test]
fn a_black_hole_that_swallows_the_first_segments_is_no_congestion() {
    let mut script = Script::new(true);
    script.fresh(10);
    for _ in 0..3 {
        script.timer(script.now);
        script.again();
    }
    assert_eq!(script.state().mss, 536);
    assert_eq!(script.state().threshold, 7_000, "it may be an outage as well");
    script.ack(1, &[]);
    assert_eq!(script.state().threshold, u64::MAX);
    assert!(script.state().cwnd < 3_000, "slow start: {}", script.state().cwnd);
}

#[test]
fn timeouts_after_whole_segments_have_arrived_are_congestion() {
    let mut script = Script::new(true);
    script.fresh(10);
    script.wait(RTT_MS);
    script.ack(1, &[]);
    for _ in 0..4 {
        script.timer(script.now);
        script.again();
    }
    assert_eq!(script.state().mss, 536);
    script.ack(2, &[]);
    assert!(script.state().threshold < 20_000, "{}", script.state().threshold);
}

#[test]
fn an_idle_connection_has_nothing_allocated() {
    let mut script = Script::new(true);
    script.fresh(1);
    assert!(script.sender.flight.is_none(), "a single segment needs no more");
    script.ack(1, &[]);
    script.fresh(10);
    assert!(script.sender.flight.is_some());
    script.wait(RTT_MS);
    script.ack(11, &[]);
    assert!(script.sender.flight.is_none());
    assert!(size_of::<Sender>() <= 160, "{}", size_of::<Sender>());
}
