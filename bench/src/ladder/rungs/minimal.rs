//! As little as a server on the kernel's TCP can do: answers made in advance, found by the bytes of the
//! request line, no parsing, no looking at files. What remains is the kernel's part.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use memchr::memmem;
use pagewire_stack::FileRange;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
    net::SendFlags,
};
use slab::Slab;

use crate::ladder::{
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
    site::Site,
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "minimal",
    about: "epoll in one thread, answers made in advance: the ceiling of the kernel's path",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::cold(
        "its answers are made in advance: it has read all files before it is asked",
    ),
    place: Place::Loopback,
    serve,
};

/// A response as it is sent: bytes, and perhaps a file that follows them.
struct Prebuilt {
    bytes: Vec<u8>,
    file: Option<FileRange>,
    is_last: bool,
}

/// The response to a request line up to its target, with and without `Connection: close`.
struct Answers {
    known: HashMap<Vec<u8>, [Prebuilt; 2]>,
    unknown: [Prebuilt; 2],
}

impl Answers {
    fn prepare(setting: &Setting) -> io::Result<Self> {
        let mut site = setting.site()?;
        let mut known = HashMap::new();
        for entry in fs::read_dir(&setting.directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            for method in ["GET", "HEAD"] {
                let line = format!("{method} /{name}");
                let responses = responses(&mut site, &line)?;
                known.insert(line.into_bytes(), responses);
            }
        }
        let unknown = responses(&mut site, "GET /there/is/no/such/file")?;
        Ok(Self { known, unknown })
    }

    /// The response to a whole request.
    fn find(&self, request: &[u8]) -> &Prebuilt {
        let target_end = memchr::memchr_iter(b' ', request).nth(1).unwrap_or(0);
        let responses = self.known.get(&request[..target_end]).unwrap_or(&self.unknown);
        let closes = memmem::find(request, b"Connection: close\r\n").is_some();
        &responses[usize::from(closes)]
    }
}

fn responses(site: &mut Site, line: &str) -> io::Result<[Prebuilt; 2]> {
    let mut respond = |field| {
        let request = format!("{line} HTTP/1.1\r\nHost: minimal\r\n{field}\r\n");
        let mut bytes = Vec::new();
        let answer = site.answer(request.as_bytes(), &mut bytes).ok_or(io::ErrorKind::Other)?;
        let mut file = answer.file;
        if let Some(memory) = file.as_ref().and_then(|file| file.object.memory()) {
            bytes.extend_from_slice(memory);
            file = None;
        }
        io::Result::Ok(Prebuilt { bytes, file, is_last: !answer.keep_alive })
    };
    Ok([respond("")?, respond("Connection: close\r\n")?])
}

struct Connection<'a> {
    socket: OwnedFd,
    /// What is being sent, and how much of it is.
    sending: Option<(&'a Prebuilt, u64)>,
}

fn serve(setting: &Setting) -> io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let answers = Answers::prepare(setting)?;
    let listener = setting.listen(Blocking::No)?;
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&set, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Slab<Connection<'_>> = Slab::new();
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&set, spare_capacity(&mut events), None)?;
        for event in &events {
            let data = event.data;
            if data.u64() == LISTENER {
                while let Some(socket) = accept(&listener, Blocking::No)? {
                    let entry = connections.vacant_entry();
                    let data = EventData::new_u64(entry.key() as u64);
                    epoll::add(&set, &socket, data, EventFlags::IN)?;
                    entry.insert(Connection { socket, sending: None });
                }
                continue;
            }
            let connection = &mut connections[data.u64() as usize];
            let was_full = connection.sending.is_some();
            match connection.turn(&answers) {
                Ok(true) => {
                    let is_full = connection.sending.is_some();
                    if is_full != was_full {
                        let flags = if is_full { EventFlags::OUT } else { EventFlags::IN };
                        epoll::modify(&set, &connection.socket, data, flags)?;
                    }
                }
                Ok(false) | Err(_) => drop(connections.remove(data.u64() as usize)),
            }
        }
    }
}

impl<'a> Connection<'a> {
    /// Reads a request and answers it; whether the connection goes on.
    fn turn(&mut self, answers: &'a Answers) -> rustix::io::Result<bool> {
        if self.sending.is_none() {
            let mut request = [0; 1024];
            let len = rustix::io::read(&self.socket, &mut request)?;
            // The client of the ladder sends whole requests, one at a time.
            if !request[..len].ends_with(b"\r\n\r\n") {
                return Ok(false);
            }
            self.sending = Some((answers.find(&request[..len]), 0));
        }
        while let Some((prebuilt, sent)) = self.sending {
            let len = match send(self.socket.as_fd(), prebuilt, sent) {
                Err(Errno::AGAIN) => return Ok(true),
                len => len? as u64,
            };
            let total = prebuilt.bytes.len() as u64 + prebuilt.file.as_ref().map_or(0, |it| it.len);
            self.sending = (sent + len < total).then_some((prebuilt, sent + len));
            if self.sending.is_none() && prebuilt.is_last {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn send(socket: impl AsFd, prebuilt: &Prebuilt, sent: u64) -> rustix::io::Result<usize> {
    let bytes = prebuilt.bytes.get(sent as usize..).unwrap_or_default();
    match &prebuilt.file {
        Some(file) if bytes.is_empty() => {
            let mut start = file.start + sent - prebuilt.bytes.len() as u64;
            let len = file.len - (start - file.start);
            let descriptor = file.object.descriptor().ok_or(Errno::BADF)?;
            rustix::fs::sendfile(socket, descriptor, Some(&mut start), len as usize)
        }
        Some(_) => rustix::net::send(socket, bytes, SendFlags::MORE | SendFlags::NOSIGNAL),
        None => rustix::net::send(socket, bytes, SendFlags::NOSIGNAL),
    }
}
