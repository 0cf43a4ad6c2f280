//! io_uring for a thread that owns what the kernel works on: whatever an operation uses is given to the
//! ring, and comes back when it is done. Nothing else of io_uring is unsafe.
#![allow(unsafe_code)]
#![expect(clippy::doc_markdown, reason = "io_uring is a name")]

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use io_uring::{
    IoUring, cqueue, opcode, squeue,
    types::{BufRingEntry, Fd},
};
use memmap2::MmapMut;
use pagewire_stack::FileObject;
use rustix::io::Errno;
use slab::Slab;

/// Provided buffers: how many, and how large. A request of a browser fits.
const BUFFERS: u16 = 4096;
const BUFFER_BYTES: usize = 1024;
const BUFFER_GROUP: u16 = 0;

/// An operation that is done, or one step of one that goes on.
#[derive(Debug)]
pub enum Done {
    /// A new connection.
    Accepted(OwnedFd),
    /// Bytes have come, and are in the buffer that `next` was given. None: the connection is over.
    Received(usize, usize),
    /// All of the buffer is sent, or the connection is over.
    Sent {
        /// Of whom.
        key: usize,
        /// What was to be sent.
        buffer: Vec<u8>,
        /// Whether it was.
        is_complete: bool,
    },
    /// The buffer has grown by what was read.
    Read {
        /// For whom.
        key: usize,
        /// What was there before, and what was read.
        buffer: Vec<u8>,
        /// How much was read; nothing at an error.
        len: usize,
    },
}

/// What an operation under way uses.
#[derive(Debug)]
enum Operation {
    Accept { listener: Rc<OwnedFd> },
    Receive { key: usize, socket: Rc<OwnedFd> },
    Send { key: usize, _socket: Rc<OwnedFd>, buffer: Vec<u8> },
    Read { key: usize, _object: Arc<FileObject>, buffer: Vec<u8> },
}

/// A ring. What its operations use is leaked when it is dropped, for the kernel may be at it still.
pub struct Ring {
    inner: IoUring,
    operations: ManuallyDrop<Slab<Operation>>,
    provided: Option<ManuallyDrop<Provided>>,
}

impl Ring {
    /// A ring that can be waited for by its descriptor, with room for `entries` submissions.
    pub fn new(entries: u32) -> io::Result<Self> {
        let inner = IoUring::new(entries)?;
        Ok(Self { inner, operations: ManuallyDrop::default(), provided: None })
    }

    /// A ring for sockets, for one thread that waits with [`wait`](Self::wait).
    pub fn for_sockets(entries: u32) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(entries * 8);
        let inner = builder.build(entries)?;
        let provided = Some(ManuallyDrop::new(Provided::register(&inner)?));
        Ok(Self { inner, operations: ManuallyDrop::default(), provided })
    }

    /// Accepts until the listener fails.
    pub fn accept(&mut self, listener: Rc<OwnedFd>) -> io::Result<()> {
        let fd = Fd(listener.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, Operation::Accept { listener })
    }

    /// Receives until the connection is over. Only with [`for_sockets`](Self::for_sockets).
    pub fn receive(&mut self, key: usize, socket: Rc<OwnedFd>) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BUFFER_GROUP).build();
        self.push(entry, Operation::Receive { key, socket })
    }

    /// Sends all of `buffer`.
    pub fn send(&mut self, key: usize, socket: Rc<OwnedFd>, buffer: Vec<u8>) -> io::Result<()> {
        let len = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), buffer.as_ptr(), len).flags(flags);
        self.push(entry.build(), Operation::Send { key, _socket: socket, buffer })
    }

    /// Reads up to `len` bytes of a file from `start` on and appends them to `buffer`.
    pub fn read(
        &mut self,
        key: usize,
        object: Arc<FileObject>,
        start: u64,
        len: usize,
        mut buffer: Vec<u8>,
    ) -> io::Result<()> {
        let fd = Fd(object.descriptor().ok_or(io::ErrorKind::InvalidInput)?.as_raw_fd());
        buffer.reserve(len);
        let to = buffer.spare_capacity_mut();
        let len = u32::try_from(len.min(to.len())).unwrap_or(u32::MAX);
        let entry = opcode::Read::new(fd, to.as_mut_ptr().cast(), len).offset(start).build();
        self.push(entry, Operation::Read { key, _object: object, buffer })
    }

    /// Hands what was asked for to the kernel.
    pub fn submit(&mut self) -> io::Result<()> {
        self.inner.submit().map(drop)
    }

    /// The same, and waits until something is done.
    pub fn wait(&mut self) -> io::Result<()> {
        match self.inner.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// What is done, if anything is. Bytes received are put into `received`.
    pub fn next(&mut self, received: &mut Vec<u8>) -> io::Result<Option<Done>> {
        loop {
            let Some(entry) = self.inner.completion().next() else { return Ok(None) };
            if let Some(done) = self.complete(&entry, received)? {
                return Ok(Some(done));
            }
        }
    }

    fn complete(
        &mut self,
        entry: &cqueue::Entry,
        received: &mut Vec<u8>,
    ) -> io::Result<Option<Done>> {
        let id = entry.user_data() as usize;
        let result = entry.result();
        let len = usize::try_from(result).unwrap_or(0);
        let goes_on = cqueue::more(entry.flags());
        if let (true, Some(operation)) = (goes_on, self.operations.get(id)) {
            let key = match operation {
                Operation::Receive { key, .. } => *key,
                _ => 0,
            };
            let is_accept = matches!(operation, Operation::Accept { .. });
            return Ok(if is_accept {
                Some(Done::Accepted(owned(result)?))
            } else {
                self.take_provided(entry, len, received);
                Some(Done::Received(key, len))
            });
        }
        match self.operations.try_remove(id) {
            None => Ok(None),
            Some(Operation::Accept { listener }) => {
                self.accept(listener)?;
                Ok(owned(result).ok().map(Done::Accepted))
            }
            Some(Operation::Receive { key, socket }) => {
                self.take_provided(entry, len, received);
                // It also ends when no buffer was free, or after a while.
                if len > 0 || result == -Errno::NOBUFS.raw_os_error() {
                    self.receive(key, socket)?;
                }
                let waits = result == -Errno::NOBUFS.raw_os_error();
                Ok((!waits).then_some(Done::Received(key, len)))
            }
            Some(Operation::Send { key, buffer, .. }) => {
                let is_complete = len == buffer.len();
                Ok(Some(Done::Sent { key, buffer, is_complete }))
            }
            Some(Operation::Read { key, mut buffer, .. }) => {
                // SAFETY: the kernel has filled the first `len` bytes of the spare capacity, which
                // was reserved when the buffer was given to the ring.
                unsafe { buffer.set_len(buffer.len() + len) };
                Ok(Some(Done::Read { key, buffer, len }))
            }
        }
    }

    fn take_provided(&mut self, entry: &cqueue::Entry, len: usize, received: &mut Vec<u8>) {
        received.clear();
        if let (Some(provided), Some(id)) =
            (&mut self.provided, cqueue::buffer_select(entry.flags()))
        {
            provided.take(id, len, received);
        }
    }

    fn push(&mut self, entry: squeue::Entry, operation: Operation) -> io::Result<()> {
        let id = self.operations.insert(operation);
        let entry = entry.user_data(id as u64);
        // SAFETY: all that the entry points to and names is in `operation`, which is kept until the
        // kernel has said that it is done; its buffers are on the heap and do not move.
        while unsafe { self.inner.submission().push(&entry) }.is_err() {
            self.inner.submit()?;
        }
        Ok(())
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

fn owned(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// Buffers that the kernel receives into.
struct Provided {
    /// Entries of the kernel's ring: page-aligned, as it asks.
    ring: MmapMut,
    buffers: MmapMut,
    tail: u16,
}

impl Provided {
    fn register(inner: &IoUring) -> io::Result<Self> {
        let count = usize::from(BUFFERS);
        let ring = MmapMut::map_anon(count * size_of::<BufRingEntry>())?;
        let buffers = MmapMut::map_anon(count * BUFFER_BYTES)?;
        let mut provided = Self { ring, buffers, tail: 0 };
        let at = provided.ring.as_mut_ptr() as u64;
        // SAFETY: the memory is as long as BUFFERS entries, and is never freed: the ring leaks it.
        unsafe { inner.submitter().register_buf_ring_with_flags(at, BUFFERS, BUFFER_GROUP, 0) }?;
        for id in 0..BUFFERS {
            provided.give(id);
        }
        Ok(provided)
    }

    /// Copies what the kernel has put into buffer `id`, and gives it back.
    fn take(&mut self, id: u16, len: usize, to: &mut Vec<u8>) {
        let start = usize::from(id) * BUFFER_BYTES;
        to.extend_from_slice(&self.buffers[start..start + len]);
        self.give(id);
    }

    fn give(&mut self, id: u16) {
        let start = usize::from(id) * BUFFER_BYTES;
        let buffer = self.buffers[start..start + BUFFER_BYTES].as_mut_ptr() as u64;
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins with a page")]
        let entries = self.ring.as_mut_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail % BUFFERS);
        // SAFETY: the index is below BUFFERS; the kernel does not look at an entry before the tail
        // has passed it, and is done with the one that was there, since no more buffers than entries
        // exist. Zeroed memory is an entry.
        let entry = unsafe { &mut *entries.add(index) };
        entry.set_addr(buffer);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, as the kernel defines it, and is aligned. Both sides
        // use it atomically.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
