//! Serving strangers that may be slow, hung or many: the control socket's clients and scrapers.
//!
//! Each visitor has a thread of its own, of which there are few; whoever comes while all are busy is
//! turned away. A visit has a deadline, for all its reads and writes together, after which the next one
//! fails and the thread ends. Nothing here is waited for at the end of the server.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use pagewire_driver::{Waker, wait_readable};

/// How long to leave a listener alone that has nothing but errors, such as no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Something that visitors come to.
pub trait Door: AsFd + Send + 'static {
    /// How they are spoken to.
    type Visitor: Visitor;

    /// The next visitor, without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; else whatever `accept` says.
    fn admit(&self) -> io::Result<Self::Visitor>;
}

/// A stream whose waits can be bounded.
pub trait Visitor: Read + Write + Send + 'static {
    /// Bounds the next read and write; more than zero.
    ///
    /// # Errors
    ///
    /// Whatever `setsockopt` says.
    fn bound(&self, timeout: Duration) -> io::Result<()>;
}

impl Door for UnixListener {
    type Visitor = UnixStream;

    fn admit(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.accept()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

impl Door for TcpListener {
    type Visitor = TcpStream;

    fn admit(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

impl Visitor for UnixStream {
    fn bound(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

impl Visitor for TcpStream {
    fn bound(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

/// A visitor, until a deadline.
#[derive(Debug)]
pub struct Visit<V> {
    visitor: V,
    deadline: Instant,
}

impl<V: Visitor> Visit<V> {
    /// Moves the deadline to `patience` from now.
    pub fn extend(&mut self, patience: Duration) {
        self.deadline = Instant::now() + patience;
    }

    fn bound(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.visitor.bound(left)
    }
}

impl<V: Visitor> Read for Visit<V> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bound()?;
        self.visitor.read(buffer)
    }
}

impl<V: Visitor> Write for Visit<V> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bound()?;
        self.visitor.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.visitor.flush()
    }
}

/// An open door. Dropped, it is closed; visitors who are inside go on until their deadline.
#[derive(Debug)]
pub struct Reception {
    thread: Option<JoinHandle<()>>,
    waker: Waker,
    stop: Arc<AtomicBool>,
}

impl Reception {
    /// Opens `door`, which does not block, to up to `most` visitors at once, each for `patience` unless
    /// that is extended. What `receive` returns is of no interest: a visitor's errors are its own.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub fn open<D: Door>(
        name: &'static str,
        door: D,
        most: usize,
        patience: Duration,
        receive: impl Fn(&mut Visit<D::Visitor>) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let waker = Waker::new()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (receive, inside) = (Arc::new(receive), Arc::new(AtomicUsize::new(0)));
        let (wake, stopped) = (waker.clone(), Arc::clone(&stop));
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                wait_readable(&[door.as_fd(), wake.as_fd()], None);
                let visitor = match door.admit() {
                    Ok(visitor) => visitor,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(_) => {
                        thread::sleep(PAUSE);
                        continue;
                    }
                };
                if inside.load(Ordering::Acquire) >= most {
                    // Turned away: the stream is closed by being dropped.
                    continue;
                }
                let seat = Seat::take(&inside);
                let receive = Arc::clone(&receive);
                let visit = move || {
                    let _seat = seat;
                    let mut visit = Visit { visitor, deadline: Instant::now() + patience };
                    let _ = receive(&mut visit);
                };
                // Without a thread to be had, it is turned away as well.
                let _ = thread::Builder::new().name(name.to_owned()).spawn(visit);
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { thread: Some(thread), waker, stop })
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A visitor's place inside.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(inside: &Arc<AtomicUsize>) -> Self {
        inside.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(inside))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
