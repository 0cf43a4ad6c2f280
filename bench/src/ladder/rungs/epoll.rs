//! One thread, `epoll` on all connections; also the loop that later rungs are built of.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use pagewire_stack::FileRange;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
};
use slab::Slab;

use crate::ladder::{
    connection::{Connection, Sending, Turn, Worker},
    listener::accept,
    rung::{Blocking, Cores, Limits, Place, Rung, Setting, Workers},
};

/// By `sendfile`, accepting all connections that there are at each wake-up.
pub const PLAIN: Rung = Rung {
    name: "epoll",
    about: "one thread, epoll on all connections, accepts all there are at each wake-up (Linux 2.5.44, \
            2002)",
    cores: Cores::One,
    workers: Workers::One,
    limits: Limits::NONE,
    place: Place::Loopback,
    serve: |setting| serve(setting, Sending::Sendfile, usize::MAX),
};

/// By `pread` and `write`.
pub const COPY: Rung = Rung {
    name: "epoll-copy",
    about: "the same, with pread and write in place of sendfile",
    serve: |setting| serve(setting, Sending::Copy, usize::MAX),
    ..PLAIN
};

/// Accepting one connection at each wake-up.
pub const ACCEPT_1: Rung = Rung {
    name: "accept-1",
    about: "epoll, accepts one connection at each wake-up (Chandra & Mosberger, Scalability of Linux \
            Event-Dispatch Mechanisms, 2001)",
    serve: |setting| serve(setting, Sending::Sendfile, 1),
    ..PLAIN
};

/// Accepting some.
pub const ACCEPT_16: Rung = Rung {
    name: "accept-16",
    about: "epoll, accepts up to 16 connections at each wake-up (Brecht et al., accept()able \
            Strategies, 2004)",
    serve: |setting| serve(setting, Sending::Sendfile, 16),
    ..PLAIN
};

fn serve(setting: &Setting, sending: Sending, accept_most: usize) -> io::Result<()> {
    let worker = Worker::new(setting.site()?, sending);
    let listener = setting.listen(Blocking::No)?;
    Loop::new(&listener, EventFlags::IN, accept_most, worker)?.run()
}

const LISTENER: u64 = u64::MAX;

/// Events with this bit are not about connections.
const FOREIGN: u64 = 1 << 63;

/// A loop over one listener and its connections.
#[derive(Debug)]
pub struct Loop<'a> {
    set: OwnedFd,
    listener: &'a OwnedFd,
    accept_most: usize,
    connections: Slab<Connection>,
    worker: Worker,
}

/// What a loop leaves to whoever runs it.
#[derive(Debug)]
pub enum Left {
    /// The connection of this key needs these bytes in memory. [`Loop::go_on`] is to be called then.
    Cold(usize, FileRange),
    /// What was added with this key is ready.
    Foreign(u64),
}

impl<'a> Loop<'a> {
    /// A loop that waits for `listener` with `flags` and accepts so many at each wake-up.
    pub fn new(
        listener: &'a OwnedFd,
        flags: EventFlags,
        accept_most: usize,
        worker: Worker,
    ) -> io::Result<Self> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&set, listener, EventData::new_u64(LISTENER), flags)?;
        Ok(Self { set, listener, accept_most, connections: Slab::new(), worker })
    }

    /// Waits for something else as well.
    pub fn add(&self, descriptor: impl AsFd, key: u64) -> io::Result<()> {
        let data = EventData::new_u64(FOREIGN | key);
        Ok(epoll::add(&self.set, descriptor, data, EventFlags::IN)?)
    }

    /// Serves, where nothing is left to do for others.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            self.turn(|_, _| Ok(()))?;
        }
    }

    /// Waits once and serves what is ready.
    pub fn turn(
        &mut self,
        mut leave: impl FnMut(&mut Self, Left) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut events = Vec::<epoll::Event>::with_capacity(256);
        match epoll::wait(&self.set, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => self.accept()?,
                key if key & FOREIGN != 0 => leave(self, Left::Foreign(key & !FOREIGN))?,
                key => {
                    if let Some(range) = self.go_on(key as usize)? {
                        leave(self, Left::Cold(key as usize, range))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives a connection a turn, and says which bytes it needs in memory before the next.
    pub fn go_on(&mut self, key: usize) -> io::Result<Option<FileRange>> {
        // Gone, if a helper was slower than its client.
        let Some(connection) = self.connections.get_mut(key) else { return Ok(None) };
        let was_sending = connection.is_sending();
        let turn = connection.turn(&mut self.worker);
        let flags = match turn {
            Turn::Closed => {
                self.connections.remove(key);
                return Ok(None);
            }
            Turn::Read if !was_sending => return Ok(None),
            Turn::Read => EventFlags::IN,
            Turn::Write => EventFlags::OUT,
            // Only an error, and that only once.
            Turn::Cold(_) => EventFlags::ONESHOT,
        };
        epoll::modify(&self.set, &*connection, EventData::new_u64(key as u64), flags)?;
        Ok(if let Turn::Cold(range) = turn { Some(range) } else { None })
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..self.accept_most {
            let Some(socket) = accept(self.listener, Blocking::No)? else { break };
            let entry = self.connections.vacant_entry();
            epoll::add(&self.set, &socket, EventData::new_u64(entry.key() as u64), EventFlags::IN)?;
            entry.insert(Connection::new(socket));
        }
        Ok(())
    }
}
