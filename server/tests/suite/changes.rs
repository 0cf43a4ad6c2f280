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
    target::{Target, pattern},
};

pub const CHECKS: &[Check] = &[
    ("a replaced file is noticed within a second", replacement),
    ("a running transfer finishes with the old bytes", replacement_under_way),
    ("a file cut short costs its own transfer only", truncation),
    ("files that come and go are noticed", coming_and_going),
];

/// How long a change may go unnoticed: a second, and the time to look on a loaded machine.
const NOTICED: Duration = Duration::from_millis(1_500);

/// More than socket buffers hold, so that a client that does not read stops the transfer.
const LONG: usize = 48 << 20;

/// Writes `bytes` to a new file and puts it in the place of `name`.
fn replace(target: &Target, name: &str, bytes: &[u8]) {
    let fresh = target.root.join(format!("{name}.fresh"));
    fs::File::create(&fresh).unwrap().write_all(bytes).unwrap();
    fs::rename(&fresh, target.root.join(name)).unwrap();
}

/// From the moment of a change: every core must notice it, while it is asked all the time.
fn wait_for(target: &Target, path: &str, is_there: impl Fn(u16, &[u8]) -> bool) {
    let start = Instant::now();
    let mut was_seen = false;
    while start.elapsed() < NOTICED + Duration::from_millis(300) {
        let asked = start.elapsed();
        let response = fetch(target, path);
        let is_seen = is_there(response.status, &response.body);
        was_seen |= is_seen;
        assert!(is_seen || asked < NOTICED, "{path} is still {} after {asked:?}", response.status);
        thread::sleep(Duration::from_millis(10));
    }
    assert!(was_seen);
}

fn replacement(target: &Target) {
    for size in [100, 50_000] {
        let name = format!("replaced-{size}");
        replace(target, &name, &vec![b'a'; size]);
        let path = format!("/{name}");
        let first = fetch(target, &path);
        assert_eq!(first.body, vec![b'a'; size]);
        // Asked for all the time, as a file in use is.
        for byte in [b'b', b'c'] {
            replace(target, &name, &vec![byte; size]);
            wait_for(target, &path, |status, body| status == 200 && body[0] == byte);
        }
        let last = fetch(target, &path);
        assert_eq!(last.body, vec![b'c'; size]);
        assert_ne!(last.field("etag"), first.field("etag"));
    }
}

fn replacement_under_way(target: &Target) {
    let old = pattern(LONG);
    replace(target, "running", &old);
    let mut client = Client::connect(target);
    client.get("/running");
    let front = client.bytes(100_000);
    let head = front.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    replace(target, "running", b"new");
    thread::sleep(NOTICED);
    assert_eq!(fetch(target, "/running").body, b"new");
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
    let (rest, took) = client.drain_to_end();
    assert!(rest.len() + 100_000 < LONG, "a response of bytes that are nowhere was completed");
    // What the kernel had queued by reference may have been zeroed in the last page that is left.
    assert!(rest.iter().all(|byte| matches!(byte, b'x' | 0)), "bytes of another file");
    assert!(took < Duration::from_secs(8), "{took:?}");
    // Until the cut is noticed, others that ask for the file may be cut off too.
    thread::sleep(NOTICED);
    assert_eq!(fetch(target, "/truncated").body.len(), 1_000_000);
    fs::remove_file(target.root.join("truncated")).unwrap();
}

fn coming_and_going(target: &Target) {
    assert_eq!(fetch(target, "/late").status, 404);
    replace(target, "late", b"here");
    wait_for(target, "/late", |status, _| status == 200);
    fs::remove_file(target.root.join("late")).unwrap();
    wait_for(target, "/late", |status, _| status == 404);
    fs::create_dir(target.root.join("late")).unwrap();
    wait_for(target, "/late", |status, _| status == 301);
    fs::remove_dir(target.root.join("late")).unwrap();
}
