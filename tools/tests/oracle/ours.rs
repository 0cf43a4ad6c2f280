//! Our stack on a memory link, on virtual time.

use std::time::Duration;

use pagewire_driver::{Burst, Instant, MemoryConfig, MemoryPort, Port, memory_link};
use pagewire_stack::{
    ConnectionId, DiskPool, Event, Part, Prefix, Transport,
    user::{Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};

use crate::{
    peer::{Ends, PEER, SENDER},
    session::Link,
};

const STEP: Duration = Duration::from_millis(1);

pub struct Ours {
    stack: UserStack<MemoryPort>,
    peer: MemoryPort,
    now: Instant,
    open: Option<ConnectionId>,
    ends: Ends,
}

impl Ours {
    pub fn new() -> Self {
        let (near, far) = memory_link(MemoryConfig::default()).unwrap();
        let prefix = Prefix::new(SENDER.into(), 24).unwrap();
        let config = UserConfig {
            addresses: vec![ServedAddress { prefix, owned_alone: true }],
            listen: Some(80),
            limits: UserLimits { connections: 16, ..UserLimits::default() },
            mesh: Mesh::new(1).remove(0),
            disk: DiskPool::start(1, 16).unwrap(),
            network: None,
            probe: None,
        };
        let sender_mac = near.capabilities().mac.0;
        let peer_mac = far.capabilities().mac.0;
        let now = Instant::from_millis(1_000);
        let stack = UserStack::new(near, now, config).unwrap();
        let ends = Ends { sender_mac, peer_mac, sender_port: 80, peer_port: 40_000 };
        Self { stack, peer: far, now, open: None, ends }
    }

    fn turn(&mut self) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        self.stack.poll(self.now, &mut events);
        for event in events {
            if let Event::Opened { id, .. } = event {
                self.open = Some(id);
            }
        }
        let mut burst = Burst::new();
        self.peer.receive(self.now, &mut burst);
        let frames: Vec<_> = burst.drain().map(|frame| frame.bytes().to_vec()).collect();
        for frame in &frames {
            if frame[12..14] == [8, 6] {
                self.send(&self.here_is_the_peer(frame));
            }
        }
        frames
    }

    /// The answer to an ARP request.
    fn here_is_the_peer(&self, question: &[u8]) -> Vec<u8> {
        let arp = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
        let mut frame = [&self.ends.sender_mac[..], &self.ends.peer_mac, &arp].concat();
        frame.extend(self.ends.peer_mac);
        frame.extend(PEER.octets());
        frame.extend(&question[22..32]);
        frame
    }
}

impl Link for Ours {
    fn ends(&self) -> Ends {
        self.ends
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut frame = self.peer.allocate().expect("the peer has memory");
        frame.copy_from(bytes);
        self.peer.transmit(frame).expect("the peer has room");
        let _ = self.peer.flush(self.now);
    }

    fn pass(&mut self, time: Duration) -> Vec<(Duration, Vec<u8>)> {
        let (end, mut all) = (self.now + time, Vec::new());
        while self.now < end {
            let mut quiet = 0;
            while quiet < 3 {
                let frames = self.turn();
                quiet = if frames.is_empty() { quiet + 1 } else { 0 };
                let at = self.now.since(Instant::ZERO);
                all.extend(frames.into_iter().map(|frame| (at, frame)));
            }
            self.now += STEP;
        }
        all
    }

    fn write(&mut self, len: usize) {
        if self.open.is_none() {
            self.turn();
        }
        let id = self.open.expect("an open connection");
        self.stack.submit(id, &mut vec![Part::Bytes(vec![7; len])]).unwrap();
    }
}
