//! The four rings of a socket, and the chunks that are in them.
//!
//! All unsafe calls of `xsk-rs` ask for the same two things: a descriptor is of the ring's own memory,
//! and nobody else uses its chunk meanwhile. Both follow from the pool's invariant, that a chunk is in
//! exactly one place: every chunk has one descriptor in the table here, which is handed to a ring only
//! while the chunk is out of the pool and in no frame. "One place" below means this.

#![allow(unsafe_code)]

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    rc::Rc,
};

use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem, socket::XdpStatistics};

use super::socket::kick_fill;
use crate::{BURST, Burst, Frame, Occupancy, Pool, frame::CHUNK_SIZE};

/// The rings, as `xsk-rs` hands them over.
pub(super) struct Parts {
    pub transmit: TxQueue,
    pub receive: RxQueue,
    pub fill: FillQueue,
    pub completion: CompQueue,
    pub umem: Umem,
    /// One a chunk, in order.
    pub descriptors: Box<[FrameDesc]>,
    /// Entries in the TX ring.
    pub transmit_size: u32,
}

/// The four rings, the chunks that are in them, and the pool of those that are not.
pub(super) struct Rings {
    parts: Parts,
    pool: Rc<Pool>,
    /// Accepted for transmission and not yet in the TX ring.
    staged: Vec<FrameDesc>,
    /// Room for what a ring hands over. What it holds between calls is void.
    scratch: [FrameDesc; BURST],
    /// Chunks in the fill and RX rings.
    filled: usize,
    /// Chunks in the TX and completion rings.
    in_flight: usize,
}

impl Rings {
    /// Takes over rings in which nothing is yet.
    pub(super) fn new(parts: Parts) -> Self {
        let pool = Pool::umem(parts.umem.clone(), &parts.descriptors);
        let staged = Vec::with_capacity(parts.transmit_size as usize);
        let scratch = [FrameDesc::default(); BURST];
        Self { parts, pool, staged, scratch, filled: 0, in_flight: 0 }
    }

    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Moves received frames into `burst` and says how many frames and bytes.
    pub(super) fn receive(&mut self, burst: &mut Burst) -> (usize, usize) {
        let scratch = &mut self.scratch[..burst.room()];
        // SAFETY: this ring returns only chunks that `refill` put into the fill ring.
        let count = unsafe { self.parts.receive.consume(scratch) };
        self.filled -= count;
        let mut bytes = 0;
        for desc in &scratch[..count] {
            let (chunk, offset) = (chunk_of(desc), desc.addr() % CHUNK_SIZE);
            let frame = self.pool.frame(chunk, offset, desc.lengths().data());
            bytes += frame.len();
            let Ok(()) = burst.push(frame) else { break };
        }
        (count, bytes)
    }

    /// Whether a received frame waits in the ring.
    pub(super) fn has_received(&mut self) -> bool {
        self.parts.receive.nb_avail(1) > 0
    }

    /// Gives the kernel free chunks for reception until it has `target`, as far as there are any.
    pub(super) fn refill(&mut self, target: usize) {
        while self.filled < target {
            let wanted = (target - self.filled).min(BURST);
            let mut count = 0;
            while count < wanted
                && let Some(chunk) = self.pool.take_chunk()
            {
                self.scratch[count] = self.parts.descriptors[chunk as usize];
                count += 1;
            }
            // SAFETY: the chunks are of this memory and were just taken from the pool: one place.
            let produced = unsafe { self.parts.fill.produce(&self.scratch[..count]) };
            for desc in &self.scratch[produced..count] {
                self.pool.put_chunk(chunk_of(desc));
            }
            self.filled += produced;
            if produced == 0 {
                break;
            }
        }
        if self.parts.fill.needs_wakeup() {
            kick_fill(self.as_fd());
        }
    }

    /// Takes `frame`, which is of this pool, for the next [`publish`](Self::publish).
    pub(super) fn stage(&mut self, frame: Frame) {
        let len = frame.len();
        let chunk = frame.into_chunk();
        let desc = &mut self.parts.descriptors[chunk as usize];
        // SAFETY: the descriptor is of this memory; the chunk just left its frame: one place.
        unsafe { self.parts.umem.data_mut(desc) }.cursor().set_pos(len);
        self.staged.push(*desc);
    }

    /// Puts what is staged into the TX ring.
    pub(super) fn publish(&mut self) {
        // SAFETY: staged chunks are of this memory and left their frames in `stage`: one place.
        let count = unsafe { self.parts.transmit.produce(&self.staged) };
        // All or nothing; all while no more than a ring full is under way, as the port sees to.
        self.staged.drain(..count);
        self.in_flight += count;
    }

    /// Frames staged, in the TX ring or in the completion ring.
    pub(super) fn underway(&self) -> usize {
        self.in_flight + self.staged.len()
    }

    /// Frames in the TX ring that the kernel has not taken.
    pub(super) fn untaken(&mut self) -> usize {
        (self.parts.transmit_size - self.parts.transmit.nb_free_exact()) as usize
    }

    /// Frames accepted and not yet in the TX ring.
    pub(super) fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Where the chunks are.
    pub(super) fn occupancy(&self) -> Occupancy {
        let (free, filled, in_flight) = (self.pool.available(), self.filled, self.underway());
        let elsewhere = free + filled + in_flight;
        let in_use = self.pool.chunks().saturating_sub(elsewhere);
        Occupancy { free, filled, in_flight, in_use }
    }

    /// Whether the kernel looks at the TX ring only when kicked.
    pub(super) fn needs_kick(&self) -> bool {
        self.parts.transmit.needs_wakeup()
    }

    /// Returns the chunks of sent frames to the pool.
    pub(super) fn reap(&mut self) {
        while self.in_flight > 0 {
            // SAFETY: this ring returns only chunks that `publish` put into the TX ring.
            let count = unsafe { self.parts.completion.consume(&mut self.scratch) };
            for desc in &self.scratch[..count] {
                self.pool.put_chunk(chunk_of(desc));
            }
            self.in_flight -= count;
            if count < BURST {
                return;
            }
        }
    }

    /// What the kernel has counted.
    pub(super) fn statistics(&self) -> XdpStatistics {
        self.parts.receive.fd().xdp_statistics().unwrap_or_default()
    }
}

impl AsFd for Rings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the rings keep the socket open for as long as they are borrowed.
        unsafe { BorrowedFd::borrow_raw(self.parts.receive.fd().as_raw_fd()) }
    }
}

fn chunk_of(desc: &FrameDesc) -> u32 {
    (desc.addr() / CHUNK_SIZE) as u32
}
