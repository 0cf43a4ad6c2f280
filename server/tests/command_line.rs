//! The program as its users meet it: the ready line, signals, and what it says when it cannot start.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewire"));
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

/// Starts it and reads where it listens.
fn start(directory: &TempDir, more: &[&str]) -> (Child, String) {
    let root = directory.path().to_str().unwrap();
    let words = [&["serve", root, "--listen", "127.0.0.1:0"], more].concat();
    let mut child = command(&words).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim_end().strip_prefix("ready: http://").and_then(|it| it.strip_suffix('/'));
    (child, address.unwrap_or_else(|| panic!("{line:?}")).to_owned())
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn end(child: Child) -> Output {
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(8));
    output
}

fn large_file(bytes: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::File::create(directory.path().join("large")).unwrap().set_len(bytes).unwrap();
    directory
}

/// Asks for the large file and reads a little of it.
fn begin_transfer(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    stream
}

#[test]
fn a_signal_lets_transfers_end_and_idle_connections_go() {
    const LEN: usize = 32 << 20;
    let directory = large_file(LEN as u64);
    let (child, address) = start(&directory, &[]);
    let mut transfer = begin_transfer(&address);
    let mut idle = TcpStream::connect(&address).unwrap();
    idle.write_all(b"HEAD /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(idle.read(&mut [0; 1000]).unwrap() > 0);
    signal(&child, Signal::QUIT);
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "the idle connection ends in order");
    let mut rest = Vec::new();
    transfer.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > LEN - 1000, "{} bytes", rest.len());
    let output = end(child);
    assert_eq!(output.status.code(), Some(0));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("finished") && !log.contains("aborted"), "{log}");
}

#[test]
fn a_signal_to_end_at_once_cuts_what_is_under_way() {
    for to_end in [Signal::TERM, Signal::INT] {
        let directory = large_file(1 << 30);
        let (child, address) = start(&directory, &["--drain-timeout", "1h"]);
        let mut transfer = begin_transfer(&address);
        signal(&child, to_end);
        assert_eq!(end(child).status.code(), Some(0));
        let error = transfer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let directory = large_file(1 << 30);
    let (child, address) = start(&directory, &["--drain-timeout", "1h"]);
    let transfer = begin_transfer(&address);
    signal(&child, Signal::QUIT);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    assert_eq!(end(child).status.code(), Some(0));
    drop(transfer);
}

#[test]
fn a_drain_has_a_deadline() {
    let directory = large_file(1 << 30);
    let (child, address) = start(&directory, &["--drain-timeout", "500ms"]);
    let transfer = begin_transfer(&address);
    signal(&child, Signal::QUIT);
    let output = end(child);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("are cut"));
    drop(transfer);
}

#[test]
fn what_is_wrong_is_one_sentence_with_its_fix_and_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let xdp = ["serve", root, "--transport", "xdp"];
    let with = |more: &[&'static str]| [&xdp, more].concat();
    let cases: &[(Vec<&str>, i32, &str)] = &[
        (vec!["serve", "/no/such/directory"], 6, "name a directory"),
        (vec!["serve", root, "--listen", &taken], 5, "in use"),
        (vec!["serve", root, "--listen", "192.0.2.1:8080"], 5, "not an address of this machine"),
        (vec!["serve", root, "--congestion-control", "nonesuch"], 2, "it has: "),
        (vec!["serve", root, "--busy"], 2, "name an --interface"),
        (vec!["serve", root, "--no-such-flag"], 2, "--no-such-flag"),
        (vec!["serve"], 2, "name a directory"),
        (vec![], 2, "Usage"),
        (with(&[]), 2, "needs --interface"),
        (with(&["--interface", "nonesuch0", "--address", "192.0.2.1/24"]), 4, "no interface"),
    ];
    for (words, status, part) in cases {
        let output = command(words).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(*status), "{words:?}: {error}");
        assert!(error.contains(part), "{words:?}: {error}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

/// What a command prints if it succeeds.
fn printed(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_printed_configuration_serves_the_same() {
    let directory = large_file(1000);
    let root = directory.path().to_str().unwrap();
    let text = printed(&["config", root, "--listen", "127.0.0.1:0", "--idle-timeout", "1s"]);
    let file = directory.path().join("pagewire.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    assert!(printed(&["check", "--config", file]).contains("nothing wrong"));
    let mut child = command(&["serve", "--config", file]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready: http://127.0.0.1:"), "{line:?}");
    signal(&child, Signal::TERM);
    assert_eq!(end(child).status.code(), Some(0));
}

#[test]
fn the_environment_sets_keys_and_the_file() {
    let directory = large_file(1000);
    let file = directory.path().join("pagewire.toml");
    std::fs::write(&file, "port = 81\nidle_timeout = \"1s\"\n").unwrap();
    let mut config = command(&["config", "--head-timeout", "3s"]);
    config
        .env("PAGEWIRE_CONFIG", file)
        .env("PAGEWIRE_PORT", "82")
        .env("PAGEWIRE_HEAD_TIMEOUT", "4s");
    let output = config.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["port = 82", "idle_timeout = \"1s\"", "head_timeout = \"3s\""] {
        assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    }
}

#[test]
fn a_check_tells_all_that_is_wrong_with_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pagewire.toml");
    std::fs::write(&file, "prot = 81\n\nidle_timeout = 1\n").unwrap();
    let output = command(&["check", "--config", file.to_str().unwrap()]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("pagewire.toml:1: prot: is no key; did you mean `port`?"), "{error}");
    assert!(error.contains("pagewire.toml:3: idle_timeout: "), "{error}");
}

#[test]
fn completions_and_manual_pages_know_every_flag() {
    let bash = printed(&["completions", "bash"]);
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    printed(&["man", "--to", place]);
    let serve = std::fs::read_to_string(directory.path().join("pagewire-serve.1")).unwrap();
    let serve = serve.replace('\\', "");
    for key in pagewire::settings::KEYS {
        let flag = format!("--{}", key.flag());
        assert!(bash.contains(&flag) && serve.contains(&flag), "{flag}");
    }
    assert!(printed(&["man"]).contains("SUBCOMMANDS"));
}

#[test]
fn the_help_explains_flags_and_exit_statuses() {
    let output = command(&["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in [
        "--transport",
        "--listen",
        "--interface",
        "or 127.0.0.1:8080]",
        "SIGTERM",
        "Exit statuses",
        "6  the directory cannot be read",
    ] {
        assert!(help.contains(part), "{part} is missing:\n{help}");
    }
}
