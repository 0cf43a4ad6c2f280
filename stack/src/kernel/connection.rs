//! One connection's life: connecting, open, closing after what is queued, lingering.

use std::{net::SocketAddr, os::fd::OwnedFd};

use pagewire_driver::Instant;
use rustix::{event::epoll::EventFlags, net::Shutdown};

use super::{
    core::Core,
    receive::{Got, Incoming},
    send::{Outgoing, Stop},
    socket,
};
use crate::{Close, CloseReason, ConnectionId, Event, EventBatch};

/// How far it has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// To this peer.
    Connecting(SocketAddr),
    Open,
    /// Our end is sent; what the peer sends is discarded until its end or a deadline.
    Lingering,
}

/// Whether it is to be looked at in the next turn, although nothing happens to its socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Wait,
    Again,
}

/// A socket with what is known of it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    phase: Phase,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// It is in the list of those to be looked at.
    pub(super) listed: bool,
    /// How it is to be closed after what is queued.
    closing: Option<Close>,
    /// The peer's end is received.
    peer_closed: bool,
    /// What epoll has said: that it may be readable (IN) or writable (OUT), which holds until the
    /// socket says EAGAIN; that the peer's end is on its way (RDHUP), maybe behind bytes; an error.
    state: EventFlags,
}

impl Connection {
    /// One that may have been asked something by the time it is accepted.
    pub(super) fn accepted(socket: OwnedFd) -> Self {
        Self::with(socket, Phase::Open, EventFlags::IN | EventFlags::OUT)
    }

    pub(super) fn dialled(socket: OwnedFd, to: SocketAddr) -> Self {
        Self::with(socket, Phase::Connecting(to), EventFlags::empty())
    }

    fn with(socket: OwnedFd, phase: Phase, state: EventFlags) -> Self {
        Self {
            socket,
            phase,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            listed: false,
            closing: None,
            peer_closed: false,
            state,
        }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether the caller has closed it.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.phase == Phase::Lingering
    }

    /// Has it closed once all is sent. What is unconsumed is dropped.
    pub(super) fn close_after_sent(&mut self, how: Close, core: &mut Core) {
        self.closing.get_or_insert(how);
        self.incoming.consume(usize::MAX, core);
    }

    /// Whether bytes may be waiting in the socket that there was no room for.
    pub(super) fn has_unread(&self) -> bool {
        self.state.contains(EventFlags::IN) && !self.peer_closed
    }

    /// Notes what epoll says. True if there is something to do about it.
    pub(super) fn note(&mut self, mut flags: EventFlags) -> bool {
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP) {
            flags |= EventFlags::RDHUP | EventFlags::IN;
        }
        let newly_writable = flags.contains(EventFlags::OUT) && !self.is_writable();
        self.state |= flags;
        let wants_to_write = !self.outgoing.is_drained() || self.phase != Phase::Open;
        flags.intersects(EventFlags::IN | EventFlags::ERR) || (newly_writable && wants_to_write)
    }

    /// Does what can be done now: finish connecting, send, receive, end.
    pub(super) fn turn(
        &mut self,
        id: ConnectionId,
        now: Instant,
        core: &mut Core,
        events: &mut EventBatch,
    ) -> Result<Next, CloseReason> {
        let failed = self.state.contains(EventFlags::ERR);
        self.state.remove(EventFlags::ERR);
        if failed && let Some(reason) = socket::pending_error(&self.socket) {
            return Err(reason);
        }
        if let Phase::Connecting(peer) = self.phase {
            if !self.is_writable() {
                return Ok(Next::Wait);
            }
            self.opened(id, peer, core, events)?;
        }
        let sending = self.send(id, now, core)?;
        if self.outgoing.take_report() {
            events.push(Event::Sent(id));
        }
        let receiving = self.receive(id, core, events)?;
        if self.phase == Phase::Lingering && self.peer_closed {
            return Err(CloseReason::Finished);
        }
        let again = sending == Next::Again || receiving == Next::Again;
        Ok(if again { Next::Again } else { Next::Wait })
    }

    fn is_writable(&self) -> bool {
        self.state.contains(EventFlags::OUT)
    }

    fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    fn opened(
        &mut self,
        id: ConnectionId,
        peer: SocketAddr,
        core: &mut Core,
        events: &mut EventBatch,
    ) -> Result<(), CloseReason> {
        if let Some(reason) = socket::pending_error(&self.socket) {
            return Err(reason);
        }
        let local = socket::local_address(&self.socket).ok_or(CloseReason::Reset)?;
        self.phase = Phase::Open;
        core.counters.connected += 1;
        events.push(Event::Opened { id, peer, local });
        Ok(())
    }

    /// Sends what can be sent now, and the end behind it.
    pub(super) fn send(
        &mut self,
        id: ConnectionId,
        now: Instant,
        core: &mut Core,
    ) -> Result<Next, CloseReason> {
        let mut next = Next::Wait;
        if self.is_writable() && self.outgoing.is_ready() {
            match self.outgoing.send(&self.socket, id, self.is_closing(), now, core)? {
                Stop::Drained => {}
                Stop::Budget => next = Next::Again,
                Stop::SocketFull => {
                    self.state.remove(EventFlags::OUT);
                    core.counters.socket_full += 1;
                }
                Stop::Disk => core.counters.disk_waits += 1,
            }
        }
        if self.is_closing() && self.is_open() && self.outgoing.is_drained() {
            if self.closing == Some(Close::Concluded) && !self.has_unread() {
                // The kernel sees to the end, and to what the peer still has to acknowledge.
                return Err(CloseReason::Finished);
            }
            // Fails only if the connection is gone, which receiving finds out.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
            self.phase = Phase::Lingering;
            core.lingering.push_back((now + core.linger, id));
        }
        Ok(next)
    }

    fn receive(
        &mut self,
        id: ConnectionId,
        core: &mut Core,
        events: &mut EventBatch,
    ) -> Result<Next, CloseReason> {
        if !self.has_unread() {
            return Ok(Next::Wait);
        }
        let got = if self.is_closing() {
            self.incoming.discard(&self.socket, core)?
        } else {
            self.incoming.receive(&self.socket, core)?
        };
        match got {
            Got::Bytes { more } => {
                // An end behind the bytes makes no event of its own.
                self.state.set(EventFlags::IN, more || self.state.contains(EventFlags::RDHUP));
                if !self.is_closing() {
                    events.push(Event::Received(id));
                }
            }
            Got::Nothing => self.state.remove(EventFlags::IN),
            // `consume` looks again.
            Got::Full => return Ok(Next::Wait),
            Got::End => {
                self.peer_closed = true;
                if !self.is_closing() {
                    events.push(Event::PeerClosed(id));
                }
            }
        }
        Ok(if self.has_unread() { Next::Again } else { Next::Wait })
    }
}
