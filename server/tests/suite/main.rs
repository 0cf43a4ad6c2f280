//! The server suite: raw requests and behaviours over real sockets, on both transports.
//!
//! The same checks run against the kernel's TCP on loopback and against the user-level stack in a lab,
//! with clients that are plain kernel sockets. After them no connection may be left, and none may have
//! been reset that was not meant to be.

mod behaviour;
mod cases;
mod changes;
mod client;
mod hostile;
mod load;
mod target;

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError},
};

use pagewire_tools::lab::{Addressing, INTERFACE, Lab, LabConfig, Side, privileged};
use target::{Running, Target};

/// A check: its name and what it does.
type Check = (&'static str, fn(&Target));

fn checks() -> impl Iterator<Item = Check> {
    [cases::CHECKS, behaviour::CHECKS, changes::CHECKS, hostile::CHECKS, load::CHECKS]
        .into_iter()
        .flatten()
        .copied()
}

/// Those that are about times, for a server in a hurry.
fn deadlines() -> impl Iterator<Item = Check> {
    [behaviour::DEADLINES, hostile::DEADLINES].into_iter().flatten().copied()
}

/// How often a check of times is tried: others may have the machine for a while. It fails if it does so each time.
const TRIES: usize = 3;

/// Runs all checks, so that one that fails does not hide another, and names those that failed.
fn run(running: &Running, target: &Target) -> Vec<&'static str> {
    let mut failed: Vec<_> = checks().filter(|check| !passes(check, target)).collect();
    running.hurry();
    failed.extend(deadlines().filter(|check| !(0..TRIES).any(|_| passes(check, target))));
    failed.into_iter().map(|(name, _)| name).collect()
}

/// Whether a check passes, if it is to be run.
fn passes((name, check): &Check, target: &Target) -> bool {
    // For whoever works on one of them: parts of names, with commas between.
    let only = std::env::var("SUITE_ONLY").unwrap_or_default();
    if !only.split(',').any(|part| name.contains(part)) {
        return true;
    }
    let start = std::time::Instant::now();
    let result = panic::catch_unwind(AssertUnwindSafe(|| check(target)));
    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
    eprintln!("{verdict} {name} ({} ms)", start.elapsed().as_millis());
    result.is_ok()
}

/// Each run has a machine's worth of connections: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn kernel(flags: &[&str]) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let running = Running::start(flags);
    let failed = run(&running, &running.target(0));
    running.finish(&failed);
}

fn xdp(config: &LabConfig, family: usize) {
    if !privileged() {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::up(config).unwrap();
    let flags = ["--require-xdp", "--interface", INTERFACE];
    let addresses = ["--address", "10.77.0.1/24", "--address", "fd77::1/64"];
    let start = || Running::start(&[flags.as_slice(), &addresses].concat());
    let running = lab.within(Side::Server, start).unwrap();
    let failed = lab.within(Side::Client, || run(&running, &running.target(family))).unwrap();
    running.finish(&failed);
}

#[test]
fn the_kernel_transport_passes() {
    kernel(&["--listen", "127.0.0.1:0"]);
}

#[test]
fn the_kernel_transport_passes_over_ipv6() {
    kernel(&["--listen", "[::1]:0", "--cores", "0"]);
}

#[test]
fn the_user_stack_passes_on_addresses_of_its_own() {
    xdp(&LabConfig { kernel_address: Addressing::No, ..LabConfig::unique() }, 0);
}

#[test]
fn the_user_stack_passes_on_addresses_of_the_kernel_over_ipv6() {
    xdp(&LabConfig { queues: Some(2), ..LabConfig::unique() }, 1);
}
