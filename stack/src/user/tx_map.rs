//! From sequence numbers to bytes: what a connection has been given to send.
//!
//! Offsets count the stream's bytes from its first, in 64 bits. The map is the retransmission buffer:
//! the parts are kept until their last byte is acknowledged, and any byte in between can be had again.

use std::{cell::Cell, collections::VecDeque};

use pagewire_driver::{prefetch, prefetch_range};

use crate::{FileRange, Part, Parts};

/// Most parts that one connection may have queued.
const MOST_PARTS: usize = 64;
/// Most spare buffers, and most spare queues.
const MOST_SPARE: usize = 1_024;
/// Largest buffer that is kept for another use, in bytes.
const LARGEST_SPARE: usize = 64 * 1_024;
/// Largest queue that is kept for another use, in parts.
const LONGEST_SPARE: usize = 16;

/// Bytes that are fetched ahead: the processor sees by itself what else is read.
const PREFETCHED: usize = 256;

/// The parts of a stream that are not yet acknowledged, and how far it has got.
#[derive(Debug, Default)]
pub struct TxMap {
    pieces: Pieces,
    /// Offset behind the last part.
    submitted: u64,
    /// Offset of the first byte never sent.
    enqueued: u64,
    /// Offset of the first byte not yet acknowledged.
    acknowledged: u64,
    /// Offset up to which file ranges have had their last byte sent.
    completed: Cell<u64>,
}

#[derive(Debug)]
struct Piece {
    start: u64,
    part: Part,
}

/// A single part, as most responses are, is kept in the map itself. It ends where the map does.
#[expect(clippy::box_collection, reason = "a connection has no more room than for a part")]
#[derive(Debug, Default)]
enum Pieces {
    #[default]
    None,
    One(Part),
    Many(Box<VecDeque<Piece>>),
}

/// What maps of one core do not need now: buffers of parts that were sent, and the queues of maps that
/// are empty. A map with nothing to send, or with one part, has no memory of its own.
#[expect(clippy::vec_box, reason = "the boxes themselves are handed out")]
#[derive(Debug, Default)]
pub struct PartPool {
    buffers: Vec<Vec<u8>>,
    queues: Vec<Box<VecDeque<Piece>>>,
}

impl PartPool {
    /// An empty buffer.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    fn give(&mut self, part: Part) {
        if let Part::Bytes(mut bytes) = part
            && bytes.capacity() <= LARGEST_SPARE
            && self.buffers.len() < MOST_SPARE
        {
            // Most likely the next response is written there.
            prefetch_range(bytes.as_ptr(), bytes.len());
            bytes.clear();
            self.buffers.push(bytes);
        }
    }

    #[expect(clippy::box_collection, reason = "the box itself is pooled")]
    fn give_queue(&mut self, queue: Box<VecDeque<Piece>>) {
        if queue.capacity() <= LONGEST_SPARE && self.queues.len() < MOST_SPARE {
            self.queues.push(queue);
        }
    }
}

/// A stretch of one part.
#[derive(Debug)]
pub enum Stretch<'a> {
    /// Bytes as they are.
    Bytes(&'a [u8]),
    /// `len` bytes of a file object from `start` on.
    File {
        /// The range it is of.
        range: &'a FileRange,
        /// Offset in the object.
        start: u64,
        /// Bytes.
        len: usize,
        /// Whether it ends the range.
        is_last: bool,
    },
}

impl TxMap {
    /// Appends parts. False, and nothing done, if there would be too many.
    #[must_use]
    pub fn submit(&mut self, parts: &mut Parts, pool: &mut PartPool) -> bool {
        let queued = match &self.pieces {
            Pieces::None => 0,
            Pieces::One(_) => 1,
            Pieces::Many(queue) => queue.len(),
        };
        if queued + parts.len() > MOST_PARTS {
            return false;
        }
        for part in parts.drain(..).filter(|part| !part.is_empty()) {
            self.push(part, pool);
        }
        true
    }

    /// Bytes submitted and not yet acknowledged.
    pub fn pending(&self) -> u64 {
        self.submitted - self.acknowledged
    }

    /// Bytes submitted and never sent.
    pub fn unqueued(&self) -> u64 {
        self.submitted - self.enqueued
    }

    /// Offset behind the last byte submitted.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Offset of the first byte never sent.
    pub fn enqueued(&self) -> u64 {
        self.enqueued
    }

    /// Takes note that `len` more bytes were sent.
    pub fn enqueue(&mut self, len: usize) {
        self.enqueued = (self.enqueued + len as u64).min(self.submitted);
    }

    /// Takes note that all bytes before `offset` are acknowledged. Memory that is not needed any more goes
    /// to `pool`. Says whether that was news.
    pub fn acknowledge(&mut self, offset: u64, pool: &mut PartPool) -> bool {
        let offset = offset.min(self.enqueued);
        if offset <= self.acknowledged {
            return false;
        }
        self.acknowledged = offset;
        self.drop_before(offset, pool);
        true
    }

    /// Brings the first bytes that may have to be sent again towards the core's cache, if they are not a file's.
    pub fn prefetch(&self) {
        match &self.pieces {
            Pieces::One(Part::Bytes(bytes)) => {
                prefetch_range(bytes.as_ptr(), bytes.len().min(PREFETCHED));
            }
            Pieces::Many(queue) => prefetch(&**queue),
            Pieces::None | Pieces::One(Part::File(_)) => {}
        }
    }

    /// The stretch that starts at `offset`, of at most `len` bytes. `None` outside the map.
    pub fn stretch(&self, offset: u64, len: usize) -> Option<Stretch<'_>> {
        let (start, part) = self.part_at(offset)?;
        let skip = offset.checked_sub(start)?;
        let len = usize::try_from(part.len() - skip).map_or(len, |left| left.min(len));
        Some(match part {
            Part::Bytes(bytes) => Stretch::Bytes(&bytes[skip as usize..skip as usize + len]),
            Part::File(range) => {
                let is_last = skip + len as u64 == range.len;
                Stretch::File { range, start: range.start + skip, len, is_last }
            }
        })
    }

    /// The file range at `offset` and the offset in its object. `None` if there are bytes there.
    pub fn file_at(&self, offset: u64) -> Option<(&FileRange, u64)> {
        match self.stretch(offset, 1)? {
            Stretch::File { range, start, .. } => Some((range, start)),
            Stretch::Bytes(_) => None,
        }
    }

    /// Where the run of owned bytes at `offset` ends.
    pub fn end_of_bytes(&self, offset: u64) -> u64 {
        let mut end = offset;
        while let Some((start, Part::Bytes(bytes))) = self.part_at(end) {
            end = start + bytes.len() as u64;
        }
        end
    }

    /// Takes note that a file range that ends at `offset` has had its last byte sent.
    pub fn complete(&self, offset: u64) {
        self.completed.set(self.completed.get().max(offset));
    }

    /// Whether the file range that has the byte before `offset` has had its last byte sent: what is sent
    /// of it from now on may be all that its response lacks.
    pub fn is_completed(&self, offset: u64) -> bool {
        offset <= self.completed.get()
    }

    /// Forgets everything. Memory goes to `pool`.
    pub fn clear(&mut self, pool: &mut PartPool) {
        std::mem::take(self).drop_before(u64::MAX, pool);
    }

    /// The part with the byte at `offset`, and where it starts.
    fn part_at(&self, offset: u64) -> Option<(u64, &Part)> {
        match &self.pieces {
            Pieces::None => None,
            Pieces::One(part) => {
                (offset < self.submitted).then(|| (self.submitted - part.len(), part))
            }
            Pieces::Many(queue) => {
                let index = queue.partition_point(|piece| piece.end() <= offset);
                queue.get(index).map(|piece| (piece.start, &piece.part))
            }
        }
    }

    fn push(&mut self, part: Part, pool: &mut PartPool) {
        let start = self.submitted;
        self.submitted += part.len();
        self.pieces = match std::mem::take(&mut self.pieces) {
            Pieces::None => Pieces::One(part),
            Pieces::One(first) => {
                let mut queue = pool.queues.pop().unwrap_or_default();
                queue.push_back(Piece { start: start - first.len(), part: first });
                queue.push_back(Piece { start, part });
                Pieces::Many(queue)
            }
            Pieces::Many(mut queue) => {
                queue.push_back(Piece { start, part });
                Pieces::Many(queue)
            }
        };
    }

    /// Drops the parts that end at or before `offset`.
    fn drop_before(&mut self, offset: u64, pool: &mut PartPool) {
        if let Pieces::Many(queue) = &mut self.pieces {
            while let Some(piece) = queue.pop_front_if(|piece| piece.end() <= offset) {
                pool.give(piece.part);
            }
        }
        if offset < self.submitted {
            return;
        }
        match std::mem::take(&mut self.pieces) {
            Pieces::None => {}
            Pieces::One(part) => pool.give(part),
            Pieces::Many(queue) => pool.give_queue(queue),
        }
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.part.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::FileObject;

    fn bytes_of(map: &TxMap, mut offset: u64, mut len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while len > 0 {
            let taken = match map.stretch(offset, len) {
                Some(Stretch::Bytes(stretch)) => {
                    bytes.extend_from_slice(stretch);
                    stretch.len()
                }
                Some(Stretch::File { start, len, .. }) => {
                    bytes.extend((start..start + len as u64).map(|byte| byte as u8));
                    len
                }
                None => break,
            };
            offset += taken as u64;
            len -= taken;
        }
        bytes
    }

    #[test]
    fn too_many_parts_are_refused_whole() {
        let mut map = TxMap::default();
        let mut parts: Parts = (0..=MOST_PARTS).map(|_| Part::Bytes(vec![0])).collect();
        assert!(!map.submit(&mut parts, &mut PartPool::default()));
        assert_eq!((parts.len(), map.pending()), (MOST_PARTS + 1, 0));
    }

    proptest! {
        /// The oracle is the stream written out.
        #[test]
        fn any_range_of_any_stream_maps_to_its_bytes(
            lens in prop::collection::vec((1usize..400, any::<bool>()), 1..20),
            acknowledged in 0usize..4000, offset in 0usize..4000, len in 0usize..2000,
        ) {
            let object = FileObject::from_bytes((0..4096u32).map(|byte| byte as u8).collect());
            let (mut map, mut stream, mut parts) = (TxMap::default(), Vec::new(), Parts::new());
            for (number, (len, is_file)) in lens.into_iter().enumerate() {
                let start = number as u64 * 7;
                let bytes: Vec<u8> = (start..start + len as u64).map(|byte| byte as u8).collect();
                stream.extend_from_slice(&bytes);
                parts.push(if is_file {
                    let range = FileRange { object: object.clone(), start, len: len as u64 };
                    Part::File(range)
                } else {
                    Part::Bytes(bytes)
                });
            }
            let mut pool = PartPool::default();
            prop_assert!(map.submit(&mut parts, &mut pool));
            map.enqueue(stream.len());
            let acknowledged = acknowledged.min(stream.len());
            map.acknowledge(acknowledged as u64, &mut pool);
            prop_assert_eq!(matches!(map.pieces, Pieces::None), acknowledged == stream.len());
            prop_assert_eq!(map.pending(), (stream.len() - acknowledged) as u64);
            let start = offset.clamp(acknowledged, stream.len());
            let end = (start + len).min(stream.len());
            prop_assert_eq!(bytes_of(&map, start as u64, end - start), &stream[start..end]);
        }
    }
}
