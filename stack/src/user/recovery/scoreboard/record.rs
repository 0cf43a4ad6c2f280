//! What is known of a segment.

use pagewire_driver::Instant;

/// Where a segment is thought to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// On its way.
    Flying,
    /// It is taken for lost and has not been sent again since.
    Lost,
    /// The peer has it (RFC 2018).
    Received,
}

/// A segment that was sent, or several that share its fate.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Offset of its first byte in the stream.
    pub start: u64,
    /// When it was last sent.
    pub sent: Instant,
    /// Bytes; a FIN counts as one.
    pub len: u32,
    /// See `records`.
    pub(super) previous: u32,
    pub(super) next: u32,
    /// What is known of it.
    pub fate: Fate,
    /// Whether it was sent more than once.
    pub again: bool,
}

impl Record {
    /// A segment that was sent once. Its place is not known yet.
    pub(super) fn fresh(start: u64, len: u32, sent: Instant) -> Self {
        Self { start, sent, len, previous: 0, next: 0, fate: Fate::Flying, again: false }
    }

    /// Offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }

    /// Whether it was sent before what was sent at that time with that end (RFC 8985 section 6.2).
    pub fn sent_before(&self, time: Instant, end: u64) -> bool {
        (self.sent, self.end()) < (time, end)
    }
}
