//! A server that does what is often proposed: one thread, epoll, and files sent straight from their
//! mappings. It is quick as long as all is in memory; a page that is not stops everybody.
//!
//! Invariant that the `unsafe` here relies on: the files are the bench's own, and nobody changes them while
//! a server runs.

#![allow(unsafe_code)]

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
};
use slab::Slab;

/// The listener's token.
const LISTENER: u64 = u64::MAX;

/// The files of a folder that nobody changes while this runs.
struct Files {
    root: PathBuf,
    mapped: HashMap<String, Arc<Mmap>>,
}

impl Files {
    fn get(&mut self, name: &str) -> io::Result<Arc<Mmap>> {
        if let Some(mapping) = self.mapped.get(name) {
            return Ok(Arc::clone(mapping));
        }
        let file = File::open(self.root.join(name))?;
        // SAFETY: nobody changes the file (see the module).
        let mapping = Arc::new(unsafe { Mmap::map(&file)? });
        self.mapped.insert(name.to_owned(), Arc::clone(&mapping));
        Ok(mapping)
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    head: Vec<u8>,
    body: Option<Arc<Mmap>>,
    sent: usize,
}

impl Connection {
    /// Goes on as far as it can without waiting for the network. False if it is over.
    fn proceed(&mut self, files: &mut Files) -> io::Result<bool> {
        loop {
            if let Some(body) = &self.body {
                while self.sent < self.head.len() + body.len() {
                    let rest = match self.sent.checked_sub(self.head.len()) {
                        Some(at) => &body[at..],
                        None => &self.head[self.sent..],
                    };
                    match self.stream.write(&rest[..rest.len().min(256 << 10)]) {
                        Ok(sent) => self.sent += sent,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                        Err(error) => return Err(error),
                    }
                }
                self.body = None;
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(read) => self.request.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            if self.request.ends_with(b"\r\n\r\n") {
                self.answer(files)?;
            }
        }
    }

    fn answer(&mut self, files: &mut Files) -> io::Result<()> {
        let text = std::str::from_utf8(&self.request).map_err(io::Error::other)?;
        let name = text.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let body = files.get(name)?;
        self.head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into();
        (self.body, self.sent) = (Some(body), 0);
        self.request.clear();
        Ok(())
    }
}

/// Serves the files of `root` at `address` for ever.
pub fn serve(root: &Path, address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut files = Files { root: root.to_owned(), mapped: HashMap::new() };
    let mut connections = Slab::new();
    let mut events: Vec<Event> = Vec::with_capacity(128);
    println!("ready");
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let token = { event.data }.u64();
            if token == LISTENER {
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let (request, head) = (Vec::new(), Vec::new());
                    let connection = Connection { stream, request, head, body: None, sent: 0 };
                    let key = connections.insert(connection);
                    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                    let data = EventData::new_u64(key as u64);
                    epoll::add(&epoll, connections[key].stream.as_fd(), data, flags)?;
                }
                continue;
            }
            let Some(connection) = connections.get_mut(token as usize) else { continue };
            if !connection.proceed(&mut files).unwrap_or(false) {
                connections.remove(token as usize);
            }
        }
    }
}
