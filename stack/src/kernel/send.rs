//! What a connection has yet to send, and how it gets into the socket.
//!
//! Bytes and files held in memory go out together by one sendmsg; mapped files by sendfile, whose
//! pages the kernel takes without a copy, and only ranges that residency says are in memory. A head
//! that a file follows at once is sent with `MSG_MORE`, so that both share segments.
//!
//! The last piece of a mapped file is sent only after a fresh fstat equals what was opened. Since the
//! kernel sends the page itself, a write into the file while the piece is on its way still reaches the
//! peer: files that are served are to be replaced, not rewritten.

use std::{collections::VecDeque, io::IoSlice, os::fd::OwnedFd};

use pagewire_driver::Instant;
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags},
};

use super::{core::Core, socket};
use crate::{CloseReason, ConnectionId, FileRange, Part, Parts, Refused, disk::Answer};

/// Most parts that wait on one connection, unless one submission alone has more.
const PARTS_MAX: usize = 64;

/// Most pieces of memory in one sendmsg.
const SLICES_MAX: usize = 16;

/// Most bytes that a connection sends before the others have their turn.
const TURN_BYTES: u64 = 256 << 10;

/// Why sending stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// All is sent.
    Drained,
    /// Others have their turn.
    Budget,
    /// The socket takes no more.
    SocketFull,
    /// The disk is slower.
    Disk,
}

/// Parts submitted and not yet sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    parts: VecDeque<Part>,
    /// How much of the first part is sent.
    sent_of_first: u64,
    pending: u64,
    waits_for_disk: bool,
    /// Something was submitted after the last report that all is sent.
    unreported: bool,
}

impl Outgoing {
    pub(super) fn push(&mut self, parts: &mut Parts) -> Result<(), Refused> {
        if !self.parts.is_empty() && self.parts.len() + parts.len() > PARTS_MAX {
            return Err(Refused::Busy);
        }
        self.pending += parts.iter().map(Part::len).sum::<u64>();
        self.unreported |= !parts.is_empty();
        self.parts.extend(parts.drain(..));
        Ok(())
    }

    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    pub(super) fn is_drained(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether there is something to send that the disk does not hold back.
    pub(super) fn is_ready(&self) -> bool {
        !self.parts.is_empty() && !self.waits_for_disk
    }

    pub(super) fn disk_answered(&mut self) {
        self.waits_for_disk = false;
    }

    /// Whether all that was submitted is sent and that has not been reported; once.
    pub(super) fn take_report(&mut self) -> bool {
        self.is_drained() && std::mem::take(&mut self.unreported)
    }

    /// Sends what the socket, the disk and fairness allow. With `is_last` the end of the stream follows
    /// at once, and shares the last segment.
    pub(super) fn send(
        &mut self,
        socket: &OwnedFd,
        id: ConnectionId,
        is_last: bool,
        now: Instant,
        core: &mut Core,
    ) -> Result<Stop, CloseReason> {
        let mut budget = TURN_BYTES;
        loop {
            self.drop_sent(core);
            let Some(first) = self.parts.front() else { return Ok(Stop::Drained) };
            if budget == 0 {
                return Ok(Stop::Budget);
            }
            let sent = match first {
                Part::File(range) if range.object.mapped().is_some() => {
                    let rest = rest_of(range, self.sent_of_first);
                    match send_file(&rest, budget, socket, id, now, core)? {
                        Ok(sent) => sent,
                        Err(stop) => {
                            self.waits_for_disk = stop == Stop::Disk;
                            return Ok(stop);
                        }
                    }
                }
                _ => match self.send_memory(socket, id, is_last, now, core)? {
                    Ok(sent) => sent,
                    Err(stop) => return Ok(stop),
                },
            };
            self.sent_of_first += sent;
            self.pending -= sent;
            budget = budget.saturating_sub(sent);
        }
    }

    /// Drops the parts that are sent from the front. A sendmsg may have sent several.
    fn drop_sent(&mut self, core: &mut Core) {
        while let Some(first) = self.parts.front() {
            let len = first.len();
            if self.sent_of_first < len {
                return;
            }
            self.sent_of_first -= len;
            if let Some(Part::Bytes(bytes)) = self.parts.pop_front() {
                core.recycle(bytes);
            }
        }
    }

    /// Sends the parts at the front that are in memory, by one call.
    fn send_memory(
        &self,
        socket: &OwnedFd,
        id: ConnectionId,
        is_last: bool,
        now: Instant,
        core: &mut Core,
    ) -> Result<Result<u64, Stop>, CloseReason> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut used = 0;
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, is_last);
        let mut skip = self.sent_of_first;
        for part in &self.parts {
            if used == SLICES_MAX {
                flags |= SendFlags::MORE;
                break;
            }
            let Some(bytes) = in_memory(part)? else {
                if let Part::File(range) = part
                    && is_resident(range, id, now, core)
                {
                    flags |= SendFlags::MORE;
                }
                break;
            };
            slices[used] = IoSlice::new(&bytes[skip as usize..]);
            skip = 0;
            used += 1;
        }
        let mut control = SendAncillaryBuffer::default();
        match rustix::net::sendmsg(socket, &slices[..used], &mut control, flags) {
            Ok(sent) => {
                core.counters.copied_bytes += sent as u64;
                Ok(Ok(sent as u64))
            }
            Err(Errno::AGAIN) => Ok(Err(Stop::SocketFull)),
            Err(Errno::INTR) => Ok(Ok(0)),
            Err(errno) => Err(socket::reason(errno)),
        }
    }
}

/// Sends from the start of a range of a mapped file.
fn send_file(
    range: &FileRange,
    budget: u64,
    socket: &OwnedFd,
    id: ConnectionId,
    now: Instant,
    core: &mut Core,
) -> Result<Result<u64, Stop>, CloseReason> {
    let object = &range.object;
    let (mut start, end) = (range.start, end_of(range)?);
    let Some((file, _)) = object.mapped() else { return Err(CloseReason::ContentUnreadable) };
    let Answer::Resident { end: resident } = core.residency.request(now, id, object, start..end)
    else {
        return Ok(Err(Stop::Disk));
    };
    let stop = resident.min(end).min(start + budget);
    if stop == end && !object.is_current() {
        return Err(CloseReason::ContentChanged);
    }
    let count = usize::try_from(stop - start).unwrap_or(usize::MAX);
    match rustix::fs::sendfile(socket, file, Some(&mut start), count) {
        // The file ends before the range does.
        Ok(0) => Err(CloseReason::ContentChanged),
        Ok(sent) => {
            core.counters.sendfile_bytes += sent as u64;
            Ok(Ok(sent as u64))
        }
        Err(Errno::AGAIN) => Ok(Err(Stop::SocketFull)),
        Err(Errno::INTR) => Ok(Ok(0)),
        Err(Errno::IO | Errno::STALE | Errno::INVAL | Errno::OVERFLOW) => {
            Err(CloseReason::ContentUnreadable)
        }
        Err(errno) => Err(socket::reason(errno)),
    }
}

/// The bytes of a part that is in memory, all of them.
fn in_memory(part: &Part) -> Result<Option<&[u8]>, CloseReason> {
    match part {
        Part::Bytes(bytes) => Ok(Some(bytes)),
        Part::File(range) => {
            let end = end_of(range)?;
            Ok(range.object.memory().map(|bytes| &bytes[range.start as usize..end as usize]))
        }
    }
}

/// Whether sending a mapped range can begin now.
fn is_resident(range: &FileRange, id: ConnectionId, now: Instant, core: &mut Core) -> bool {
    let end = range.start.saturating_add(range.len);
    range.len > 0
        && end <= range.object.len()
        && core.residency.request(now, id, &range.object, range.start..end) != Answer::Pending
}

fn rest_of(range: &FileRange, sent: u64) -> FileRange {
    let FileRange { object, start, len } = range;
    FileRange { object: object.clone(), start: start + sent, len: len - sent }
}

/// Where a range ends. One beyond its object cannot be sent whole.
fn end_of(range: &FileRange) -> Result<u64, CloseReason> {
    range
        .start
        .checked_add(range.len)
        .filter(|&end| end <= range.object.len())
        .ok_or(CloseReason::ContentChanged)
}
