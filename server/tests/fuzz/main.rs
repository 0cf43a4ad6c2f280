//! Fuzzing of what clients send: requests, ranges, conditions and paths. What comes of them is compared with what
//! plainer means make of the same (`oracle`).
//!
//! Inputs are kept in `__fuzz__` beside this file; how to run this for longer, or with coverage, is told
//! in ARCHITECTURE.

mod oracle;

use std::time::{Duration, SystemTime};

use oracle::{
    conditions::{Outcome, Question},
    message::{self, Message, Reading},
};
use pagewire::http::{
    Field, Limits, Method, Parsed, Request, Status,
    conditional::{self, Tag, Validators, Verdict},
    parse, path,
    range::{self, Selection},
    worth_parsing,
};

/// How long a fuzz test takes: `PAGEWIRE_FUZZ_SECONDS`, or as long as CI allows.
fn time() -> Duration {
    let seconds = std::env::var("PAGEWIRE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

const SOAK: Duration = Duration::from_mins(2);

/// Most ranges that a server here looks at.
const MOST_RANGES: usize = 64;

/// Words that requests consist of. An input's bytes name them, or are themselves.
const WORDS: [&str; 42] = [
    "GET ",
    "HEAD ",
    "POST ",
    "/",
    "/a.html",
    "?",
    "%2e",
    "%00",
    "..",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "\r\n",
    "\n",
    "Host: a\r\n",
    "Host:",
    "Content-Length: ",
    "0",
    "5",
    "\r\n\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Range: bytes=",
    "-",
    ",",
    "18446744073709551615",
    "If-None-Match: ",
    "*",
    "\"a\"",
    "W/",
    "If-Match: ",
    "If-Range: ",
    "If-Modified-Since: ",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "bytes=",
    "1",
    "99999999999999999999",
    " ",
    "\t",
    "Expect: 100-continue\r\n",
    "/.",
    "/.well-known",
];

/// The request that an input stands for.
fn spelled(input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &byte in input {
        match WORDS.get(usize::from(byte)) {
            Some(word) => bytes.extend(word.as_bytes()),
            None => bytes.push(byte),
        }
    }
    bytes
}

fn request(bytes: &[u8]) {
    let limits = Limits { head_bytes: 1_024, body_bytes: 1_024 };
    let parsed = parse(bytes, &limits);
    compare(bytes, &parsed);
    match parsed {
        Parsed::Complete(request) => {
            assert!(request.consumed <= bytes.len());
            assert!(request.consumed <= limits.request_bytes());
            // A request does not depend on what follows it.
            let alone = parse(&bytes[..request.consumed], &limits);
            let Parsed::Complete(alone) = alone else { panic!("alone it is none: {bytes:?}") };
            assert_eq!((alone.consumed, alone.path), (request.consumed, request.path));
            let mut key = Vec::new();
            let _ = path::canonicalize(request.path, &mut key);
            let validators =
                Validators { etag: Tag::of(b"\"a\""), last_modified: SystemTime::UNIX_EPOCH };
            let _ = conditional::evaluate(&request.conditions, validators);
            select(request.conditions.range);
        }
        _ => {
            let _ = worth_parsing(bytes, bytes.len() / 2, &limits);
        }
    }
}

/// Whatever is taken for a request reads as the same request line by line, and whatever reads as a plain one is
/// taken.
fn compare(bytes: &[u8], parsed: &Parsed<'_>) {
    let text = bytes.escape_ascii();
    match (parsed, message::read(bytes)) {
        (Parsed::Complete(request), Reading::Whole(message)) => equal(request, &message, bytes),
        (Parsed::Complete(request), other) => panic!("{text}: {request:?} reads as {other:?}"),
        (other, Reading::Whole(message)) => {
            let is_small = message.head_len.max(message.body_len) <= 500;
            assert!(!(message.is_plain && is_small), "{text}: {other:?}, reads as {message:?}");
        }
        (_, Reading::Cut | Reading::Wrong) => {}
    }
}

fn equal(request: &Request<'_>, message: &Message, bytes: &[u8]) {
    let what = format!("{}: {request:?}, {message:?}", bytes.escape_ascii());
    let method = match &*message.method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "POST" | "PUT" | "DELETE" | "CONNECT" | "TRACE" | "PATCH" => Method::NotAllowed,
        _ => Method::Unknown,
    };
    assert_eq!((request.method, request.is_1_1), (method, message.is_1_1), "{what}");
    // RFC 9112 §3.2.2: a host in the target counts, and not the field.
    let (authority, rest) = match message.target.strip_prefix(b"http://") {
        Some(rest) => {
            rest.split_at(rest.iter().position(|it| b"/?".contains(it)).unwrap_or(rest.len()))
        }
        None => (&*message.host, &*message.target),
    };
    if rest.starts_with(b"/") {
        assert_eq!(request.authority, authority, "{what}");
        let query = rest.iter().position(|&byte| byte == b'?').unwrap_or(rest.len());
        assert_eq!((request.path, request.query), rest.split_at(query), "{what}");
    }
    let consumed = message.head_len + message.body_len;
    assert_eq!(request.consumed, consumed, "{what}");
    // What a client holds back may come all the same: behind it no request can be found.
    assert_eq!(request.keep_alive, message.keep_alive && !message.waits, "{what}");
    assert_eq!(request.is_last, !message.keep_alive && !message.waits, "{what}");
}

/// Conditions come to what RFC 9110 says, step by step.
fn judge(question: &Question) {
    let text = question.request();
    let parsed = parse(text.as_bytes(), &Limits::default());
    let Parsed::Complete(request) = parsed else { panic!("{text}: {parsed:?}") };
    let etag = question.etag();
    let (etag, last_modified) = (Tag::of(etag.as_bytes()), Question::last_modified());
    let verdict = conditional::evaluate(&request.conditions, Validators { etag, last_modified });
    let outcome = match verdict {
        Verdict::Failed => Outcome::Failed,
        Verdict::NotModified => Outcome::NotModified,
        Verdict::Send { range_applies } => Outcome::Send { range_applies },
    };
    assert_eq!(outcome, question.outcome(), "{question:?}");
}

/// A set of ranges selects the bytes that it names.
fn select_as_named(value: &str) {
    for len in [0, 1, 10, 64] {
        let selected = match range::select(Field::Once(value.as_bytes()), len) {
            Selection::Whole => None,
            Selection::Part { start, len } => Some(vec![(start, len)]),
            Selection::Parts(parts) => Some(parts.iter().collect()),
            Selection::Unsatisfiable => Some(Vec::new()),
        };
        let named = oracle::ranges::select(value, len, range::MOST_PARTS, MOST_RANGES);
        assert_eq!(selected, named, "{value} of {len}");
    }
}

fn select(field: Field<'_>) {
    for len in [0, 1, 100, u64::MAX] {
        let inside = |start: u64, part: u64| {
            assert!(part > 0);
            let end = start.checked_add(part);
            assert!(end.is_some_and(|end| end <= len), "{start}+{part} of {len}");
            part
        };
        match range::select(field, len) {
            Selection::Part { start, len } => {
                inside(start, len);
            }
            Selection::Parts(parts) => {
                let all: u128 =
                    parts.iter().map(|(start, part)| u128::from(inside(start, part))).sum();
                assert!(parts.iter().count() > 1 && all <= u128::from(len), "{parts:?}");
            }
            Selection::Whole | Selection::Unsatisfiable => {}
        }
    }
}

fn canonical(bytes: &[u8]) {
    let mut key = Vec::new();
    let result = path::canonicalize(bytes, &mut key);
    let expected = oracle::paths::key(bytes);
    assert_eq!(result.map(|()| key.clone()).map_err(Status::code), expected, "{bytes:?}");
    if result.is_err() {
        return;
    }
    assert!(!key.contains(&0));
    assert!(!key.starts_with(b"/"));
    let inside = key.split(|&byte| byte == b'/').all(|name| name != b".." && name != b".");
    assert!(inside, "{bytes:?} leaves its folder as {key:?}");
    assert_eq!(path::is_hidden(&key), oracle::paths::is_hidden(&key), "{key:?}");
    // What is sent to a client as a path comes back as the same key.
    let mut encoded = vec![b'/'];
    path::encode(&key, &mut encoded);
    let mut again = Vec::new();
    assert!(path::canonicalize(&encoded, &mut again).is_ok(), "{key:?}");
    assert_eq!(again, key);
}

fn requests(time: Duration) {
    bolero::check!().with_test_time(time).for_each(|input: &[u8]| {
        request(input);
        request(&spelled(input));
        request(&message::build(input));
    });
}

fn ranges(time: Duration) {
    bolero::check!().with_test_time(time).for_each(|input: &[u8]| {
        select(Field::Once(input));
        select(Field::Once(&[b"bytes=", &spelled(input)[..]].concat()));
        select_as_named(&oracle::ranges::build(input));
    });
}

fn conditions(time: Duration) {
    bolero::check!().with_test_time(time).for_each(|input: &[u8]| judge(&Question::build(input)));
}

fn paths(time: Duration) {
    bolero::check!().with_test_time(time).for_each(|input: &[u8]| {
        canonical(input);
        canonical(&[b"/", input].concat());
        canonical(&[b"/", &spelled(input)[..]].concat());
    });
}

#[test]
fn any_bytes_are_a_request_or_refused() {
    requests(time());
}

#[test]
fn any_range_lies_inside() {
    ranges(time());
}

#[test]
fn any_conditions_come_to_what_the_rules_say() {
    conditions(time());
}

#[test]
fn any_path_stays_inside_its_folder() {
    paths(time());
}

#[test]
#[ignore = "minutes; for ./dev soak"]
fn any_bytes_are_a_request_or_refused_for_minutes() {
    requests(SOAK);
}

#[test]
#[ignore = "minutes; for ./dev soak"]
fn any_range_lies_inside_for_minutes() {
    ranges(SOAK);
}

#[test]
#[ignore = "minutes; for ./dev soak"]
fn any_conditions_come_to_what_the_rules_say_for_minutes() {
    conditions(SOAK);
}

#[test]
#[ignore = "minutes; for ./dev soak"]
fn any_path_stays_inside_its_folder_for_minutes() {
    paths(SOAK);
}
