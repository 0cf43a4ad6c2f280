//! What the service manager is told, by the protocol of `sd_notify(3)`.

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::process::{PATIENCE, Served};

/// The watchdog's time, and a quarter of it, after which the program shows that it is alive. A shard must be away
/// for two quarters before it counts as stuck: longer than others keep the machine from it.
const WATCHDOG: (&str, &str) = ("WATCHDOG_USEC", "8000000");
const QUARTER: Duration = Duration::from_secs(2);

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path, _directory: directory }
    }

    /// Waits for a message that says `words`.
    fn hear(&self, words: &str) -> String {
        let mut buffer = [0; 4096];
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let len = match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                received => received.unwrap(),
            };
            let message = String::from_utf8(buffer[..len].to_vec()).unwrap();
            if message.lines().any(|line| line == words) {
                return message;
            }
        }
        panic!("never heard {words}");
    }
}

#[test]
fn the_service_manager_follows_start_reload_and_end() {
    let manager = Manager::new();
    let served = Served::start("root = \"{dir}/a\"\n", &[("NOTIFY_SOCKET", manager.path.as_str())]);
    manager.hear("READY=1");
    served.ask(Signal::HUP, "reloaded");
    let reloading = manager.hear("RELOADING=1");
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok_and(|time| time > 0)), "{reloading}");
    manager.hear("READY=1");
    served.configure("nonsense = 1\n");
    served.ask(Signal::HUP, "is no key");
    manager.hear("RELOADING=1");
    let ready = manager.hear("READY=1");
    assert!(ready.contains("the last reload failed"), "{ready}");
    crate::process::signal(&served.child, Signal::QUIT);
    manager.hear("STOPPING=1");
}

#[test]
fn the_watchdog_is_told_that_idle_shards_are_alive() {
    let manager = Manager::new();
    let environment = [("NOTIFY_SOCKET", manager.path.as_str()), WATCHDOG];
    let served = Served::start("root = \"{dir}/a\"\n", &environment);
    let start = Instant::now();
    // At the third, one that nobody wakes would have missed two.
    for _ in 0..4 {
        manager.hear("WATCHDOG=1");
    }
    assert!(start.elapsed() > QUARTER * 2, "every quarter of its time");
    assert!(!served.log().contains("stuck"), "{}", served.log());
}

#[test]
fn a_drain_with_a_transfer_left_is_alive() {
    let manager = Manager::new();
    let environment = [("NOTIFY_SOCKET", manager.path.as_str()), WATCHDOG];
    // The transfer is taken by nobody, and yet not given up.
    let text = "root = \"{dir}/a\"\nsend_timeout = \"1h\"\ndrain_timeout = \"1h\"\n";
    let served = Served::start(text, &environment);
    let large = std::fs::File::create(served.directory.path().join("a/large")).unwrap();
    large.set_len(64 << 20).unwrap();
    let transfer = crate::process::begin_transfer(&served.address);
    crate::process::signal(&served.child, Signal::QUIT);
    manager.hear("STOPPING=1");
    // The shard with the transfer, and those without a connection that wait for it.
    for _ in 0..4 {
        manager.hear("WATCHDOG=1");
    }
    assert!(!served.log().contains("stuck"), "{}", served.log());
    drop(transfer);
}
