//! Sleeping until a descriptor is readable, and ending that sleep from another thread.

#![allow(unsafe_code)]

mod flag;

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use flag::Flag;

/// What [`flag`] is made of here.
mod primitives {
    pub use std::sync::atomic::{AtomicBool, Ordering};

    pub use super::Event;
}

/// Ends the sleep of one core. Cheap to clone, and to call when the core is already due to wake: only
/// the first call after a [`clear`](Self::clear) is a system call.
///
/// The protocol that loses no wake-up: the sender puts its message where the core looks, then calls
/// [`wake`](Self::wake); the core calls `clear`, then looks.
#[derive(Clone, Debug)]
pub struct Waker {
    flag: Arc<Flag>,
}

impl Waker {
    /// A waker with nothing pending.
    ///
    /// # Errors
    ///
    /// Whatever `eventfd` says: EMFILE, ENFILE or ENOMEM.
    pub fn new() -> io::Result<Self> {
        Ok(Self { flag: Arc::new(Flag::new(Event::new()?)) })
    }

    /// Makes the descriptor readable, unless it is already.
    pub fn wake(&self) {
        self.flag.wake();
    }

    /// Makes the descriptor unreadable and says whether anybody had called [`wake`](Self::wake).
    pub fn clear(&self) -> bool {
        self.flag.clear()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.flag.event().0.as_fd()
    }
}

/// An eventfd: readable from a [`signal`](Self::signal) until it is taken.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    fn new() -> io::Result<Self> {
        // SAFETY: `eventfd` takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is eight readable bytes. The counter cannot overflow: one write a clear.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Says whether it was readable.
    fn take(&self) -> bool {
        let mut count = [0u8; 8];
        // SAFETY: `count` is eight writable bytes.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) > 0 }
    }
}

/// Sleeps until one of `descriptors` is readable or `timeout` has passed; without a timeout, until one
/// is readable. A signal also ends it.
pub fn wait_readable(descriptors: &[BorrowedFd<'_>], timeout: Option<Duration>) {
    const MOST: usize = 4;
    let mut entries = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; MOST];
    for (entry, descriptor) in entries.iter_mut().zip(descriptors) {
        entry.fd = descriptor.as_raw_fd();
    }
    let count = descriptors.len().min(MOST);
    let timespec = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timespec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `entries` has at least `count` entries; `timeout` is null or outlives the call.
    unsafe { libc::ppoll(entries.as_mut_ptr(), count as libc::nfds_t, timeout, std::ptr::null()) };
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;

    #[test]
    fn a_wake_before_the_sleep_ends_it_at_once() {
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        let start = Instant::now();
        wait_readable(&[waker.as_fd()], Some(Duration::from_mins(1)));
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(waker.clear());
        assert!(!waker.clear());
    }

    #[test]
    fn a_wake_from_another_thread_ends_the_sleep() {
        let waker = Waker::new().unwrap();
        let remote = waker.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            remote.wake();
        });
        let start = Instant::now();
        wait_readable(&[waker.as_fd()], Some(Duration::from_mins(1)));
        assert!(start.elapsed() < Duration::from_secs(30));
        thread.join().unwrap();
    }
}
