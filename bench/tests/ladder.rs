//! Every rung of the ladder, as a client sees it: it answers rightly, and ends without leaving anything.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pagewire_tools::lab::{self, Addressing, Lab, LabConfig, SERVER, Side};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pagewire-bench");
const PATIENCE: Duration = Duration::from_secs(30);

/// The names of all rungs, and of all workloads.
fn names() -> [Vec<String>; 2] {
    let output = Command::new(PROGRAM).args(["ladder", "--list"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (rungs, workloads) = text.split_once("\n\n").unwrap();
    let first = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    [rungs, workloads].map(|text| text.lines().map(first).collect())
}

struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(mut command: Command, rung: &str, directory: &Path, address: &str) -> Self {
        command.arg("rung").arg(rung).arg(directory);
        command.args(["--address", address, "--cores", "0", "--connections", "8"]);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready ").map(|text| text.parse().unwrap());
        Self { child, address: address.unwrap_or_else(|| panic!("{rung} says {line:?}")) }
    }

    /// Kills the first process, and waits for the end of all that it has started.
    fn end(&mut self, rung: &str) {
        let group = self.child.id();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while let Some(process) = member(group) {
            assert!(Instant::now() < deadline, "{rung} has left {process}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process of a process group that is no zombie.
fn member(group: u32) -> Option<String> {
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let (state, of_group) = (fields.next()?, fields.nth(1)?);
        (state != "Z" && of_group == group.to_string()).then(|| stat.clone())
    })
}

/// A connection that is made again when the server closes it.
struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    connections: usize,
}

impl Client {
    fn ask(&mut self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let stream = self.stream.get_or_insert_with(|| {
            self.connections += 1;
            let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            BufReader::new(stream)
        });
        let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default();
        let (mut len, mut closes) = (0, false);
        while line != "\r\n" {
            line.clear();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0, "{method} {path}: cut head");
            closes |= line == "Connection: close\r\n";
            if let Some(digits) = line.strip_prefix("Content-Length: ") {
                len = digits.trim().parse().unwrap();
            }
        }
        let mut content = vec![0; if method == "HEAD" { 0 } else { len }];
        stream.read_exact(&mut content).unwrap();
        if closes {
            self.stream = None;
        }
        (status, content)
    }
}

fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, len) in [("small", 128), ("edge", 16 << 10), ("large", 1 << 20)] {
        let content: Vec<u8> = (0..len).map(|at: usize| (at % 251) as u8).collect();
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn check(rung: &str, address: SocketAddr, directory: &Path) {
    let mut client = Client { address, stream: None, connections: 0 };
    let mut asked = 0;
    for _ in 0..3 {
        for name in ["small", "edge", "large"] {
            let expected = fs::read(directory.join(name)).unwrap();
            let (status, content) = client.ask("GET", &format!("/{name}"));
            assert_eq!(status, 200, "{rung}: {name}");
            assert!(content == expected, "{rung}: content of {name}");
            assert_eq!(client.ask("HEAD", &format!("/{name}")), (200, vec![]), "{rung}: {name}");
            asked += 2;
        }
        assert_eq!(client.ask("GET", "/none").0, 404, "{rung}");
        asked += 1;
    }
    let is_kept = !matches!(rung, "iterative" | "cgi");
    assert_eq!(client.connections, if is_kept { 1 } else { asked }, "{rung}");
}

#[test]
fn every_rung_answers_rightly_and_leaves_nothing_running() {
    let [rungs, _] = names();
    let directory = files();
    assert!(rungs.len() > 20);
    for rung in rungs.iter().filter(|rung| !rung.ends_with("-veth")) {
        let program = Command::new(PROGRAM);
        let mut served = Served::start(program, rung, directory.path(), "127.0.0.1:0");
        check(rung, served.address, directory.path());
        served.end(rung);
    }
}

#[test]
fn rungs_of_the_lab_answer_rightly() {
    if !lab::privileged() {
        return;
    }
    let [rungs, _] = names();
    let directory = files();
    for rung in rungs.iter().filter(|rung| rung.ends_with("-veth")) {
        let config =
            LabConfig { queues: Some(1), kernel_address: Addressing::Yes, ..LabConfig::unique() };
        let lab = Lab::up(&config).unwrap();
        let program = lab.command(Side::Server, PROGRAM);
        let address = SocketAddr::new(SERVER[0], 80);
        let mut served = Served::start(program, rung, directory.path(), &address.to_string());
        lab.within(Side::Client, || check(rung, served.address, directory.path())).unwrap();
        served.end(rung);
    }
}

#[test]
fn the_ladder_measures_every_workload_and_says_what_cannot_be_done() {
    let [_, workloads] = names();
    let json = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new(PROGRAM)
        .args(["ladder", "--quick", "--only", "select", "--only", "epoll", "--json"])
        .arg(json.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let figures: Vec<serde_json::Value> =
        serde_json::from_slice(&fs::read(json.path()).unwrap()).unwrap();
    let value = |name: &str| {
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.and_then(|figure| figure["value"].as_f64())
    };
    for workload in workloads {
        let name = format!("ladder/{workload}/epoll/throughput");
        let is_cold = workload == "cold";
        assert!(is_cold || value(&name) > Some(0.0), "{name}");
        assert!(is_cold || value(&format!("ladder/{workload}/epoll/failed")) == Some(0.0));
    }
    let limit = "ladder/idle/select/cannot: at most 1000 connections: FD_SETSIZE is 1,024";
    assert!(value(limit).is_some());
}

#[test]
fn an_interrupt_leaves_no_process_and_no_file() {
    let scratch = tempfile::tempdir().unwrap();
    let mut ladder = Command::new(PROGRAM)
        .args(["ladder", "--only", "fork", "--workload", "keep-64"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let children = format!("/proc/{0}/task/{0}/children", ladder.id());
    let rung = loop {
        assert!(Instant::now() < deadline, "no rung has been started");
        let listed = fs::read_to_string(&children).unwrap();
        if let Some(rung) = listed.split_whitespace().next() {
            break rung.parse().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    };
    thread::sleep(Duration::from_millis(300));
    let pid = nix::unistd::Pid::from_raw(ladder.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(!ladder.wait().unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    while let Some(process) = member(rung) {
        assert!(Instant::now() < deadline, "it has left {process}");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
