//! Response heads. Those of one path are alike but for their date, so a head is parsed once and then
//! recognised by comparison.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Status};

/// Most header fields of a response.
const FIELDS_MAX: usize = 64;

/// Heads kept, at most one a path. Paths whose numbers differ by a multiple of this share a place.
const KNOWN: usize = 4_096;

/// What matters of a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    /// Its own length in bytes.
    pub len: usize,
    /// The status code.
    pub status: u16,
    /// How long the body is.
    pub body_len: u64,
    /// Whether the connection can be used again.
    pub keep_alive: bool,
}

/// A response that cannot be read: its syntax is wrong, or its length is not told in advance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// Reads heads.
#[derive(Debug)]
pub(super) struct Heads {
    known: Box<[Option<Known>]>,
}

/// A head seen before.
#[derive(Debug)]
struct Known {
    path: u32,
    bytes: Vec<u8>,
    /// Where in it the date is.
    date: Range<usize>,
    head: Head,
}

impl Known {
    fn recognises(&self, bytes: &[u8]) -> bool {
        let Some(bytes) = bytes.get(..self.bytes.len()) else { return false };
        bytes[..self.date.start] == self.bytes[..self.date.start]
            && bytes[self.date.end..] == self.bytes[self.date.end..]
    }
}

impl Heads {
    /// Room for the heads of `paths` paths.
    pub(super) fn new(paths: usize) -> Self {
        Self { known: (0..paths.clamp(1, KNOWN)).map(|_| None).collect() }
    }

    /// The head at the front of `bytes`, which answers a request for path number `path`; nothing if it
    /// is not complete.
    pub(super) fn read(&mut self, path: u32, bytes: &[u8]) -> Result<Option<Head>, Malformed> {
        let place = path as usize % self.known.len();
        if let Some(known) = &self.known[place]
            && known.path == path
            && known.recognises(bytes)
        {
            return Ok(Some(known.head));
        }
        let Some((head, date)) = parse(bytes)? else { return Ok(None) };
        self.known[place] = Some(Known { path, bytes: bytes[..head.len].to_vec(), date, head });
        Ok(Some(head))
    }
}

/// A head, and where in it the value of its date is.
fn parse(bytes: &[u8]) -> Result<Option<(Head, Range<usize>)>, Malformed> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let len = match response.parse(bytes) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let status = response.code.filter(|code| (200..600).contains(code)).ok_or(Malformed)?;
    let (mut date, mut body_len, mut keep_alive) = (len..len, None, response.version == Some(1));
    for field in &*response.headers {
        if field.name.eq_ignore_ascii_case("content-length") {
            let told = std::str::from_utf8(field.value).map_err(|_| Malformed)?;
            let digits = !told.is_empty() && told.bytes().all(|byte| byte.is_ascii_digit());
            let told: u64 = digits.then(|| told.parse().ok()).flatten().ok_or(Malformed)?;
            if body_len.replace(told).is_some_and(|before| before != told) {
                return Err(Malformed);
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Malformed);
        } else if field.name.eq_ignore_ascii_case("connection") {
            for option in field.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    keep_alive = false;
                } else if option.eq_ignore_ascii_case(b"keep-alive") && response.version == Some(0)
                {
                    keep_alive = true;
                }
            }
        } else if field.name.eq_ignore_ascii_case("date") {
            let start = field.value.as_ptr().addr() - bytes.as_ptr().addr();
            date = start..start + field.value.len();
        }
    }
    let body_len = if matches!(status, 204 | 304) { Some(0) } else { body_len };
    let head = Head { len, status, body_len: body_len.ok_or(Malformed)?, keep_alive };
    Ok(Some((head, date)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 06:00:00 GMT\r\n\
        Content-Length: 5\r\nETag: \"x\"\r\n\r\nhello";

    fn read(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
        Heads::new(1).read(0, bytes)
    }

    #[test]
    fn a_head_says_status_length_and_whether_the_connection_stays() {
        let head = Head { len: OK.len() - 5, status: 200, body_len: 5, keep_alive: true };
        assert_eq!(read(OK), Ok(Some(head)));
        let close =
            b"HTTP/1.1 404 Not Found\r\nconnection: foo, Close\r\ncontent-length: 0\r\n\r\n";
        let head = Head { len: close.len(), status: 404, body_len: 0, keep_alive: false };
        assert_eq!(read(close), Ok(Some(head)));
        let old = b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n";
        assert!(!read(old).unwrap().unwrap().keep_alive);
        let unmodified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(read(unmodified).unwrap().unwrap().body_len, 0);
    }

    #[test]
    fn a_head_that_is_cut_anywhere_is_incomplete() {
        for len in 0..OK.len() - 5 {
            assert_eq!(read(&OK[..len]), Ok(None), "{len}");
        }
    }

    #[test]
    fn a_response_without_a_sound_length_is_malformed() {
        for fields in [
            "Content-Length: x",
            "Content-Length: +5",
            "Content-Length: ",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: chunked",
            "Server: none",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(read(text.as_bytes()), Err(Malformed), "{fields}");
        }
        assert_eq!(read(b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"), Err(Malformed));
        assert_eq!(read(b"SSH-2.0-OpenSSH\r\n"), Err(Malformed));
    }

    #[test]
    fn a_known_head_is_recognised_by_all_but_its_date() {
        let mut heads = Heads::new(1);
        let head = heads.read(0, OK).unwrap().unwrap();
        let known = heads.known[0].as_ref().unwrap();
        let text = std::str::from_utf8(OK).unwrap();
        assert!(known.recognises(text.replace("06:00:00", "06:00:01").as_bytes()));
        for (from, to) in [("200", "404"), ("Length: 5", "Length: 6"), ("\"x\"", "\"y\"")] {
            let other = text.replace(from, to);
            assert!(!known.recognises(other.as_bytes()), "{to}");
        }
        assert!(!known.recognises(&OK[..head.len - 1]));
        let changed = text.replace("Length: 5", "Length: 6");
        assert_eq!(heads.read(0, changed.as_bytes()).unwrap().unwrap().body_len, 6);
        assert_eq!(heads.read(0, OK).unwrap().unwrap().body_len, 5);
    }

    #[test]
    fn paths_that_share_a_place_are_not_mixed_up() {
        let mut heads = Heads::new(1);
        let other = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(heads.read(0, OK).unwrap().unwrap().body_len, 5);
        assert_eq!(heads.read(1, other).unwrap().unwrap().body_len, 7);
        assert_eq!(heads.read(0, OK).unwrap().unwrap().body_len, 5);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_claim_more_than_there_is(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut heads = Heads::new(2);
            for start in [&b""[..], b"HTTP/1.1 200 OK\r\n"] {
                let bytes = [start, &bytes, b"\r\n\r\n"].concat();
                for path in 0..3 {
                    if let Ok(Some(head)) = heads.read(path, &bytes) {
                        prop_assert!(head.len <= bytes.len());
                    }
                }
            }
        }
    }
}
