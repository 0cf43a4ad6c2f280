//! Response heads, written into a caller's buffer without allocating.
//!
//! What a head says of a representation is put together once, when its file is looked at ([`Entity`]).
//! The head of a 200 then is one copy, in which the date is replaced; other heads copy parts of it.

use std::time::{Duration, SystemTime};

use super::{
    Status,
    conditional::{Tag, Validators},
    date::DATE_LEN,
};

/// What all responses share.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// The present, as [`DateCache::text`](super::date::DateCache::text) has it.
    pub date: &'a str,
    /// Whether the request was HTTP/1.1 rather than 1.0.
    pub is_1_1: bool,
    /// Whether the connection goes on.
    pub keep_alive: bool,
    /// The origin whose pages may read this, if the response depends on that.
    pub allowed_origin: Option<&'a [u8]>,
}

impl Common<'_> {
    /// Whether a head says nothing of all this but the date.
    pub fn is_usual(&self) -> bool {
        self.is_1_1 && self.keep_alive && self.allowed_origin.is_none()
    }
}

/// What a head is to say of a representation.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// Whole lines of fields that a 304 repeats as well.
    pub lines: &'a [u8],
    /// Its entity tag, with its quotes, and with `W/` if it is weak; empty for none.
    pub etag: &'a str,
    /// When it was changed; cut to whole seconds.
    pub last_modified: SystemTime,
    /// Whether to say so.
    pub shows_last_modified: bool,
    /// Whether to say that ranges can be had.
    pub shows_ranges: bool,
    /// Its content coding.
    pub coding: Option<&'a str>,
    /// Its media type.
    pub content_type: &'a str,
    /// Its length in bytes.
    pub len: u64,
}

const OK_FRONT: &str = "HTTP/1.1 200 OK\r\nDate: ";

/// Where the date stands in the head of a 200.
const DATE_AT: usize = OK_FRONT.len();

/// Where the fields begin in the head of a 200.
const FIELDS_AT: usize = DATE_AT + DATE_LEN + 2;

/// The head of a representation, built once when its file is looked at.
#[derive(Debug)]
pub struct Entity {
    /// The head of a 200 but for its last line: a date to be replaced, lines that a 304 repeats, more
    /// lines, the content type, the length.
    head: Box<[u8]>,
    validators_end: usize,
    type_at: usize,
    length_at: usize,
    etag: Box<[u8]>,
    last_modified: SystemTime,
}

impl Entity {
    /// The head that says this.
    pub fn new(description: &Description<'_>) -> Self {
        let since_epoch = description.last_modified.duration_since(SystemTime::UNIX_EPOCH);
        let since_epoch = Duration::from_secs(since_epoch.unwrap_or_default().as_secs());
        let last_modified = SystemTime::UNIX_EPOCH + since_epoch;
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(OK_FRONT.as_bytes());
        head.extend_from_slice(&[b' '; DATE_LEN]);
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(description.lines);
        if !description.etag.is_empty() {
            write_line(&mut head, "ETag", description.etag);
        }
        if description.shows_last_modified {
            write_line(&mut head, "Last-Modified", &httpdate::fmt_http_date(last_modified));
        }
        let validators_end = head.len();
        if description.shows_ranges {
            write_line(&mut head, "Accept-Ranges", "bytes");
        }
        if let Some(coding) = description.coding {
            write_line(&mut head, "Content-Encoding", coding);
        }
        let type_at = head.len();
        write_line(&mut head, "Content-Type", description.content_type);
        let length_at = head.len();
        write_length(&mut head, description.len);
        Self {
            head: head.into(),
            validators_end,
            type_at,
            length_at,
            etag: description.etag.as_bytes().into(),
            last_modified,
        }
    }

    /// What conditional requests are judged by.
    pub fn validators(&self) -> Validators<'_> {
        Validators { etag: Tag::of(&self.etag), last_modified: self.last_modified }
    }

    /// Memory that it takes, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.head.len() + self.etag.len()
    }
}

/// Writes the head of a 200 with all of the representation. `out` is empty.
pub fn write_whole(out: &mut Vec<u8>, common: Common<'_>, entity: &Entity) {
    out.extend_from_slice(&entity.head);
    if let Some(date) = out.get_mut(DATE_AT..DATE_AT + DATE_LEN)
        && common.date.len() == DATE_LEN
    {
        date.copy_from_slice(common.date.as_bytes());
    }
    write_end(out, common);
}

/// Writes the head of a 206 with the `len` bytes from `start` of `total`.
pub fn write_part(
    out: &mut Vec<u8>,
    common: Common<'_>,
    entity: &Entity,
    (start, len): (u64, u64),
    total: u64,
) {
    write_front(out, Status::PartialContent, common);
    out.extend_from_slice(&entity.head[FIELDS_AT..entity.length_at]);
    write_content_range(out, (start, len), total);
    write_length(out, len);
    write_end(out, common);
}

/// Writes the head of a 206 of several parts, which are `len` bytes with all that stands between them.
pub fn write_multipart(
    out: &mut Vec<u8>,
    common: Common<'_>,
    entity: &Entity,
    boundary: &str,
    len: u64,
) {
    write_front(out, Status::PartialContent, common);
    out.extend_from_slice(&entity.head[FIELDS_AT..entity.type_at]);
    out.extend_from_slice(b"Content-Type: multipart/byteranges; boundary=");
    out.extend_from_slice(boundary.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_length(out, len);
    write_end(out, common);
}

/// Writes what stands before a part of a multipart response (RFC 9110 §14.6).
pub fn write_part_front(
    out: &mut Vec<u8>,
    entity: &Entity,
    boundary: &str,
    range: (u64, u64),
    total: u64,
) {
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary.as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&entity.head[entity.type_at..entity.length_at]);
    write_content_range(out, range, total);
    out.extend_from_slice(b"\r\n");
}

/// Writes what stands behind the last part.
pub fn write_parts_end(out: &mut Vec<u8>, boundary: &str) {
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary.as_bytes());
    out.extend_from_slice(b"--\r\n");
}

/// Writes a 304, whole: it never has content.
pub fn write_not_modified(out: &mut Vec<u8>, common: Common<'_>, entity: &Entity) {
    write_front(out, Status::NotModified, common);
    out.extend_from_slice(&entity.head[FIELDS_AT..entity.validators_end]);
    write_end(out, common);
}

/// What a response without a file says beside its status.
#[derive(Clone, Copy, Debug)]
pub enum Detail<'a> {
    /// Nothing.
    None,
    /// Where to go instead: a target, and a query that belongs in front of its fragment if it has one.
    Location(&'a [u8], &'a [u8]),
    /// How long the representation is that the range lies outside of.
    Length(u64),
    /// That other codings may be acceptable (RFC 9110 §12.5.3).
    Coding,
}

/// The content of a response without a file.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Its media type.
    pub content_type: &'a str,
    /// Its length in bytes.
    pub len: u64,
}

impl Page<'_> {
    /// The sentence of a status.
    pub const fn of(status: Status) -> Self {
        Self { content_type: "text/plain; charset=utf-8", len: status.text().len() as u64 }
    }
}

/// Writes the head of a response without a representation. `lines` are whole lines of fields.
pub fn write_plain(
    out: &mut Vec<u8>,
    status: Status,
    common: Common<'_>,
    lines: [&[u8]; 2],
    detail: Detail<'_>,
    page: Page<'_>,
) {
    write_front(out, status, common);
    for lines in lines {
        out.extend_from_slice(lines);
    }
    if status == Status::MethodNotAllowed {
        write_allow(out);
    }
    match detail {
        Detail::None => {}
        Detail::Location(target, query) => {
            let (front, fragment) = target.split_at(fragment_at(target));
            out.extend_from_slice(b"Location: ");
            for piece in [front, query, fragment, b"\r\n"] {
                out.extend_from_slice(piece);
            }
        }
        Detail::Length(total) => {
            out.extend_from_slice(b"Content-Range: bytes */");
            write_number(out, total);
            out.extend_from_slice(b"\r\n");
        }
        Detail::Coding => write_line(out, "Vary", "Accept-Encoding"),
    }
    write_line(out, "Content-Type", page.content_type);
    write_length(out, page.len);
    write_end(out, common);
}

/// Where the fragment of a target begins, or else where the target ends (RFC 3986 §3.5).
fn fragment_at(target: &[u8]) -> usize {
    memchr::memchr(b'#', target).unwrap_or(target.len())
}

/// Writes the answer to an OPTIONS, whole: it has no content. `lines` are whole lines of fields.
pub fn write_options(out: &mut Vec<u8>, common: Common<'_>, lines: [&[u8]; 2]) {
    write_front(out, Status::NoContent, common);
    for lines in lines {
        out.extend_from_slice(lines);
    }
    write_allow(out);
    write_end(out, common);
}

/// Writes the line of one field.
pub fn write_line(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_front(out: &mut Vec<u8>, status: Status, common: Common<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.line().as_bytes());
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(common.date.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_allow(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Allow: GET, HEAD, OPTIONS\r\n");
}

fn write_content_range(out: &mut Vec<u8>, (start, len): (u64, u64), total: u64) {
    out.extend_from_slice(b"Content-Range: bytes ");
    write_number(out, start);
    out.push(b'-');
    write_number(out, start + len - 1);
    out.push(b'/');
    write_number(out, total);
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, len: u64) {
    out.extend_from_slice(b"Content-Length: ");
    write_number(out, len);
    out.extend_from_slice(b"\r\n");
}

fn write_end(out: &mut Vec<u8>, common: Common<'_>) {
    if let Some(origin) = common.allowed_origin {
        out.extend_from_slice(b"Access-Control-Allow-Origin: ");
        out.extend_from_slice(origin);
        out.extend_from_slice(b"\r\n");
    }
    match (common.keep_alive, common.is_1_1) {
        (true, true) => {}
        (true, false) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: Common<'static> = Common {
        date: "Sat, 21 Nov 2026 05:40:00 GMT",
        is_1_1: true,
        keep_alive: true,
        allowed_origin: None,
    };

    fn description() -> Description<'static> {
        Description {
            lines: b"Server: pagewire\r\nVary: Accept-Encoding\r\n",
            etag: "\"a-1\"",
            last_modified: SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 999_999_999),
            shows_last_modified: true,
            shows_ranges: true,
            coding: Some("br"),
            content_type: "text/html; charset=utf-8",
            len: 5_000_000_000,
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn plain(status: Status, common: Common<'_>, detail: Detail<'_>) -> String {
        text(|out| write_plain(out, status, common, [b"X: y\r\n", b""], detail, Page::of(status)))
    }

    #[test]
    fn a_whole_representation_carries_all_its_fields() {
        let head = text(|out| write_whole(out, COMMON, &Entity::new(&description())));
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 05:40:00 GMT\r\nServer: pagewire\r\n\
             Vary: Accept-Encoding\r\nETag: \"a-1\"\r\n\
             Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\n\
             Content-Encoding: br\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Length: 5000000000\r\n\r\n"
        );
    }

    #[test]
    fn what_is_not_to_be_shown_is_left_out() {
        let description = Description {
            lines: b"",
            etag: "",
            shows_last_modified: false,
            shows_ranges: false,
            coding: None,
            ..description()
        };
        let head = text(|out| write_whole(out, COMMON, &Entity::new(&description)));
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 05:40:00 GMT\r\n\
             Content-Type: text/html; charset=utf-8\r\nContent-Length: 5000000000\r\n\r\n"
        );
    }

    #[test]
    fn a_part_says_which() {
        let entity = Entity::new(&description());
        let head = text(|out| write_part(out, COMMON, &entity, (10, 5), 100));
        assert!(head.starts_with("HTTP/1.1 206 Partial Content\r\nDate: "));
        assert!(head.contains("\r\nETag: \"a-1\"\r\n"));
        assert!(head.contains("\r\nContent-Range: bytes 10-14/100\r\nContent-Length: 5\r\n\r\n"));
    }

    #[test]
    fn parts_say_what_they_are_and_the_whole_where_they_end() {
        let entity = Entity::new(&description());
        let head = text(|out| write_multipart(out, COMMON, &entity, "b", 7));
        let ends = "Content-Encoding: br\r\nContent-Type: multipart/byteranges; boundary=b\r\n\
            Content-Length: 7\r\n\r\n";
        assert!(head.ends_with(ends), "{head}");
        assert_eq!(
            text(|out| write_part_front(out, &entity, "b", (0, 1), 9)),
            "\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Range: bytes 0-0/9\r\n\r\n"
        );
        assert_eq!(text(|out| write_parts_end(out, "b")), "\r\n--b--\r\n");
    }

    #[test]
    fn not_modified_has_validators_and_nothing_about_content() {
        let head = text(|out| write_not_modified(out, COMMON, &Entity::new(&description())));
        assert!(head.contains("ETag: \"a-1\"\r\n") && head.ends_with("GMT\r\n\r\n"));
        assert!(head.contains("Vary: Accept-Encoding\r\n"));
        assert!(!head.contains("Content-") && !head.contains("Accept-Ranges"));
    }

    #[test]
    fn the_connection_field_tells_what_the_version_would_not() {
        let with = |is_1_1, keep_alive| {
            plain(Status::Forbidden, Common { is_1_1, keep_alive, ..COMMON }, Detail::None)
        };
        assert!(!with(true, true).contains("Connection"));
        assert!(with(true, false).contains("\r\nConnection: close\r\n\r\n"));
        assert!(with(false, true).contains("\r\nConnection: keep-alive\r\n\r\n"));
        assert!(with(false, false).contains("\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn details_stand_in_their_fields() {
        let moved = plain(Status::MovedPermanently, COMMON, Detail::Location(b"/a/", b"?q"));
        assert!(moved.contains("\r\nX: y\r\nLocation: /a/?q\r\n"));
        let within = plain(Status::Found, COMMON, Detail::Location(b"/a/#top", b"?q"));
        assert!(within.contains("\r\nLocation: /a/?q#top\r\n"));
        let outside = plain(Status::RangeNotSatisfiable, COMMON, Detail::Length(7));
        assert!(outside.contains("\r\nContent-Range: bytes */7\r\n"));
        let coding = plain(Status::NotAcceptable, COMMON, Detail::Coding);
        assert!(coding.contains("\r\nVary: Accept-Encoding\r\n"));
        let allow = "\r\nAllow: GET, HEAD, OPTIONS\r\n";
        assert!(plain(Status::MethodNotAllowed, COMMON, Detail::None).contains(allow));
        let options = text(|out| write_options(out, COMMON, [b"A: b\r\n", b"C: d\r\n"]));
        assert!(options.starts_with("HTTP/1.1 204 No Content\r\n") && options.contains(allow));
        assert!(options.contains("\r\nA: b\r\nC: d\r\n") && !options.contains("Content-Length"));
        let origin = Common { allowed_origin: Some(b"https://a"), ..COMMON };
        let readable = plain(Status::NotFound, origin, Detail::None);
        assert!(readable.contains("\r\nAccess-Control-Allow-Origin: https://a\r\n\r\n"));
    }

    #[test]
    fn every_status_has_a_code_and_errors_have_a_sentence() {
        for status in [Status::Ok, Status::NoContent, Status::PartialContent, Status::NotModified] {
            assert!(status.text().is_empty() && status.code() < 400);
        }
        assert_eq!((Status::Ok.code(), Status::VersionNotSupported.code()), (200, 505));
        for status in Status::ERRORS {
            assert!(status.text().starts_with(&format!("{}: ", status.code())), "{status:?}");
            assert_eq!(Status::of_error(status.code()), Some(*status));
        }
    }
}
