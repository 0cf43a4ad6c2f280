//! The access log: what stands in it, and that neither a full disk nor a hung reader stops serving.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use pagewire::control::observer::Snapshot;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::fixture::{PATIENCE, Running};

/// A place for a log that lives as long as the test.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }
}

fn start(log: &Path, flags: &[&str]) -> Running {
    let log = format!("--access-log={}", log.display());
    Running::start(&[&["--cores=0", log.as_str()], flags].concat())
}

/// The lines, once there are as many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(Instant::now() < deadline, "{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn total(snapshot: &Snapshot, name: &str) -> u64 {
    let of_shards = snapshot.shards.iter().flat_map(|shard| &shard.figures);
    let all = of_shards.chain(&snapshot.whole);
    all.filter(|(figure, _)| figure.name == name).map(|(_, value)| value).sum()
}

/// Asks for `count` small files on one connection, and reads all answers.
fn load(running: &Running, count: usize) {
    let mut client = TcpStream::connect(running.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /small.txt HTTP/1.1\r\nHost: x\r\nUser-Agent: loader of some length\r\n\r\n";
    let mut answers = client.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        answers.read_to_end(&mut text).unwrap();
        memchr::memmem::find_iter(&text, b"HTTP/1.1 200 OK").count()
    });
    for _ in 0..count / 100 {
        client.write_all(request.repeat(100).as_bytes()).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap(), count);
}

#[test]
fn combined_lines_tell_what_was_asked_and_answered() {
    let place = Place::new();
    let running = start(&place.path(), &[]);
    running.fetch();
    let mut client = TcpStream::connect(running.address()).unwrap();
    client.write_all(b"HEAD /large.bin HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\n\r\n").unwrap();
    client.write_all(b"GET /no\"where HTTP/1.1\r\nHost: x\r\nUser-Agent: a b\r\n\r\n").unwrap();
    let mut client = TcpStream::connect(running.address()).unwrap();
    client.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").unwrap();
    let mut lines = lines(&place.path(), 4);
    lines.sort_by_key(|line| line.split('"').nth(1).unwrap().to_owned());
    let ends = [
        r#""GET /no\x22where HTTP/1.1" 404 "#,
        r#""GET /small.txt HTTP/1.1" 200 6 "-" "-""#,
        r#""HEAD /large.bin HTTP/1.1" 200 0 "http://r/" "-""#,
        r#""\x16\x03\x01 nonsense" 400 "#,
    ];
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
        assert!(line.contains(&format!(" +0000] {end}")), "{line} has no {end}");
    }
    assert!(lines[0].ends_with(r#" "-" "a b""#), "{}", lines[0]);
}

#[test]
fn json_lines_tell_how_it_ended() {
    let place = Place::new();
    let running = start(&place.path(), &["--access-log-format=json"]);
    running.fetch();
    lines(&place.path(), 1);
    let mut client = running.ask_for("/large.bin");
    client.read_exact(&mut [0; 1_000]).unwrap();
    // With bytes unread, the end is a reset.
    drop(client);
    let lines = lines(&place.path(), 2);
    let values: Vec<Value> = lines.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(values[0]["request"], "GET /small.txt HTTP/1.1");
    assert_eq!((&values[0]["status"], &values[0]["bytes"]), (&200.into(), &6.into()));
    assert_eq!((&values[0]["ending"], &values[0]["host"]), (&"sent".into(), &"x".into()));
    assert!(values[0]["seconds"].as_f64().unwrap() < PATIENCE.as_secs_f64());
    assert_eq!(
        (&values[1]["ending"], &values[1]["bytes"]),
        (&"reset by peer".into(), &Value::Null)
    );
}

#[test]
fn a_renamed_file_is_left_and_no_line_is_lost() {
    let place = Place::new();
    let running = start(&place.path(), &[]);
    let old = place.directory.path().join("old.log");
    load(&running, 500);
    lines(&place.path(), 500);
    fs::rename(place.path(), &old).unwrap();
    load(&running, 100);
    lines(&old, 600);
    running.server.reopen_logs();
    load(&running, 300);
    assert_eq!(lines(&place.path(), 300).len(), 300);
    assert_eq!(lines(&old, 600).len(), 600);
}

#[test]
fn what_is_under_way_is_written_at_the_end() {
    let place = Place::new();
    let running = start(&place.path(), &["--access-log-sample=10"]);
    load(&running, 1_000);
    running.server.drain();
    assert!(running.server.wait_ended(Instant::now() + PATIENCE));
    drop(running);
    assert_eq!(fs::read_to_string(place.path()).unwrap().lines().count(), 100);
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let running = start(Path::new("/dev/full"), &[]);
    let observer = running.server.observer();
    load(&running, 10_000);
    let deadline = Instant::now() + PATIENCE;
    let lost = || {
        let seen = observer.snapshot();
        total(&seen, "access_log_write_failures") + total(&seen, "access_log_lines_lost")
    };
    let lost = loop {
        match lost() {
            lost @ 10_000.. => break lost,
            lost => assert!(Instant::now() < deadline, "{lost}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(lost, 10_000);
    running.fetch();
}

#[test]
fn a_reader_that_hangs_or_leaves_costs_lines_and_nothing_else() {
    let place = Place::new();
    mknodat(CWD, place.path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut opening = File::options();
    // Both ways, so that it can be opened before there is a writer.
    let mut reader = opening.read(true).write(true).open(place.path()).unwrap();
    let running = start(&place.path(), &[]);
    let observer = running.server.observer();
    let start = Instant::now();
    load(&running, 20_000);
    assert!(start.elapsed() < PATIENCE);
    let deadline = Instant::now() + PATIENCE;
    let lost = |snapshot: &Snapshot| {
        total(snapshot, "access_log_write_failures") + total(snapshot, "access_log_lines_lost")
    };
    while lost(&observer.snapshot()) == 0 {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    // It goes on as soon as somebody reads: whole lines, after what was torn.
    let reading = thread::spawn(move || {
        let (mut text, mut bytes) = (Vec::new(), [0; 4_096]);
        let is_last = |text: &[u8]| memchr::memmem::find(text, b"\"GET /last HTTP/1.1\" 404 ");
        while is_last(&text).is_none() || !text.ends_with(b"\n") {
            let len = reader.read(&mut bytes).unwrap();
            text.extend_from_slice(&bytes[..len]);
            let keep = text.len().saturating_sub(8_192);
            text.drain(..keep);
        }
        reader
    });
    while !reading.is_finished() {
        assert!(Instant::now() < deadline, "nothing is written any more");
        let mut client = running.ask_for("/last");
        client.read_exact(&mut [0; 12]).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    drop(reading.join().unwrap());
    load(&running, 1_000);
    running.fetch();
}
