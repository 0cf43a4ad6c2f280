//! Many connections at once.

use std::thread;

use crate::{
    Check,
    client::{Client, fetch},
    target::{LARGE, Target, pattern},
};

pub const CHECKS: &[Check] = &[
    ("256 connections with many requests each are never reset", keep_alive),
    ("many connections of one request each are all answered", short_connections),
    ("large transfers at once are all whole", large_transfers),
];

const CONNECTIONS: usize = 256;
const CLIENT_THREADS: usize = 8;

fn keep_alive(target: &Target) {
    let paths = ["/letters.txt", "/size/1449", "/nothing", "/size/16385", "/dir/"];
    let whole = pattern(LARGE);
    thread::scope(|scope| {
        for _ in 0..CLIENT_THREADS {
            scope.spawn(|| {
                let mut clients: Vec<_> =
                    (0..CONNECTIONS / CLIENT_THREADS).map(|_| Client::connect(target)).collect();
                for path in paths.iter().cycle().take(40) {
                    for client in &mut clients {
                        client.get(path);
                    }
                    for client in &mut clients {
                        let response = client.response();
                        let expected = if *path == "/nothing" { 404 } else { 200 };
                        assert_eq!(response.status, expected, "{path}");
                        if let Some(size) = path.strip_prefix("/size/") {
                            assert!(response.body == whole[..size.parse().unwrap()]);
                        }
                    }
                }
            });
        }
    });
}

fn short_connections(target: &Target) {
    thread::scope(|scope| {
        for _ in 0..CLIENT_THREADS {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(fetch(target, "/letters.txt").body.len(), 26);
                }
            });
        }
    });
}

fn large_transfers(target: &Target) {
    let whole = pattern(LARGE);
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| assert!(fetch(target, "/large.bin").body == whole));
        }
    });
}
