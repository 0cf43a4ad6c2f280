//! The listening sockets of one core, and when they rest.

use std::{net::SocketAddr, os::fd::OwnedFd, time::Duration};

use pagewire_driver::Instant;
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::SocketFlags,
};

use super::{KernelCounters, KernelError, socket};

/// Most connections accepted from one listener in one turn.
const BURST: usize = 64;

/// How long accepting rests when descriptors or slots have run out.
const REST: Duration = Duration::from_millis(50);

/// A connection just accepted.
pub(super) struct Accepted {
    pub(super) socket: OwnedFd,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// One core's listeners. While they rest their events are off, so that a connection that cannot be
/// taken does not keep the core awake; it waits in the kernel's backlog.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    resume_at: Option<Instant>,
}

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    /// As bound; its address may be unspecified.
    address: SocketAddr,
    token: u64,
    ready: bool,
}

impl Listeners {
    /// Listens on one more address and says which it became. Its events carry `token`.
    pub(super) fn listen(
        &mut self,
        epoll: &OwnedFd,
        socket: OwnedFd,
        token: u64,
    ) -> Result<SocketAddr, KernelError> {
        let failed = |source| KernelError::System { doing: "watch a listening socket", source };
        let address = socket::local_address(&socket)
            .ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
        epoll::add(epoll, &socket, EventData::new_u64(token), EventFlags::IN)
            .map_err(|errno| failed(errno.into()))?;
        self.listeners.push(Listener { socket, address, token, ready: false });
        Ok(address)
    }

    pub(super) fn len(&self) -> usize {
        self.listeners.len()
    }

    /// Ends listening; connections not yet accepted are reset by the kernel.
    pub(super) fn close(&mut self) {
        self.listeners.clear();
        self.resume_at = None;
    }

    /// Notes an event. False if the token is not a listener's.
    pub(super) fn note(&mut self, token: u64) -> bool {
        let listener = self.listeners.iter_mut().find(|listener| listener.token == token);
        listener.is_some_and(|listener| {
            listener.ready = true;
            true
        })
    }

    /// When to [`resume`](Self::resume).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.resume_at
    }

    /// Ends a rest that is over.
    pub(super) fn resume(&mut self, now: Instant, epoll: &OwnedFd) {
        if self.resume_at.take_if(|at| *at <= now).is_some() {
            self.set_interest(epoll, EventFlags::IN);
        }
    }

    /// Takes waiting connections, up to a bounded number a listener and `room` in all.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        epoll: &OwnedFd,
        mut room: usize,
        counters: &mut KernelCounters,
        accepted: &mut Vec<Accepted>,
    ) {
        let mut exhausted = false;
        for listener in &mut self.listeners {
            if !std::mem::take(&mut listener.ready) {
                continue;
            }
            for _ in 0..BURST {
                if room == 0 {
                    counters.accept_no_slots += 1;
                    exhausted = true;
                    break;
                }
                match listener.accept() {
                    Ok(connection) => {
                        counters.accepted += 1;
                        room -= 1;
                        accepted.push(connection);
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        counters.accept_no_descriptors += 1;
                        exhausted = true;
                        break;
                    }
                    // An error of that connection (accept(2)): the next may be sound.
                    Err(_) => counters.accept_failed += 1,
                }
            }
        }
        if exhausted {
            self.set_interest(epoll, EventFlags::empty());
            self.resume_at = Some(now + REST);
        }
    }

    fn set_interest(&self, epoll: &OwnedFd, flags: EventFlags) {
        for listener in &self.listeners {
            // Fails only for a descriptor that was never added.
            let _ =
                epoll::modify(epoll, &listener.socket, EventData::new_u64(listener.token), flags);
        }
    }
}

impl Listener {
    fn accept(&self) -> Result<Accepted, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, peer) = rustix::net::acceptfrom_with(&self.socket, flags)?;
        let peer = peer.and_then(|peer| peer.try_into().ok()).ok_or(Errno::CONNABORTED)?;
        let local = if self.address.ip().is_unspecified() {
            socket::local_address(&socket).ok_or(Errno::CONNABORTED)?
        } else {
            self.address
        };
        Ok(Accepted { socket, peer, local })
    }
}
