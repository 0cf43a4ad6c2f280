//! A request read line by line (RFC 9112): where it ends, and what it asks.

use super::Choices;

/// How bytes read.
#[derive(Debug)]
pub enum Reading {
    /// A request.
    Whole(Message),
    /// They end before it does.
    Cut,
    /// No request.
    Wrong,
}

/// A request.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Message {
    pub method: String,
    pub target: Vec<u8>,
    /// Of the field.
    pub host: Vec<u8>,
    pub is_1_1: bool,
    pub keep_alive: bool,
    pub head_len: usize,
    pub body_len: usize,
    /// There is nothing unusual about it: it must be taken.
    pub is_plain: bool,
    /// The client waits to hear whether its content is wanted.
    pub waits: bool,
}

const CRLF: &[u8] = b"\r\n";

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The lines of `text`, which are ended by CRLF and hold neither half of one.
fn lines(mut text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines = Vec::new();
    while let Some(end) = find(text, CRLF) {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    let is_sound = |line: &&[u8]| !line.contains(&b'\r') && !line.contains(&b'\n');
    (text.is_empty() && lines.iter().all(is_sound)).then_some(lines)
}

/// Name and value of a field.
fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let in_value = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    let is_field = !name.is_empty() && name.iter().all(in_name) && value.iter().all(in_value);
    is_field.then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii()))
}

/// Reads the request at the front of `bytes`.
pub fn read(bytes: &[u8]) -> Reading {
    let mut start = 0;
    while bytes[start..].starts_with(CRLF) {
        start += 2;
    }
    let Some(end) = find(&bytes[start..], b"\r\n\r\n") else { return Reading::Cut };
    let head_len = start + end + 4;
    match read_head(&bytes[start..head_len - 2], &bytes[head_len..]) {
        Ok(message) => Reading::Whole(Message { head_len, ..message }),
        Err(reading) => reading,
    }
}

fn read_head(head: &[u8], rest: &[u8]) -> Result<Message, Reading> {
    let lines = lines(head).ok_or(Reading::Wrong)?;
    let words: Vec<_> = lines[0].split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err(Reading::Wrong) };
    let is_1_1 = match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => true,
        b"HTTP/1.0" => false,
        _ => return Err(Reading::Wrong),
    };
    let fields: Option<Vec<_>> = lines[1..].iter().map(|line| field(line)).collect();
    let fields = fields.ok_or(Reading::Wrong)?;
    let all = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(other, _)| other == name).map(|(_, value)| *value).collect()
    };
    let hosts = all("host");
    if hosts.len() > 1 || (is_1_1 && hosts.is_empty()) {
        return Err(Reading::Wrong);
    }
    let expects = !all("expect").is_empty();
    let body = match (&all("transfer-encoding")[..], &all("content-length")[..]) {
        ([], []) => Ok(0),
        ([], [digits]) => length(digits, rest),
        ([coding], []) if is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => chunks(rest),
        _ => return Err(Reading::Wrong),
    };
    let waits = expects && matches!(body, Err(Reading::Cut));
    let body_len = if waits { 0 } else { body? };
    let connection = all("connection").join(&b","[..]);
    let says = |option: &[u8]| {
        let mut options = connection.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        options.any(|it| it.eq_ignore_ascii_case(option))
    };
    let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"/.-_?=%".contains(byte);
    let is_plain = method.iter().all(u8::is_ascii_uppercase)
        && !method.is_empty()
        && target.starts_with(b"/")
        && target.iter().all(is_usual)
        && hosts.iter().all(|host| host.iter().all(u8::is_ascii_alphanumeric))
        && fields.len() < 50
        && !expects;
    Ok(Message {
        method: String::from_utf8_lossy(method).into_owned(),
        target: target.to_vec(),
        host: hosts.concat(),
        is_1_1,
        keep_alive: !says(b"close") && (is_1_1 || says(b"keep-alive")),
        head_len: 0,
        body_len,
        is_plain,
        waits,
    })
}

/// The length of content whose length is told.
fn length(digits: &[u8], rest: &[u8]) -> Result<usize, Reading> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reading::Wrong);
    }
    let text = String::from_utf8_lossy(digits);
    // Nothing here is longer than that.
    let len = text.parse().unwrap_or(usize::MAX);
    if len <= rest.len() { Ok(len) } else { Err(Reading::Cut) }
}

/// The length of content in chunks (RFC 9112 §7.1).
fn chunks(bytes: &[u8]) -> Result<usize, Reading> {
    let mut at = 0;
    let line = |at: usize| {
        let len = find(&bytes[at..], CRLF).ok_or(Reading::Cut)?;
        let line = &bytes[at..at + len];
        let is_sound = line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        if is_sound { Ok(line) } else { Err(Reading::Wrong) }
    };
    loop {
        let head = line(at)?;
        at += head.len() + 2;
        let digits = head.split(|&byte| byte == b';').next().unwrap_or_default();
        let digits = std::str::from_utf8(digits).map_err(|_| Reading::Wrong)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Reading::Wrong);
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| Reading::Wrong)?;
        if size == 0 {
            break;
        }
        let Some(end) = bytes.get(at.saturating_add(size)..) else { return Err(Reading::Cut) };
        match end {
            [] | [b'\r'] => return Err(Reading::Cut),
            [b'\r', b'\n', ..] => at += size + 2,
            _ => return Err(Reading::Wrong),
        }
    }
    // Trailers, and an empty line.
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok(at);
        }
        field(trailer).ok_or(Reading::Wrong)?;
    }
}

/// The request that some choices make: most are nearly right.
pub fn build(input: &[u8]) -> Vec<u8> {
    let mut choices = Choices::of(input);
    let mut text = String::new();
    text += choices.one(&["", "", "", "", "\r\n", "\r\n\r\n", "\n"]);
    text += choices.one(&["GET", "GET", "HEAD", "POST", "OPTIONS", "BREW", "get", "", "G@T"]);
    text += choices.one(&[" ", " ", " ", " ", " ", "  ", "\t"]);
    text += choices.one(&[
        "/",
        "/a.html?b=c",
        "/a?b?c",
        "/%2e%2e/",
        "/a%20b",
        "*",
        "http://b/x",
        "/#",
        "a",
    ]);
    text += choices.one(&[
        " HTTP/1.1",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/1.2",
        " HTTP/1.1 ",
        " HTTP/2.0",
        "",
    ]);
    text += choices.one(ENDS);
    text += choices.one(&["Host: a", "Host: a", "host:a", "HOST:\t a ", "Host: a:80", "X: y"]);
    text += choices.one(ENDS);
    for _ in 0..choices.below(5) {
        text += choices.one(FIELDS);
        text += choices.one(ENDS);
    }
    text += choices.one(ENDS);
    text += choices.one(CONTENTS);
    text += choices.one(&["", "GET /next HTTP/1.1\r\nHost: a\r\n\r\n", "X", "\r\n"]);
    let mut bytes = text.into_bytes();
    if choices.below(8) == 1 {
        let at = choices.below(bytes.len()) + 256 * choices.below(2);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = choices.one(b"\r\n\t :;,\0\x7f\xffx0");
        }
    }
    bytes
}

const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", ""];

const FIELDS: &[&str] = &[
    "X: y",
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: 3",
    "content-length:5",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 5 5",
    "Content-Length: 18446744073709551617",
    "Content-Length: ",
    "Content-Length : 5",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\tChunked ",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x, Close",
    "Connection: keep-alive, x",
    "Host: a",
    "Expect: 100-continue",
    " folded: x",
    "\tfolded",
    "no colon",
    ": no name",
    "Bad Name: x",
    "X: a\u{e9}b",
    "X:",
];

const CONTENTS: &[&str] = &[
    "",
    "hello",
    "hel",
    "5\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "00005;a=b;c\r\nhello\r\n0;x\r\nTrailer: x\r\n\r\n",
    "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
    "5\r\nhell",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\r\nhello\n\r0\r\n\r\n",
    "5\r\nhello\r\n0\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "-1\r\n\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "fffffffffffffffff\r\n\r\n",
    "0\r\n folded\r\n\r\n",
    "0\r\nX: y\n\r\n",
    "\r\n0\r\n\r\n",
];
