//! One thread that never waits for the disk, and helper processes that do.
//!
//! A helper is asked for bytes of a file through a socket pair. It reads them, which brings them into
//! the page cache, and says that it has; then the connection goes on.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use pagewire_stack::FileRange;
use rustix::{
    event::epoll::EventFlags,
    io::{IoSlice, IoSliceMut},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

use super::epoll::{Left, Loop};
use crate::ladder::{
    connection::{Sending, Worker},
    posix::Forker,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// The rung.
pub const RUNG: Rung = Rung {
    name: "amped",
    about: "epoll in one thread, 8 helper processes that wait for the disk (asymmetric multi-process \
            event-driven: Pai et al., Flash, 1999)",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve,
};

const HELPERS: usize = 8;

/// The most that a helper brings in at once.
const READ_BYTES: u64 = 256 << 10;

fn serve(setting: &Setting) -> io::Result<()> {
    let helpers = start_helpers(&Forker::new()?)?;
    let worker = Worker::new(setting.site()?, Sending::CopyCached);
    let listener = setting.listen(Blocking::No)?;
    let mut serving = Loop::new(&listener, EventFlags::IN, usize::MAX, worker)?;
    for (number, helper) in helpers.iter().enumerate() {
        serving.add(helper, number as u64)?;
    }
    // For whom each helper works.
    let mut working: Vec<Option<usize>> = vec![None; HELPERS];
    let mut queue: VecDeque<(usize, FileRange)> = VecDeque::new();
    loop {
        serving.turn(|serving, left| match left {
            Left::Cold(key, range) => {
                queue.push_back((key, range));
                Ok(())
            }
            Left::Foreign(number) => {
                rustix::io::read(&helpers[number as usize], &mut [0; 1])?;
                let Some(key) = working[number as usize].take() else { return Ok(()) };
                let cold = serving.go_on(key)?;
                queue.extend(cold.map(|range| (key, range)));
                Ok(())
            }
        })?;
        while let Some(free) = working.iter().position(Option::is_none)
            && let Some((key, range)) = queue.pop_front()
        {
            ask(&helpers[free], &range)?;
            working[free] = Some(key);
        }
    }
}

fn start_helpers(forker: &Forker) -> io::Result<Vec<OwnedFd>> {
    let mut helpers = Vec::new();
    for _ in 0..HELPERS {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        forker.fork(|| help(&theirs))?;
        helpers.push(ours);
    }
    Ok(helpers)
}

/// Sends the file's descriptor, and where in it.
fn ask(helper: &OwnedFd, range: &FileRange) -> io::Result<()> {
    let descriptors = [range.object.descriptor().ok_or(io::ErrorKind::InvalidInput)?];
    let len = range.len.min(READ_BYTES);
    let question = [range.start.to_ne_bytes(), len.to_ne_bytes()].concat();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(helper, &[IoSlice::new(&question)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A helper's life.
fn help(socket: &OwnedFd) -> io::Result<()> {
    let mut bytes = vec![0; READ_BYTES as usize];
    loop {
        let mut question = [0; 16];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let to = &mut [IoSliceMut::new(&mut question)];
        recvmsg(socket, to, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let number = |at: usize| question[at..at + 8].try_into().map(u64::from_ne_bytes);
        let (start, len) = (number(0), number(8));
        for message in ancillary.drain() {
            if let (RecvAncillaryMessage::ScmRights(files), Ok(start), Ok(len)) =
                (message, start, len)
            {
                for file in files {
                    rustix::io::pread(file.as_fd(), &mut bytes[..len as usize], start)?;
                }
            }
        }
        rustix::io::write(socket, &[1])?;
    }
}
