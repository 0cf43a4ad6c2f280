//! What is fetched is what is on the disk, over both transports.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::{
    demo::{self, DemoConfig, Ending},
    lab::{Addressing, Lab, LabConfig, SERVER, Side, privileged},
};

use crate::{
    client::{Client, PATIENCE},
    process::{KERNEL, Process, Site, XDP},
};

#[test]
fn every_file_arrives_unchanged_over_both_transports_and_families() {
    if !privileged() {
        return;
    }
    let config = DemoConfig {
        dir: None,
        files: Some(400),
        transport: None,
        stay: false,
        pagewire: Some(env!("CARGO_BIN_EXE_pagewire").into()),
        lab: LabConfig::unique(),
    };
    assert_eq!(demo::run(&config).unwrap(), Ending::Equal);
}

#[test]
fn many_busy_connections_are_served_without_a_reset_and_none_is_leaked() {
    if privileged() {
        keep_connections_busy(Duration::from_secs(3));
    }
}

#[test]
#[ignore = "long: ./dev soak"]
fn many_connections_are_busy_for_long_without_a_reset_and_none_is_leaked() {
    if privileged() {
        keep_connections_busy(Duration::from_mins(1));
    }
}

fn keep_connections_busy(time: Duration) {
    const CONNECTIONS: usize = 256;
    const THREADS: usize = 4;
    let site = Site::new(&[("empty", 0), ("small", 128), ("page", 12_345), ("large", 300_000)]);
    for flags in [KERNEL, XDP] {
        let lab = Lab::up(&LabConfig::unique()).unwrap();
        let process = Process::start(&lab, &site, flags);
        let deadline = Instant::now() + time;
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (lab, site) = (&lab, &site);
                scope.spawn(move || {
                    let server = SERVER[thread % SERVER.len()];
                    let mut clients = Client::connect_many(lab, server, CONNECTIONS / THREADS);
                    while Instant::now() < deadline {
                        for (name, bytes) in &site.files {
                            for client in &mut clients {
                                client.send(&format!("/{name}")).unwrap();
                            }
                            for client in &mut clients {
                                assert!(client.receive().unwrap() == *bytes, "{name}: other bytes");
                            }
                        }
                    }
                });
            }
        });
        let counts = process.stop();
        assert_eq!(counts.of("connections"), CONNECTIONS as u64, "{}", counts.text());
        assert_eq!(counts.of("finished"), CONNECTIONS as u64, "{}", counts.text());
        assert_eq!(counts.of("2xx"), counts.of("requests"), "{}", counts.text());
    }
}

#[test]
fn an_address_that_no_kernel_owns_is_served_through_a_gateway() {
    if !privileged() {
        return;
    }
    let config = LabConfig { routed: true, kernel_address: Addressing::No, ..LabConfig::unique() };
    let lab = Lab::up(&config).unwrap();
    let site = Site::new(&[("page", 100_000)]);
    let _process = Process::start(&lab, &site, XDP);
    for server in SERVER {
        let mut client = Client::connect_many(&lab, server, 1).remove(0);
        assert!(client.get("/page").unwrap() == site.files["page"], "{server}: other bytes");
    }
}

#[test]
fn what_is_not_served_stays_with_the_kernel() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let site = Site::new(&[("page", 1000)]);
    let _process = Process::start(&lab, &site, XDP);
    // Another port of the served address: the kernel answers with a reset, at once.
    let start = Instant::now();
    let mut curl = lab.command(Side::Client, "curl");
    curl.args(["--silent", "--max-time", "60", "http://10.77.0.1:81/"]).stdin(Stdio::null());
    assert_eq!(curl.status().unwrap().code(), Some(7), "connection refused");
    assert!(start.elapsed() < PATIENCE);
}
