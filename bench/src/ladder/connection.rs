//! One connection of a rung: reads requests, answers them from the site, sends. Works on blocking and
//! on non-blocking sockets; who waits for what, and how, is the rung's affair.

use std::{
    io::{self, IoSlice},
    mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use pagewire_stack::FileRange;
use rustix::{
    buffer::spare_capacity,
    io::{Errno, ReadWriteFlags},
    net::SendFlags,
};

use super::site::Site;

/// Room for a read of requests.
const READ_BYTES: usize = 4096;

/// File bytes handled by one system call where they are copied.
const COPY_BYTES: usize = 128 << 10;

/// How the bytes of files that are not held in memory get to the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sending {
    /// `sendfile`.
    Sendfile,
    /// `pread` and `write`.
    Copy,
    /// The same, but never waiting for the disk: [`Turn::Cold`] instead.
    CopyCached,
}

/// What all connections of one thread share.
#[derive(Debug)]
pub struct Worker {
    site: Site,
    sending: Sending,
    /// An inbox for whoever reads; most connections need one only while they are read.
    inbox: Vec<u8>,
    copied: Vec<u8>,
}

impl Worker {
    /// A thread that answers from `site`.
    pub fn new(site: Site, sending: Sending) -> Self {
        let copied = match sending {
            Sending::Sendfile => vec![],
            Sending::Copy | Sending::CopyCached => vec![0; COPY_BYTES],
        };
        Self { site, sending, inbox: Vec::new(), copied }
    }
}

/// What a connection needs before its next turn.
#[derive(Debug)]
pub enum Turn {
    /// Bytes from the peer.
    Read,
    /// Room to send.
    Write,
    /// These bytes of a file in memory; only with [`Sending::CopyCached`].
    Cold(FileRange),
    /// Nothing: it is over.
    Closed,
}

enum Flushed {
    All,
    Full,
    Cold(FileRange),
}

/// One connection.
#[derive(Debug)]
pub struct Connection<S = OwnedFd> {
    socket: S,
    /// The beginning of a request.
    inbox: Vec<u8>,
    head: Vec<u8>,
    head_sent: usize,
    file: Option<FileRange>,
    is_last: bool,
}

impl<S: AsFd> Connection<S> {
    /// A connection on an accepted socket.
    pub fn new(socket: S) -> Self {
        let (inbox, head) = (Vec::new(), Vec::new());
        Self { socket, inbox, head, head_sent: 0, file: None, is_last: false }
    }

    /// Goes on: sends what is due; if nothing is, reads, and answers what was read.
    pub fn turn(&mut self, worker: &mut Worker) -> Turn {
        // Whatever goes wrong, the peer is gone or nothing can be done for it.
        self.try_turn(worker).unwrap_or(Turn::Closed)
    }

    /// Turns until it is over. For blocking sockets.
    pub fn serve(&mut self, worker: &mut Worker) {
        while !matches!(self.turn(worker), Turn::Closed) {}
    }

    fn try_turn(&mut self, worker: &mut Worker) -> io::Result<Turn> {
        let mut inbox = mem::take(&mut self.inbox);
        if inbox.is_empty() {
            mem::swap(&mut inbox, &mut worker.inbox);
        }
        let mut was_full = false;
        let turn = loop {
            if !self.is_sending() {
                inbox.reserve(READ_BYTES);
                match rustix::io::read(&self.socket, spare_capacity(&mut inbox)) {
                    Ok(0) => return Ok(Turn::Closed),
                    Ok(_) => was_full = inbox.len() == inbox.capacity(),
                    Err(Errno::AGAIN) => break Turn::Read,
                    Err(error) => return Err(error.into()),
                }
            }
            match self.answer_all(&mut inbox, worker)? {
                // A read that found less than it had room for has found all there was.
                Turn::Read if was_full => {}
                turn => break turn,
            }
        };
        if inbox.is_empty() {
            worker.inbox = inbox;
        } else {
            self.inbox = inbox;
        }
        Ok(turn)
    }

    /// Sends what is due, and answers what is in `inbox`.
    fn answer_all(&mut self, inbox: &mut Vec<u8>, worker: &mut Worker) -> io::Result<Turn> {
        let mut at = 0;
        let turn = loop {
            match self.flush(worker)? {
                Flushed::All if self.is_last => return Ok(Turn::Closed),
                Flushed::All => {}
                Flushed::Full => break Turn::Write,
                Flushed::Cold(range) => break Turn::Cold(range),
            }
            let Some(answer) = worker.site.answer(&inbox[at..], &mut self.head) else {
                break Turn::Read;
            };
            at += answer.consumed;
            self.file = answer.file;
            self.is_last = !answer.keep_alive;
        };
        inbox.drain(..at);
        Ok(turn)
    }

    /// Whether it has something to send.
    pub fn is_sending(&self) -> bool {
        !self.head.is_empty() || self.file.is_some()
    }

    /// Sends until all is sent or something is in the way.
    fn flush(&mut self, worker: &mut Worker) -> io::Result<Flushed> {
        while self.is_sending() {
            match self.send_some(worker) {
                Ok(None) => {}
                Ok(Some(cold)) => return Ok(Flushed::Cold(cold)),
                Err(Errno::AGAIN) => return Ok(Flushed::Full),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Flushed::All)
    }

    /// Sends something, by one system call for the socket.
    fn send_some(&mut self, worker: &mut Worker) -> rustix::io::Result<Option<FileRange>> {
        let head = &self.head[self.head_sent..];
        let Some(file) = &self.file else {
            let sent = rustix::io::write(&self.socket, head)?;
            self.note_sent(sent);
            return Ok(None);
        };
        if let Some(bytes) = file.object.memory() {
            let bytes = &bytes[file.start as usize..][..file.len as usize];
            let sent =
                rustix::io::writev(&self.socket, &[IoSlice::new(head), IoSlice::new(bytes)])?;
            self.note_sent(sent);
        } else if !head.is_empty() {
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let sent = rustix::net::send(&self.socket, head, flags)?;
            self.note_sent(sent);
        } else if let Some(descriptor) = file.object.descriptor() {
            let sent = match worker.sending {
                Sending::Sendfile => {
                    let len = file.len as usize;
                    let mut start = file.start;
                    rustix::fs::sendfile(&self.socket, descriptor, Some(&mut start), len)?
                }
                sending => match copy(file, sending, descriptor, &mut worker.copied)? {
                    0 => return Ok(Some(file.clone())),
                    read => rustix::io::write(&self.socket, &worker.copied[..read])?,
                },
            };
            if sent == 0 {
                // The file was cut short.
                return Err(Errno::IO);
            }
            self.note_sent(sent);
        }
        Ok(None)
    }

    fn note_sent(&mut self, sent: usize) {
        let of_head = sent.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        if self.head_sent == self.head.len() {
            self.head.clear();
            self.head_sent = 0;
        }
        if let Some(file) = &mut self.file {
            let of_file = (sent - of_head) as u64;
            file.start += of_file;
            file.len -= of_file;
            if file.len == 0 {
                self.file = None;
            }
        }
    }
}

/// Reads from the front of `file` and says how much; nothing if it would wait for the disk.
fn copy(
    file: &FileRange,
    sending: Sending,
    descriptor: BorrowedFd<'_>,
    to: &mut [u8],
) -> rustix::io::Result<usize> {
    let len = to.len().min(file.len as usize);
    let read = if sending == Sending::Copy {
        rustix::io::pread(descriptor, &mut to[..len], file.start)
    } else {
        let to = &mut [io::IoSliceMut::new(&mut to[..len])];
        match rustix::io::preadv2(descriptor, to, file.start, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN) => return Ok(0),
            read => read,
        }
    };
    match read {
        Ok(0) => Err(Errno::IO),
        read => read,
    }
}

impl<S: AsFd> AsFd for Connection<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
