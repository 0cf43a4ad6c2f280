//! Bytes to requests: httparse for the syntax, and around it the rules that keep one request from
//! being taken for two (RFC 9112 §2.2, §3, §6, §11.2).

use std::mem::MaybeUninit;

use super::{
    Field, Status,
    body::{Content, Framing, delimit, lines_end_properly},
    target::{self, is_authority},
};

/// How much of a request is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest head: request line and header fields, in bytes.
    pub head_bytes: usize,
    /// Largest content, chunk headers included, in bytes. It is read and discarded.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // RFC 9112 §3 recommends 8,000 bytes for the request line alone.
        Self { head_bytes: 16 * 1024, body_bytes: 8 * 1024 }
    }
}

impl Limits {
    /// Most bytes that [`parse`] has to see at once to decide.
    pub fn request_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

/// What a method asks of this server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// OPTIONS
    Options,
    /// A method that HTTP knows and this server does not allow.
    NotAllowed,
    /// A method that HTTP does not know.
    Unknown,
}

/// The header fields that choose between whole, part and nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Conditions<'a> {
    /// `If-Match`
    pub if_match: Field<'a>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Field<'a>,
    /// `If-None-Match`
    pub if_none_match: Field<'a>,
    /// `If-Modified-Since`
    pub if_modified_since: Field<'a>,
    /// `If-Range`
    pub if_range: Field<'a>,
    /// `Range`
    pub range: Field<'a>,
}

/// A complete request: its head is understood, its content has arrived and is skipped. The default stands
/// for something that is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Request<'a> {
    /// Bytes of head and content together.
    pub consumed: usize,
    /// What it asks.
    pub method: Method,
    /// Host and port that it is for: of the target, if they stand there, else of `Host` (RFC 9112 §3.3);
    /// empty if neither says.
    pub authority: &'a [u8],
    /// Path of the target, percent-encoded as it came. Empty where the target has none (`*`, or the
    /// authority of a CONNECT).
    pub path: &'a [u8],
    /// Query of the target, with its question mark; empty without one.
    pub query: &'a [u8],
    /// Whether the client speaks HTTP/1.1 rather than 1.0.
    pub is_1_1: bool,
    /// Whether the client wants to go on after the response.
    pub keep_alive: bool,
    /// Whether this is, by its own word, the last that the client sends.
    pub is_last: bool,
    /// Conditions and range.
    pub conditions: Conditions<'a>,
    /// What the client would rather have.
    pub preferences: Preferences<'a>,
    /// Whose page asks.
    pub asker: Asker<'a>,
}

/// The header fields that say whose page asks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Asker<'a> {
    /// `Origin` (RFC 6454 §7)
    pub origin: Field<'a>,
    /// Whether a browser asks, by OPTIONS, what a page of that origin may ask:
    /// `Access-Control-Request-Method` is there.
    pub is_preflight: bool,
}

/// The header fields that choose between representations.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Preferences<'a> {
    /// `Accept`
    pub accept: Field<'a>,
    /// `Accept-Encoding`
    pub accept_encoding: Field<'a>,
}

/// What the bytes at the front of a connection are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack for as long as the request")]
pub enum Parsed<'a> {
    /// The beginning of a request.
    Partial,
    /// A request.
    Complete(Request<'a>),
    /// Nothing that can be answered but with this status, and the end of the connection: where the
    /// next request would begin is unknown.
    Invalid(Status),
}

/// Whether bytes that arrived after a [`Parsed::Partial`] can change it: `seen` were there, `bytes` are
/// there now. Keeps a drip of bytes from costing a parse each.
pub fn worth_parsing(bytes: &[u8], seen: usize, limits: &Limits) -> bool {
    seen == 0
        || bytes.len() >= limits.head_bytes
        || bytes.get(seen - 1..).is_some_and(|from_last| {
            let ends_no_line = |at| from_last.get(at + 1).is_some_and(|&next| next != b'\n');
            memchr::memchr(b'\n', &from_last[1..]).is_some()
                || memchr::memchr_iter(b'\r', from_last).any(ends_no_line)
        })
        || memchr::memmem::find(bytes, b"\r\n\r\n").is_some()
}

const MOST_HEADERS: usize = 128;

/// The head of a request as httparse has found it.
struct Head<'h, 'a> {
    method: &'a str,
    target: &'a [u8],
    is_1_1: bool,
    headers: &'h [httparse::Header<'a>],
    len: usize,
}

/// Parses the request at the front of `bytes`.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut raw = httparse::Request::new(&mut []);
    match raw.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(len)) => {
            let head = Head {
                method: raw.method.unwrap_or_default(),
                target: raw.path.unwrap_or_default().as_bytes(),
                is_1_1: raw.version == Some(1),
                headers: raw.headers,
                len,
            };
            take(&head, bytes, limits)
        }
        Ok(httparse::Status::Partial) => partial(bytes, limits),
        Err(httparse::Error::TooManyHeaders) => Parsed::Invalid(Status::HeadersTooLarge),
        Err(httparse::Error::Version) => other_version(
            raw.method.unwrap_or_default(),
            raw.path.unwrap_or_default(),
            bytes,
            limits,
        ),
        Err(_) => Parsed::Invalid(Status::BadRequest),
    }
}

fn take<'a>(head: &Head<'_, 'a>, bytes: &'a [u8], limits: &Limits) -> Parsed<'a> {
    if head.len > limits.head_bytes {
        return Parsed::Invalid(too_large(bytes, limits));
    }
    if !head_lines_end_properly(&bytes[..head.len], head.headers) {
        return Parsed::Invalid(Status::BadRequest);
    }
    request(head, bytes, limits).unwrap_or_else(Parsed::Invalid)
}

fn partial<'a>(bytes: &[u8], limits: &Limits) -> Parsed<'a> {
    if bytes.len() >= limits.head_bytes {
        Parsed::Invalid(too_large(bytes, limits))
    } else {
        Parsed::Partial
    }
}

/// Whether every line of a head that httparse has taken ends in CRLF, by where it found the fields: each
/// name follows a line's end, and so does the head's own. Other lines there are none, unless it begins with
/// empty ones.
fn head_lines_end_properly(head: &[u8], headers: &[httparse::Header<'_>]) -> bool {
    if matches!(head.first(), Some(b'\r' | b'\n')) {
        return lines_end_properly(head);
    }
    let start = head.as_ptr() as usize;
    let follows_line = |header: &httparse::Header<'_>| {
        let at = (header.name.as_ptr() as usize).wrapping_sub(start);
        head.get(..at).is_some_and(|before| before.ends_with(b"\r\n"))
    };
    head.ends_with(b"\r\n\r\n") && headers.iter().all(follows_line)
}

/// Which part of an oversized head is to blame.
fn too_large(bytes: &[u8], limits: &Limits) -> Status {
    let head = &bytes[..bytes.len().min(limits.head_bytes)];
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    match memchr::memchr(b'\n', &head[start..]) {
        Some(_) => Status::HeadersTooLarge,
        None => Status::UriTooLong,
    }
}

/// httparse refused what stands for the version, behind a method and a target that it took: a later 1.x,
/// another version, or no version at all?
fn other_version<'a>(
    method: &'a str,
    target: &'a str,
    bytes: &'a [u8],
    limits: &Limits,
) -> Parsed<'a> {
    let line = bytes.trim_ascii_start();
    let Some(end) = memchr::memchr(b'\n', line) else { return partial(bytes, limits) };
    match line[..end].splitn(3, |&byte| byte == b' ').nth(2) {
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9', b'\r']) => {
            later_minor_version(method, target, bytes, bytes.len() - line.len() + end + 1, limits)
        }
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r'])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Parsed::Invalid(Status::VersionNotSupported)
        }
        _ => Parsed::Invalid(Status::BadRequest),
    }
}

/// A request of HTTP/1.2 or the like is one of HTTP/1.1 (RFC 9110 §2.5). Its first line has `line_len` bytes.
#[cold]
fn later_minor_version<'a>(
    method: &'a str,
    target: &'a str,
    bytes: &'a [u8],
    line_len: usize,
    limits: &Limits,
) -> Parsed<'a> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    match httparse::parse_headers(&bytes[line_len..], &mut headers) {
        Ok(httparse::Status::Complete((len, headers))) => {
            let target = target.as_bytes();
            let head = Head { method, target, is_1_1: true, headers, len: line_len + len };
            take(&head, bytes, limits)
        }
        Ok(httparse::Status::Partial) => partial(bytes, limits),
        Err(httparse::Error::TooManyHeaders) => Parsed::Invalid(Status::HeadersTooLarge),
        Err(_) => Parsed::Invalid(Status::BadRequest),
    }
}

/// The header fields that matter, gathered in one pass.
#[derive(Default)]
struct Fields<'a> {
    host: Field<'a>,
    content_length: Field<'a>,
    transfer_encoding: Field<'a>,
    expect: Field<'a>,
    wants_close: bool,
    wants_keep_alive: bool,
    conditions: Conditions<'a>,
    preferences: Preferences<'a>,
    origin: Field<'a>,
    request_method: Field<'a>,
}

impl<'a> Fields<'a> {
    /// What stands in `head`, whose fields are `headers`.
    fn gather(headers: &[httparse::Header<'a>], head: &'a [u8]) -> Self {
        let mut fields = Self::default();
        for header in headers {
            fields.take(header.name, header.value.trim_ascii(), head);
        }
        fields
    }

    fn take(&mut self, name: &str, value: &'a [u8], head: &'a [u8]) {
        let conditions = &mut self.conditions;
        // By length first: most fields of a browser are none of these.
        let (known, field) = match name.len() {
            4 => ("host", &mut self.host),
            5 => ("range", &mut conditions.range),
            6 => match name.as_bytes()[0] | 0x20 {
                b'e' => ("expect", &mut self.expect),
                b'a' => ("accept", &mut self.preferences.accept),
                _ => ("origin", &mut self.origin),
            },
            8 if name.as_bytes()[3].eq_ignore_ascii_case(&b'm') => {
                ("if-match", &mut conditions.if_match)
            }
            8 => ("if-range", &mut conditions.if_range),
            10 if name.eq_ignore_ascii_case("connection") => return self.take_connection(value),
            13 => ("if-none-match", &mut conditions.if_none_match),
            14 => ("content-length", &mut self.content_length),
            15 => ("accept-encoding", &mut self.preferences.accept_encoding),
            17 if name.as_bytes()[0].eq_ignore_ascii_case(&b'i') => {
                ("if-modified-since", &mut conditions.if_modified_since)
            }
            17 => ("transfer-encoding", &mut self.transfer_encoding),
            19 => ("if-unmodified-since", &mut conditions.if_unmodified_since),
            29 => ("access-control-request-method", &mut self.request_method),
            _ => return,
        };
        if name.eq_ignore_ascii_case(known) {
            field.add(value, head);
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.wants_close |= option.eq_ignore_ascii_case(b"close");
            self.wants_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

fn request<'a>(
    head: &Head<'_, 'a>,
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<Parsed<'a>, Status> {
    let Head { method: name, target: whole_target, is_1_1, headers, len: head_len } = *head;
    let fields = Fields::gather(headers, &bytes[..head_len]);
    let framing = framing(&fields, is_1_1)?;
    check_host(fields.host, is_1_1)?;
    let target = target::parse(whole_target, name)?;

    let mut keep_alive =
        if is_1_1 { !fields.wants_close } else { fields.wants_keep_alive && !fields.wants_close };
    let mut is_last = !keep_alive;
    let expects_continue = is_1_1 && expects_continue(fields.expect)?;
    let body_len = match delimit(&bytes[head_len..], framing, limits.body_bytes) {
        Content::Complete(len) => len,
        // The client waits to hear whether its content is wanted. It never is: the final answer
        // comes at once, and the end of the connection spares both sides the content.
        Content::Partial if expects_continue => {
            (keep_alive, is_last) = (false, false);
            0
        }
        Content::Partial => return Ok(Parsed::Partial),
        Content::Invalid(status) => return Err(status),
    };
    Ok(Parsed::Complete(Request {
        consumed: head_len + body_len,
        method: method(name),
        authority: target.authority.unwrap_or(match fields.host {
            Field::Once(host) => host,
            Field::Absent | Field::Repeated(_) => b"",
        }),
        path: target.path,
        query: target.query,
        is_1_1,
        keep_alive,
        is_last,
        conditions: fields.conditions,
        preferences: fields.preferences,
        asker: Asker {
            origin: fields.origin,
            is_preflight: fields.request_method != Field::Absent,
        },
    }))
}

/// RFC 9110 §10.1.1: a list, of which only one member is known.
fn expects_continue(expect: Field<'_>) -> Result<bool, Status> {
    let mut expects = false;
    for member in expect.values("expect").flat_map(|list| list.split(|&byte| byte == b',')) {
        match member.trim_ascii() {
            b"" => {}
            member if member.eq_ignore_ascii_case(b"100-continue") => expects = true,
            _ => return Err(Status::ExpectationFailed),
        }
    }
    Ok(expects)
}

/// RFC 9112 §6.3, at its strictest: whatever two parsers could read in two ways is refused.
fn framing(fields: &Fields<'_>, is_1_1: bool) -> Result<Framing, Status> {
    match (fields.transfer_encoding, fields.content_length) {
        (Field::Absent, Field::Absent) => Ok(Framing::Empty),
        (Field::Absent, Field::Once(digits)) => content_length(digits).map(Framing::Length),
        (Field::Once(coding), Field::Absent) if is_1_1 => {
            if coding.eq_ignore_ascii_case(b"chunked") {
                return Ok(Framing::Chunked);
            }
            let is_chunked = |name: &[u8]| name.eq_ignore_ascii_case(b"chunked");
            let mut names = coding.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            let is_delimited = names.next().is_some_and(is_chunked)
                && names.all(|name| !name.is_empty() && !is_chunked(name));
            Err(if is_delimited { Status::NotImplemented } else { Status::BadRequest })
        }
        _ => Err(Status::BadRequest),
    }
}

fn content_length(digits: &[u8]) -> Result<u64, Status> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Status::BadRequest);
    }
    let value = digits
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    value.ok_or(Status::ContentTooLarge)
}

fn check_host(host: Field<'_>, is_1_1: bool) -> Result<(), Status> {
    match host {
        Field::Absent if !is_1_1 => Ok(()),
        Field::Once(value) if value.is_empty() || is_authority(value) => Ok(()),
        _ => Err(Status::BadRequest),
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "POST" | "PUT" | "DELETE" | "CONNECT" | "TRACE" | "PATCH" => Method::NotAllowed,
        _ => Method::Unknown,
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
