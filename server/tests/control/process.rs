//! The program with outputs that take nothing any more.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fixture::PATIENCE;

/// A server process, killed when it is dropped.
struct Process {
    child: Child,
    address: String,
}

fn start(log: Stdio, flags: &[&str]) -> (Process, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), b"hello").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewire"));
    command.arg("serve").arg(directory.path()).args(["--listen=127.0.0.1:0", "--cores=0"]);
    command.args(["--control=off"]).args(flags);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next().unwrap().unwrap();
    let address = ready.trim_start_matches("ready: http://").trim_end_matches('/').to_owned();
    // With `lines` the reading end of its standard output is gone.
    (Process { child, address }, directory)
}

impl Process {
    fn fetch(&self) {
        let mut client = TcpStream::connect(&self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET /a.txt HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    }

    /// Ends it in order.
    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nothing_can_be_written_to_stops_nothing() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let (mut process, _directory) = start(full().into(), &["--log-level=debug"]);
    (0..5).for_each(|_| process.fetch());
    process.stop();
}

#[test]
fn an_output_that_nobody_reads_any_more_costs_lines_alone() {
    let (mut process, _directory) = start(Stdio::null(), &["--access-log=-"]);
    (0..50).for_each(|_| process.fetch());
    process.stop();
}

#[test]
fn the_log_can_be_read_by_programs() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let (mut process, _directory) = start(log.reopen().unwrap().into(), &["--log-format=json"]);
    process.fetch();
    process.stop();
    let text = fs::read_to_string(log.path()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let says = |part: &str| lines.iter().any(|it| it["message"].as_str().unwrap().contains(part));
    assert!(says("serving ") && says("connections 1, requests 1"), "{text}");
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
}
