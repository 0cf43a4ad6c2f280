//! Conditional requests: the order of RFC 9110 §13.2.2.

use std::time::SystemTime;

use super::{Conditions, Field};

/// What a representation is compared by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// The entity tag.
    pub etag: Tag<'a>,
    /// Time of the last change, in whole seconds.
    pub last_modified: SystemTime,
}

/// An entity tag of ours (RFC 9110 §8.8.3). An empty one stands for none: only `*` matches it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tag<'a> {
    /// With its quotes; empty for none.
    opaque: &'a [u8],
    is_weak: bool,
}

impl<'a> Tag<'a> {
    /// The tag that is written so.
    pub fn of(text: &'a [u8]) -> Self {
        match text.strip_prefix(b"W/") {
            Some(opaque) => Self { opaque, is_weak: true },
            None => Self { opaque: text, is_weak: false },
        }
    }
}

/// What the conditions of a GET or HEAD come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Send it. `Range` counts only if `range_applies`.
    Send {
        /// Whether `If-Range`, if there is one, lets the range apply.
        range_applies: bool,
    },
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client expects.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD for an existing representation.
pub fn evaluate(conditions: &Conditions<'_>, validators: Validators<'_>) -> Verdict {
    let unchanged_since = |field| date(field).map(|date| validators.last_modified <= date);

    match conditions.if_match {
        Field::Absent => {
            if unchanged_since(conditions.if_unmodified_since) == Some(false) {
                return Verdict::Failed;
            }
        }
        field => {
            if !matches(field.values("if-match"), validators.etag, Comparison::Strong) {
                return Verdict::Failed;
            }
        }
    }
    match conditions.if_none_match {
        Field::Absent => {
            if unchanged_since(conditions.if_modified_since) == Some(true) {
                return Verdict::NotModified;
            }
        }
        field => {
            if matches(field.values("if-none-match"), validators.etag, Comparison::Weak) {
                return Verdict::NotModified;
            }
        }
    }
    Verdict::Send { range_applies: range_applies(conditions.if_range, validators) }
}

/// RFC 9110 §13.1.5: an entity tag by strong comparison, or exactly the date that was sent.
fn range_applies(field: Field<'_>, validators: Validators<'_>) -> bool {
    match field {
        Field::Absent => true,
        Field::Once(value) if value.starts_with(b"\"") => {
            value == validators.etag.opaque && !validators.etag.is_weak
        }
        field => date(field) == Some(validators.last_modified),
    }
}

fn date(field: Field<'_>) -> Option<SystemTime> {
    let Field::Once(value) = field else { return None };
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether one of these lists of entity tags, or `*`, matches our `etag`. A malformed list matches up to
/// where it is malformed.
fn matches<'a>(
    mut lists: impl Iterator<Item = &'a [u8]>,
    etag: Tag<'_>,
    comparison: Comparison,
) -> bool {
    lists.any(|list| is_listed(list, etag, comparison))
}

fn is_listed(mut rest: &[u8], etag: Tag<'_>, comparison: Comparison) -> bool {
    if rest == b"*" {
        return true;
    }
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        let (is_weak, tag) = match rest.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let Some(len) = tag_len(tag) else { return false };
        let is_weak = is_weak || etag.is_weak;
        if &tag[..len] == etag.opaque && !(is_weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = &tag[len..];
    }
}

/// The length of the quoted tag at the front of `bytes`, quotes included.
fn tag_len(bytes: &[u8]) -> Option<usize> {
    let inner = bytes.strip_prefix(b"\"")?;
    Some(memchr::memchr(b'"', inner)? + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: Verdict = Verdict::Send { range_applies: true };
    const BEFORE: &str = "Sat, 21 Nov 2026 05:40:00 GMT";
    const CHANGED: &str = "Sat, 21 Nov 2026 05:40:01 GMT";
    const AFTER: &str = "Sat, 21 Nov 2026 05:40:02 GMT";

    fn judge(fields: &[(&str, &'static str)]) -> Verdict {
        judge_tagged("\"a-1\"", fields)
    }

    fn judge_tagged(tag: &str, fields: &[(&str, &'static str)]) -> Verdict {
        let mut conditions = Conditions::default();
        for (name, value) in fields {
            let field = match *name {
                "im" => &mut conditions.if_match,
                "ius" => &mut conditions.if_unmodified_since,
                "inm" => &mut conditions.if_none_match,
                "ims" => &mut conditions.if_modified_since,
                "ir" => &mut conditions.if_range,
                other => panic!("no field {other}"),
            };
            let repeated = *field != Field::Absent;
            let value = value.as_bytes();
            *field = if repeated { Field::Repeated(value) } else { Field::Once(value) };
        }
        let last_modified = httpdate::parse_http_date(CHANGED).unwrap();
        evaluate(&conditions, Validators { etag: Tag::of(tag.as_bytes()), last_modified })
    }

    #[test]
    fn each_condition_alone() {
        use Verdict::{Failed, NotModified};
        let cases: &[(&str, &'static str, Verdict)] = &[
            ("inm", "\"a-1\"", NotModified),
            ("inm", "W/\"a-1\"", NotModified),
            ("inm", "*", NotModified),
            ("inm", "\"x\", \"a-1\"", NotModified),
            ("inm", "\"x\",W/\"y\" ,\"a-1\" ", NotModified),
            ("inm", ",,\"a-1\"", NotModified),
            ("inm", "\"with,comma\", \"a-1\"", NotModified),
            ("inm", "\"x\"", SEND),
            ("inm", "a-1", SEND),
            ("inm", "\"a-1", SEND),
            ("inm", "\"A-1\"", SEND),
            ("inm", "w/\"a-1\"", SEND),
            ("inm", "", SEND),
            ("inm", "\"a\"-1\"", SEND),
            ("ims", CHANGED, NotModified),
            ("ims", AFTER, NotModified),
            ("ims", "Saturday, 21-Nov-26 05:40:01 GMT", NotModified),
            ("ims", "Sat Nov 21 05:40:01 2026", NotModified),
            ("ims", BEFORE, SEND),
            ("ims", "yesterday", SEND),
            ("ims", "", SEND),
            ("im", "\"a-1\"", SEND),
            ("im", "*", SEND),
            ("im", "\"x\", \"a-1\"", SEND),
            ("im", "W/\"a-1\"", Failed),
            ("im", "\"x\"", Failed),
            ("im", "", Failed),
            ("ius", CHANGED, SEND),
            ("ius", AFTER, SEND),
            ("ius", "tomorrow", SEND),
            ("ius", BEFORE, Failed),
        ];
        for (name, value, expected) in cases {
            assert_eq!(judge(&[(name, value)]), *expected, "{name}: {value}");
        }
    }

    #[test]
    fn entity_tags_come_before_dates() {
        assert_eq!(judge(&[("inm", "\"x\""), ("ims", AFTER)]), SEND);
        assert_eq!(judge(&[("inm", "\"a-1\""), ("ims", BEFORE)]), Verdict::NotModified);
        assert_eq!(judge(&[("im", "\"a-1\""), ("ius", BEFORE)]), SEND);
        assert_eq!(judge(&[("im", "\"x\""), ("inm", "\"a-1\"")]), Verdict::Failed);
        assert_eq!(judge(&[("im", "\"a-1\""), ("inm", "\"a-1\"")]), Verdict::NotModified);
    }

    #[test]
    fn if_range_lets_the_range_apply_only_to_what_the_client_has() {
        let cases: &[(&'static str, bool)] = &[
            ("\"a-1\"", true),
            ("\"x\"", false),
            ("W/\"a-1\"", false),
            (CHANGED, true),
            (BEFORE, false),
            (AFTER, false),
            ("whenever", false),
            ("", false),
        ];
        for (value, range_applies) in cases {
            assert_eq!(judge(&[("ir", value)]), Verdict::Send { range_applies: *range_applies });
        }
    }

    #[test]
    fn a_weak_tag_of_ours_spares_the_body_but_matches_no_strong_comparison() {
        let judge = |name, value| judge_tagged("W/\"a-1\"", &[(name, value)]);
        assert_eq!(judge("inm", "\"a-1\""), Verdict::NotModified);
        assert_eq!(judge("inm", "W/\"a-1\""), Verdict::NotModified);
        assert_eq!(judge("im", "\"a-1\""), Verdict::Failed);
        assert_eq!(judge("im", "W/\"a-1\""), Verdict::Failed);
        assert_eq!(judge("im", "*"), SEND);
        assert_eq!(judge("ir", "\"a-1\""), Verdict::Send { range_applies: false });
        assert_eq!(judge("ir", "W/\"a-1\""), Verdict::Send { range_applies: false });
    }

    #[test]
    fn without_a_tag_only_a_star_matches() {
        let judge = |name, value| judge_tagged("", &[(name, value)]);
        assert_eq!(judge("inm", "*"), Verdict::NotModified);
        assert_eq!(judge("inm", "\"\""), SEND);
        assert_eq!(judge("im", "\"\""), Verdict::Failed);
        assert_eq!(judge("ims", AFTER), Verdict::NotModified);
        assert_eq!(judge("ir", "\"\""), Verdict::Send { range_applies: false });
    }

    #[test]
    fn a_list_may_stand_on_several_lines_and_a_date_may_not() {
        let lines = "\"x\"\r\nX: \"y\"\r\nif-none-match:\"a-1\"";
        let judge_lines = |lines| judge(&[("inm", ""), ("inm", lines)]);
        assert_eq!(judge_lines(lines), Verdict::NotModified);
        assert_eq!(judge_lines("*\r\nIf-None-Match: \"x\""), Verdict::NotModified);
        assert_eq!(judge_lines("\"x\"\r\nIf-None-Matches: \"a-1\"\r\nIf-None-Match:"), SEND);
        let lines = "\"x\"\r\nIf-Match: W/\"a-1\"\r\nIf-Match: \"z\"";
        assert_eq!(judge(&[("im", ""), ("im", lines)]), Verdict::Failed);
        let lines = "\"x\"\r\nIf-Match: \"a-1\"";
        assert_eq!(judge(&[("im", ""), ("im", lines)]), SEND);
        assert_eq!(judge(&[("ims", AFTER), ("ims", AFTER)]), SEND);
        let verdict = judge(&[("ir", "\"a-1\""), ("ir", "\"a-1\"")]);
        assert_eq!(verdict, Verdict::Send { range_applies: false });
    }
}
