//! The scripts, and what must come of them.

use std::time::Duration;

use crate::{
    linux::Connection,
    ours::Ours,
    session::{Phase, ROUND_TRIP, Session},
};

/// Long enough for everything that is to be sent at once, far shorter than any timer.
const SOON: Duration = Duration::from_millis(60);

pub struct Case {
    pub name: &'static str,
    pub ours: fn(&mut Session<Ours>) -> Vec<Phase>,
    pub linux: fn(&mut Session<Connection<'_>>) -> Vec<Phase>,
    /// By how many the fresh segments of a phase may differ. Without any, the order must be the same too.
    pub tolerance: usize,
    /// What both must do.
    pub check: fn(&[Phase]),
}

/// One script for both.
macro_rules! cases {
    ($($name:literal, $tolerance:literal, |$session:ident| $run:expr, |$phases:ident| $check:expr;)*) => {
        pub const CASES: &[Case] = &[$(Case {
            name: $name,
            ours: |$session| $run,
            linux: |$session| $run,
            tolerance: $tolerance,
            check: |$phases| $check,
        }),*];
    };
}

cases! {
    "the first window", 0, |session| {
        session.write(30);
        vec![session.pass(SOON)]
    }, |phases| assert_eq!(phases[0].order, (0..10).collect::<Vec<_>>());

    "slow start", 2, |session| {
        session.write(60);
        let first = session.pass(ROUND_TRIP);
        session.acknowledge(10, &[]);
        vec![first, session.pass(SOON)]
    }, |phases| assert!(phases[1].fresh >= 18, "{phases:?}");

    "one segment lost", 0, |session| {
        session.write(10);
        let first = session.pass(ROUND_TRIP);
        session.acknowledge(0, &[(1, 5)]);
        let repair = session.pass(ROUND_TRIP);
        session.acknowledge(10, &[]);
        vec![first, repair, session.pass(SOON)]
    }, |phases| {
        assert_eq!(phases[1].order, [0]);
        assert!(phases[2].order.is_empty());
    };

    "several segments lost", 0, |session| {
        session.write(10);
        let first = session.pass(ROUND_TRIP);
        session.acknowledge(0, &[(2, 3), (5, 6), (8, 10)]);
        let repair = session.pass(ROUND_TRIP);
        session.acknowledge(6, &[(8, 10)]);
        let rest = session.pass(ROUND_TRIP);
        session.acknowledge(10, &[]);
        vec![first, repair, rest, session.pass(SOON)]
    }, |phases| {
        let again: Vec<_> = phases.iter().flat_map(|phase| phase.again.clone()).collect();
        assert_eq!(again, [0, 1, 3, 4, 6, 7]);
    };

    "a retransmission lost", 1, |session| {
        session.write(100);
        let first = session.pass(ROUND_TRIP);
        session.acknowledge(0, &[(1, 6)]);
        let repair = session.pass(ROUND_TRIP);
        session.acknowledge(0, &[(1, 12)]);
        vec![first, repair, session.pass(ROUND_TRIP)]
    }, |phases| {
        assert_eq!((&phases[1].again[..], &phases[2].again[..]), (&[0][..], &[0][..]));
    };

    "the tail lost", 0, |session| {
        session.write(5);
        // The probe leaves after two round trips, and its answer would take one.
        let probe = session.pass(3 * ROUND_TRIP + SOON);
        session.acknowledge(3, &[(4, 5)]);
        let waits = session.pass(ROUND_TRIP);
        session.acknowledge(5, &[]);
        vec![probe, waits, session.pass(SOON)]
    }, |phases| {
        assert_eq!(phases[0].again, [4]);
        assert_eq!(phases[1].again, [3]);
        assert!(phases[2].order.is_empty());
    };

    "silence", 0, |session| {
        session.write(5);
        vec![session.pass(Duration::from_millis(2_300))]
    }, |phases| {
        // A probe, then timeouts, each after twice as long.
        assert_eq!(phases[0].again, [4, 0, 0]);
        let at = &phases[0].again_at;
        let gap = |n: usize| at[n].as_secs_f64() - at[n - 1].as_secs_f64();
        let ratio = gap(2) / gap(1);
        assert!((1.6..2.4).contains(&ratio), "{at:?}");
    };

    "a timeout for nothing", 3, |session| {
        session.write(60);
        // A probe after two round trips, a timeout after three more at least. The answer to the first
        // transmission comes too soon to be that to the second.
        let timeout = session.pass(Duration::from_millis(850));
        session.acknowledge(4, &[]);
        let undone = session.pass(SOON);
        session.acknowledge(11, &[]);
        vec![timeout, undone, session.pass(SOON)]
    }, |phases| {
        assert_eq!((&phases[0].again[..], phases[0].fresh), (&[0][..], 11));
        // All that was in flight still is, and the window is what it was.
        assert!(phases[1].again.is_empty() && phases[1].fresh >= 2, "{phases:?}");
        assert!(phases[2].again.is_empty() && phases[1].fresh + phases[2].fresh >= 9, "{phases:?}");
    };

    "a repair for nothing", 3, |session| {
        session.write(10);
        let first = session.pass(ROUND_TRIP);
        session.acknowledge(0, &[(1, 5)]);
        let repair = session.pass(SOON);
        session.acknowledge(10, &[(0, 1)]);
        session.write(40);
        vec![first, repair, session.pass(SOON)]
    }, |phases| {
        assert_eq!(phases[1].order, [0]);
        assert!(phases[2].fresh >= 10, "the window is what it was: {phases:?}");
    };
}
