//! A port on one AF_XDP queue.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    time::Duration,
};

use super::{
    open,
    rings::Rings,
    socket::{self, Kick},
};
use crate::{
    Burst, Checksums, Chosen, Flush, Frame, Instant, Occupancy, Pool, Port, PortCapabilities,
    PortCounters, TransferMode, Waker, XdpConfig, XdpError, wait_readable,
};

/// The longest sleep while frames are on their way out that nothing announces the end of: the kernel
/// does not wake a sleeper when sent frames come back in copy mode.
const NAP: Duration = Duration::from_micros(100);

/// One queue of one interface. Must be opened on the thread that uses it.
///
/// The kernel releases the queue once the port and every [`Frame`] of it are gone: the memory and the
/// socket share a file descriptor.
pub struct XdpPort {
    capabilities: PortCapabilities,
    chosen: Chosen,
    rings: Rings,
    /// Chunks that are to wait in the kernel for packets.
    fill: usize,
    counters: PortCounters,
    waker: Waker,
}

impl XdpPort {
    /// Opens a queue and gives the kernel memory for it. No packet comes before the queue is
    /// registered with a [`Steering`](crate::Steering) that is attached.
    ///
    /// # Errors
    ///
    /// Any [`XdpError`] but those about programs.
    pub fn open(config: &XdpConfig) -> Result<Self, XdpError> {
        let (mut rings, interface, chosen) = open::open(config)?;
        let fill = config.fill as usize;
        rings.refill(fill);
        let capabilities = PortCapabilities {
            mtu: interface.mtu,
            mac: interface.mac,
            checksums: Checksums::default(),
            mode: chosen.mode,
        };
        let waker = Waker::new()
            .map_err(|source| XdpError::System { action: "make an eventfd".into(), source })?;
        Ok(Self { capabilities, chosen, rings, fill, counters: PortCounters::default(), waker })
    }

    /// What was chosen for this queue, and why.
    #[must_use]
    pub fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The memory of this queue, to see how much of it is in use.
    #[must_use]
    pub fn pool(&self) -> &Rc<Pool> {
        self.rings.pool()
    }

    /// How many more frames may be under way.
    fn room(&self) -> usize {
        self.chosen.in_flight.saturating_sub(self.rings.underway())
    }

    /// Kicks until the kernel has taken all of the TX ring, or stops.
    fn kick(&mut self, mut waiting: usize) -> Flush {
        while waiting > 0 && self.rings.needs_kick() {
            self.counters.kicks += 1;
            let outcome = socket::kick_transmit(self.rings.as_fd());
            self.rings.reap();
            let left = self.rings.untaken();
            match outcome {
                Kick::Done => return Flush::Taken,
                Kick::Lost if self.capabilities.mode == TransferMode::Copy => {
                    self.counters.kick_lost += 1;
                }
                Kick::Again | Kick::Lost | Kick::NoBuffers => {}
                Kick::Down => {
                    self.counters.link_down += 1;
                    return Flush::Down;
                }
            }
            if left >= waiting {
                self.counters.back_pressure += 1;
                return Flush::BackPressure;
            }
            waiting = left;
        }
        Flush::Taken
    }
}

impl Port for XdpPort {
    fn capabilities(&self) -> &PortCapabilities {
        &self.capabilities
    }

    /// Asks the kernel for its part: a system call.
    fn counters(&self) -> PortCounters {
        let kernel = self.rings.statistics();
        PortCounters {
            no_memory: kernel.rx_dropped(),
            fill_empty: kernel.rx_fill_ring_empty_descs(),
            ring_full: kernel.rx_ring_full(),
            ..self.counters
        }
    }

    fn occupancy(&self) -> Occupancy {
        self.rings.occupancy()
    }

    fn receive(&mut self, _now: Instant, burst: &mut Burst) {
        self.rings.reap();
        let (frames, bytes) = self.rings.receive(burst);
        self.counters.received += frames as u64;
        self.counters.received_bytes += bytes as u64;
        self.rings.refill(self.fill);
    }

    fn credits(&self) -> usize {
        self.room().min(self.rings.pool().available())
    }

    fn prefetch(&self, ahead: usize) {
        self.rings.pool().prefetch(ahead);
    }

    fn allocate(&mut self) -> Option<Frame> {
        self.rings.pool().allocate().or_else(|| {
            self.rings.reap();
            self.rings.pool().allocate()
        })
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.is_empty() || !frame.is_of(self.rings.pool()) {
            return Err(frame);
        }
        if self.room() == 0 {
            self.rings.reap();
            if self.room() == 0 {
                self.counters.back_pressure += 1;
                return Err(frame);
            }
        }
        self.counters.sent += 1;
        self.counters.sent_bytes += frame.len() as u64;
        self.rings.stage(frame);
        Ok(())
    }

    fn flush(&mut self, _now: Instant) -> Flush {
        self.rings.publish();
        let waiting = self.rings.untaken();
        match self.kick(waiting) {
            // The ring had no room for all, as the kernel shows room only some time after it is there.
            Flush::Taken if self.rings.staged() > 0 => {
                self.counters.back_pressure += 1;
                Flush::BackPressure
            }
            flush => flush,
        }
    }

    /// As the trait says; and sleeps briefly only while frames have not been taken, or no more fit.
    fn wait(&mut self, now: Instant, deadline: Option<Instant>) {
        self.rings.refill(self.fill);
        let mut timeout = deadline.map(|deadline| deadline - now);
        if self.rings.staged() > 0 || self.room() == 0 || self.rings.untaken() > 0 {
            timeout = Some(timeout.map_or(NAP, |timeout| timeout.min(NAP)));
        }
        if timeout != Some(Duration::ZERO) && !self.rings.has_received() {
            wait_readable(&[self.rings.as_fd(), self.waker.as_fd()], timeout);
        }
        self.waker.clear();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

/// The socket: to be registered with a [`Steering`](crate::Steering), from another thread as a
/// duplicate that is closed afterwards.
impl AsFd for XdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rings.as_fd()
    }
}

impl fmt::Debug for XdpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XdpPort").field("chosen", &self.chosen).finish_non_exhaustive()
    }
}
