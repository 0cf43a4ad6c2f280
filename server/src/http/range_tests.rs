//! Ranges and sets of them, against tables and by counting bytes.

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
        ("bytes=0-1,200-300", part(0, 2)),
        ("bytes=200-300,400-", Unsatisfiable),
        ("bytes=200-300,-0", Unsatisfiable),
        ("bytes=0-5,3-9", part(0, 10)),
        ("bytes=3-9,0-5", part(0, 10)),
        ("bytes=0-4,5-9", part(0, 10)),
        ("bytes=0-,-1,50-60", part(0, 100)),
        ("bytes=0-1,5-4", Whole),
        ("bytes=0-1,x", Whole),
        ("bytes=0-1;5-6", Whole),
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
    assert_eq!(select(Field::Repeated(b"bytes=0-1\r\nRange: bytes=0-1"), 100), Selection::Whole);
}

fn parts(value: &str, len: u64) -> Vec<(u64, u64)> {
    match select(Field::Once(value.as_bytes()), len) {
        Selection::Parts(ranges) => ranges.iter().collect(),
        other => panic!("{value}: {other:?}"),
    }
}

#[test]
fn several_ranges_are_parts_in_the_order_asked_for() {
    assert_eq!(parts("bytes=0-0,-1", 100), [(0, 1), (99, 1)]);
    assert_eq!(parts("bytes=50-59, 0-9 ,,20-29", 100), [(50, 10), (0, 10), (20, 10)]);
    assert_eq!(parts("bytes=90-,0-1,300-", 100), [(90, 10), (0, 2)]);
    assert_eq!(parts("bytes=0-1,10-11,1-2", 100), [(0, 3), (10, 2)]);
    assert_eq!(parts("bytes=50-51,0-1,20-29,2-19", 100), [(50, 2), (0, 30)]);
}

#[test]
fn too_many_ranges_are_the_whole() {
    let set = |count: u64, step: u64| {
        let specs: Vec<_> = (0..count).map(|at| format!("{0}-{0}", at * step)).collect();
        format!("bytes={}", specs.join(","))
    };
    let select = |value: String| select(Field::Once(value.as_bytes()), 10_000);
    assert!(matches!(select(set(16, 2)), Selection::Parts(_)));
    assert_eq!(select(set(17, 2)), Selection::Whole);
    // As many that touch are one.
    assert_eq!(select(set(64, 1)), part(0, 64));
    assert_eq!(select(set(65, 1)), Selection::Whole);
    // The same range a thousand times, as once crashed others.
    assert_eq!(select(format!("bytes={}", "0-,".repeat(1_000))), Selection::Whole);
}

/// A slow second opinion: the set of bytes asked for, or `None` where the field is to be ignored for a
/// reason that its form gives.
fn oracle(value: &str, len: u64) -> Option<Vec<bool>> {
    let set =
        value.get(..6).filter(|unit| unit.eq_ignore_ascii_case("bytes=")).map(|_| &value[6..])?;
    let mut asked = vec![false; len as usize];
    let specs: Vec<_> = set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).collect();
    let specs: Vec<_> = specs.into_iter().filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() {
        return None;
    }
    for spec in specs {
        let (first, last) = spec.split_once('-')?;
        let parse = |text: &str| {
            let is_number = !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit());
            is_number.then(|| text.parse::<u128>().unwrap_or(u128::MAX))
        };
        let (from, to) = match (first, last) {
            ("", last) => (u128::from(len).saturating_sub(parse(last)?), u128::from(len)),
            (first, "") => (parse(first)?, u128::from(len)),
            (first, last) => {
                let (first, last) = (parse(first)?, parse(last)?);
                if last < first {
                    return None;
                }
                (first, last.saturating_add(1))
            }
        };
        for (at, byte) in asked.iter_mut().enumerate() {
            *byte |= (from..to).contains(&(at as u128));
        }
    }
    Some(asked)
}

proptest! {
    #[test]
    fn a_selection_holds_exactly_the_bytes_asked_for(
        value in "(bytes|BYTES|byte)=( ?([0-9]{0,2})-([0-9]{0,2}) ?,?){0,6}",
        len in 0u64..70,
    ) {
        let expected = oracle(&value, len);
        let found: Option<Vec<_>> = match select(Field::Once(value.as_bytes()), len) {
            Selection::Whole => None,
            Selection::Unsatisfiable => Some(Vec::new()),
            Selection::Part { start, len } => Some(vec![(start, len)]),
            Selection::Parts(ranges) => Some(ranges.iter().collect()),
        };
        match (found, expected) {
            // The whole of nothing has no range.
            (None, Some(_)) if len == 0 => {}
            (None, None) => {}
            (Some(found), Some(expected)) => {
                let mut sent = vec![0; len as usize];
                for (start, len) in found {
                    prop_assert!(len > 0);
                    sent[start as usize..(start + len) as usize].iter_mut().for_each(|it| *it += 1);
                }
                let expected: Vec<_> = expected.into_iter().map(i32::from).collect();
                prop_assert_eq!(sent, expected, "{}", value);
            }
            (found, expected) => prop_assert!(false, "{value}: {found:?}, {expected:?}"),
        }
    }

    #[test]
    fn whatever_is_asked_stays_inside(
        value in "(bytes=)?[0-9,\\- ]{0,60}",
        len in any::<u64>(),
    ) {
        let found = match select(Field::Once(value.as_bytes()), len) {
            Selection::Part { start, len } => vec![(start, len)],
            Selection::Parts(ranges) => ranges.iter().collect(),
            Selection::Whole | Selection::Unsatisfiable => Vec::new(),
        };
        for (start, count) in found {
            prop_assert!(count > 0 && start < len && count <= len - start);
        }
    }
}
