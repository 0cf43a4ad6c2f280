//! Ranges (RFC 9110 §14), byte by byte: each byte of a short representation is asked for or not.

use super::Choices;

/// What comes of a `Range` field: first byte and length of each part, in order; none for the whole.
pub type Parts = Option<Vec<(u64, u64)>>;

/// A field's value, most of it ranges around the end of a short representation.
pub fn build(input: &[u8]) -> String {
    let mut choices = Choices::of(input);
    let mut text =
        choices.one(&["bytes=", "bytes=", "bytes=", "Bytes=", "bytes", "lines="]).to_owned();
    // Now and then more than there may be.
    let most = choices.one(&[3, 3, 3, 8, 24, 70]);
    for number in 0..=choices.below(most) {
        if number > 0 {
            text += choices.one(&[",", ", ", " ,", ",,"]);
        }
        let mut position = || choices.below(70).to_string();
        let (first, last) = (position(), position());
        let spec = match choices.below(12) {
            0..4 => format!("{first}-{last}"),
            // Short ones, which rarely meet.
            4..7 => format!("{first}-{first}"),
            7 => format!("{first}-"),
            8 => format!("-{last}"),
            9 => format!("{first}-99999999999999999999999"),
            10 => format!("-0{last}"),
            _ => choices.one(&["", "-", "x-1", "1-x", "1--2", "+1-2", " 1 - 2"]).to_owned(),
        };
        text += &spec;
    }
    text
}

/// What a server that sends at most `most_parts` and looks at `most_specs` makes of it. Nothing that it sends
/// is empty: an empty list says that no range can be satisfied.
pub fn select(value: &str, len: u64, most_parts: usize, most_specs: usize) -> Parts {
    let set = value.get(6..)?;
    if !value[..6].eq_ignore_ascii_case("bytes=") {
        return None;
    }
    let specs: Vec<_> = set.split(',').map(str::trim_ascii).filter(|it| !it.is_empty()).collect();
    if specs.is_empty() || specs.len() > most_specs {
        return None;
    }
    // By whom each byte was asked for first.
    let mut asked: Vec<Option<usize>> = vec![None; len as usize];
    let mut parts = Vec::new();
    let mut wants_end = false;
    for (number, spec) in specs.iter().enumerate() {
        let (first, last) = spec.split_once('-')?;
        // As large as any number that is meant here.
        let number_of = |text: &str| -> Option<u64> {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let (from, to) = match (first, last) {
            ("", last) => {
                let count = number_of(last)?;
                wants_end |= count > 0;
                (len - count.min(len), len)
            }
            (first, "") => (number_of(first)?, len),
            (first, last) => {
                let (first, last) = (number_of(first)?, number_of(last)?);
                if last < first {
                    return None;
                }
                (first, last.min(len.saturating_sub(1)) + 1)
            }
        };
        let named = from as usize..to.min(len) as usize;
        for byte in asked.get_mut(named).into_iter().flatten() {
            byte.get_or_insert(number);
        }
        parts = runs(&asked);
        if parts.len() > most_parts {
            return None;
        }
    }
    if parts.is_empty() && len == 0 && wants_end {
        return None;
    }
    Some(parts)
}

/// The runs of bytes that are asked for, by who asked first for one of theirs.
fn runs(asked: &[Option<usize>]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(usize, u64, u64)> = Vec::new();
    for (at, by) in asked.iter().enumerate().filter_map(|(at, by)| Some((at as u64, (*by)?))) {
        match runs.last_mut() {
            Some((first, start, len)) if *start + *len == at => {
                (*first, *len) = ((*first).min(by), *len + 1);
            }
            _ => runs.push((by, at, 1)),
        }
    }
    runs.sort_unstable();
    runs.into_iter().map(|(_, start, len)| (start, len)).collect()
}
