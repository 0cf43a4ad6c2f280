//! Clients that mean no good, or have none to mean.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_linger;

use crate::{
    Check,
    client::{Client, fetch},
    target::{PATIENCE, SEND_TIMEOUT, Target},
};

pub const CHECKS: &[Check] = &[
    ("clients that reset in the middle leave nothing behind", resets),
    ("garbage in any amount is answered once", garbage),
    ("connections that say nothing cost nobody else", silent),
];

pub const DEADLINES: &[Check] = &[("a client that takes nothing is cut", takes_nothing)];

/// Makes the connection end with a reset when it is dropped.
fn reset_on_drop(client: &Client) {
    set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
}

fn resets(target: &Target) {
    for number in 0..60 {
        let mut client = Client::connect(target);
        reset_on_drop(&client);
        match number % 4 {
            0 => {}
            1 => drop(client.send("GET /large.bin HT")),
            2 => drop(client.get("/large.bin").bytes(1)),
            _ => drop(client.get("/large.bin").bytes(300_000)),
        }
    }
    assert_eq!(fetch(target, "/letters.txt").status, 200);
}

fn takes_nothing(target: &Target) {
    let mut client = Client::connect(target);
    client.get("/sparse.bin");
    thread::sleep(SEND_TIMEOUT * 3);
    let bytes = client.drain_to_end();
    assert!(bytes.len() < 64 << 20, "{} bytes were buffered somewhere", bytes.len());
    assert_eq!(fetch(target, "/letters.txt").status, 200);
}

fn garbage(target: &Target) {
    for seed in 0u64..40 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes: Vec<u8> = (0..2_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        bytes.extend_from_slice(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = Client::connect(target);
        client.send(bytes);
        assert_eq!(client.response().status, 400, "seed {seed}");
        client.expect_end();
    }
}

fn silent(target: &Target) {
    let silent: Vec<_> = (0..200).map(|_| Client::connect(target)).collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(fetch(target, "/letters.txt").status, 200);
    }
    // Who waited for one of them would wait for its timeout.
    assert!(start.elapsed() < PATIENCE);
    drop(silent);
}
