//! The sockets of one core and the memory they stand on.
//!
//! smoltcp wants a socket's storage and buffers borrowed for as long as the socket lives, and its
//! `Interface` walks every socket of the set that it is given. So each slot here has storage for one
//! socket, and a `SocketSet` of just that socket is put together on the stack for each call.
//!
//! Invariants that the `unsafe` relies on:
//! - `slots` never moves or shrinks: its memory is reserved for the greatest number of slots at the
//!   start, so the address of a slot's storage is stable.
//! - The `'static` storage, sockets and buffers that are made up here never leave this module: callers
//!   get a `&mut Socket` inside a closure, and no socket is taken out of its slot but to be dropped.
//! - Each slot has a receive buffer of its own, and no transmit buffer: what is sent, and sent again, is
//!   the business of `recovery`, and smoltcp knows of our SYN and FIN alone.
//! - `Drop` of the arena drops the sockets before the memory they borrow.

#![allow(unsafe_code)]

use memmap2::{MmapMut, MmapRaw};
use pagewire_driver::{prefetch, prefetch_range};
use smoltcp::{
    iface::{Interface, PollResult, SocketHandle, SocketSet, SocketStorage},
    phy::Device,
    socket::tcp::{Socket, SocketBuffer},
    time::Instant,
};

use crate::pages;

/// Storage for one socket. Not on cache lines of its own: a connection at work rarely needs its socket, and
/// idle ones are many.
struct Slot([SocketStorage<'static>; 1]);

/// Sockets in numbered slots.
pub struct Arena {
    slots: Vec<Slot>,
    capacity: usize,
    receive_len: usize,
    /// Raw: sockets hold references into it.
    receive: MmapRaw,
}

impl Arena {
    /// Room for `capacity` sockets with `receive_len` bytes of receive buffer each. Memory is reserved
    /// now and used as slots are.
    ///
    /// # Errors
    ///
    /// Whatever `mmap` says, such as ENOMEM.
    pub fn new(capacity: usize, receive_len: usize) -> std::io::Result<Self> {
        // smoltcp panics on a remote's segment if a receive buffer is larger than this.
        let receive_len = receive_len.clamp(1, usize::from(u16::MAX));
        let slots = pages::reserve(capacity);
        let receive = MmapRaw::from(MmapMut::map_anon((capacity * receive_len).max(1))?);
        Ok(Self { slots, capacity, receive_len, receive })
    }

    /// How many slots there may be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many slots have been used so far.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Has the memory of the first `slots` provided now. Not their receive buffers: most bytes pass those by.
    pub fn populate(&self, slots: usize) {
        pages::populate(&self.slots, slots);
    }

    /// Adds an empty slot. There must be room: `len() < capacity()`.
    pub fn add_slot(&mut self) {
        assert!(self.slots.len() < self.capacity, "the arena's memory never moves");
        self.slots.push(Slot([SocketStorage::EMPTY]));
    }

    /// Forgets all slots from `len` on, which must be empty, and gives their memory back.
    pub fn truncate(&mut self, len: usize) {
        let before = self.slots.len();
        pages::truncate(&mut self.slots, len);
        let start = self.receive.as_mut_ptr();
        let [from, to] = [len, before].map(|slots| slots * self.receive_len);
        // SAFETY: the mapping is private and anonymous, so its pages come back as zeroes, and the
        // sockets that could borrow what is behind `from` are gone.
        unsafe { pages::discard(start, from..to, self.receive.len()) };
    }

    /// Puts a fresh, closed socket into an empty slot.
    pub fn open(&mut self, slot: u32) {
        let offset = slot as usize * self.receive_len;
        assert!(offset + self.receive_len <= self.receive.len());
        // SAFETY: the ranges of different slots are disjoint and inside the mapping, which outlives the
        // socket; the slot's earlier socket, if any, was dropped by `close`.
        let receive: &'static mut [u8] = unsafe {
            let start = self.receive.as_mut_ptr().add(offset);
            std::slice::from_raw_parts_mut(start, self.receive_len)
        };
        let transmit: &'static mut [u8] = &mut [];
        let socket = Socket::new(SocketBuffer::new(receive), SocketBuffer::new(transmit));
        self.set(slot).add(socket);
    }

    /// Drops the socket of a slot.
    pub fn close(&mut self, slot: u32) {
        drop(self.set(slot).remove(SocketHandle::default()));
    }

    /// Looks at or changes the socket of a slot.
    pub fn with<R>(&mut self, slot: u32, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        f(self.set(slot).get_mut(SocketHandle::default()))
    }

    /// Gives the device's next packet to the socket of a slot.
    pub fn ingress(
        &mut self,
        slot: u32,
        interface: &mut Interface,
        now: Instant,
        device: &mut impl Device,
    ) {
        interface.poll_ingress_single(now, device, &mut self.set(slot));
    }

    /// Lets the socket of a slot send at most one segment, and says whether it did.
    pub fn egress(
        &mut self,
        slot: u32,
        interface: &mut Interface,
        now: Instant,
        device: &mut impl Device,
    ) -> bool {
        interface.poll_egress(now, device, &mut self.set(slot)) == PollResult::SocketStateChanged
    }

    /// When the socket of a slot wants to be asked to send; `Instant::ZERO` is now.
    pub fn poll_at(
        &mut self,
        slot: u32,
        interface: &mut Interface,
        now: Instant,
    ) -> Option<Instant> {
        interface.poll_at(now, &self.set(slot))
    }

    /// Brings a slot towards the core's cache.
    pub fn prefetch(&self, slot: u32) {
        prefetch(&self.slots[slot as usize]);
    }

    /// Brings the part of a slot's receive buffer towards the core's cache into which a segment of `len`
    /// bytes will be written, after `received` bytes in all. Only a hint: the buffer is smoltcp's.
    pub fn prefetch_receive(&self, slot: u32, received: u32, len: usize) {
        let offset = received as usize % self.receive_len;
        let len = len.min(self.receive_len - offset);
        let buffer = self.receive.as_ptr().wrapping_add(slot as usize * self.receive_len);
        prefetch_range(buffer.wrapping_add(offset), len);
    }

    fn set(&mut self, slot: u32) -> SocketSet<'static> {
        let storage: *mut [SocketStorage<'static>; 1] = &raw mut self.slots[slot as usize].0;
        // SAFETY: the storage stays where it is until the arena is dropped. The set is this module's
        // alone and is gone before the next one of any slot is made, as the borrow of `self` ends with
        // the call that made it.
        let storage: &'static mut [SocketStorage<'static>] = unsafe { &mut *storage };
        SocketSet::new(storage)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // Before the mappings that the sockets borrow.
        self.slots.clear();
    }
}
