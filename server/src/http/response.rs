//! Response heads, written into a caller's buffer without allocating.

use std::time::SystemTime;

use super::Status;

/// What all responses share.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// The present, as [`DateCache::text`](super::date::DateCache::text) has it.
    pub date: &'a str,
    /// Whether the request was HTTP/1.1 rather than 1.0.
    pub is_1_1: bool,
    /// Whether the connection goes on.
    pub keep_alive: bool,
}

/// The header fields of a representation, built once when its file is opened.
#[derive(Debug)]
pub struct EntityFields {
    block: Box<[u8]>,
    /// The front of `block` that a 304 repeats.
    validators_len: usize,
    etag: Box<[u8]>,
    last_modified: SystemTime,
}

impl EntityFields {
    /// The fields of a representation. `etag` comes with its quotes; `last_modified` is cut to whole
    /// seconds.
    pub fn new(content_type: &str, etag: &str, last_modified: SystemTime) -> Self {
        let since_epoch = last_modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last_modified =
            SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since_epoch.as_secs());
        let date = httpdate::fmt_http_date(last_modified);
        let validators = format!("ETag: {etag}\r\nLast-Modified: {date}\r\n");
        let block = format!("{validators}Accept-Ranges: bytes\r\nContent-Type: {content_type}\r\n");
        Self {
            block: block.into_bytes().into(),
            validators_len: validators.len(),
            etag: etag.as_bytes().into(),
            last_modified,
        }
    }

    /// What conditional requests are judged by.
    pub fn validators(&self) -> super::conditional::Validators<'_> {
        super::conditional::Validators { etag: &self.etag, last_modified: self.last_modified }
    }
}

/// Writes the head of a 200 with `len` bytes of content.
pub fn write_whole(out: &mut Vec<u8>, common: Common<'_>, fields: &EntityFields, len: u64) {
    write_front(out, Status::Ok, common);
    out.extend_from_slice(&fields.block);
    write_length(out, len);
    write_end(out, common);
}

/// Writes the head of a 206 with the `len` bytes from `start` of `total`.
pub fn write_part(
    out: &mut Vec<u8>,
    common: Common<'_>,
    fields: &EntityFields,
    (start, len): (u64, u64),
    total: u64,
) {
    write_front(out, Status::PartialContent, common);
    out.extend_from_slice(&fields.block);
    out.extend_from_slice(b"Content-Range: bytes ");
    write_number(out, start);
    out.push(b'-');
    write_number(out, start + len - 1);
    out.push(b'/');
    write_number(out, total);
    out.extend_from_slice(b"\r\n");
    write_length(out, len);
    write_end(out, common);
}

/// Writes a 304, whole: it never has content.
pub fn write_not_modified(out: &mut Vec<u8>, common: Common<'_>, fields: &EntityFields) {
    write_front(out, Status::NotModified, common);
    out.extend_from_slice(&fields.block[..fields.validators_len]);
    write_end(out, common);
}

/// What a response without a file says beside its status.
#[derive(Clone, Copy, Debug)]
pub enum Detail<'a> {
    /// Nothing.
    None,
    /// Where to go instead.
    Location(&'a [u8]),
    /// How long the representation is that the range lies outside of.
    Length(u64),
}

/// Writes a response whose content is the status' sentence; `head_only` leaves that out but not its
/// length.
pub fn write_text(
    out: &mut Vec<u8>,
    status: Status,
    common: Common<'_>,
    detail: Detail<'_>,
    head_only: bool,
) {
    write_front(out, status, common);
    if status == Status::MethodNotAllowed {
        out.extend_from_slice(b"Allow: GET, HEAD\r\n");
    }
    match detail {
        Detail::None => {}
        Detail::Location(target) => {
            out.extend_from_slice(b"Location: ");
            out.extend_from_slice(target);
            out.extend_from_slice(b"\r\n");
        }
        Detail::Length(total) => {
            out.extend_from_slice(b"Content-Range: bytes */");
            write_number(out, total);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
    write_length(out, status.text().len() as u64);
    write_end(out, common);
    if !head_only {
        out.extend_from_slice(status.text().as_bytes());
    }
}

fn write_front(out: &mut Vec<u8>, status: Status, common: Common<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.line().as_bytes());
    out.extend_from_slice(b"\r\nServer: pagewire\r\nDate: ");
    out.extend_from_slice(common.date.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, len: u64) {
    out.extend_from_slice(b"Content-Length: ");
    write_number(out, len);
    out.extend_from_slice(b"\r\n");
}

fn write_end(out: &mut Vec<u8>, common: Common<'_>) {
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
    use std::time::Duration;

    use super::*;

    const COMMON: Common<'static> =
        Common { date: "Sat, 21 Nov 2026 05:40:00 GMT", is_1_1: true, keep_alive: true };

    fn fields() -> EntityFields {
        let last_modified = SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 999_999_999);
        EntityFields::new("text/html; charset=utf-8", "\"a-1\"", last_modified)
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_whole_representation_carries_all_its_fields() {
        let head = text(|out| write_whole(out, COMMON, &fields(), 5_000_000_000));
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nServer: pagewire\r\nDate: Sat, 21 Nov 2026 05:40:00 GMT\r\n\
             ETag: \"a-1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Accept-Ranges: bytes\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Length: 5000000000\r\n\r\n"
        );
    }

    #[test]
    fn a_part_says_which() {
        let head = text(|out| write_part(out, COMMON, &fields(), (10, 5), 100));
        assert!(head.starts_with("HTTP/1.1 206 Partial Content\r\n"));
        assert!(head.contains("\r\nContent-Range: bytes 10-14/100\r\nContent-Length: 5\r\n\r\n"));
    }

    #[test]
    fn not_modified_has_validators_and_nothing_about_content() {
        let head = text(|out| write_not_modified(out, COMMON, &fields()));
        assert!(head.contains("ETag: \"a-1\"\r\n") && head.ends_with("GMT\r\n\r\n"));
        assert!(!head.contains("Content-") && !head.contains("Accept-Ranges"));
    }

    #[test]
    fn errors_explain_themselves_but_not_to_head() {
        let whole = text(|out| write_text(out, Status::NotFound, COMMON, Detail::None, false));
        let head = text(|out| write_text(out, Status::NotFound, COMMON, Detail::None, true));
        assert_eq!(whole, format!("{head}{}", Status::NotFound.text()));
        assert!(head.contains(&format!("Content-Length: {}\r\n", Status::NotFound.text().len())));
    }

    #[test]
    fn the_connection_field_tells_what_the_version_would_not() {
        let with = |is_1_1, keep_alive| {
            text(|out| {
                let common = Common { is_1_1, keep_alive, ..COMMON };
                write_text(out, Status::Forbidden, common, Detail::None, true);
            })
        };
        assert!(!with(true, true).contains("Connection"));
        assert!(with(true, false).contains("\r\nConnection: close\r\n\r\n"));
        assert!(with(false, true).contains("\r\nConnection: keep-alive\r\n\r\n"));
        assert!(with(false, false).contains("\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn details_stand_in_their_fields() {
        let text = |status, detail| text(|out| write_text(out, status, COMMON, detail, true));
        let moved = text(Status::MovedPermanently, Detail::Location(b"/a/?q"));
        assert!(moved.contains("\r\nLocation: /a/?q\r\n"));
        let outside = text(Status::RangeNotSatisfiable, Detail::Length(7));
        assert!(outside.contains("\r\nContent-Range: bytes */7\r\n"));
        assert!(text(Status::MethodNotAllowed, Detail::None).contains("\r\nAllow: GET, HEAD\r\n"));
    }

    #[test]
    fn every_status_has_a_code_and_ends_its_sentence() {
        for status in [Status::Ok, Status::PartialContent, Status::NotModified] {
            assert!(status.text().is_empty() && status.code() < 400);
        }
        assert_eq!((Status::Ok.code(), Status::VersionNotSupported.code()), (200, 505));
        assert!(Status::BadRequest.text().starts_with("400: "));
    }
}
