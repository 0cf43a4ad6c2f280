//! What it says when it cannot start, and what its help, manual and settings say.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
};

use rustix::process::Signal;

use crate::process::{command, end, large_file, printed, signal};

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
