//! SIGHUP: what changes, what does not, and what is said.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::process::{Served, get};

#[test]
fn a_reload_changes_what_is_served_and_connections_go_on() {
    let served = Served::start("root = \"{dir}/a\"\n", &[]);
    let mut stream = TcpStream::connect(&served.address).unwrap();
    assert_eq!(get(&mut stream, "/name"), (200, "a".to_owned()));
    for root in ["b", "a", "b"] {
        served.configure(&format!("root = \"{{dir}}/{root}\"\n"));
        served.ask(Signal::HUP, "reloaded");
        assert_eq!(get(&mut stream, "/name"), (200, root.to_owned()));
    }
}

#[test]
fn a_reload_changes_limits_and_timeouts() {
    let served = Served::start("root = \"{dir}/a\"\n", &[]);
    let mut stream = TcpStream::connect(&served.address).unwrap();
    let long = format!("/name?{}", "x".repeat(4000));
    assert_eq!(get(&mut stream, &long).0, 200);
    served.configure("root = \"{dir}/a\"\nhead_bytes = 1024\n");
    served.ask(Signal::HUP, "reloaded");
    assert_eq!(get(&mut stream, "/name").0, 200);
    let mut other = TcpStream::connect(&served.address).unwrap();
    assert_eq!(get(&mut other, &long).0, 414);
    served.configure("root = \"{dir}/a\"\nidle_timeout = \"200ms\"\n");
    served.ask(Signal::HUP, "reloaded");
    assert_eq!(get(&mut stream, "/name").0, 200);
    // From that answer on it is soon idle for longer than it may be.
    assert_eq!(std::io::Read::read_to_end(&mut stream, &mut Vec::new()).unwrap(), 0);
}

#[test]
fn a_broken_file_changes_nothing_and_is_explained() {
    let served = Served::start("root = \"{dir}/a\"\n", &[]);
    let mut stream = TcpStream::connect(&served.address).unwrap();
    let broken = [
        ("roof = \"{dir}/b\"\n", "pagewire.toml:2: roof: is no key; did you mean `root`?"),
        ("root = \"{dir}/b\"\nhead_bytes = 1\n", "pagewire.toml:3: head_bytes: must be from 256"),
        ("root = \"{dir}/nonesuch\"\n", "nonesuch cannot be served"),
        ("root = \"{dir}/b\"\nhead_bytes = \"24KiB\"\n", "lower them, or restart"),
        ("root = {", "this is not TOML"),
    ];
    for (text, words) in broken {
        served.configure(text);
        served.ask(Signal::HUP, words);
        assert_eq!(get(&mut stream, "/name"), (200, "a".to_owned()), "{text}");
    }
    served.configure("root = \"{dir}/b\"\n");
    served.ask(Signal::HUP, "reloaded");
    assert_eq!(get(&mut stream, "/name"), (200, "b".to_owned()));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_takes_effect() {
    let served = Served::start("root = \"{dir}/a\"\n", &[]);
    served.configure("root = \"{dir}/b\"\nconnections = 7\n");
    served.ask(Signal::HUP, "`connections` has changed, which takes effect only with a restart");
    served.ask(Signal::HUP, "reloaded");
    let mut stream = TcpStream::connect(&served.address).unwrap();
    assert_eq!(get(&mut stream, "/name"), (200, "b".to_owned()));
}
