//! `pw deny` against a server that runs: who is denied costs nothing, and is heard again once allowed.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use pagewire::control::observer::Snapshot;
use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, SERVER, Side, privileged};

use crate::running::Running;

/// The client of a lab, over both families.
const CLIENT: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2)),
];
/// Longer than anything takes that succeeds, repetitions of what was dropped included.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is waited for what must not come.
const MOMENT: Duration = Duration::from_millis(300);

impl Running {
    /// On AF_XDP, in a lab of its own.
    fn on_xdp(addresses: &[&str]) -> Self {
        let lab = Lab::up(&LabConfig { queues: Some(1), ..LabConfig::unique() }).unwrap();
        let flags = ["--require-xdp", "--interface", INTERFACE];
        Self::start(Some(lab), &[&flags, addresses].concat())
    }

    fn figure(&self, name: &str, cause: Option<&str>) -> u64 {
        let seen = self.snapshot();
        let of_shards = seen.shards.iter().flat_map(|shard| &shard.figures);
        let chosen = of_shards.chain(&seen.whole).filter(|(it, _)| it.name == name);
        chosen.filter(|(it, _)| it.cause == cause).map(|(_, value)| value).sum()
    }

    /// What is seen once every shard has come to answer.
    fn snapshot(&self) -> Snapshot {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.server.observer().snapshot();
            if seen.shards.iter().all(|shard| shard.answered) {
                return seen;
            }
            assert!(Instant::now() < deadline, "a shard does not answer");
        }
    }

    /// The same figure twice, with a moment in between: what was under way has come.
    fn settled(&self, name: &str) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.figure(name, None);
            thread::sleep(MOMENT);
            if self.figure(name, None) == before {
                return before;
            }
            assert!(Instant::now() < deadline, "{name} is never the same twice");
        }
    }

    fn connect(&self, server: IpAddr, patience: Duration) -> io::Result<TcpStream> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&SocketAddr::new(server, 80), patience)?;
            stream.set_read_timeout(Some(patience))?;
            Ok(stream)
        };
        self.lab.as_ref().unwrap().within(Side::Client, connect).unwrap()
    }
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
}

fn hear(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => answer.extend_from_slice(&bytes[..len]),
            // With a timeout the kernel does not go on by itself (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[test]
fn a_denied_source_costs_nothing_and_is_heard_again_once_allowed() {
    if !privileged() {
        return;
    }
    let running = Running::on_xdp(&["--address=10.77.0.1/24", "--address=fd77::1/64"]);
    assert_eq!(running.said("deny list"), "");
    for (server, client) in SERVER.into_iter().zip(CLIENT) {
        let mut open = running.connect(server, PATIENCE).unwrap();
        ask(&mut open);
        hear(&mut open).unwrap();
        // Nothing of this source is on its way any more.
        let segments = running.settled("segments_received");
        assert_eq!(running.said(&format!("deny add {client}")), "");
        let bits = if client.is_ipv4() { 32 } else { 128 };
        assert_eq!(running.said("deny list"), format!("{client}/{bits}\n"));
        assert_eq!(running.figure("denied_sources", None), 1);

        let denied = running.figure("steered_frames", Some("denied"));
        running.connect(server, MOMENT).unwrap_err();
        ask(&mut open);
        open.set_read_timeout(Some(MOMENT)).unwrap();
        hear(&mut open).unwrap_err();
        // A reload does not change it.
        running.server.reload(&running.config).unwrap();
        running.connect(server, MOMENT).unwrap_err();
        assert_eq!(running.figure("segments_received", None), segments, "no core has seen it");
        let deadline = Instant::now() + PATIENCE;
        // Two SYNs and a request.
        while running.figure("steered_frames", Some("denied")) < denied + 3 {
            assert!(Instant::now() < deadline, "less than three were denied");
        }

        // The other family is not concerned.
        let other = SERVER[usize::from(client.is_ipv4())];
        let mut stream = running.connect(other, PATIENCE).unwrap();
        ask(&mut stream);
        hear(&mut stream).unwrap();

        assert_eq!(running.said(&format!("deny remove {client}")), "");
        assert_eq!(running.said("deny list"), "");
        assert_eq!(running.figure("denied_sources", None), 0);
        open.set_read_timeout(Some(PATIENCE)).unwrap();
        hear(&mut open).expect("the request, repeated by the client's kernel");
        let mut stream = running.connect(server, PATIENCE).unwrap();
        ask(&mut stream);
        hear(&mut stream).unwrap();
    }
}

#[test]
fn networks_are_listed_in_order_and_what_changes_nothing_is_said() {
    if !privileged() {
        return;
    }
    let running = Running::on_xdp(&["--address=10.77.0.1/24"]);
    running.said("deny add 2001:db8::7/48 192.0.2.200/24 ::ffff:198.51.100.7");
    assert_eq!(running.said("deny list"), "192.0.2.0/24\n198.51.100.7/32\n2001:db8::/48\n");
    let told = |words: &str| String::from_utf8(running.pw(words).stderr).unwrap();
    assert!(told("deny add 192.0.2.0/24").contains("192.0.2.0/24 is denied already"));
    assert!(told("deny remove 192.0.2.7").contains("192.0.2.7 is not on the list"));
    assert!(running.refused("deny add 192.0.2.0/33").contains("neither an address nor a network"));
    running.said("deny remove 192.0.2.0/24 2001:db8::/48 198.51.100.7");
    assert_eq!(running.said("deny list"), "");
    // Which server is meant may be said anywhere.
    let elsewhere = running.refused("deny list --socket /nowhere/1.sock");
    assert!(elsewhere.contains("cannot reach the server at /nowhere/1.sock"), "{elsewhere}");
}

#[test]
fn where_the_kernels_tcp_serves_there_is_no_list() {
    let running = Running::on_kernel();
    for words in ["deny list", "deny add 192.0.2.7", "deny remove 192.0.2.7"] {
        let message = running.refused(words);
        assert!(message.contains("there is no deny list: the kernel's TCP serves"), "{message}");
    }
}
