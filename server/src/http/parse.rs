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
    let mut request = Request::default();
    match read(&mut request, head, bytes, limits) {
        Ok(true) => Parsed::Complete(request),
        Ok(false) => Parsed::Partial,
        Err(status) => Parsed::Invalid(status),
    }
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

/// The header fields that say how a request is to be read.
#[derive(Default)]
struct Fields<'a> {
    host: Field<'a>,
    content_length: Field<'a>,
    transfer_encoding: Field<'a>,
    expect: Field<'a>,
    wants_close: bool,
    wants_keep_alive: bool,
}

impl<'a> Fields<'a> {
    /// Takes a field of `head`, here or in the request. Others are skipped, by length: most of a browser's.
    fn take(&mut self, request: &mut Request<'a>, name: &[u8], value: &'a [u8], head: &'a [u8]) {
        let Request { conditions, preferences, asker, .. } = request;
        let field = match name.len() {
            4 if is_named(name, b"host") => &mut self.host,
            5 if is_named(name, b"range") => &mut conditions.range,
            6 if is_named(name, b"accept") => &mut preferences.accept,
            6 if is_named(name, b"origin") => &mut asker.origin,
            6 if is_named(name, b"expect") => &mut self.expect,
            8 if is_named(name, b"if-match") => &mut conditions.if_match,
            8 if is_named(name, b"if-range") => &mut conditions.if_range,
            10 if is_named(name, b"connection") => return self.take_connection(value),
            13 if is_named(name, b"if-none-match") => &mut conditions.if_none_match,
            14 if is_named(name, b"content-length") => &mut self.content_length,
            15 if is_named(name, b"accept-encoding") => &mut preferences.accept_encoding,
            17 if is_named(name, b"if-modified-since") => &mut conditions.if_modified_since,
            17 if is_named(name, b"transfer-encoding") => &mut self.transfer_encoding,
            19 if is_named(name, b"if-unmodified-since") => &mut conditions.if_unmodified_since,
            29 if is_named(name, b"access-control-request-method") => {
                asker.is_preflight = true;
                return;
            }
            _ => return,
        };
        field.add(value, head);
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.wants_close |= option.eq_ignore_ascii_case(b"close");
            self.wants_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Whether a name is that one, which is in lower case. Of fixed length, so that it takes a few words.
#[inline]
fn is_named<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let name: Option<&[u8; N]> = name.first_chunk();
    name.is_some_and(|name| name.map(|byte| byte.to_ascii_lowercase()) == *lower)
}

/// Reads a head into `request`, and says whether its content is there.
fn read<'a>(
    request: &mut Request<'a>,
    head: &Head<'_, 'a>,
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<bool, Status> {
    let Head { method: name, target: whole_target, is_1_1, headers, len: head_len } = *head;
    let mut fields = Fields::default();
    for header in headers {
        let (name, value) = (header.name.as_bytes(), header.value.trim_ascii());
        fields.take(request, name, value, &bytes[..head_len]);
    }
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
        Content::Partial => return Ok(false),
        Content::Invalid(status) => return Err(status),
    };
    request.consumed = head_len + body_len;
    request.method = method(name);
    request.authority = target.authority.unwrap_or(match fields.host {
        Field::Once(host) => host,
        Field::Absent | Field::Repeated(_) => b"",
    });
    (request.path, request.query) = (target.path, target.query);
    (request.is_1_1, request.keep_alive, request.is_last) = (is_1_1, keep_alive, is_last);
    Ok(true)
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
