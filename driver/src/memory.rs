//! Two ports wired to each other inside one process.
//!
//! The link behaves as hardware does where it matters: the TX ring is bounded and its frames stay taken
//! until the peer has received them, and a frame for which the receiver has no free chunk is dropped
//! and counted. It takes no time: what one end flushes, the other can receive at once. Delay, loss and
//! the like are `Impaired`'s. Both ends live on one thread.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::AsFd,
    rc::Rc,
};

use crate::{
    Burst, Checksums, Flush, Frame, Instant, MacAddress, Pool, Port, PortCapabilities,
    PortCounters, TransferMode, Waker, wait_readable,
};

/// The shape of a memory link.
#[derive(Clone, Copy, Debug)]
pub struct MemoryConfig {
    /// Largest L3 packet in bytes.
    pub mtu: usize,
    /// Chunks of each end.
    pub chunks: u32,
    /// TX ring entries of each end: frames flushed and not yet received by the peer.
    pub ring: usize,
    /// Whether checksums are left out on both sides.
    pub checksums: Checksums,
    /// Whether [`Port::wait`] really sleeps; in virtual time it returns at once.
    pub real_time: bool,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            mtu: 1_500,
            chunks: 4_096,
            ring: 1_024,
            checksums: Checksums::default(),
            real_time: false,
        }
    }
}

/// One direction of the link.
#[derive(Debug, Default)]
struct Wire {
    /// Flushed by the sender, not yet received.
    flushed: RefCell<VecDeque<Frame>>,
    /// Whether the sender is still there.
    open: Cell<bool>,
}

/// One end of a memory link.
#[derive(Debug)]
pub struct MemoryPort {
    capabilities: PortCapabilities,
    config: MemoryConfig,
    pool: Rc<Pool>,
    outgoing: Rc<Wire>,
    incoming: Rc<Wire>,
    staged: Vec<Frame>,
    counters: PortCounters,
    waker: Waker,
}

/// Makes both ends of a link. Their MAC addresses are 02:00:00:00:00:01 and :02.
///
/// # Errors
///
/// Whatever `eventfd` says when the wakers are made.
pub fn memory_link(config: MemoryConfig) -> io::Result<(MemoryPort, MemoryPort)> {
    let wires = [Rc::<Wire>::default(), Rc::<Wire>::default()];
    let end = |number: u8, outgoing: &Rc<Wire>, incoming: &Rc<Wire>| {
        outgoing.open.set(true);
        Ok::<_, io::Error>(MemoryPort {
            capabilities: PortCapabilities {
                mtu: config.mtu,
                mac: MacAddress([2, 0, 0, 0, 0, number]),
                checksums: config.checksums,
                mode: TransferMode::Memory,
            },
            config,
            pool: Pool::heap(config.chunks),
            outgoing: Rc::clone(outgoing),
            incoming: Rc::clone(incoming),
            staged: Vec::with_capacity(config.ring),
            counters: PortCounters::default(),
            waker: Waker::new()?,
        })
    };
    Ok((end(1, &wires[0], &wires[1])?, end(2, &wires[1], &wires[0])?))
}

impl MemoryPort {
    /// The memory of this end, for tests that count what is left in it.
    #[must_use]
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    fn ring_room(&self) -> usize {
        self.config.ring - self.staged.len() - self.outgoing.flushed.borrow().len()
    }
}

impl Port for MemoryPort {
    fn capabilities(&self) -> &PortCapabilities {
        &self.capabilities
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn receive(&mut self, _now: Instant, burst: &mut Burst) {
        let mut incoming = self.incoming.flushed.borrow_mut();
        while burst.room() > 0 {
            let Some(theirs) = incoming.pop_front() else { return };
            let Some(mut ours) = self.pool.allocate() else {
                self.counters.no_memory += 1;
                continue;
            };
            ours.copy_from(theirs.bytes());
            self.counters.received += 1;
            self.counters.received_bytes += ours.len() as u64;
            let Ok(()) = burst.push(ours) else { return };
        }
    }

    fn credits(&self) -> usize {
        self.ring_room().min(self.pool.available())
    }

    fn prefetch(&self, ahead: usize) {
        self.pool.prefetch(ahead);
    }

    fn allocate(&mut self) -> Option<Frame> {
        self.pool.allocate()
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.is_empty() || !frame.is_of(&self.pool) {
            return Err(frame);
        }
        if self.ring_room() == 0 {
            self.counters.back_pressure += 1;
            return Err(frame);
        }
        self.staged.push(frame);
        Ok(())
    }

    fn flush(&mut self, _now: Instant) -> Flush {
        if !self.incoming.open.get() {
            self.counters.link_down += u64::from(!self.staged.is_empty());
            self.staged.clear();
            return Flush::Down;
        }
        if self.staged.is_empty() {
            return Flush::Taken;
        }
        self.counters.sent += self.staged.len() as u64;
        self.counters.sent_bytes += self.staged.iter().map(|frame| frame.len() as u64).sum::<u64>();
        self.outgoing.flushed.borrow_mut().extend(self.staged.drain(..));
        Flush::Taken
    }

    fn wait(&mut self, now: Instant, deadline: Option<Instant>) {
        let due = deadline.is_some_and(|deadline| deadline <= now);
        if self.config.real_time && !due && self.incoming.flushed.borrow().is_empty() {
            wait_readable(&[self.waker.as_fd()], deadline.map(|deadline| deadline - now));
        }
        self.waker.clear();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        self.outgoing.open.set(false);
        // Frames the peer has not received are of our pool; they keep it alive until they go.
        self.incoming.flushed.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(port: &mut MemoryPort, bytes: &[u8]) -> bool {
        let Some(mut frame) = port.allocate() else { return false };
        frame.copy_from(bytes);
        port.transmit(frame).is_ok()
    }

    #[test]
    fn frames_arrive_in_order_and_their_memory_returns() {
        let (mut a, mut b) = memory_link(MemoryConfig::default()).unwrap();
        assert!(send(&mut a, b"one") && send(&mut a, b"two"));
        let mut burst = Burst::new();
        b.receive(Instant::ZERO, &mut burst);
        assert!(burst.is_empty(), "nothing crosses before a flush");
        assert_eq!(a.flush(Instant::ZERO), Flush::Taken);
        b.receive(Instant::ZERO, &mut burst);
        let bytes: Vec<_> = burst.frames().iter().map(|frame| frame.bytes().to_vec()).collect();
        assert_eq!(bytes, [b"one", b"two"]);
        assert_eq!(a.pool().available(), a.pool().chunks());
        drop(burst);
        assert_eq!(b.pool().available(), b.pool().chunks());
    }

    #[test]
    fn a_full_ring_gives_the_frame_back() {
        let config = MemoryConfig { ring: 2, ..MemoryConfig::default() };
        let (mut a, mut b) = memory_link(config).unwrap();
        assert!(send(&mut a, b"1") && send(&mut a, b"2"));
        assert_eq!(a.credits(), 0);
        assert!(!send(&mut a, b"3"));
        assert_eq!(a.counters().back_pressure, 1);
        assert_eq!(a.flush(Instant::ZERO), Flush::Taken);
        assert!(!send(&mut a, b"3"), "flushed frames fill the ring until they are received");
        b.receive(Instant::ZERO, &mut Burst::new());
        assert!(send(&mut a, b"3"));
    }

    #[test]
    fn a_receiver_without_memory_drops_and_counts() {
        let config = MemoryConfig { chunks: 1, ..MemoryConfig::default() };
        let (mut a, mut b) = memory_link(config).unwrap();
        let held = b.allocate();
        assert!(send(&mut a, b"lost"));
        assert_eq!(a.flush(Instant::ZERO), Flush::Taken);
        let mut burst = Burst::new();
        b.receive(Instant::ZERO, &mut burst);
        assert!(burst.is_empty());
        assert_eq!(b.counters().no_memory, 1);
        drop(held);
        assert_eq!(a.pool().available(), 1);
    }

    #[test]
    fn a_foreign_frame_is_refused() {
        let (mut a, mut b) = memory_link(MemoryConfig::default()).unwrap();
        let mut frame = b.allocate().unwrap();
        frame.copy_from(b"x");
        assert!(a.transmit(frame).is_err());
    }

    #[test]
    fn a_link_whose_other_end_is_gone_is_down() {
        let (mut a, b) = memory_link(MemoryConfig::default()).unwrap();
        drop(b);
        assert!(send(&mut a, b"x"));
        assert_eq!(a.flush(Instant::ZERO), Flush::Down);
        assert_eq!(a.pool().available(), a.pool().chunks());
    }
}
