//! The client's thread: a loop over all of its connections.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use hdrhistogram::Histogram;
use memchr::memmem;
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
    net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt},
};

use super::{Load, RECORD, STOP, Seen, Shared};

/// Connections in the making at once.
const MOST_CONNECTING: usize = 256;

/// Failures after which there is no point in going on.
const MOST_FAILURES: u64 = 10_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed,
    Connecting,
    /// For an answer, of which the head is not complete.
    Head,
    /// For so many bytes of content.
    Content(u64),
    /// For the server to close.
    Closing,
    /// For all connections to be there, or for ever.
    Parked,
}

#[derive(Debug)]
struct Connection {
    socket: Option<OwnedFd>,
    state: State,
    is_idle: bool,
    had_answer: bool,
    closes: bool,
    target: usize,
    asked_at: Instant,
    head: Vec<u8>,
}

/// A client at work.
pub(super) struct Asking {
    load: Load,
    shared: Arc<Shared>,
    set: OwnedFd,
    connections: Vec<Connection>,
    /// Connections that have had an answer.
    answered: usize,
    connecting: usize,
    opened: usize,
    next_target: usize,
    latency_ns: Histogram<u64>,
    scratch: Vec<u8>,
}

impl Asking {
    pub(super) fn new(load: Load, shared: Arc<Shared>) -> io::Result<Self> {
        core_affinity::set_for_current(load.core);
        let latency_ns = Histogram::new_with_max(60_000_000_000, 3).map_err(io::Error::other)?;
        let connections = (0..load.active + load.idle).map(|index| Connection {
            socket: None,
            state: State::Closed,
            is_idle: index >= load.active,
            had_answer: false,
            closes: false,
            target: 0,
            asked_at: Instant::now(),
            head: Vec::new(),
        });
        let connections = connections.collect();
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            load,
            shared,
            set,
            connections,
            answered: 0,
            connecting: 0,
            opened: 0,
            next_target: 0,
            latency_ns,
            scratch: vec![0; 256 << 10],
        })
    }

    pub(super) fn run(mut self) -> io::Result<Seen> {
        let patience = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let mut events: Vec<Event> = Vec::with_capacity(256);
        while self.shared.phase.load(Relaxed) != STOP
            && self.shared.failed.load(Relaxed) < MOST_FAILURES
        {
            while self.connecting < MOST_CONNECTING && self.opened < self.connections.len() {
                let index = self.opened;
                self.opened += 1;
                self.ask(index)?;
            }
            events.clear();
            epoll::wait(&self.set, spare_capacity(&mut events), Some(&patience))?;
            for event in &events {
                self.handle(event.data.u64() as usize)?;
            }
        }
        let failed = self.shared.failed.load(Relaxed);
        Ok(Seen { latency_ns: self.latency_ns, failed })
    }

    /// Sends the next request, on a connection that may have to be made first.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        // The first answer only shows that the connection is there.
        if connection.had_answer || !self.load.once {
            if self.load.once && self.next_target == self.load.targets.len() {
                self.shared.is_exhausted.store(true, Relaxed);
                connection.state = State::Parked;
                return Ok(());
            }
            connection.target = self.next_target % self.load.targets.len();
            self.next_target = connection.target + 1;
        }
        connection.asked_at = Instant::now();
        connection.closes = false;
        if connection.socket.is_some() {
            return self.send(index);
        }
        let (socket, is_connected) = connect(self.load.server)?;
        let flags = if is_connected { EventFlags::IN } else { EventFlags::OUT };
        epoll::add(&self.set, &socket, EventData::new_u64(index as u64), flags)?;
        connection.socket = Some(socket);
        if is_connected {
            return self.send(index);
        }
        connection.state = State::Connecting;
        self.connecting += 1;
        Ok(())
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else { return Ok(()) };
        let request = &self.load.targets[connection.target].request;
        connection.state = State::Head;
        connection.head.clear();
        // A request always fits into an empty socket buffer.
        match net::send(socket, request, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(_) => self.fail(index),
        }
    }

    fn handle(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else { return Ok(()) };
        if connection.state == State::Connecting {
            self.connecting -= 1;
            if !matches!(sockopt::socket_error(socket), Ok(Ok(()))) {
                return self.fail(index);
            }
            epoll::modify(&self.set, socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            return self.send(index);
        }
        let len = match net::recv(socket, &mut *self.scratch, net::RecvFlags::empty()) {
            Ok((_, len)) => len,
            Err(Errno::AGAIN) => return Ok(()),
            Err(_) => 0,
        };
        match connection.state {
            State::Closing if len == 0 => {
                connection.socket = None;
                self.go_on(index)
            }
            // The server may close it while it is idle, if that is asked of nobody.
            State::Parked if len == 0 && !connection.is_idle => {
                connection.socket = None;
                Ok(())
            }
            State::Content(rest) if 0 < len && len as u64 <= rest => {
                self.take_content(index, rest - len as u64)
            }
            State::Head if len > 0 => self.take_head(index, len),
            _ => self.fail(index),
        }
    }

    fn take_head(&mut self, index: usize, len: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let bytes = if connection.head.is_empty() {
            &self.scratch[..len]
        } else {
            connection.head.extend_from_slice(&self.scratch[..len]);
            &connection.head
        };
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            if connection.head.is_empty() {
                connection.head.extend_from_slice(&self.scratch[..len]);
            }
            return Ok(());
        };
        let (head, content) = bytes.split_at(end + 4);
        let expected = self.load.targets[connection.target].len;
        let is_right = head.starts_with(b"HTTP/1.1 200 ") && content_length(head) == Some(expected);
        connection.closes = memmem::find(head, b"\r\nConnection: close\r\n").is_some();
        match expected.checked_sub(content.len() as u64) {
            Some(rest) if is_right => self.take_content(index, rest),
            _ => self.fail(index),
        }
    }

    fn take_content(&mut self, index: usize, rest: u64) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if rest > 0 {
            connection.state = State::Content(rest);
            return Ok(());
        }
        self.shared.completed.fetch_add(1, Relaxed);
        if self.shared.phase.load(Relaxed) == RECORD {
            self.latency_ns.saturating_record(connection.asked_at.elapsed().as_nanos() as u64);
        }
        if !connection.had_answer {
            connection.had_answer = true;
            self.answered += 1;
        }
        if connection.closes {
            connection.state = State::Closing;
            return Ok(());
        }
        self.go_on(index)
    }

    /// Asks again, once all connections are there.
    fn go_on(&mut self, index: usize) -> io::Result<()> {
        if self.shared.is_ready.load(Relaxed) && !self.connections[index].is_idle {
            return self.ask(index);
        }
        self.connections[index].state = State::Parked;
        if self.answered == self.connections.len() && !self.shared.is_ready.swap(true, Relaxed) {
            for index in 0..self.load.active {
                if self.connections[index].state == State::Parked {
                    self.ask(index)?;
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, index: usize) -> io::Result<()> {
        self.shared.failed.fetch_add(1, Relaxed);
        let connection = &mut self.connections[index];
        connection.socket = None;
        connection.state = State::Closed;
        self.ask(index)
    }
}

fn content_length(head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\r\nContent-Length: ";
    let start = memmem::find(head, NAME)? + NAME.len();
    let len = head[start..].iter().position(|&byte| byte == b'\r')?;
    std::str::from_utf8(&head[start..start + len]).ok()?.parse().ok()
}

/// A connection, and whether it is there already.
fn connect(to: SocketAddr) -> io::Result<(OwnedFd, bool)> {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match net::connect(&socket, &to) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error.into()),
    }
}
