//! One thread, `io_uring`: it asks, and is told what is done.
//!
//! One submission accepts all connections, one for each connection receives all that comes, into
//! buffers that the kernel chooses. There is no sendfile: bytes of large files are read, then sent.

use std::{io, mem, os::fd::OwnedFd, rc::Rc};

use pagewire_stack::FileRange;
use rustix::net::{Shutdown, shutdown};
use slab::Slab;

use crate::ladder::{
    ring::{Done, Ring},
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
    site::Site,
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "io-uring",
    about: "io_uring in one thread: multishot accept and receive, provided buffers (Axboe, 2019; Linux \
            6.0, 2022)",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

const ENTRIES: u32 = 4096;

/// File bytes handled at once.
const CHUNK_BYTES: u64 = 256 << 10;

struct Connection {
    socket: Rc<OwnedFd>,
    /// Received and not yet answered.
    inbox: Vec<u8>,
    /// What follows of the present response.
    file: Option<FileRange>,
    /// The buffer to answer with; none while it is with the ring.
    outbox: Option<Vec<u8>>,
    is_last: bool,
    /// No more bytes will come.
    is_over: bool,
}

struct Server {
    ring: Ring,
    site: Site,
    connections: Slab<Connection>,
}

fn serve(setting: &Setting) -> io::Result<()> {
    let site = setting.site()?;
    let mut server = Server { ring: Ring::for_sockets(ENTRIES)?, site, connections: Slab::new() };
    server.ring.accept(Rc::new(setting.listen(Blocking::No)?))?;
    let mut received = Vec::new();
    loop {
        server.ring.wait()?;
        while let Some(done) = server.ring.next(&mut received)? {
            server.handle(done, &received)?;
        }
    }
}

impl Server {
    fn handle(&mut self, done: Done, received: &[u8]) -> io::Result<()> {
        match done {
            Done::Accepted(socket) => {
                let socket = Rc::new(socket);
                let (inbox, outbox) = (Vec::new(), Some(Vec::new()));
                let key = self.connections.insert(Connection {
                    socket: Rc::clone(&socket),
                    inbox,
                    file: None,
                    outbox,
                    is_last: false,
                    is_over: false,
                });
                self.ring.receive(key, socket)
            }
            Done::Received(key, len) => {
                let connection = &mut self.connections[key];
                connection.is_over |= len == 0;
                connection.inbox.extend_from_slice(received);
                self.go_on(key)
            }
            Done::Read { key, mut buffer, len } => {
                let connection = &mut self.connections[key];
                if let Some(file) = &mut connection.file {
                    file.start += len as u64;
                    file.len -= len as u64;
                }
                connection.file = connection.file.take().filter(|file| file.len > 0);
                if len == 0 {
                    // The file was cut short, or cannot be read.
                    buffer.clear();
                    connection.file = None;
                    connection.outbox = Some(buffer);
                    self.end(key);
                    return Ok(());
                }
                self.ring.send(key, Rc::clone(&connection.socket), buffer)
            }
            Done::Sent { key, mut buffer, is_complete } => {
                buffer.clear();
                let connection = &mut self.connections[key];
                connection.outbox = Some(buffer);
                if !is_complete || connection.file.is_none() && connection.is_last {
                    self.end(key);
                    return Ok(());
                }
                self.go_on(key)
            }
        }
    }

    /// Sends what is due, or answers what has come, unless the last answer is still on its way.
    fn go_on(&mut self, key: usize) -> io::Result<()> {
        let connection = &mut self.connections[key];
        let Some(mut buffer) = connection.outbox.take() else { return Ok(()) };
        if connection.is_over {
            self.connections.remove(key);
            return Ok(());
        }
        if connection.file.is_none() {
            let Some(answer) = self.site.answer(&connection.inbox, &mut buffer) else {
                connection.outbox = Some(buffer);
                return Ok(());
            };
            connection.inbox.drain(..answer.consumed);
            connection.is_last = !answer.keep_alive;
            connection.file = answer.file;
            if let Some(bytes) = connection.file.as_ref().and_then(|file| file.object.memory()) {
                buffer.extend_from_slice(bytes);
                connection.file = None;
            }
        }
        match &connection.file {
            None => self.ring.send(key, Rc::clone(&connection.socket), buffer),
            Some(file) => {
                let (object, len) = (file.object.clone(), file.len.min(CHUNK_BYTES));
                self.ring.read(key, object, file.start, len as usize, buffer)
            }
        }
    }

    /// Lets the receiving end, which ends the connection.
    fn end(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        mem::take(&mut connection.inbox);
        if connection.is_over {
            self.connections.remove(key);
            return;
        }
        // Fails if the peer has ended it already.
        let _ = shutdown(&connection.socket, Shutdown::Both);
    }
}
