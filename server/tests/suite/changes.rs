//! Files that change while they are served.

use std::{
    fs,
    io::Write,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Check,
    client::{Client, fetch},
    target::{PATIENCE, Target, pattern},
};

pub const CHECKS: &[Check] = &[
    ("a replaced file is noticed within a second", replacement),
    ("a running transfer finishes with the old bytes", replacement_under_way),
    ("a file cut short costs its own transfer only", truncation),
    ("files that come and go are noticed", coming_and_going),
];

/// How long a change may go unnoticed: a second, and the time to look. Later than that it is noticed only where
/// others had the machine meanwhile; so of several changes not all may be late.
const NOTICED: Duration = Duration::from_millis(1_500);

/// Answers on connections of their own in a row: each core is among those who gave them.
const IN_A_ROW: usize = 30;

/// More than socket buffers hold, so that a client that does not read stops the transfer.
const LONG: usize = 48 << 20;

/// Writes `bytes` to a new file and puts it in the place of `name`.
fn replace(target: &Target, name: &str, bytes: &[u8]) {
    let fresh = target.root.join(format!("{name}.fresh"));
    fs::File::create(&fresh).unwrap().write_all(bytes).unwrap();
    fs::rename(&fresh, target.root.join(name)).unwrap();
}

/// From the moment of a change asks all the time until every core has noticed it. Returns when it was asked for what
/// was answered as of before.
fn wait_for(target: &Target, path: &str, is_there: impl Fn(u16, &[u8]) -> bool) -> Duration {
    let start = Instant::now();
    let (mut last, mut in_a_row) = (Duration::ZERO, 0);
    while in_a_row < IN_A_ROW || start.elapsed() < NOTICED + Duration::from_millis(300) {
        let asked = start.elapsed();
        let response = fetch(target, path);
        in_a_row += 1;
        if !is_there(response.status, &response.body) {
            (last, in_a_row) = (asked, 0);
            assert!(asked < PATIENCE, "{path} is still {} after {asked:?}", response.status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    last
}

/// Of changes that took so long to be noticed, one was noticed in time.
fn assert_noticed(times: &[Duration]) {
    assert!(times.iter().any(|time| *time < NOTICED), "noticed after {times:?}");
}

fn replacement(target: &Target) {
    let mut times = Vec::new();
    for size in [100, 50_000] {
        let name = format!("replaced-{size}");
        replace(target, &name, &vec![b'a'; size]);
        let path = format!("/{name}");
        let first = fetch(target, &path);
        assert_eq!(first.body, vec![b'a'; size]);
        // Asked for all the time, as a file in use is.
        for byte in [b'b', b'c'] {
            replace(target, &name, &vec![byte; size]);
            times.push(wait_for(target, &path, |status, body| status == 200 && body[0] == byte));
        }
        let last = fetch(target, &path);
        assert_eq!(last.body, vec![b'c'; size]);
        assert_ne!(last.field("etag"), first.field("etag"));
    }
    assert_noticed(&times);
}

fn replacement_under_way(target: &Target) {
    let old = pattern(LONG);
    replace(target, "running", &old);
    let mut client = Client::connect(target);
    client.get("/running");
    let front = client.bytes(100_000);
    let head = front.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    replace(target, "running", b"new");
    wait_for(target, "/running", |_, body| body == b"new");
    let rest = client.bytes(LONG + head - front.len());
    assert!(front[head..] == old[..front.len() - head] && rest == old[front.len() - head..]);
    client.get("/running");
    assert_eq!(client.response().body, b"new");
    fs::remove_file(target.root.join("running")).unwrap();
}

fn truncation(target: &Target) {
    replace(target, "truncated", &vec![b'x'; LONG]);
    let mut client = Client::connect(target);
    client.get("/truncated");
    client.bytes(100_000);
    let file = fs::OpenOptions::new().write(true).open(target.root.join("truncated")).unwrap();
    file.set_len(1_000_000).unwrap();
    let rest = client.drain_to_end();
    assert!(rest.len() + 100_000 < LONG, "a response of bytes that are nowhere was completed");
    // What the kernel had queued by reference may have been zeroed in the last page that is left.
    assert!(rest.iter().all(|byte| matches!(byte, b'x' | 0)), "bytes of another file");
    // Until the cut is noticed, others that ask for the file may be cut off too.
    let start = Instant::now();
    while content(target, "/truncated").len() != 1_000_000 {
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(100));
    }
    fs::remove_file(target.root.join("truncated")).unwrap();
}

/// What follows the head of the answer, however it ends.
fn content(target: &Target, path: &str) -> Vec<u8> {
    let mut client = Client::connect(target);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
    let bytes = client.drain_to_end();
    let head = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
    bytes[head.unwrap_or(bytes.len())..].to_vec()
}

fn coming_and_going(target: &Target) {
    assert_eq!(fetch(target, "/late").status, 404);
    let mut times = Vec::new();
    replace(target, "late", b"here");
    times.push(wait_for(target, "/late", |status, _| status == 200));
    fs::remove_file(target.root.join("late")).unwrap();
    times.push(wait_for(target, "/late", |status, _| status == 404));
    fs::create_dir(target.root.join("late")).unwrap();
    times.push(wait_for(target, "/late", |status, _| status == 301));
    assert_noticed(&times);
    fs::remove_dir(target.root.join("late")).unwrap();
}
