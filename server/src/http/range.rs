//! The `Range` field (RFC 9110 §14): which bytes of a representation are asked for.

use super::Field;

/// What a `Range` field selects from a representation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Selection {
    /// All of it: there is no range, an unknown unit, a malformed one, or several ranges, which this
    /// server answers with the whole.
    Whole,
    /// `len` bytes from `start`; never empty.
    Part {
        /// Offset of the first byte.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// Nothing: the range lies outside.
    Unsatisfiable,
}

/// Selects from a representation of `len` bytes.
pub fn select(field: Field<'_>, len: u64) -> Selection {
    let Field::Once(value) = field else { return Selection::Whole };
    single(value, len).unwrap_or(Selection::Whole)
}

/// `None` for all that is to be ignored.
fn single(value: &[u8], len: u64) -> Option<Selection> {
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut specs = set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let spec = specs.find(|spec| !spec.is_empty())?;
    if specs.any(|spec| !spec.is_empty()) {
        return None;
    }
    let dash = memchr::memchr(b'-', spec)?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        return suffix(number(last)?, len);
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= len {
        return Some(Selection::Unsatisfiable);
    }
    Some(Selection::Part { start: first, len: last.min(len - 1) - first + 1 })
}

/// The last `count` bytes. A suffix of nothing is the nothing that the whole is.
fn suffix(count: u64, len: u64) -> Option<Selection> {
    match (count, len) {
        (0, _) => Some(Selection::Unsatisfiable),
        (_, 0) => None,
        _ => {
            let count = count.min(len);
            Some(Selection::Part { start: len - count, len: count })
        }
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn part(start: u64, len: u64) -> Selection {
        Selection::Part { start, len }
    }

    #[test]
    fn ranges_select_what_the_rfc_says() {
        use Selection::{Unsatisfiable, Whole};
        // Of a representation of 100 bytes.
        let cases: &[(&str, Selection)] = &[
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-99", part(0, 100)),
            ("bytes=0-100", part(0, 100)),
            ("bytes=10-19", part(10, 10)),
            ("bytes=99-99", part(99, 1)),
            ("bytes=99-", part(99, 1)),
            ("bytes=0-", part(0, 100)),
            ("bytes=50-18446744073709551615", part(50, 50)),
            ("bytes=50-99999999999999999999999", part(50, 50)),
            ("bytes=-1", part(99, 1)),
            ("bytes=-100", part(0, 100)),
            ("bytes=-500", part(0, 100)),
            ("bytes=-99999999999999999999999", part(0, 100)),
            ("BYTES=1-2", part(1, 2)),
            ("bytes= 1-2 ", part(1, 2)),
            ("bytes=1-2,", part(1, 2)),
            ("bytes=,1-2", part(1, 2)),
            ("bytes=007-008", part(7, 2)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=100-200", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-0,-1", Whole),
            ("bytes=0-1,200-300", Whole),
            ("bytes=200-300,400-", Whole),
            ("bytes=5-4", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1-b", Whole),
            ("bytes=--1", Whole),
            ("bytes=1--2", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=0x1-2", Whole),
            ("bytes =1-2", Whole),
            ("bytes:1-2", Whole),
            ("byte=1-2", Whole),
            ("lines=1-2", Whole),
            ("", Whole),
            ("1-2", Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(select(Field::Once(value.as_bytes()), 100), *expected, "{value:?}");
        }
    }

    #[test]
    fn an_empty_representation_has_no_range() {
        assert_eq!(select(Field::Once(b"bytes=0-"), 0), Selection::Unsatisfiable);
        assert_eq!(select(Field::Once(b"bytes=0-0"), 0), Selection::Unsatisfiable);
        assert_eq!(select(Field::Once(b"bytes=-1"), 0), Selection::Whole);
    }

    #[test]
    fn no_range_or_several_fields_is_the_whole() {
        assert_eq!(select(Field::Absent, 100), Selection::Whole);
        assert_eq!(select(Field::Repeated, 100), Selection::Whole);
    }

    /// The bytes a well-formed range selects, by counting them.
    fn by_counting(first: Option<u64>, last: Option<u64>, len: u64) -> Vec<u64> {
        match (first, last) {
            (Some(first), last) => {
                (0..len).filter(|at| *at >= first && *at <= last.unwrap_or(u64::MAX)).collect()
            }
            (None, Some(count)) => (0..len).filter(|at| at + count >= len).collect(),
            (None, None) => Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn a_selection_holds_exactly_the_bytes_asked_for(
            first in proptest::option::of(0u64..40),
            last in proptest::option::of(0u64..40),
            len in 1u64..32,
        ) {
            prop_assume!(first.is_some() || last.is_some());
            prop_assume!(!matches!((first, last), (Some(first), Some(last)) if last < first));
            let text = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
            let value = format!("bytes={}-{}", text(first), text(last));
            let expected = by_counting(first, last, len);
            match select(Field::Once(value.as_bytes()), len) {
                Selection::Part { start, len } => {
                    prop_assert_eq!((start..start + len).collect::<Vec<_>>(), expected);
                }
                Selection::Unsatisfiable => prop_assert!(expected.is_empty()),
                Selection::Whole => prop_assert!(false, "{} was ignored", value),
            }
        }

        #[test]
        fn whatever_is_asked_stays_inside(value in "(bytes=)?[0-9,\\- ]{0,24}", len in any::<u64>()) {
            if let Selection::Part { start, len: count } = select(Field::Once(value.as_bytes()), len) {
                prop_assert!(count > 0 && start < len && count <= len - start);
            }
        }
    }
}
