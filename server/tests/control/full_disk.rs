//! A real disk that is full: a small tmpfs in a mount namespace of the server's own, which goes with it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind, Write},
    iter,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use pagewire_tools::lab::privileged;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{PATIENCE, read, wait_until};

const BYTES: &str = "256k";

/// Mounts the disk at its first argument, and becomes the rest with the error log on it.
const SCRIPT: &str = r#"mount -t tmpfs -o "size=$1" pagewire-test "$2" && cd "$2" && shift 2 &&
    exec "$@" 2>>error.log"#;

/// A server with both of its logs on a small disk.
struct Process {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Process {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["root", "disk"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("root/a.txt"), b"hello").unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh", BYTES]);
        command.arg(directory.path().join("disk")).arg(env!("CARGO_BIN_EXE_pagewire"));
        command.arg("serve").arg(directory.path().join("root"));
        command.args(["--listen=127.0.0.1:0", "--metrics=127.0.0.1:0", "--cores=0"]);
        command.args(["--control=off", "--access-log=access.log", "--log-level=debug"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("ready: http://").trim_end_matches('/');
        let address = address.to_owned();
        Self { child, address, directory }
    }

    /// A file on the disk, seen from here.
    fn on_disk(&self, name: &str) -> PathBuf {
        let disk = self.directory.path().join("disk");
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(disk.strip_prefix("/").unwrap()).join(name)
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.on_disk(name)).unwrap()).into_owned()
    }

    /// Fills the disk to its last byte, and the page that the error log ends in too.
    fn fill(&self) {
        let filler = File::create(self.on_disk("filler")).unwrap();
        let log = File::options().append(true).open(self.on_disk("error.log")).unwrap();
        for mut file in [filler, log] {
            let full =
                iter::repeat_with(|| file.write(&[b'\n'; 64])).find_map(Result::err).unwrap();
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gets a file `count` times on one connection.
    fn load(&self, path: &str, count: usize) {
        let mut client = TcpStream::connect(&self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (request, mut answer) = (format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), Vec::new());
        for _ in 0..count {
            client.write_all(request.as_bytes()).unwrap();
            answer.clear();
            while !answer.ends_with(b"\r\n\r\nhello") {
                let mut bytes = [0; 1_024];
                let len = read(&mut client, &mut bytes);
                assert_ne!(len, 0, "{}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&bytes[..len]);
            }
        }
    }

    /// The sum of a metric.
    fn metric(&self, name: &str) -> u64 {
        let log = self.read("error.log");
        let address = log.split("metrics at http://").nth(1).and_then(|it| it.split('/').next());
        let mut scraper = TcpStream::connect(address.unwrap()).unwrap();
        scraper.set_read_timeout(Some(PATIENCE)).unwrap();
        scraper.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let text = std::io::read_to_string(scraper).unwrap();
        let samples = text.lines().filter(|line| line.starts_with(name));
        samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_full_disk_stops_nothing_and_both_logs_go_on_when_there_is_room_again() {
    if !privileged() {
        return;
    }
    let mut process = Process::start();
    process.load("/a.txt?before", 100);
    let lines =
        |words: &str| process.read("access.log").lines().filter(|it| it.contains(words)).count();
    wait_until("100 lines", || lines("/a.txt?before") == 100);
    let reloads = || process.read("error.log").matches("reloaded").count();
    process.signal(Signal::HUP);
    wait_until("a reload", || reloads() == 1);

    process.fill();
    process.load("/a.txt?full", 2_000);
    let written = || process.metric("pagewire_access_log_written_lines_total");
    let lost = || {
        process.metric("pagewire_access_log_write_failures_total")
            + process.metric("pagewire_access_log_lines_lost_total")
    };
    wait_until("each line is written or counted as lost", || written() + lost() == 2_100);
    // What fits into the pages that the files have already may still be written.
    assert!(lost() > 1_900, "{}", lost());
    assert!(lines("/a.txt?full") < 100);
    // The error log has no room for a word.
    process.signal(Signal::HUP);
    process.load("/a.txt?full", 100);
    assert_eq!(reloads(), 1);

    fs::remove_file(process.on_disk("filler")).unwrap();
    process.load("/a.txt?after", 100);
    wait_until("lines are written again", || lines("/a.txt?after") == 100);
    let whole = |line: &&str| line.starts_with("127.0.0.1 ") && line.ends_with("\"-\" \"-\"");
    let log = process.read("access.log");
    assert_eq!(log.lines().filter(|it| it.contains("?after")).filter(whole).count(), 100);
    process.signal(Signal::HUP);
    wait_until("a reload is told again", || reloads() == 2);
    process.signal(Signal::TERM);
    let status = process.child.wait().unwrap();
    assert!(status.success(), "{status}");
}
