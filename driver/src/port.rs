//! The frame seam: bursts of move-only frames in and out of one queue.

use std::{fmt, vec};

use crate::{Frame, Instant, Waker};

/// Most frames that one call to [`Port::receive`] delivers.
pub const BURST: usize = 64;

/// An IEEE 802 MAC address.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How frames cross between the kernel and this process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransferMode {
    /// The device reads and writes the UMEM itself.
    ZeroCopy,
    /// The kernel copies every frame.
    Copy,
    /// No kernel: the two ends are in one process.
    Memory,
}

/// Which transport checksums the port takes off the stack's hands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Checksums {
    /// Received segments were verified below.
    pub receive_verified: bool,
    /// Checksums of transmitted segments are filled in below.
    pub transmit_filled: bool,
}

/// What a port can do. Constant for its lifetime.
#[derive(Clone, Copy, Debug)]
pub struct PortCapabilities {
    /// Largest L3 packet, in bytes: a frame is 14 bytes longer, 18 with a VLAN tag.
    pub mtu: usize,
    /// Our own address on the link.
    pub mac: MacAddress,
    /// Who computes and checks transport checksums.
    pub checksums: Checksums,
    /// How frames cross.
    pub mode: TransferMode,
}

/// What became of the frames handed over before a [`Port::flush`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Flush {
    /// All have been taken.
    Taken,
    /// No more are taken for now: receive, do not sleep, and flush again.
    BackPressure,
    /// The link is down or gone; frames handed over may be lost.
    Down,
}

/// What a port has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PortCounters {
    /// Frames received.
    pub received: u64,
    /// Frames handed to the kernel or the link.
    pub sent: u64,
    /// Bytes received, L2.
    pub received_bytes: u64,
    /// Bytes sent, L2.
    pub sent_bytes: u64,
    /// Kicks of the kernel.
    pub kicks: u64,
    /// Kicks that ended in back-pressure (EAGAIN without progress, ENOBUFS) or a full ring.
    pub back_pressure: u64,
    /// Frames lost below after they were taken (a kick answered by EBUSY on veth).
    pub kick_lost: u64,
    /// Flushes that found the link down or gone.
    pub link_down: u64,
    /// Received frames dropped below for want of memory (an empty fill ring or an exhausted pool).
    pub no_memory: u64,
    /// How often the kernel found the fill ring empty; a driver may look several times for one frame.
    pub fill_empty: u64,
    /// Received frames dropped below because the RX ring was full.
    pub ring_full: u64,
}

/// Where the frames of a port's memory are at the moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Occupancy {
    /// In the pool.
    pub free: usize,
    /// Waiting for packets, or received and not yet taken.
    pub filled: usize,
    /// Handed over for transmission and not yet back.
    pub in_flight: usize,
    /// Held as a [`Frame`] by whoever uses the port.
    pub in_use: usize,
}

/// Received frames, to be drained by value.
#[derive(Debug, Default)]
pub struct Burst {
    frames: Vec<Frame>,
}

impl Burst {
    /// An empty burst with room for [`BURST`] frames.
    #[must_use]
    pub fn new() -> Self {
        Self { frames: Vec::with_capacity(BURST) }
    }

    /// Appends a frame. For implementations of [`Port`].
    ///
    /// # Errors
    ///
    /// The frame itself, if there is no room for it.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.room() == 0 {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// How many more frames fit.
    #[must_use]
    pub fn room(&self) -> usize {
        BURST - self.frames.len()
    }

    /// How many frames are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it holds no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames, oldest first.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Takes out all frames, oldest first. Those not looked at are dropped.
    pub fn drain(&mut self) -> vec::Drain<'_, Frame> {
        self.frames.drain(..)
    }
}

/// One queue: frames in, frames out. Bound to its thread.
pub trait Port {
    /// What this port can do.
    fn capabilities(&self) -> &PortCapabilities;

    /// What this port has counted.
    fn counters(&self) -> PortCounters;

    /// Where its frames are; all zero where that is not known.
    fn occupancy(&self) -> Occupancy {
        Occupancy::default()
    }

    /// Appends what has arrived to `burst`, as much as fits. Never blocks. Also takes back the memory
    /// of sent frames.
    fn receive(&mut self, now: Instant, burst: &mut Burst);

    /// How many frames can be allocated and transmitted right now without being refused.
    fn credits(&self) -> usize;

    /// Brings memory towards the core's cache: that of the frame which [`allocate`](Self::allocate) gives after
    /// `ahead` others, as much as a small packet needs. Only a hint.
    fn prefetch(&self, ahead: usize) {
        let _ = ahead;
    }

    /// An empty frame, unless all memory is in use.
    fn allocate(&mut self) -> Option<Frame>;

    /// Takes `frame` for the next [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// The frame itself, if the ring is full, or it is empty or of another port.
    fn transmit(&mut self, frame: Frame) -> Result<(), Frame>;

    /// Hands over what was transmitted: kicks until all is taken, or until back-pressure.
    fn flush(&mut self, now: Instant) -> Flush;

    /// Sleeps until frames arrive, `deadline` or the waker. May end early. The deadline is on the
    /// clock whose present is `now`.
    fn wait(&mut self, now: Instant, deadline: Option<Instant>);

    /// What ends [`wait`](Self::wait) from another thread. `wait` clears it.
    fn waker(&self) -> Waker;
}
