//! What a rung of the ladder is, and all there are.

use std::{io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf};

use super::{
    listener::{self, Sharing},
    rungs,
    site::{Persistence, Site},
};

/// One architecture of a server.
#[derive(Debug)]
pub struct Rung {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// What it is, and who described or used it when.
    pub about: &'static str,
    /// Which cores it runs on.
    pub cores: Cores,
    /// How it spreads its work.
    pub workers: Workers,
    /// What it cannot do.
    pub limits: Limits,
    /// Where it is measured.
    pub place: Place,
    /// Serves until it is killed, as the only thing its process does.
    pub serve: fn(&Setting) -> io::Result<()>,
}

/// Which cores a rung runs on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cores {
    /// The first.
    One,
    /// All, also the client's.
    All,
}

/// How a rung spreads its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Workers {
    /// Not at all: one process with one thread does it.
    One,
    /// Over as many threads or processes as it was told.
    Fixed,
    /// Over as many as there are connections or requests.
    Each,
}

/// What a rung cannot do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections, and why.
    pub connections: Option<(usize, &'static str)>,
    /// Why idle connections are in its way.
    pub idle: Option<&'static str>,
    /// Why it cannot be asked for files outside the page cache.
    pub cold: Option<&'static str>,
}

impl Limits {
    /// It can do everything.
    pub const NONE: Self = Self { connections: None, idle: None, cold: None };

    /// At most so many connections at once.
    pub const fn connections(most: usize, why: &'static str) -> Self {
        Self { connections: Some((most, why)), ..Self::NONE }
    }

    /// No idle connections.
    pub const fn idle(why: &'static str) -> Self {
        Self { idle: Some(why), ..Self::NONE }
    }

    /// No files outside the page cache.
    pub const fn cold(why: &'static str) -> Self {
        Self { cold: Some(why), ..Self::NONE }
    }
}

/// Where a rung is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// On the loopback interface.
    Loopback,
    /// On a veth pair between two network namespaces, at MTU 1500 without offloads.
    Lab,
}

/// What a rung is told.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The files.
    pub directory: PathBuf,
    /// Where to listen; with port 0 anywhere.
    pub address: SocketAddr,
    /// The cores to run on.
    pub cores: Vec<usize>,
    /// How many connections there will be at once.
    pub connections: usize,
    /// Tells whoever started the process where it can be reached.
    pub announce: fn(SocketAddr) -> io::Result<()>,
}

impl Setting {
    /// The files.
    pub fn site(&self) -> io::Result<Site> {
        Site::open(&self.directory, Persistence::AsAsked)
    }

    /// A listening socket of its own, announced.
    pub fn listen(&self, blocking: Blocking) -> io::Result<OwnedFd> {
        let (listener, address) = listener::listen(self.address, blocking, Sharing::No)?;
        (self.announce)(address)?;
        Ok(listener)
    }
}

/// Whether calls on a socket wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blocking {
    /// They do.
    Yes,
    /// They say EAGAIN instead.
    No,
}

/// All rungs, from the oldest idea up.
pub const ALL: &[&Rung] = &[
    &rungs::iterative::RUNG,
    &rungs::cgi::RUNG,
    &rungs::fork::RUNG,
    &rungs::prefork::RUNG,
    &rungs::thread::PLAIN,
    &rungs::thread::COPY,
    &rungs::deadline::POLL,
    &rungs::deadline::ALARM,
    &rungs::pool::RUNG,
    &rungs::tasks::RUNG,
    &rungs::scan::RUNG,
    &rungs::select::RUNG,
    &rungs::poll::RUNG,
    &rungs::epoll::PLAIN,
    &rungs::epoll::COPY,
    &rungs::epoll::ACCEPT_1,
    &rungs::epoll::ACCEPT_16,
    &rungs::herd::SHARED,
    &rungs::herd::EXCLUSIVE,
    &rungs::reuseport::RUNG,
    &rungs::amped::RUNG,
    &rungs::lazy::RUNG,
    &rungs::uring::RUNG,
    &rungs::minimal::RUNG,
    &rungs::pagewire::KERNEL,
    &rungs::pagewire::KERNEL_LAB,
    &rungs::pagewire::USER_LAB,
];

/// The rung of this name.
pub fn find(name: &str) -> Option<&'static Rung> {
    ALL.iter().find(|rung| rung.name == name).copied()
}
