//! Segments that were sent together and of which nothing else is known: one entry for all of them.

use pagewire_driver::Instant;

use super::Record;

/// Segments of one size, sent at one time and not again; the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Offset of the first byte in the stream.
    pub start: u64,
    /// When they were sent.
    pub sent: Instant,
    /// Bytes; a FIN counts as one.
    pub len: u32,
    /// Bytes of each segment.
    pub size: u32,
    /// Whether the last byte is a FIN, which may make the last segment one longer.
    pub fin: bool,
}

impl Run {
    /// All of them as one record.
    pub fn whole(&self) -> Record {
        Record::fresh(self.start, self.len, self.sent)
    }

    /// The first segment.
    pub fn first(&self) -> Record {
        let has_fin = self.fin && self.len == self.size + 1;
        let len = if has_fin { self.len } else { self.len.min(self.size) };
        Record::fresh(self.start, len, self.sent)
    }

    /// The last segment.
    pub fn last(&self) -> Record {
        let mut rest = *self;
        // Segments but the last few.
        rest.skip((self.len / self.size).saturating_sub(2) * self.size);
        loop {
            let record = rest.first();
            rest.skip(record.len);
            if rest.len == 0 {
                return record;
            }
        }
    }

    /// Whether there is but one segment.
    pub fn is_single(&self) -> bool {
        self.first().len == self.len
    }

    /// Leaves out the first `len` bytes.
    pub fn skip(&mut self, len: u32) {
        self.start += u64::from(len);
        self.len -= len;
    }

    /// Leaves out the first `len` bytes, fewer than there are. If that ends inside a segment, what is left
    /// of that one is left out too, and returned.
    pub fn cut(&mut self, len: u32) -> Option<Record> {
        let into = len % self.size;
        self.skip(len - into);
        if into == 0 {
            return None;
        }
        let mut rest = self.first();
        self.skip(rest.len);
        rest.start += u64::from(into);
        rest.len -= into;
        Some(rest)
    }
}
