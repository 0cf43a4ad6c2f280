//! What is seen of the user-level stack.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use pagewire::{
    config::Config,
    control::{metrics, observer::Snapshot},
    serve::Server,
};
use pagewire_stack::ConnectionState;
use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, Side, privileged};

use crate::fixture::{PATIENCE, seen_by, wait_until};

fn figure(snapshot: &Snapshot, name: &str, cause: Option<&str>) -> u64 {
    let of_shards = snapshot.shards.iter().flat_map(|shard| &shard.figures);
    let all = of_shards.chain(&snapshot.whole);
    let chosen = all.filter(|(it, _)| it.name == name && (cause.is_none() || it.cause == cause));
    chosen.map(|(_, value)| value).sum()
}

#[test]
fn frames_segments_and_connections_are_seen_down_to_the_ring() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig { queues: Some(2), ..LabConfig::unique() }).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.bin"), vec![7; 100_000]).unwrap();
    let root = directory.path().to_str().unwrap();
    let words = ["pagewire", "serve", root, "--require-xdp", "--interface", INTERFACE];
    let words = words.into_iter().chain(["--address", "10.77.0.1/24"]);
    let start = || Server::start(&Config::of_command_line(words).unwrap()).unwrap();
    let server = lab.within(Side::Server, start).unwrap();
    let fetch = || {
        let mut client = TcpStream::connect(server.addresses()[0]).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET /a.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        client.read_exact(&mut vec![0; 100_000]).unwrap();
        client
    };
    let clients: Vec<_> = lab.within(Side::Client, || (0..8).map(|_| fetch()).collect()).unwrap();
    let observer = server.observer();
    let seen = seen_by(&observer);
    assert_eq!(figure(&seen, "requests", None), 8);
    assert_eq!(figure(&seen, "connections", None), 8);
    assert!(figure(&seen, "payload_sent_bytes", None) >= 800_000);
    // 800,000 bytes in segments of 1,448.
    assert!(figure(&seen, "port_frames_sent", None) >= 553);
    assert!(figure(&seen, "port_frames_received", None) >= 24);
    assert!(figure(&seen, "steered_frames", Some("served_tcp")) >= 24);
    let (free, filled) = (Some("free"), Some("filled"));
    assert!(figure(&seen, "port_frames", free) > 100 && figure(&seen, "port_frames", filled) > 100);
    let mut rows = Vec::new();
    wait_until("all connections are listed", || {
        let pieces = (0..2).flat_map(|shard| observer.rows(shard, None));
        rows = pieces.flatten().flat_map(|piece| piece.rows).collect();
        rows.len() == 8
    });
    for client in &clients {
        let ours = client.local_addr().unwrap();
        let row = rows.iter().find(|row| row.view.peer == ours).expect("it is not listed");
        assert_eq!(row.view.state, ConnectionState::Established);
        assert!(row.view.cwnd_bytes.is_some_and(|cwnd| cwnd >= 1_448), "{row:?}");
        assert!(row.view.rtt.is_some_and(|rtt| rtt.as_nanos() > 0), "{row:?}");
    }
    let text = metrics::render(&observer);
    assert!(text.contains("pagewire_build_info{version=\"0.1.0\",transport=\"xdp\"} 1\n"));
    assert!(text.contains("pagewire_connections_by_state{shard="));
}
