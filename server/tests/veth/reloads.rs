//! Reloads under load: no connection is lost by one, and what is answered is of one configuration or the other.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{Lab, LabConfig, SERVER, privileged};
use rustix::process::Signal;

use crate::{
    client::{Client, PATIENCE},
    process::{KERNEL, Process, XDP},
};

/// Clients of each of two threads, all busy.
const CLIENTS: usize = 8;

/// The two directories that are served in turn, and lengths of their files.
const ROOTS: [&str; 2] = ["even", "odd"];
const FILES: [(&str, usize); 2] = [("page", 20_000), ("large", 600_000)];

#[test]
fn reloads_under_load_lose_no_connection() {
    if privileged() {
        reload_under_load(20);
    }
}

#[test]
#[ignore = "long: ./dev soak"]
fn very_many_reloads_under_load_lose_no_connection() {
    if privileged() {
        reload_under_load(1000);
    }
}

/// The file that `root` has.
fn content(root: usize, len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 + index / 251 + root) as u8).collect()
}

fn configure(directory: &Path, root: usize) {
    let root_path = directory.join(ROOTS[root]);
    let limits = format!("head_bytes = {}\nidle_timeout = \"{}s\"", 4096 - root * 64, 30 + root);
    let text = format!("root = {:?}\n{limits}\n", root_path.to_str().unwrap());
    fs::write(directory.join("pagewire.toml"), text).unwrap();
}

fn reload_under_load(reloads: usize) {
    for flags in [KERNEL, XDP] {
        let directory = tempfile::tempdir().unwrap();
        for (root, name) in ROOTS.iter().enumerate() {
            fs::create_dir(directory.path().join(name)).unwrap();
            for (file, len) in FILES {
                fs::write(directory.path().join(name).join(file), content(root, len)).unwrap();
            }
        }
        configure(directory.path(), 0);
        let lab = Lab::up(&LabConfig::unique()).unwrap();
        let file = directory.path().join("pagewire.toml");
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let arguments = arguments.into_iter().chain(flags.split(' '));
        let process = Process::run(&lab, arguments, directory.path().join("log"));
        let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for server in SERVER {
                let (lab, stop, answers) = (&lab, &stop, &answers);
                scope.spawn(move || {
                    let _end = Defer(stop);
                    load(&mut Client::connect_many(lab, server, CLIENTS), stop, answers);
                });
            }
            let _end = Defer(&stop);
            let mut judge = Client::connect_many(&lab, SERVER[0], 1).remove(0);
            for reload in 1..=reloads {
                let root = reload % 2;
                configure(directory.path(), root);
                process.signal(Signal::HUP);
                wait(&stop, || process.said().matches("INFO reloaded").count() == reload, &process);
                let page = judge.get("/page").unwrap();
                assert!(page == content(root, FILES[0].1), "reload {reload}: the old directory");
                let before = answers.load(Ordering::Relaxed);
                wait(&stop, || answers.load(Ordering::Relaxed) > before, &process);
            }
        });
        let connections = (2 * CLIENTS + 1) as u64;
        let counts = process.stop();
        assert_eq!(counts.of("connections"), connections, "{}", counts.text());
        assert_eq!(counts.of("finished"), connections, "{}", counts.text());
        assert_eq!(counts.of("2xx"), counts.of("requests"), "{}", counts.text());
    }
}

/// Keeps `clients` busy until told to stop. All answers are whole and of one directory.
fn load(clients: &mut [Client], stop: &AtomicBool, answers: &AtomicU64) {
    let expected = FILES.map(|(_, len)| [content(0, len), content(1, len)]);
    while !stop.load(Ordering::Relaxed) {
        for (file, (name, _)) in FILES.iter().enumerate() {
            for client in &mut *clients {
                client.send(&format!("/{name}")).unwrap();
            }
            for client in &mut *clients {
                let body = client.receive().expect("an answer");
                assert!(expected[file].contains(&body), "{name}: other bytes");
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn wait(stop: &AtomicBool, is_over: impl Fn() -> bool, process: &Process) {
    let deadline = Instant::now() + PATIENCE;
    while !is_over() {
        assert!(!stop.load(Ordering::Relaxed), "a client has failed");
        assert!(Instant::now() < deadline, "{}", process.said());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends the load, also if an assertion fails.
struct Defer<'a>(&'a AtomicBool);

impl Drop for Defer<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
