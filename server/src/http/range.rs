//! The `Range` field (RFC 9110 §14): which bytes of a representation are asked for.
//!
//! No set of ranges costs more than the whole by much: those that overlap or touch become one, and a set
//! of more than [`MOST_PARTS`] after that is answered with the whole (RFC 9110 §14.2, §15.3.7.2).

use super::Field;

/// Most parts of one response. With what stands before each they have to be queued at once.
pub const MOST_PARTS: usize = 16;

/// Most ranges that are looked at. Who sends more means no good (RFC 9110 §17.15).
const MOST_SPECS: usize = 64;

/// What a `Range` field selects from a representation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack for one response")]
pub enum Selection {
    /// All of it: there is no range, an unknown unit, a malformed range, or too many.
    Whole,
    /// `len` bytes from `start`; never empty.
    Part {
        /// Offset of the first byte.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// Several parts, in the order in which they are asked for.
    Parts(Ranges),
    /// Nothing: all ranges lie outside.
    Unsatisfiable,
}

/// Ranges that neither overlap nor touch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ranges {
    /// First byte, and the one behind the last.
    bounds: [(u64, u64); MOST_PARTS],
    count: usize,
}

impl Ranges {
    /// First byte and length of each, which is not zero.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bounds[..self.count].iter().map(|&(start, end)| (start, end - start))
    }

    /// Adds a range, together with all that it meets, in the place of the first of these. False if there
    /// is no room.
    fn add(&mut self, start: u64, end: u64) -> bool {
        let (mut start, mut end) = (start, end);
        let mut place = None;
        // What the range meets only after it has grown comes up in another round.
        while let Some(index) = self.bounds[..self.count]
            .iter()
            .position(|&(other, other_end)| start <= other_end && other <= end)
        {
            let (other, other_end) = self.bounds[index];
            (start, end) = (start.min(other), end.max(other_end));
            self.bounds.copy_within(index + 1..self.count, index);
            self.count -= 1;
            place = Some(place.map_or(index, |place: usize| place.min(index)));
        }
        if self.count == MOST_PARTS {
            return false;
        }
        let place = place.unwrap_or(self.count);
        self.bounds.copy_within(place..self.count, place + 1);
        self.bounds[place] = (start, end);
        self.count += 1;
        true
    }
}

/// Selects from a representation of `len` bytes.
pub fn select(field: Field<'_>, len: u64) -> Selection {
    let Field::Once(value) = field else { return Selection::Whole };
    several(value, len).unwrap_or(Selection::Whole)
}

/// `None` for all that is to be ignored.
fn several(value: &[u8], len: u64) -> Option<Selection> {
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut ranges = Ranges { bounds: [(0, 0); MOST_PARTS], count: 0 };
    let mut specs = 0;
    for spec in set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue;
        }
        specs += 1;
        if specs > MOST_SPECS {
            return None;
        }
        let (start, end) = bounds(spec, len)?;
        if start < end && !ranges.add(start, end) {
            return None;
        }
    }
    match (specs, ranges.count) {
        (0, _) => None,
        // The last bytes of nothing are all of it.
        (_, 0) if len == 0 && has_suffix(set) => None,
        (_, 0) => Some(Selection::Unsatisfiable),
        (_, 1) => {
            let (start, end) = ranges.bounds[0];
            Some(Selection::Part { start, len: end - start })
        }
        _ => Some(Selection::Parts(ranges)),
    }
}

/// The first byte of one range, and the one behind its last, which are the same if it lies outside; `None`
/// if it is malformed.
fn bounds(spec: &[u8], len: u64) -> Option<(u64, u64)> {
    let dash = memchr::memchr(b'-', spec)?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let count = number(last)?.min(len);
        return Some((len - count, len));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first.min(len), last.saturating_add(1).min(len)))
}

/// Whether a range of the set is a suffix of some bytes.
fn has_suffix(set: &[u8]) -> bool {
    let mut specs = set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    specs.any(|spec| spec.strip_prefix(b"-").and_then(number).is_some_and(|count| count > 0))
}

/// A run of digits; one too large to represent is as good as the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
