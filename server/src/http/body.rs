//! Where the content of a request ends (RFC 9112 §6, §7). The content itself is of no interest.

use memchr::memchr_iter;

use super::Status;

/// How the content of a request is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    /// By `Content-Length`.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// What is known about the end of the content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Content {
    /// It ends after so many bytes.
    Complete(usize),
    /// More bytes are needed.
    Partial,
    /// It is malformed or too large.
    Invalid(Status),
}

/// Finds the end of the content at the front of `bytes`, which may hold less or more. Chunk headers
/// and trailers count towards `limit_bytes`.
pub(super) fn delimit(bytes: &[u8], framing: Framing, limit_bytes: usize) -> Content {
    match framing {
        Framing::Empty => Content::Complete(0),
        Framing::Length(len) => match usize::try_from(len) {
            Ok(len) if len <= limit_bytes => {
                if bytes.len() < len {
                    Content::Partial
                } else {
                    Content::Complete(len)
                }
            }
            _ => Content::Invalid(Status::ContentTooLarge),
        },
        Framing::Chunked => match delimit_chunks(bytes, limit_bytes) {
            Content::Complete(len) if len > limit_bytes => {
                Content::Invalid(Status::ContentTooLarge)
            }
            Content::Partial if bytes.len() >= limit_bytes => {
                Content::Invalid(Status::ContentTooLarge)
            }
            content => content,
        },
    }
}

fn delimit_chunks(bytes: &[u8], limit_bytes: usize) -> Content {
    let mut at = 0;
    loop {
        let Some(rest) = bytes.get(at..) else { return Content::Partial };
        let line = match line(rest) {
            Line::Complete(line) => line,
            Line::Partial => return Content::Partial,
            Line::Malformed => return Content::Invalid(Status::BadRequest),
        };
        let Some(size) = chunk_size(line) else { return Content::Invalid(Status::BadRequest) };
        at += line.len() + 2;
        if size == 0 {
            return delimit_trailers(bytes, at);
        }
        if size > limit_bytes {
            return Content::Invalid(Status::ContentTooLarge);
        }
        at += size;
        match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => at += 2,
            None | Some([] | [b'\r']) => return Content::Partial,
            Some(_) => return Content::Invalid(Status::BadRequest),
        }
    }
}

fn delimit_trailers(bytes: &[u8], start: usize) -> Content {
    const MOST_TRAILERS: usize = 16;
    let trailers = &bytes[start..];
    let mut headers = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    match httparse::parse_headers(trailers, &mut headers) {
        Ok(httparse::Status::Complete((len, _))) if lines_end_properly(&trailers[..len]) => {
            Content::Complete(start + len)
        }
        Ok(httparse::Status::Partial) => Content::Partial,
        _ => Content::Invalid(Status::BadRequest),
    }
}

enum Line<'a> {
    Complete(&'a [u8]),
    Partial,
    Malformed,
}

/// The line at the front of `bytes`, without its CRLF.
fn line(bytes: &[u8]) -> Line<'_> {
    match memchr::memchr2(b'\r', b'\n', bytes) {
        None => Line::Partial,
        Some(end) => match &bytes[end..] {
            [b'\r', b'\n', ..] => Line::Complete(&bytes[..end]),
            [b'\r'] => Line::Partial,
            _ => Line::Malformed,
        },
    }
}

/// The size in a chunk header: hexadecimal digits, then nothing or an extension. No white space is
/// allowed before the extension: it has been used to make two parsers disagree.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.iter().position(|&byte| byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(digits);
    if digits.is_empty() || extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    digits.iter().try_fold(0usize, |size, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(digit as usize)
    })
}

/// Whether every LF in `head` follows a CR. (A CR without LF is refused by httparse.)
pub(super) fn lines_end_properly(head: &[u8]) -> bool {
    memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    #[test]
    fn a_length_is_waited_for_up_to_the_limit() {
        assert_eq!(delimit(b"abc", Framing::Length(3), LIMIT), Content::Complete(3));
        assert_eq!(delimit(b"abcGET", Framing::Length(3), LIMIT), Content::Complete(3));
        assert_eq!(delimit(b"ab", Framing::Length(3), LIMIT), Content::Partial);
        assert_eq!(delimit(b"", Framing::Length(0), LIMIT), Content::Complete(0));
        assert_eq!(
            delimit(b"", Framing::Length(65), LIMIT),
            Content::Invalid(Status::ContentTooLarge)
        );
        assert_eq!(
            delimit(b"", Framing::Length(u64::MAX), LIMIT),
            Content::Invalid(Status::ContentTooLarge)
        );
    }

    #[test]
    fn chunks_end_where_the_grammar_says() {
        let bad = Content::Invalid(Status::BadRequest);
        let large = Content::Invalid(Status::ContentTooLarge);
        let cases: &[(&[u8], Content)] = &[
            (b"0\r\n\r\n", Content::Complete(5)),
            (b"0\r\n\r\nGET", Content::Complete(5)),
            (b"000\r\n\r\n", Content::Complete(7)),
            (b"3\r\nabc\r\n0\r\n\r\n", Content::Complete(13)),
            (b"3;name=value\r\nabc\r\n0\r\n\r\n", Content::Complete(24)),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Content::Complete(35)),
            (b"0\r\nTrailer: yes\r\n\r\n", Content::Complete(19)),
            (b"", Content::Partial),
            (b"3", Content::Partial),
            (b"3\r", Content::Partial),
            (b"3\r\n", Content::Partial),
            (b"3\r\nab", Content::Partial),
            (b"3\r\nabc", Content::Partial),
            (b"3\r\nabc\r", Content::Partial),
            (b"3\r\nabc\r\n", Content::Partial),
            (b"3\r\nabc\r\n0\r\n", Content::Partial),
            (b"0\r\nTrailer: yes\r\n", Content::Partial),
            (b"\r\n", bad),
            (b"g\r\n", bad),
            (b"0x3\r\nabc\r\n", bad),
            (b"-3\r\nabc\r\n", bad),
            (b"+3\r\nabc\r\n", bad),
            (b" 3\r\nabc\r\n", bad),
            (b"3 \r\nabc\r\n", bad),
            (b"3 ;a\r\nabc\r\n", bad),
            (b"3;a\x00b\r\nabc\r\n", bad),
            (b"3\nabc\r\n", bad),
            (b"3\r\rabc\r\n", bad),
            (b"3\r\nabcd\r\n", bad),
            (b"3\r\nabc\n0\r\n\r\n", bad),
            (b"ffffffffffffffffffff\r\n", bad),
            (b"0\r\nTrailer : no\r\n\r\n", bad),
            (b"0\r\nTrailer: no\n\r\n", bad),
            (b"0\r\nA: b\r\n folded\r\n\r\n", bad),
            (b"0\r\n\n", bad),
            (b"41\r\n", large),
            (b"ffffffffffffffff\r\n", large),
        ];
        for (bytes, expected) in cases {
            let found = delimit(bytes, Framing::Chunked, LIMIT);
            assert_eq!(found, *expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn chunk_headers_count_towards_the_limit() {
        let drip = b"1\r\na\r\n".repeat(20);
        assert_eq!(
            delimit(&drip, Framing::Chunked, LIMIT),
            Content::Invalid(Status::ContentTooLarge)
        );
        let extension = [b"1;".as_slice(), &[b'x'; 100]].concat();
        assert_eq!(
            delimit(&extension, Framing::Chunked, LIMIT),
            Content::Invalid(Status::ContentTooLarge)
        );
    }
}
