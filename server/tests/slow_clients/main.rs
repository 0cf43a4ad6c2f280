//! Slow clients by the hundred (slowhttptest) beside ordinary ones, on both transports: the ordinary ones
//! get at least 95 % of what they ask for, each within a second. That is a time, and others may have the machine
//! for a while: what fails is tried again, and has failed if it does so each time.
//!
//! The server may hold far fewer connections than the attack opens, so room has to be made all the time.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pagewire::{config::Config, counters::Counter, serve::Server};
use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, Side, privileged};

/// Connections that the server may hold on each of its two cores.
const ROOM: &str = "--connections=200";
/// Connections of an attack.
const ATTACK: u64 = 1_200;
/// Connections that an attack opens in a second.
const ATTACK_RATE: u64 = 200;
/// How long an attack lasts.
const ATTACK_TIME: Duration = Duration::from_secs(8);

/// How often it is tried whether ordinary clients are served in time.
const TRIES: usize = 3;

/// Ordinary clients.
const CLIENTS: usize = 8;
/// How often each of them asks for a file.
const INTERVAL: Duration = Duration::from_millis(25);
/// After how many requests it opens another connection.
const REQUESTS_PER_CONNECTION: u64 = 8;
/// How long a file may take.
const IN_TIME: Duration = Duration::from_secs(1);
/// Bytes of the file.
const SIZE: usize = 20_000;
/// Bytes of the file that slow readers ask for.
const LARGE: u64 = 64 << 20;

/// The attacks: what they are called, and what makes slowhttptest do them.
const ATTACKS: [(&str, &[&str]); 3] = [
    ("slow heads", &["-H", "-i", "1", "-t", "GET", "-x", "24", "-u"]),
    ("slow content", &["-B", "-i", "1", "-s", "8000", "-t", "POST", "-x", "8", "-u"]),
    ("slow reading", &["-X", "-n", "2", "-z", "64", "-w", "512", "-y", "1024", "-u"]),
];

/// Each run has the machine's cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What ordinary clients asked for, and got in time.
#[derive(Debug)]
struct Goodput {
    asked: u64,
    got: u64,
}

impl Goodput {
    fn is_good(&self, what: &str) -> bool {
        eprintln!("{what}: {} of {} in time", self.got, self.asked);
        assert!(self.asked > 500, "{what}: hardly anything was asked");
        self.got * 100 >= self.asked * 95
    }
}

/// Fails if none of several tries is good.
fn patiently(what: &str, mut is_good: impl FnMut() -> bool) {
    assert!((0..TRIES).any(|_| is_good()), "{what}: not good in any of {TRIES} tries");
}

/// Lets ordinary clients do their work for so long.
fn ordinary_work(address: SocketAddr, time: Duration) -> Goodput {
    let (asked, got) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + time;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut stream = None;
                let mut due = Instant::now();
                let mut number = 0;
                while due < end {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    if number % REQUESTS_PER_CONNECTION == 0 {
                        stream = None;
                    }
                    number += 1;
                    asked.fetch_add(1, Ordering::Relaxed);
                    stream = fetch(stream.take(), address);
                    // One that comes late is late by when it was due.
                    let in_time = stream.is_some() && due.elapsed() < IN_TIME;
                    got.fetch_add(u64::from(in_time), Ordering::Relaxed);
                    due += INTERVAL;
                }
            });
        }
    });
    Goodput { asked: asked.into_inner(), got: got.into_inner() }
}

/// Fetches the file, on a connection of its own if there is none. Returns the connection if all went
/// well.
fn fetch(stream: Option<TcpStream>, address: SocketAddr) -> Option<TcpStream> {
    let mut stream = match stream {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&address, Duration::from_secs(3)).ok()?,
    };
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    stream.write_all(b"GET /ordinary HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| bytes.len() >= head + 4 + SIZE) {
            assert!(bytes.starts_with(b"HTTP/1.1 200 "));
            return Some(stream);
        }
        match stream.read(&mut chunk) {
            Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
}

fn attack(lab: &Lab, flags: &[&str]) -> Child {
    let mut command: Command = lab.command(Side::Client, "slowhttptest");
    command
        .args(["-c", &ATTACK.to_string(), "-r", &ATTACK_RATE.to_string()])
        .args(["-l", &ATTACK_TIME.as_secs().to_string(), "-p", "2"])
        .args(flags)
        .arg("http://10.77.0.1:80/large");
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().expect("slowhttptest is installed (apt-get install slowhttptest)")
}

fn bears_slow_clients(flags: &[&str]) {
    if !privileged() {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ordinary"), vec![b'x'; SIZE]).unwrap();
    let large = fs::File::create(directory.path().join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let lab = Lab::up(&LabConfig { queues: Some(2), ..LabConfig::unique() }).unwrap();
    let server = lab.within(Side::Server, || {
        let root = directory.path().to_str().unwrap();
        let words = ["pagewire", "serve", root, "--cores=0-1", ROOM];
        let config = Config::of_command_line(words.iter().chain(flags).copied()).unwrap();
        Server::start(&config).unwrap()
    });
    let server = server.unwrap();
    let address = "10.77.0.1:80".parse().unwrap();
    let count = |counter| server.counters().map(|shard| shard.get(counter)).sum::<u64>();
    let work = |time| lab.within(Side::Client, || ordinary_work(address, time)).unwrap();
    let quiet = "without an attack";
    patiently(quiet, || work(Duration::from_secs(3)).is_good(quiet));
    for (name, flags) in ATTACKS {
        patiently(name, || {
            let opened = count(Counter::Opened);
            let mut attackers = attack(&lab, flags);
            let goodput = work(ATTACK_TIME);
            attackers.wait().unwrap();
            let opened = count(Counter::Opened) - opened;
            let timeouts = [Counter::HeadTimeouts, Counter::BodyTimeouts, Counter::SendTimeouts];
            let (relieved, cut) = (count(Counter::Relieved), timeouts.map(count));
            eprintln!("{name}: {opened} opened, {relieved} relieved, timeouts {cut:?}");
            // An attack, beside the ordinary clients' own connections.
            goodput.is_good(name) && opened > ATTACK / 2
        });
    }
    assert!(count(Counter::Relieved) > 0, "room was never scarce");
    server.drain();
    assert!(server.wait_ended(Instant::now() + Duration::from_secs(30)));
    for shard in server.finish().unwrap().shards {
        eprintln!("core {}: {}; {}", shard.core, shard.counters, shard.transport);
    }
}

#[test]
fn the_kernel_transport_bears_slow_clients() {
    bears_slow_clients(&["--transport=kernel", "--listen=10.77.0.1:80"]);
}

#[test]
fn the_user_stack_bears_slow_clients() {
    let interface = format!("--interface={INTERFACE}");
    bears_slow_clients(&["--transport=xdp", "--require-xdp", &interface, "--address=10.77.0.1/24"]);
}
