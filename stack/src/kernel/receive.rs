//! What a connection has received and the caller has not consumed.

use std::{mem, os::fd::OwnedFd};

use rustix::{io::Errno, net::RecvFlags};

use super::{core::Core, socket};
use crate::CloseReason;

/// What one attempt to receive brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Got {
    /// Bytes; `more` if the socket may hold others.
    Bytes { more: bool },
    /// The peer sends no more.
    End,
    /// Nothing now.
    Nothing,
    /// There is no room until something is consumed.
    Full,
}

/// Received bytes in a buffer that is held only while there are any.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Empty, or as long as the head limit.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Incoming {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Drops the first `len` bytes, or all.
    pub(super) fn consume(&mut self, len: usize, core: &mut Core) {
        self.start += len.min(self.end - self.start);
        self.release_if_empty(core);
    }

    /// Receives once.
    pub(super) fn receive(
        &mut self,
        socket: &OwnedFd,
        core: &mut Core,
    ) -> Result<Got, CloseReason> {
        if self.buffer.is_empty() {
            self.buffer = core.receive_buffer();
        }
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start.., 0);
            self.end -= mem::take(&mut self.start);
        }
        let room = &mut self.buffer[self.end..];
        if room.is_empty() {
            return Ok(Got::Full);
        }
        let room_len = room.len();
        let got = match rustix::net::recv(socket, room, RecvFlags::empty()) {
            Ok((0, _)) => Got::End,
            Ok((len, _)) => {
                self.end += len;
                core.counters.received_bytes += len as u64;
                Got::Bytes { more: len == room_len }
            }
            Err(Errno::AGAIN) => Got::Nothing,
            Err(Errno::INTR) => Got::Bytes { more: true },
            Err(errno) => return Err(socket::reason(errno)),
        };
        self.release_if_empty(core);
        Ok(got)
    }

    /// Receives once, and forgets it with what was there.
    pub(super) fn discard(
        &mut self,
        socket: &OwnedFd,
        core: &mut Core,
    ) -> Result<Got, CloseReason> {
        self.consume(usize::MAX, core);
        let got = self.receive(socket, core);
        self.consume(usize::MAX, core);
        got
    }

    fn release_if_empty(&mut self, core: &mut Core) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            core.return_receive_buffer(mem::take(&mut self.buffer));
        }
    }
}
