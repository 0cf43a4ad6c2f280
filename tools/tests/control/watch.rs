//! `pw connections` and `pw top` against a server that runs.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

use pagewire::control::protocol::Connection;

use crate::running::Running;

impl Running {
    /// Connections that have been answered once, and stay open.
    fn clients(&self, count: usize) -> Vec<TcpStream> {
        let client = |_| {
            let mut client = TcpStream::connect(self.server.addresses()[0]).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client.write_all(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client.read_exact(&mut [0; 12]).unwrap();
            client
        };
        (0..count).map(client).collect()
    }
}

#[test]
fn connections_are_listed_for_eyes_and_scripts() {
    let running = Running::on_kernel();
    let clients = running.clients(20);
    let text = running.said_at_last("connections", |text| text.lines().count() == 21);
    let ours = clients[7].local_addr().unwrap().to_string();
    let row = text.lines().find(|line| line.contains(&ours)).unwrap();
    assert!(row.starts_with("estab      idle "), "{row}");
    let five = "connections --json --sort rtt --limit 5";
    let json = running.said_at_last(five, |text| text.lines().count() == 5);
    let rows: Vec<Connection> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 5);
    assert!(rows.is_sorted_by(|a, b| a.rtt_seconds >= b.rtt_seconds), "{json}");
    let count = "connections --count --peer 127.0.0.1 --state estab";
    running.said_at_last(count, |text| text == "20\n");
    assert_eq!(running.said("connections --count --peer 10.0.0.0/8"), "0\n");
    let none = running.said("connections --peer 10.0.0.0/8");
    assert!(none.starts_with("STATE ") && none.lines().count() == 1, "{none}");
}

#[test]
fn what_is_wrong_is_said_with_a_status() {
    let running = Running::on_kernel();
    let message = running.refused("connections --state open");
    assert!(message.contains("there is no `open`; there are syn-sent"), "{message}");
    let message = running.refused("top --socket /nowhere/1.sock");
    assert!(message.contains("cannot reach the server at /nowhere/1.sock"), "{message}");
}

#[test]
fn a_flag_beats_the_variable_and_off_names_no_socket() {
    let running = Running::on_kernel();
    // No process can have that number (PID_MAX_LIMIT of Linux is 2^22).
    let other = running.refused("connections --pid 4194305");
    assert!(other.contains("/4194305.sock") || other.contains("no pagewire"), "{other}");
    let mut command = running.command("connections --pid 4194305");
    let output = command.env("PAGEWIRE_CONTROL", "off").output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), other);
    let mut command = running.command("connections --count");
    let output = command.env("PAGEWIRE_CONTROL", "off").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!message.contains("at off"), "{message}");
}

#[test]
fn top_shows_what_happens() {
    let running = Running::on_kernel();
    let _clients = running.clients(30);
    let text = running.said_at_last("top --plain 1 --interval 200ms", |text| {
        [" 30 open ", "30 estab", "30 of 30 connections"].iter().all(|part| text.contains(part))
    });
    assert!(text.contains(&format!("kernel on {}", running.server.addresses()[0])), "{text}");
    // As `| head` does.
    let mut command = running.command("top --plain 3 --interval 100ms");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
