//! The memory of one queue, cut into chunks, and the right to one chunk.
//!
//! Invariant that every `unsafe` here relies on: a chunk of a [`Pool`] is in exactly one place: the
//! pool's free list, one [`Frame`], or the rings of the port that owns the pool. Ports move it between
//! these with [`Frame::into_chunk`] and [`Pool::frame`]; nothing else makes or duplicates one.

#![allow(unsafe_code)]

use std::{
    alloc::{self, Layout},
    cell::RefCell,
    fmt,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    rc::Rc,
    slice,
};

use xsk_rs::{FrameDesc, Umem};

use crate::prefetch_range;

/// Bytes of L2 frame that a chunk holds at most: 4,096 less the room that XDP keeps in front
/// (`XDP_PACKET_HEADROOM`, include/uapi/linux/bpf.h).
pub const CHUNK_CAPACITY: usize = CHUNK_SIZE - XDP_PACKET_HEADROOM;

/// Bytes from one chunk to the next.
pub(crate) const CHUNK_SIZE: usize = 4_096;

/// Bytes of a frame that are fetched ahead: headers, and a small payload.
const PREFETCHED: usize = 256;

/// Where a packet starts in its chunk.
pub(crate) const XDP_PACKET_HEADROOM: usize = 256;

/// The chunks of one queue and the list of those that nobody uses.
pub struct Pool {
    /// Where the packet of chunk 0 starts.
    first_packet: NonNull<u8>,
    chunks: u32,
    free: RefCell<Vec<u32>>,
    storage: Storage,
}

/// What keeps the memory alive.
enum Storage {
    /// Allocated here with this layout; starts `XDP_PACKET_HEADROOM` before `first_packet`.
    Heap(Layout),
    /// Mapped and registered with the kernel; freed when the last handle goes. Its socket shares a
    /// descriptor with it, so the queue stays bound until then.
    Umem { _umem: Umem },
}

impl Pool {
    /// A pool of `chunks` free chunks in ordinary memory.
    #[must_use]
    pub fn heap(chunks: u32) -> Rc<Self> {
        let size = (chunks.max(1) as usize) * CHUNK_SIZE;
        let Ok(layout) = Layout::from_size_align(size, CHUNK_SIZE) else {
            unreachable!("u32::MAX chunks of 4 KiB fit an isize on 64-bit targets")
        };
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc::alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { alloc::handle_alloc_error(layout) };
        // SAFETY: the first chunk is longer than the headroom.
        let first_packet = unsafe { base.add(XDP_PACKET_HEADROOM) };
        let free = RefCell::new((0..chunks).rev().collect());
        Rc::new(Self { first_packet, chunks, free, storage: Storage::Heap(layout) })
    }

    /// A pool of all the chunks of `umem`, whose descriptors are `descriptors`.
    pub(crate) fn umem(umem: Umem, descriptors: &[FrameDesc]) -> Rc<Self> {
        let mut first = descriptors[0];
        // SAFETY: `umem` made the descriptor, and nobody uses its chunk yet.
        let first_packet = unsafe { umem.data_mut(&mut first) }.contents_mut().as_mut_ptr();
        // `umem` is one mapping, so its first packet leads to all others.
        let Some(first_packet) = NonNull::new(first_packet) else {
            unreachable!("a slice does not start at null")
        };
        let chunks = descriptors.len() as u32;
        let free = RefCell::new((0..chunks).rev().collect());
        Rc::new(Self { first_packet, chunks, free, storage: Storage::Umem { _umem: umem } })
    }

    /// How many chunks are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.borrow().len()
    }

    /// How many chunks there are.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks as usize
    }

    /// Brings the first bytes of the frame that is taken after `ahead` others towards the core's cache.
    pub(crate) fn prefetch(&self, ahead: usize) {
        if let Some(&chunk) = self.free.borrow().iter().nth_back(ahead) {
            prefetch_range(self.packet(chunk).as_ptr(), PREFETCHED);
        }
    }

    /// Takes a free chunk as an empty frame.
    #[must_use]
    pub fn allocate(self: &Rc<Self>) -> Option<Frame> {
        let chunk = self.free.borrow_mut().pop()?;
        Some(Frame { chunk, len: 0, pool: Rc::clone(self) })
    }

    /// Takes a free chunk for the rings of this pool's port.
    pub(crate) fn take_chunk(&self) -> Option<u32> {
        self.free.borrow_mut().pop()
    }

    /// Takes back a chunk from the rings of this pool's port.
    pub(crate) fn put_chunk(&self, chunk: u32) {
        debug_assert!(chunk < self.chunks);
        self.free.borrow_mut().push(chunk);
    }

    /// The frame in a chunk that the rings of this pool's port give up. It starts `offset` bytes into
    /// the chunk; if that is not where packets start here, it is moved.
    pub(crate) fn frame(self: &Rc<Self>, chunk: u32, offset: usize, len: usize) -> Frame {
        debug_assert!(chunk < self.chunks);
        let mut frame = Frame { chunk, len: 0, pool: Rc::clone(self) };
        frame.set_len(len.min(CHUNK_SIZE.saturating_sub(offset)));
        if offset != XDP_PACKET_HEADROOM {
            let packet = self.packet(chunk).as_ptr();
            // SAFETY: both ends are inside the chunk, which is this frame's alone: the packet ends
            // by `CHUNK_SIZE`, and `len` is at most `CHUNK_CAPACITY`.
            unsafe { ptr::copy(packet.sub(XDP_PACKET_HEADROOM).add(offset), packet, frame.len()) };
        }
        frame
    }

    fn packet(&self, chunk: u32) -> NonNull<u8> {
        debug_assert!(chunk < self.chunks);
        // SAFETY: `chunk` is one of the pool's, so the result is inside its memory.
        unsafe { self.first_packet.add(chunk as usize * CHUNK_SIZE) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        match self.storage {
            // SAFETY: allocated in `heap` with this layout; every frame held an `Rc` of the pool, so
            // none is left.
            Storage::Heap(layout) => unsafe {
                let base = self.first_packet.sub(XDP_PACKET_HEADROOM);
                alloc::dealloc(base.as_ptr(), layout);
            },
            Storage::Umem { .. } => {}
        }
    }
}

/// One L2 frame in one chunk of a queue's memory. Can be neither copied nor cloned nor sent to another
/// thread, and returns to its pool when dropped:
///
/// ```compile_fail
/// fn twice<T: Clone>() {}
/// twice::<pagewire_driver::Frame>();
/// ```
/// ```compile_fail
/// fn elsewhere<T: Send>() {}
/// elsewhere::<pagewire_driver::Frame>();
/// ```
pub struct Frame {
    chunk: u32,
    len: u32,
    pool: Rc<Pool>,
}

impl Frame {
    /// The frame's bytes, from the destination MAC on.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the chunk is this frame's alone, initialised, and at least `len` bytes long.
        unsafe { slice::from_raw_parts(self.pool.packet(self.chunk).as_ptr(), self.len as usize) }
    }

    /// The frame's bytes, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len as usize;
        &mut self.chunk_mut()[..len]
    }

    /// All [`CHUNK_CAPACITY`] bytes of the chunk. Those beyond the frame's length hold anything.
    pub fn chunk_mut(&mut self) -> &mut [u8] {
        // SAFETY: the chunk is this frame's alone, initialised, and `CHUNK_CAPACITY` bytes long.
        unsafe { slice::from_raw_parts_mut(self.pool.packet(self.chunk).as_ptr(), CHUNK_CAPACITY) }
    }

    /// Makes the frame `len` bytes long, at most [`CHUNK_CAPACITY`]. New bytes hold anything.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(CHUNK_CAPACITY) as u32;
    }

    /// Replaces the frame's bytes by `bytes`, cut at [`CHUNK_CAPACITY`].
    pub fn copy_from(&mut self, bytes: &[u8]) {
        self.set_len(bytes.len());
        let len = self.len as usize;
        self.chunk_mut()[..len].copy_from_slice(&bytes[..len]);
    }

    /// The frame's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the frame has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this frame is of `pool`.
    pub(crate) fn is_of(&self, pool: &Rc<Pool>) -> bool {
        Rc::ptr_eq(&self.pool, pool)
    }

    /// The chunk alone: the caller's rings now own it.
    #[must_use]
    pub(crate) fn into_chunk(self) -> u32 {
        let frame = ManuallyDrop::new(self);
        // SAFETY: `frame` is neither used nor dropped afterwards, so the reference moves out once.
        drop(unsafe { ptr::read(&raw const frame.pool) });
        frame.chunk
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.pool.free.borrow_mut().push(self.chunk);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("chunk", &self.chunk).field("len", &self.len).finish()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (chunks, available) = (self.chunks, self.available());
        f.debug_struct("Pool").field("chunks", &chunks).field("available", &available).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_frame_returns_to_its_pool() {
        let pool = Pool::heap(2);
        let (one, two) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        assert!(pool.allocate().is_none());
        drop(one);
        assert_eq!(pool.available(), 1);
        drop(two);
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn frames_do_not_overlap_and_hold_their_capacity() {
        let pool = Pool::heap(3);
        let mut frames: Vec<_> = (0..3).map(|_| pool.allocate().unwrap()).collect();
        for (number, frame) in (0u8..).zip(&mut frames) {
            frame.set_len(usize::MAX);
            frame.bytes_mut().fill(number);
        }
        for (number, frame) in (0u8..).zip(&frames) {
            assert_eq!(frame.len(), CHUNK_CAPACITY);
            assert!(frame.bytes().iter().all(|&byte| byte == number));
        }
    }

    #[test]
    fn a_frame_keeps_the_memory_alive() {
        let pool = Pool::heap(1);
        let mut frame = pool.allocate().unwrap();
        drop(pool);
        frame.copy_from(b"still here");
        assert_eq!(frame.bytes(), b"still here");
    }
}
