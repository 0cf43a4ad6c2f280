//! What a line looks like: Apache's and nginx's combined format, or JSON.
//!
//! A line is rendered in two steps, as a request is answered and as its response has been sent, into
//! buffers of the caller's. What clients send is escaped: a line is always one line of printable ASCII
//! (combined) or of valid UTF-8 (JSON), whatever they send.

use std::{io::Write, net::SocketAddr, time::Duration};

pub use crate::settings::AccessLogFormat as Format;

/// Most bytes that are logged of a field that a client sends.
const FIELD_BYTES: usize = 1_024;

/// A request, and what it is answered with.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Whose it is.
    pub peer: SocketAddr,
    /// The present, as HTTP has it.
    pub date: &'a str,
    /// All of the request, or what was refused.
    pub request: &'a [u8],
}

/// How a response ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// Its status.
    pub status: u16,
    /// Bytes of its content; none if it was cut somewhere.
    pub content_bytes: Option<u64>,
    /// From when the request was first seen.
    pub time: Duration,
    /// How, in a word.
    pub how: &'a str,
}

impl Format {
    /// Renders what is known when a request is answered. Returns where the ending is to be put.
    pub fn begin(self, out: &mut Vec<u8>, facts: &Facts<'_>) -> usize {
        let fields = Fields::of(facts.request);
        match self {
            Self::Combined => begin_combined(out, facts, &fields),
            Self::Json => begin_json(out, facts, &fields),
        }
    }

    /// Renders a whole line from what [`begin`](Self::begin) has left, and the ending.
    pub fn end(self, out: &mut Vec<u8>, begun: &[u8], at: usize, ending: &Ending<'_>) {
        let (front, rest) = begun.split_at(at.min(begun.len()));
        out.extend_from_slice(front);
        let mut number = itoa::Buffer::new();
        match self {
            Self::Combined => {
                out.push(b' ');
                out.extend_from_slice(number.format(ending.status).as_bytes());
                out.push(b' ');
                match ending.content_bytes {
                    Some(bytes) => out.extend_from_slice(number.format(bytes).as_bytes()),
                    None => out.push(b'-'),
                }
            }
            Self::Json => {
                // Writing to a vector cannot fail.
                let _ = write!(out, ",\"status\":{},\"bytes\":", ending.status);
                match ending.content_bytes {
                    Some(bytes) => out.extend_from_slice(number.format(bytes).as_bytes()),
                    None => out.extend_from_slice(b"null"),
                }
                let seconds = ending.time.as_secs();
                let micros = ending.time.subsec_micros();
                let _ = write!(out, ",\"seconds\":{seconds}.{micros:06},\"ending\":");
                write_json(out, ending.how.as_bytes());
            }
        }
        out.extend_from_slice(rest);
        out.push(b'\n');
    }
}

/// What is logged of a request's head.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields<'a> {
    line: &'a [u8],
    host: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Finds them, whether the request is a good one or not.
    fn of(request: &'a [u8]) -> Self {
        let mut lines = Lines { rest: trim_start(request) };
        let mut fields = Self { line: cut(lines.next().unwrap_or_default()), ..Self::default() };
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let place = match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => &mut fields.host,
                7 if name.eq_ignore_ascii_case(b"referer") => &mut fields.referer,
                10 if name.eq_ignore_ascii_case(b"user-agent") => &mut fields.user_agent,
                _ => continue,
            };
            place.get_or_insert(cut(value.trim_ascii()));
        }
        fields
    }
}

/// Lines, without what ends them.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Without the empty lines that may come before a request (RFC 9112 section 2.2).
fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(FIELD_BYTES)]
}

/// `peer - - [26/Nov/2026:19:08:28 +0000] "GET / HTTP/1.1"`, then the ending, then referrer and agent.
fn begin_combined(out: &mut Vec<u8>, facts: &Facts<'_>, fields: &Fields<'_>) -> usize {
    let [day, month, year, time] = date_parts(facts.date);
    let ip = facts.peer.ip().to_canonical();
    let _ = write!(out, "{ip} - - [{day}/{month}/{year}:{time} +0000] \"");
    write_escaped(out, fields.line);
    out.push(b'"');
    let at = out.len();
    for field in [fields.referer, fields.user_agent] {
        out.extend_from_slice(b" \"");
        write_escaped(out, field.unwrap_or(b"-"));
        out.push(b'"');
    }
    at
}

fn begin_json(out: &mut Vec<u8>, facts: &Facts<'_>, fields: &Fields<'_>) -> usize {
    let [day, month, year, time] = date_parts(facts.date);
    let month = month_number(month);
    let _ =
        write!(out, "{{\"time\":\"{year}-{month:02}-{day}T{time}Z\",\"peer\":\"{}\"", facts.peer);
    for (name, value) in [
        ("request", Some(fields.line)),
        ("host", fields.host),
        ("referer", fields.referer),
        ("user_agent", fields.user_agent),
    ] {
        let Some(value) = value else { continue };
        let _ = write!(out, ",\"{name}\":");
        write_json(out, value);
    }
    let at = out.len();
    out.push(b'}');
    at
}

/// Day, month, year and time of `Thu, 26 Nov 2026 19:08:28 GMT`.
fn date_parts(date: &str) -> [&str; 4] {
    [5..7, 8..11, 12..16, 17..25].map(|range| date.get(range).unwrap_or_default())
}

fn month_number(name: &str) -> usize {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    MONTHS.find(name).map_or(0, |at| at / 3 + 1)
}

/// As nginx escapes: quotes, backslashes, and whatever is not printable ASCII, in hexadecimal.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | ..0x20 | 0x7f.. => {
                let _ = write!(out, "\\x{byte:02X}");
            }
            byte => out.push(byte),
        }
    }
}

/// A JSON string. Bytes that are no UTF-8 are taken for Latin-1.
fn write_json(out: &mut Vec<u8>, bytes: &[u8]) {
    let is_text = std::str::from_utf8(bytes).is_ok();
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            ..0x20 | 0x7f => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            0x80.. if !is_text => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Thu, 26 Nov 2026 19:08:28 GMT";

    fn render(format: Format, request: &[u8], content_bytes: Option<u64>) -> Vec<u8> {
        let peer = "192.0.2.7:4711".parse().unwrap();
        let (mut begun, mut out) = (Vec::new(), Vec::new());
        let at = format.begin(&mut begun, &Facts { peer, date: DATE, request });
        let time = Duration::from_micros(1_500_042);
        let ending = Ending { status: 200, content_bytes, time, how: "sent" };
        format.end(&mut out, &begun, at, &ending);
        out
    }

    const REQUEST: &[u8] =
        b"GET /a%20b?c HTTP/1.1\r\nHost: example.org\r\nreferer:  http://x/ \r\n\
        USER-AGENT: cu\"rl\\8\r\n\r\nReferer: not one\r\n";

    #[test]
    fn combined_lines_are_as_others_write_them() {
        let line = String::from_utf8(render(Format::Combined, REQUEST, Some(2326))).unwrap();
        assert_eq!(
            line,
            "192.0.2.7 - - [26/Nov/2026:19:08:28 +0000] \"GET /a%20b?c HTTP/1.1\" 200 2326 \
             \"http://x/\" \"cu\\x22rl\\x5C8\"\n"
        );
        let line = String::from_utf8(render(Format::Combined, b"\x16\x03 \xff", None)).unwrap();
        assert!(line.ends_with("\"\\x16\\x03 \\xFF\" 200 - \"-\" \"-\"\n"), "{line}");
    }

    #[test]
    fn json_lines_are_objects() {
        let line = render(Format::Json, REQUEST, Some(2326));
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let expected = serde_json::json!({
            "time": "2026-11-26T19:08:28Z", "peer": "192.0.2.7:4711",
            "request": "GET /a%20b?c HTTP/1.1", "host": "example.org", "referer": "http://x/",
            "user_agent": "cu\"rl\\8", "status": 200, "bytes": 2326, "seconds": 1.500_042,
            "ending": "sent",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn long_fields_are_cut() {
        let request = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9_000));
        let line = render(Format::Combined, request.as_bytes(), None);
        assert!(line.len() < FIELD_BYTES + 200);
    }

    proptest! {
        #[test]
        fn whatever_comes_makes_one_line(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let line = render(Format::Combined, &bytes, Some(1));
            prop_assert!(line[..line.len() - 1].iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(memchr::memchr_iter(b'"', &line).count(), 6);
            let line = render(Format::Json, &bytes, None);
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(&value["status"], 200);
            prop_assert_eq!(memchr::memchr_iter(b'\n', &line).count(), 1);
        }
    }
}
