//! A kernel socket on the lab's server side, and the peer on its client side, by AF_XDP.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use pagewire_driver::{Burst, Clock, Port, Steering, XdpConfig, XdpPort};
use pagewire_tools::lab::{Lab, Side};

use crate::{
    peer::{Ends, PEER, SENDER},
    session::Link,
};

const SENDER_MAC: [u8; 6] = [2, 0x77, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0x77, 0, 0, 0, 2];

/// The kernel knows the peer, and nothing from one connection for the next.
pub fn prepare(lab: &Lab) {
    let [mac, address] = [text_of(PEER_MAC), PEER.to_string()];
    let words = ["neighbour", "replace", &address, "lladdr", &mac, "dev", "pw0"];
    assert!(lab.command(Side::Server, "ip").args(words).status().unwrap().success());
    let forget = || fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
    lab.within(Side::Server, forget).unwrap().unwrap();
}

fn text_of(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The peer's place, and the kernel's listening socket. Only on a thread of the client's side.
pub struct Linux {
    port: XdpPort,
    clock: Clock,
    listener: TcpListener,
    peer_port: u16,
    /// Detaches when dropped.
    _steering: Steering,
}

impl Linux {
    pub fn new(lab: &Lab) -> Self {
        let mut steering = Steering::load_for_all().unwrap();
        let config = XdpConfig { hugepages: false, ..XdpConfig::new("pw0", 0) };
        let port = XdpPort::open(&config).unwrap();
        steering.register(0, port.as_fd()).unwrap();
        steering.attach("pw0").unwrap();
        let listener =
            lab.within(Side::Server, || TcpListener::bind((SENDER, 0))).unwrap().unwrap();
        // Room for all that a script writes at once.
        rustix::net::sockopt::set_socket_send_buffer_size(&listener, 1 << 20).unwrap();
        Self { port, clock: Clock::start(), listener, peer_port: 40_000, _steering: steering }
    }

    /// The place of another connection.
    pub fn connection(&mut self) -> Connection<'_> {
        self.peer_port += 1;
        Connection { linux: self, stream: None }
    }
}

/// One connection.
pub struct Connection<'a> {
    linux: &'a mut Linux,
    stream: Option<TcpStream>,
}

impl Link for Connection<'_> {
    fn ends(&self) -> Ends {
        Ends {
            sender_mac: SENDER_MAC,
            peer_mac: PEER_MAC,
            sender_port: self.linux.listener.local_addr().unwrap().port(),
            peer_port: self.linux.peer_port,
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let port = &mut self.linux.port;
        let mut frame = port.allocate().expect("memory");
        frame.copy_from(bytes);
        port.transmit(frame).expect("room");
        let _ = port.flush(self.linux.clock.now());
    }

    fn pass(&mut self, time: Duration) -> Vec<(Duration, Vec<u8>)> {
        let Linux { port, clock, .. } = &mut *self.linux;
        let (end, mut all, mut burst) = (clock.now() + time, Vec::new(), Burst::new());
        loop {
            let now = clock.now();
            port.receive(now, &mut burst);
            let at = now.since(pagewire_driver::Instant::ZERO);
            all.extend(burst.drain().map(|frame| (at, frame.bytes().to_vec())));
            if now >= end {
                return all;
            }
            port.wait(now, Some(end));
        }
    }

    fn write(&mut self, len: usize) {
        let stream = self.stream.get_or_insert_with(|| {
            let (stream, _) = self.linux.listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        });
        stream.write_all(&vec![7; len]).unwrap();
    }
}
