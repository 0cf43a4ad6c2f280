//! How it ends.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::Signal;

use crate::process::{begin_transfer, end, large_file, signal, start};

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
