//! Conditional requests of which it is known what they mean, as they are put together from that; and what RFC
//! 9110 §13.2.2 has them come to, step by step.

use std::time::{Duration, SystemTime};

use super::Choices;

/// When our representation was changed, in seconds since 1970: Sun, 09 Sep 2001 01:46:40 GMT.
const CHANGED: u64 = 1_000_000_000;

/// A field in one of its states.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Sent<T> {
    #[default]
    Absent,
    Once(String, T),
    /// Twice. A list goes on, all else says nothing.
    Twice([(String, T); 2]),
}

/// A tag: what stands between the quotes, and whether it is weak.
type Tag = (&'static str, bool);

/// What a list of tags says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Tags {
    Any,
    These(Vec<Tag>),
}

/// What `If-Range` says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Version {
    Tag(Tag),
    Date(Option<u64>),
}

/// A request's conditions, and what they are judged by.
#[derive(Debug, Default)]
pub struct Question {
    ours: Option<Tag>,
    if_match: Sent<Tags>,
    if_unmodified_since: Sent<Option<u64>>,
    if_none_match: Sent<Tags>,
    if_modified_since: Sent<Option<u64>>,
    if_range: Sent<Version>,
}

/// What they come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Failed,
    NotModified,
    Send { range_applies: bool },
}

const TAGS: &[Tag] =
    &[("a", false), ("a", true), ("b", false), ("b", true), ("", false), ("a,", false)];

fn written((opaque, is_weak): Tag) -> String {
    format!("{}\"{opaque}\"", if is_weak { "W/" } else { "" })
}

fn tags(choices: &mut Choices<'_>) -> (String, Tags) {
    if choices.below(8) == 1 {
        return ("*".to_owned(), Tags::Any);
    }
    let (mut text, mut all) = (String::new(), Vec::new());
    for _ in 0..choices.below(4) {
        let tag = choices.one(TAGS);
        if !text.is_empty() {
            text += choices.one(&[", ", ",", " , ", ",,", "\t,"]);
        }
        text += &written(tag);
        all.push(tag);
    }
    // What is malformed after them takes nothing back.
    text += choices.one(&["", "", "", "", " , x", ", \"open", ","]);
    (text, Tags::These(all))
}

fn date(choices: &mut Choices<'_>) -> (String, Option<u64>) {
    let at = |seconds: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        (httpdate::fmt_http_date(time), Some(seconds))
    };
    match choices.below(9) {
        0 => at(CHANGED),
        1 => at(CHANGED - 1),
        2 => at(CHANGED + 1),
        3 => at(0),
        // The other two forms of RFC 9110 §5.6.7.
        4 => ("Sunday, 09-Sep-01 01:46:40 GMT".to_owned(), Some(CHANGED)),
        5 => ("Sun Sep  9 01:46:40 2001".to_owned(), Some(CHANGED)),
        6 => ("1000000000".to_owned(), None),
        7 => ("Sun, 09 Sep 2001 01:46:40".to_owned(), None),
        _ => ("yesterday".to_owned(), None),
    }
}

impl Question {
    pub fn build(input: &[u8]) -> Self {
        fn sent<T>(
            choices: &mut Choices<'_>,
            what: impl Fn(&mut Choices<'_>) -> (String, T),
        ) -> Sent<T> {
            match choices.below(5) {
                0 | 1 => Sent::Absent,
                4 => Sent::Twice([what(choices), what(choices)]),
                _ => {
                    let (text, meaning) = what(choices);
                    Sent::Once(text, meaning)
                }
            }
        }
        let choices = &mut Choices::of(input);
        let version = |choices: &mut Choices<'_>| {
            if choices.below(2) == 0 {
                let tag = choices.one(TAGS);
                return (written(tag), Version::Tag(tag));
            }
            let (text, date) = date(choices);
            (text, Version::Date(date))
        };
        Self {
            ours: choices.one(&[Some(("a", false)), Some(("a", true)), None]),
            if_match: sent(choices, tags),
            if_unmodified_since: sent(choices, date),
            if_none_match: sent(choices, tags),
            if_modified_since: sent(choices, date),
            if_range: sent(choices, version),
        }
    }

    /// Our entity tag as it is written; empty for none.
    pub fn etag(&self) -> String {
        self.ours.map(written).unwrap_or_default()
    }

    /// When our representation was changed.
    pub fn last_modified() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(CHANGED)
    }

    /// The request.
    pub fn request(&self) -> String {
        fn lines<T>(name: &str, sent: &Sent<T>) -> String {
            match sent {
                Sent::Absent => String::new(),
                Sent::Once(value, _) => format!("{name}: {value}\r\n"),
                Sent::Twice([(first, _), (second, _)]) => {
                    format!("{name}: {first}\r\nX: {second}\r\n{name}: {second}\r\n")
                }
            }
        }
        let fields = [
            lines("If-Modified-Since", &self.if_modified_since),
            lines("if-none-match", &self.if_none_match),
            lines("If-Range", &self.if_range),
            lines("If-Match", &self.if_match),
            lines("IF-UNMODIFIED-SINCE", &self.if_unmodified_since),
        ];
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields.concat())
    }

    /// RFC 9110 §13.2.2.
    pub fn outcome(&self) -> Outcome {
        let unchanged_since = |sent: &Sent<Option<u64>>| match sent {
            Sent::Once(_, Some(date)) => Some(CHANGED <= *date),
            _ => None,
        };
        // Steps 1 and 2.
        let holds = match &self.if_match {
            Sent::Absent => unchanged_since(&self.if_unmodified_since).unwrap_or(true),
            sent => self.is_among(sent, |one, other| one.0 == other.0 && !one.1 && !other.1),
        };
        if !holds {
            return Outcome::Failed;
        }
        // Steps 3 and 4.
        let is_had = match &self.if_none_match {
            Sent::Absent => unchanged_since(&self.if_modified_since).unwrap_or(false),
            sent => self.is_among(sent, |one, other| one.0 == other.0),
        };
        if is_had {
            return Outcome::NotModified;
        }
        // Step 5, and §13.1.5.
        let range_applies = match &self.if_range {
            Sent::Absent => true,
            Sent::Twice(_) => false,
            Sent::Once(_, Version::Tag(tag)) => !tag.1 && self.ours == Some(*tag),
            Sent::Once(_, Version::Date(date)) => *date == Some(CHANGED),
        };
        Outcome::Send { range_applies }
    }

    /// §8.8.3.2, by a comparison.
    fn is_among(&self, sent: &Sent<Tags>, are_equal: impl Fn(Tag, Tag) -> bool) -> bool {
        let is_in = |tags: &Tags| match tags {
            Tags::Any => true,
            Tags::These(tags) => {
                self.ours.is_some_and(|ours| tags.iter().any(|tag| are_equal(ours, *tag)))
            }
        };
        match sent {
            Sent::Absent => false,
            Sent::Once(_, tags) => is_in(tags),
            Sent::Twice(lists) => lists.iter().any(|(_, tags)| is_in(tags)),
        }
    }
}
