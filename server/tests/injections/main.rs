//! Files that are cut, rewritten, replaced, deleted or locked away at any moment of a transfer.
//!
//! Each injection is made from a seed: a fresh file, one or two clients that fetch it, what is done to
//! it and when. A complete response must be one version of the file, byte for byte; an incomplete one
//! is borne only where the bytes in place were changed. Meanwhile other connections fetch other files
//! and must not notice. On the kernel's TCP what it has queued by reference when the change comes is
//! beyond recall (see [`judge`]).
//!
//! A failure names its seed: `INJECTION_SEED=… INJECTIONS=1` runs that injection alone. `INJECTIONS=…` makes
//! so many, in place of a thousand in CI and a hundred thousand in `./dev soak`.

mod bystanders;
mod injection;
mod judge;
mod site;
mod transfer;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use injection::{Injection, Outcome};
use judge::Transport;
use pagewire_stack::FileObject;
use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, Side, privileged};
use site::{PATIENCE, Site};

/// Injections of a run in CI.
const FEW: u64 = 1_000;
/// Injections of a soak.
const MANY: u64 = 100_000;
/// Threads that inject in CI, and in a soak: some of them always wait to see whether a change is noticed.
const INJECTORS: u64 = 6;
const SOAK_INJECTORS: u64 = 24;

/// Each run has the machine's cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Makes `count` injections on `site`, and says what came of them.
fn inject(site: &Site, transport: Transport, count: u64) {
    let first = number_from("INJECTION_SEED").unwrap_or(1);
    let count = number_from("INJECTIONS").unwrap_or(count);
    let injectors = if count > FEW { SOAK_INJECTORS } else { INJECTORS };
    let next = AtomicU64::new(first);
    let total = Mutex::new(Outcome::default());
    let start = Instant::now();
    bystanders::beside(site, || {
        thread::scope(|scope| {
            for _ in 0..injectors {
                scope.spawn(|| {
                    let mut outcome = Outcome::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + count {
                            break;
                        }
                        outcome.add(Injection::from(seed).run(site, transport));
                    }
                    total.lock().unwrap().add(outcome);
                });
            }
        });
    });
    let total = total.into_inner().unwrap();
    eprintln!("{transport:?}: {count} injections in {:.1?}: {total}", start.elapsed());
    assert_eq!(total.injections, count);
    if count >= FEW {
        total.assert_all_kinds();
    }
}

fn kernel(count: u64) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let site =
        thread::spawn(|| Site::start(&["--listen", "127.0.0.1:0"])).join().expect("it starts");
    inject(&site, Transport::Kernel, count);
    site.finish();
    assert_nothing_is_left();
}

fn user_stack(count: u64) {
    if !privileged() {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let flags = ["--require-xdp", "--interface", INTERFACE, "--address", "10.77.0.1/24"];
    let site = lab.within(Side::Server, || Site::start(&flags)).unwrap();
    lab.within(Side::Client, || inject(&site, Transport::User, count)).unwrap();
    site.finish();
    assert_nothing_is_left();
}

/// What was mapped is taken down by a thread of its own.
fn assert_nothing_is_left() {
    let deadline = Instant::now() + PATIENCE;
    while FileObject::live_mappings() > 0 {
        assert!(Instant::now() < deadline, "{} mappings are left", FileObject::live_mappings());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_kernel_transport_bears_a_thousand_changes() {
    kernel(FEW);
}

#[test]
fn the_user_stack_bears_a_thousand_changes() {
    user_stack(FEW);
}

#[test]
#[ignore = "long"]
fn the_kernel_transport_bears_a_hundred_thousand_changes() {
    kernel(MANY);
}

#[test]
#[ignore = "long"]
fn the_user_stack_bears_a_hundred_thousand_changes() {
    user_stack(MANY);
}

#[test]
fn the_judge_condemns_what_it_should() {
    judge::self_test();
}
