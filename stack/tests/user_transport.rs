//! The transport suite on the user-level stack over a memory link, in virtual time, IPv4 and IPv6.

mod common;
mod transport_suite;

use std::{net::SocketAddr, time::Duration};

use common::config;
use pagewire_driver::{Instant, MemoryConfig, MemoryPort, memory_link};
use pagewire_stack::{
    EventBatch, Transport,
    user::{Mesh, UserConfig, UserLimits, UserStack},
};
use transport_suite::Harness;

/// Two user-level stacks and the time they live in.
struct Link {
    server: UserStack<MemoryPort>,
    client: UserStack<MemoryPort>,
    is_ipv6: bool,
    now: Instant,
}

impl Link {
    fn new(is_ipv6: bool) -> Self {
        let (near, far) = memory_link(MemoryConfig::default()).unwrap();
        let stack = |port, host, listen| {
            let limits =
                UserLimits { connections: 4_096, receive_window: 65_535, ..UserLimits::default() };
            let config = UserConfig { limits, ..config(host, listen, Mesh::new(1).remove(0)) };
            UserStack::new(port, Instant::ZERO, config).unwrap()
        };
        let (server, client) = (stack(near, 1, Some(80)), stack(far, 2, None));
        Self { server, client, is_ipv6, now: Instant::ZERO }
    }

    fn server_at(&self, port: u16) -> SocketAddr {
        let address = if self.is_ipv6 { "fd00::1" } else { "10.0.0.1" };
        SocketAddr::new(address.parse().unwrap(), port)
    }
}

impl Harness for Link {
    type Server = UserStack<MemoryPort>;
    type Client = UserStack<MemoryPort>;

    fn server(&mut self) -> &mut Self::Server {
        &mut self.server
    }

    fn client(&mut self) -> &mut Self::Client {
        &mut self.client
    }

    fn address(&self) -> SocketAddr {
        self.server_at(80)
    }

    fn closed_address(&self) -> SocketAddr {
        self.server_at(81)
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn step(&mut self, server_events: &mut EventBatch, client_events: &mut EventBatch) {
        let before = server_events.len() + client_events.len();
        self.server.poll(self.now, server_events);
        self.client.poll(self.now, client_events);
        let idle = server_events.len() + client_events.len() == before;
        // Disk helpers work in real time.
        self.server.wait(self.now, Some(self.now + Duration::from_micros(200)));
        self.now += Duration::from_micros(if idle { 200 } else { 10 });
    }
}

mod ipv4 {
    use super::*;

    transport_suite!(Link::new(false));
}

mod ipv6 {
    use super::*;

    transport_suite!(Link::new(true));
}
