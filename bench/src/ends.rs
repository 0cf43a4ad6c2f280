//! The two ends of a lab's wire, each with cores of its own that also do its kernel's receive work.

use std::io;

use core_affinity::CoreId;
use pagewire_driver::{Interface, MacAddress};
use pagewire_tools::lab::{INTERFACE, Lab, Side};

use crate::{cpu, error::BenchError};

/// One end.
#[derive(Debug)]
pub struct End {
    /// Its namespace.
    pub side: Side,
    /// Its interface, whose name no other of this machine has.
    pub interface: String,
    /// Its address on the link.
    pub mac: MacAddress,
    /// The cores that work for it.
    pub cores: Vec<CoreId>,
}

impl End {
    /// Gives the interface of one side a name of its own: the kernel's threads are known by that alone,
    /// in all namespaces.
    pub fn new(
        lab: &Lab,
        side: Side,
        letter: &str,
        cores: Vec<CoreId>,
    ) -> Result<Self, BenchError> {
        let interface = format!("pw{letter}{}", std::process::id());
        for words in [
            ["link", "set", INTERFACE, "down"].as_slice(),
            &["link", "set", INTERFACE, "name", &interface],
            &["link", "set", &interface, "up"],
        ] {
            let error = BenchError::system("rename an end of the pair");
            let status = lab.command(side, "ip").args(words).status().map_err(&error)?;
            if !status.success() {
                return Err(error(io::Error::other(format!("ip {}: {status}", words.join(" ")))));
            }
        }
        let mac = lab.within(side, || Interface::find(&interface))??.mac;
        Ok(Self { side, interface, mac, cores })
    }

    /// Puts the kernel's receive work where it belongs. To be called again after each attachment, which
    /// makes its threads anew. Returns the threads.
    pub fn place(&self) -> Result<Vec<i32>, BenchError> {
        let place = || {
            let threads = cpu::receive_threads(&self.interface)?;
            cpu::pin(&threads, &self.cores)?;
            Ok(threads)
        };
        place().map_err(BenchError::system("pin the kernel's receive threads"))
    }
}

/// For tests: the right to load this machine's cores, one at a time.
#[cfg(test)]
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static CORES: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // A test that failed leaves nothing in it.
    CORES.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// For tests of what is measured, which somebody who has the machine for a while spoils: tries it again, and fails
/// if each of three tries does. A try says what was wrong.
#[cfg(test)]
pub fn patiently(mut attempt: impl FnMut() -> Result<(), String>) {
    let spoilt: Vec<_> = (0..3).map_while(|_| attempt().err()).collect();
    assert!(spoilt.len() < 3, "{spoilt:#?}");
}

/// What a try comes to: whether all of this is so of `what`.
#[cfg(test)]
pub fn holds(what: &dyn std::fmt::Debug, conditions: &[bool]) -> Result<(), String> {
    let all = conditions.iter().all(|&it| it);
    if all { Ok(()) } else { Err(format!("{conditions:?} of {what:?}")) }
}
