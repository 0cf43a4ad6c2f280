//! What runs on the stack while it is measured: nothing but answers of fixed length, or the product.

use std::{io, path::Path, sync::Arc, time::SystemTime};

use pagewire::{
    content::{CacheLimits, Catalogue, Content},
    counters::Counters,
    http::Limits,
    service::Service,
    shard::{Shard, Timeouts},
};
use pagewire_driver::{Instant, MemoryConfig, MemoryPort, Port, memory_link};
use pagewire_stack::{
    Close, DiskPool, Event, EventBatch, FileObject, FileRange, Part, Parts, Prefix, Transport,
    user::{Mesh, ServedAddress, UserConfig, UserLimits, UserStack},
};

use super::segment;

/// Something on a stack, whose turns are timed.
pub trait App {
    /// Does all that is due.
    fn turn(&mut self, now: Instant);

    /// How many connections are open.
    fn connections(&self) -> usize;
}

/// Both ends of a link with a stack on the first.
pub fn stack_on_link(
    connections: usize,
    is_ipv6: bool,
) -> io::Result<(UserStack<MemoryPort>, MemoryPort, DiskPool)> {
    let config = MemoryConfig { chunks: 2_048, ring: 1_024, ..MemoryConfig::default() };
    let (near, far) = memory_link(config)?;
    let disk = DiskPool::start(1, 64)?;
    let prefix_len = if is_ipv6 { 64 } else { 8 };
    let prefix = Prefix::new(segment::stack_address(is_ipv6), prefix_len);
    let prefix = prefix.map_err(io::Error::other)?;
    let config = UserConfig {
        addresses: vec![ServedAddress { prefix, owned_alone: true }],
        listen: Some(segment::PORT),
        limits: UserLimits {
            connections: connections + 64,
            connections_per_source: connections + 64,
            receive_window: 1_024,
            ..UserLimits::default()
        },
        mesh: Mesh::new(1).remove(0),
        disk: disk.clone(),
        network: None,
        probe: None,
    };
    Ok((UserStack::new(near, Instant::ZERO, config)?, far, disk))
}

/// Answers whatever arrives on a connection with the same range of a file object.
pub struct Answers {
    stack: UserStack<MemoryPort>,
    head: Vec<u8>,
    object: Option<Arc<FileObject>>,
    events: EventBatch,
    parts: Parts,
}

impl Answers {
    /// Answers with `head` and then all of `object`.
    pub fn new(
        stack: UserStack<MemoryPort>,
        head: Vec<u8>,
        object: Option<Arc<FileObject>>,
    ) -> Self {
        Self { stack, head, object, events: Vec::new(), parts: Vec::new() }
    }

    /// The stack.
    pub fn stack(&self) -> &UserStack<MemoryPort> {
        &self.stack
    }
}

impl App for Answers {
    fn turn(&mut self, now: Instant) {
        self.stack.poll(now, &mut self.events);
        for event in self.events.drain(..) {
            let id = match event {
                Event::Received(id) => id,
                Event::PeerClosed(id) => {
                    self.stack.close(id, Close::AfterSent);
                    continue;
                }
                Event::Opened { .. } | Event::Sent(_) | Event::Closed(..) => continue,
            };
            let len = self.stack.received(id).len();
            self.stack.consume(id, len);
            let mut head = self.stack.buffer();
            head.extend_from_slice(&self.head);
            self.parts.push(Part::Bytes(head));
            if let Some(object) = &self.object {
                let object = Arc::clone(object);
                let len = object.len();
                self.parts.push(Part::File(FileRange { object, start: 0, len }));
            }
            if self.stack.submit(id, &mut self.parts).is_err() {
                self.parts.clear();
            }
        }
    }

    fn connections(&self) -> usize {
        self.stack.connections()
    }
}

/// The product's shard.
pub struct Product(Shard<UserStack<MemoryPort>>);

impl Product {
    /// Serves `root`.
    pub fn new(stack: UserStack<MemoryPort>, disk: DiskPool, root: &Path) -> io::Result<Self> {
        let now = Instant::ZERO;
        let catalogue = Arc::new(Catalogue::of_directory(root).map_err(io::Error::other)?);
        let waker = stack.port().waker();
        let content = Content::new(catalogue, disk, CacheLimits::default(), waker);
        let service = Service::new(content, Limits::default(), now, SystemTime::now());
        let counters = Arc::new(Counters::default());
        Ok(Self(Shard::new(stack, service, Timeouts::default(), counters, now)))
    }
}

impl App for Product {
    fn turn(&mut self, now: Instant) {
        self.0.turn(now);
    }

    fn connections(&self) -> usize {
        self.0.transport().connections()
    }
}
