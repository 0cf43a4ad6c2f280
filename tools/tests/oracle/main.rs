//! Linux's sender as the oracle for ours: both meet the same peer, which acknowledges what a script says,
//! and what they send and send again must be the same.
//!
//! Linux's is a kernel socket in a lab, on real time, and the peer stands on the other side by AF_XDP. Ours
//! is a stack on a memory link, on virtual time. Scripts acknowledge half a round trip before anything
//! could run out, and compare which segments are sent and in which order, not when.

mod cases;
mod linux;
mod ours;
mod peer;
mod session;

use std::{
    fmt::Write as _,
    panic::{self, AssertUnwindSafe},
};

use pagewire_tools::lab::{Lab, LabConfig, Side, privileged};

use crate::{
    cases::{CASES, Case},
    linux::Linux,
    ours::Ours,
    session::{Phase, Session},
};

/// How often a case is tried: a machine that has other things to do may hold up the peer until the kernel's
/// timers run out.
const TRIES: usize = 8;

fn differences(case: &Case, linux: &[Phase], ours: &[Phase]) -> String {
    let mut text = String::new();
    for (number, (theirs, ours)) in linux.iter().zip(ours).enumerate() {
        let same = theirs.again == ours.again
            && theirs.fresh.abs_diff(ours.fresh) <= case.tolerance
            && (case.tolerance > 0 || theirs.order == ours.order);
        if !same {
            let _ =
                writeln!(text, "{}, phase {number}: Linux {theirs:?}, ours {ours:?}", case.name);
        }
    }
    text
}

#[test]
fn what_is_sent_and_sent_again_is_what_linux_sends() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(1), ..LabConfig::unique() }).unwrap();
    linux::prepare(&lab);
    let different: String = lab
        .within(Side::Client, || {
            let mut linux = Linux::new(&lab);
            let differs = |case: &Case| {
                let mut session = Session::open(Ours::new());
                let ours = (case.ours)(&mut session);
                println!("{}: ours {ours:?}", case.name);
                (case.check)(&ours);
                let mut last = String::new();
                for _ in 0..TRIES {
                    let attempt = || {
                        let mut session = Session::open(linux.connection());
                        let theirs = (case.linux)(&mut session);
                        println!("{}: Linux {theirs:?}", case.name);
                        let differences = differences(case, &theirs, &ours);
                        if differences.is_empty() {
                            (case.check)(&theirs);
                        }
                        differences
                    };
                    // A peer that is held up may find what no script expects.
                    last = panic::catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| {
                        format!("{}: Linux has failed, see above\n", case.name)
                    });
                    if last.is_empty() {
                        break;
                    }
                }
                last
            };
            CASES.iter().map(differs).collect()
        })
        .unwrap();
    assert!(different.is_empty(), "{different}");
}
