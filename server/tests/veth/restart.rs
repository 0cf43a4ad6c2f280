//! A killed server leaves the interface to the kernel, and the next one starts at once.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{Lab, LabConfig, SERVER, Side, privileged};

use crate::{
    client::{Client, PATIENCE},
    process::{Process, Site, XDP},
};

/// Fetches in a loop, on a new connection after each failure, and counts what arrived whole.
fn load(lab: &Lab, site: &Site, stop: &AtomicBool, good: &AtomicU64) {
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut client) = Client::connect(SERVER[0], Duration::from_millis(500)) else {
                // Refused, or nobody there: try again soon.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            while !stop.load(Ordering::Relaxed) {
                let Ok(bytes) = client.get("/page") else { break };
                assert!(bytes == site.files["page"], "other bytes");
                good.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    lab.within(Side::Client, work).unwrap();
}

/// The server's kernel takes connections on the same address.
fn kernel_answers(lab: &Lab) {
    let address = SocketAddr::new(SERVER[0], 9000);
    let listener = lab.within(Side::Server, || TcpListener::bind(address)).unwrap().unwrap();
    let connect = || TcpStream::connect_timeout(&address, PATIENCE);
    lab.within(Side::Client, connect).unwrap().expect("the interface works for the kernel");
    drop(listener);
}

#[test]
fn kills_under_load_leave_the_interface_usable_and_the_next_start_works_at_once() {
    if privileged() {
        kill_under_load(3);
    }
}

#[test]
#[ignore = "long: ./dev soak"]
fn many_kills_under_load_leave_the_interface_usable() {
    if privileged() {
        kill_under_load(30);
    }
}

fn kill_under_load(kills: usize) {
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = Site::new(&[("page", 50_000)]);
    let (stop, good) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| load(&lab, &site, &stop, &good));
        }
        // Also ends the load if an assertion below fails.
        let _end = Defer(&stop);
        for kill in 0..=kills {
            let process = Process::start(&lab, &site, XDP);
            let before = good.load(Ordering::Relaxed);
            let deadline = Instant::now() + PATIENCE;
            while good.load(Ordering::Relaxed) < before + 50 {
                assert!(
                    Instant::now() < deadline,
                    "start {kill} serves too little: {}",
                    process.said()
                );
                thread::sleep(Duration::from_millis(10));
            }
            kernel_answers(&lab);
            process.kill();
            kernel_answers(&lab);
        }
    });
}

struct Defer<'a>(&'a AtomicBool);

impl Drop for Defer<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
