//! A server's port into which a flood of forged SYNs is mixed, as one queue of a NIC would have them: in
//! the order of arrival, behind one another in a ring that is full when it is full.

use std::{cell::RefCell, collections::VecDeque, net::Ipv4Addr, rc::Rc, time::Duration};

use pagewire_driver::{
    Burst, Flush, Frame, Instant, MacAddress, MemoryPort, Pool, Port, PortCapabilities,
    PortCounters, Random, Waker,
};

/// Entries of the receive ring: what drivers offer by default.
pub const RING: usize = 2_048;
/// Where all forged frames come from, on the link.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What the flood consists of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// SYNs to this address and port from addresses that are nobody's.
    Syns(Ipv4Addr, u16),
    /// Frames for another station: the least that a port and the stack can do for a frame.
    Strangers,
}

/// A flood, and the receive ring that it shares with honest frames.
#[derive(Debug)]
pub struct Flood {
    kind: Kind,
    /// Time between two frames; none while there is no flood.
    interval: Option<Duration>,
    next: Instant,
    random: Random,
    /// The memory of the server's port.
    pool: Rc<Pool>,
    ring: VecDeque<Frame>,
    /// How many forged frames have come, and how many of them the full ring dropped.
    pub offered: u64,
    /// See `offered`.
    pub lost: u64,
    /// How many honest frames the full ring dropped.
    pub honest_lost: u64,
}

impl Flood {
    /// No flood yet, at a port with this memory.
    fn none(pool: Rc<Pool>) -> Self {
        Self {
            kind: Kind::Strangers,
            interval: None,
            next: Instant::ZERO,
            random: Random::new(7),
            pool,
            ring: VecDeque::with_capacity(RING),
            offered: 0,
            lost: 0,
            honest_lost: 0,
        }
    }

    /// Begins at `now` with this many frames a second; ends with zero.
    pub fn set(&mut self, now: Instant, kind: Kind, per_second: f64) {
        self.kind = kind;
        self.interval = (per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / per_second));
        (self.next, self.offered, self.lost, self.honest_lost) = (now, 0, 0, 0);
    }

    /// When the next frame comes.
    pub fn next(&self) -> Option<Instant> {
        self.interval.map(|_| self.next)
    }

    /// Puts the forged frames that have come by now into the ring, as far as there is room. What it takes to
    /// make them is nobody's time.
    pub fn arrive(&mut self, now: Instant) {
        let Some(interval) = self.interval.filter(|_| self.next <= now) else { return };
        let due = (now - self.next).as_nanos() / interval.as_nanos().max(1) + 1;
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        self.next += interval * due;
        let room = (RING - self.ring.len()) as u32;
        let mut taken = 0;
        while taken < due.min(room)
            && let Some(mut frame) = self.pool.allocate()
        {
            forge(&mut frame, self.kind, &mut self.random);
            self.ring.push_back(frame);
            taken += 1;
        }
        self.offered += u64::from(due);
        self.lost += u64::from(due - taken);
    }
}

/// The port.
pub struct FloodedPort {
    inner: MemoryPort,
    flood: Rc<RefCell<Flood>>,
    from_link: Burst,
}

impl FloodedPort {
    /// `inner`, and what floods it.
    pub fn new(inner: MemoryPort) -> (Self, Rc<RefCell<Flood>>) {
        let flood = Rc::new(RefCell::new(Flood::none(Rc::clone(inner.pool()))));
        (Self { inner, flood: Rc::clone(&flood), from_link: Burst::new() }, flood)
    }
}

impl Port for FloodedPort {
    fn capabilities(&self) -> &PortCapabilities {
        self.inner.capabilities()
    }

    fn counters(&self) -> PortCounters {
        self.inner.counters()
    }

    fn receive(&mut self, now: Instant, burst: &mut Burst) {
        let mut flood = self.flood.borrow_mut();
        self.inner.receive(now, &mut self.from_link);
        for frame in self.from_link.drain() {
            if flood.ring.len() < RING {
                flood.ring.push_back(frame);
            } else {
                flood.honest_lost += 1;
            }
        }
        while burst.room() > 0 {
            let Some(frame) = flood.ring.pop_front() else { return };
            let Ok(()) = burst.push(frame) else { return };
        }
    }

    fn credits(&self) -> usize {
        self.inner.credits()
    }

    fn prefetch(&self, ahead: usize) {
        self.inner.prefetch(ahead);
    }

    fn allocate(&mut self) -> Option<Frame> {
        self.inner.allocate()
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        self.inner.transmit(frame)
    }

    fn flush(&mut self, now: Instant) -> Flush {
        self.inner.flush(now)
    }

    fn wait(&mut self, now: Instant, deadline: Option<Instant>) {
        self.inner.wait(now, deadline);
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}

/// Writes a SYN with an MSS option from an address out of 198.18.0.0/15 (RFC 2544), all else by chance.
fn forge(frame: &mut Frame, kind: Kind, random: &mut Random) {
    let bits = random.bits();
    let (to, port) = match kind {
        Kind::Syns(address, port) => (address, port),
        Kind::Strangers => (Ipv4Addr::new(198, 18, 0, 1), 9),
    };
    let mut bytes = [0; 60];
    bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, if kind == Kind::Strangers { 9 } else { 1 }]);
    bytes[6..12].copy_from_slice(&ROUTER_MAC);
    bytes[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6]);
    bytes[26..30].copy_from_slice(&(0xc612_0000 | (bits as u32 & 0x1_ffff)).to_be_bytes());
    bytes[30..34].copy_from_slice(&to.octets());
    bytes[34..36].copy_from_slice(&((bits >> 20) as u16 | 1).to_be_bytes());
    bytes[36..38].copy_from_slice(&port.to_be_bytes());
    bytes[38..42].copy_from_slice(&((bits >> 32) as u32).to_be_bytes());
    bytes[46..50].copy_from_slice(&[0x60, 2, 0xfa, 0xf0]);
    bytes[54..58].copy_from_slice(&[2, 4, 5, 0xb4]);
    let header = finish(sum(&bytes[14..34]));
    bytes[24..26].copy_from_slice(&header);
    let segment = finish(sum(&bytes[26..58]) + 6 + 24);
    bytes[50..52].copy_from_slice(&segment);
    frame.copy_from(&bytes);
}

/// The sum of big-endian words (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

fn finish(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// The router's MAC address, for the server's table of neighbours.
pub fn router() -> MacAddress {
    MacAddress(ROUTER_MAC)
}
