//! Roots far larger than what may be kept open: 100,000 files, and 100 GB in a few. Every file is served
//! right, while memory, mappings and descriptors keep to their bounds.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::FileExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pagewire::{config::Config, serve::Server};
use pagewire_driver::Random;
use tempfile::TempDir;

/// Files of the first root, in CI and in a soak, and how many stand in one directory.
const FEW_FILES: usize = 12_000;
const MANY_FILES: usize = 100_000;
const FILES_EACH: usize = 1_000;
/// Just too large to be held in memory, so that each costs a mapping and a descriptor.
const FILE_BYTES: u64 = 8_200;

/// Files of the second root, which together have 100 GB.
const LARGE_FILES: usize = 25;
const LARGE_BYTES: u64 = 4_000_000_000;
/// Ranges asked for of it.
const RANGES: usize = 300;
const RANGE_BYTES: u64 = 60_000;

/// What each of the two cores may keep open.
const ENTRIES: usize = 1_500;
const CORES: usize = 2;
/// Clients, which each have one file under way at most.
const CLIENTS: usize = 32;

/// The bounds are the process's: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What this process uses.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    mappings: usize,
    descriptors: usize,
    /// Anonymous memory, kB.
    memory_kb: u64,
    /// Page tables, kB.
    tables_kb: u64,
}

impl Use {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Self {
            mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            memory_kb: kilobytes("RssAnon:"),
            tables_kb: kilobytes("VmPTE:"),
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            mappings: self.mappings.max(other.mappings),
            descriptors: self.descriptors.max(other.descriptors),
            memory_kb: self.memory_kb.max(other.memory_kb),
            tables_kb: self.tables_kb.max(other.tables_kb),
        }
    }

    /// Beyond what there was before: the caches, what is looked at and sent right now, and what is
    /// being taken down.
    fn assert_bounded(self, before: Self) {
        eprintln!("before {before:?}, most {self:?}");
        let open = CORES * ENTRIES + 500;
        assert!(self.mappings <= before.mappings + open, "mappings");
        assert!(self.descriptors <= before.descriptors + open, "descriptors");
        assert!(self.memory_kb <= before.memory_kb + (100 << 10), "memory");
        assert!(self.tables_kb <= before.tables_kb + (64 << 10), "page tables");
    }
}

/// Serves `root` to `work`, and returns the most that was used meanwhile.
fn served(root: &TempDir, work: impl FnOnce(SocketAddr)) -> (Use, Use) {
    let entries = format!("--cache-entries={ENTRIES}");
    let path = root.path().to_str().unwrap();
    let words = ["pagewire", "serve", path, "--listen=127.0.0.1:0", "--cores=0-1", &entries];
    let server = Server::start(&Config::of_command_line(words).unwrap()).unwrap();
    let before = Use::now();
    let is_over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = before;
            while !is_over.load(Ordering::Relaxed) {
                most = most.most(Use::now());
                thread::sleep(Duration::from_millis(100));
            }
            most
        });
        work(server.addresses()[0]);
        is_over.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    server.halt();
    for shard in server.finish().unwrap().shards {
        eprintln!("core {}: {}; {}", shard.core, shard.counters, shard.transport);
    }
    (before, most)
}

/// A connection that asks for one thing after the other.
struct Client(TcpStream);

impl Client {
    fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self(stream)
    }

    /// Asks for `path`, with more header fields, and returns status and body.
    fn get(&mut self, path: &str, fields: &str) -> (u16, Vec<u8>) {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").unwrap();
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = std::str::from_utf8(&bytes[..at]).unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                let end = at + 4 + length.unwrap().parse::<usize>().unwrap();
                if bytes.len() >= end {
                    assert_eq!(bytes.len(), end, "more than was asked for");
                    return (head[9..12].parse().unwrap(), bytes.split_off(at + 4));
                }
            }
            let read = match self.0.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(read > 0, "cut off at {path}");
            bytes.extend_from_slice(&chunk[..read]);
        }
    }
}

#[test]
fn far_more_files_than_may_be_open_are_served_within_bounds() {
    serve_files(FEW_FILES);
}

#[test]
#[ignore = "long"]
fn a_hundred_thousand_files_are_served_within_bounds() {
    serve_files(MANY_FILES);
}

fn serve_files(files: usize) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().unwrap();
    for directory in 0..files / FILES_EACH {
        fs::create_dir(root.path().join(directory.to_string())).unwrap();
        for number in 0..FILES_EACH {
            let path = root.path().join(format!("{directory}/{number}"));
            let file = File::create(path).unwrap();
            file.set_len(FILE_BYTES).unwrap();
        }
        // One in a directory has bytes of its own, at its end: without them it would be all holes.
        let file = File::options().write(true).open(root.path().join(format!("{directory}/7")));
        file.unwrap().write_all_at(&[directory as u8; 4], FILE_BYTES - 4).unwrap();
    }
    let (before, most) = served(&root, |address| {
        thread::scope(|scope| {
            for first in 0..CLIENTS {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    for file in (first..files).step_by(CLIENTS) {
                        let (directory, number) = (file / FILES_EACH, file % FILES_EACH);
                        let (status, body) = client.get(&format!("/{directory}/{number}"), "");
                        assert_eq!((status, body.len() as u64), (200, FILE_BYTES), "{file}");
                        let last = if number == 7 { directory as u8 } else { 0 };
                        assert_eq!(body.last(), Some(&last), "{file}");
                    }
                });
            }
        });
    });
    most.assert_bounded(before);
    assert!(most.mappings > before.mappings + ENTRIES, "hardly anything was mapped");
}

#[test]
fn a_hundred_gigabytes_are_served_within_bounds() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().unwrap();
    let mark = |file: usize, at: u64| [file as u8, (at >> 20) as u8, (at >> 28) as u8, 0xaa];
    let place = |random: &mut Random| {
        let file = random.below(LARGE_FILES as u64) as usize;
        (file, random.below(LARGE_BYTES - RANGE_BYTES))
    };
    let files: Vec<_> = (0..LARGE_FILES)
        .map(|file| {
            let file = File::create(root.path().join(file.to_string())).unwrap();
            file.set_len(LARGE_BYTES).unwrap();
            file
        })
        .collect();
    let mut random = Random::new(5);
    for _ in 0..RANGES {
        let (file, at) = place(&mut random);
        files[file].write_all_at(&mark(file, at), at).unwrap();
    }
    let (before, most) = served(&root, |address| {
        let mut random = Random::new(5);
        let mut client = Client::connect(address);
        for _ in 0..RANGES {
            let (file, at) = place(&mut random);
            let range = format!("Range: bytes={at}-{}\r\n", at + RANGE_BYTES - 1);
            let (status, body) = client.get(&format!("/{file}"), &range);
            assert_eq!((status, body.len() as u64), (206, RANGE_BYTES));
            assert!(body.starts_with(&mark(file, at)), "{file} at {at}");
        }
        let (status, body) = client.get("/0", &format!("Range: bytes={}-\r\n", LARGE_BYTES - 9));
        assert_eq!((status, body.len()), (206, 9));
    });
    most.assert_bounded(before);
}
