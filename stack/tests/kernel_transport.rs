//! The transport suite on the kernel's TCP over loopback, IPv4 and IPv6.

mod transport_suite;

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use pagewire_driver::{Clock, Instant};
use pagewire_stack::{DiskPool, EventBatch, KernelConfig, KernelStack, Transport};
use transport_suite::Harness;

/// Two kernel stacks in real time.
struct Loopback {
    server: KernelStack,
    client: KernelStack,
    address: SocketAddr,
    clock: Clock,
}

impl Loopback {
    fn new(ip: &str) -> Self {
        let disk = DiskPool::start(2, 64).unwrap();
        let config = KernelConfig { linger: Duration::from_millis(700), ..KernelConfig::default() };
        let mut server = KernelStack::new(config.clone(), &disk).unwrap();
        let client = KernelStack::new(config, &disk).unwrap();
        let address = server.listen(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        Self { server, client, address, clock: Clock::start() }
    }
}

impl Harness for Loopback {
    type Server = KernelStack;
    type Client = KernelStack;

    fn server(&mut self) -> &mut KernelStack {
        &mut self.server
    }

    fn client(&mut self) -> &mut KernelStack {
        &mut self.client
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn closed_address(&self) -> SocketAddr {
        // Was free a moment ago.
        TcpListener::bind((self.address.ip(), 0)).unwrap().local_addr().unwrap()
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn step(&mut self, server_events: &mut EventBatch, client_events: &mut EventBatch) {
        let before = server_events.len() + client_events.len();
        let now = self.clock.now();
        self.server.poll(now, server_events);
        self.client.poll(now, client_events);
        if server_events.len() + client_events.len() == before {
            self.server.wait(now, Some(now + Duration::from_micros(200)));
        }
    }
}

mod ipv4 {
    use super::*;

    transport_suite!(Loopback::new("127.0.0.1"));
}

mod ipv6 {
    use super::*;

    transport_suite!(Loopback::new("::1"));
}
