//! Request paths to content keys: decoded once, and unable to name anything outside the root.
//!
//! A key is the path below the root without a leading slash: `""` is the root itself, `"a/"` a
//! directory, `"a/b"` a file or a directory asked for without its slash.

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::Status;

/// Decodes `path` (which starts with a slash) and appends it to `key`. Runs of slashes count as one, and
/// segments of one or two dots are taken for what they mean (RFC 3986 §5.2.4), encoded or not.
///
/// # Errors
///
/// 400 for a malformed escape, a NUL, or a path that climbs above the root; 404 for an encoded slash, which
/// no file name can contain.
pub fn canonicalize(path: &[u8], key: &mut Vec<u8>) -> Result<(), Status> {
    let path = path.strip_prefix(b"/").ok_or(Status::BadRequest)?;
    if is_canonical(path) {
        key.extend_from_slice(path);
        return Ok(());
    }
    let (root, mut verdict, mut ends_in_name) = (key.len(), Ok(()), false);
    for segment in path.split(|&byte| byte == b'/') {
        let start = key.len();
        decode(segment, key)?;
        ends_in_name = !matches!(&key[start..], b"" | b"." | b"..");
        if ends_in_name {
            for slash in key[start..].iter_mut().filter(|byte| **byte == b'/') {
                // A 400 further on still counts.
                verdict = Err(Status::NotFound);
                *slash = b'\\';
            }
            key.push(b'/');
        } else {
            let climbs = key[start..] == *b"..";
            key.truncate(start);
            if climbs {
                leave_directory(key, root)?;
            }
        }
    }
    if ends_in_name {
        key.pop();
    }
    verdict
}

/// Takes the last name, and the slash behind it, off what `key` has beyond `root`.
fn leave_directory(key: &mut Vec<u8>, root: usize) -> Result<(), Status> {
    let (_, names) = key[root..].split_last().ok_or(Status::BadRequest)?;
    let kept = memchr::memrchr(b'/', names).map_or(0, |slash| slash + 1);
    key.truncate(root + kept);
    Ok(())
}

/// Whether a path without its first slash is its own key. Most are.
fn is_canonical(path: &[u8]) -> bool {
    let mut before = b'/';
    for &byte in path {
        if matches!(byte, b'%' | 0) || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = byte;
    }
    true
}

/// Whether a name in `key` starts with a dot, but for `.well-known` at the top (RFC 8615).
pub fn is_hidden(key: &[u8]) -> bool {
    let mut names = key.split(|&byte| byte == b'/');
    let first = names.next().unwrap_or_default();
    let is_hidden = |name: &[u8]| name.starts_with(b".");
    (is_hidden(first) && first != b".well-known") || names.any(is_hidden)
}

/// Appends the percent-decoded `segment`.
fn decode(segment: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
    let hex = |digit: Option<&u8>| char::from(*digit?).to_digit(16);
    let mut bytes = segment.iter();
    while let Some(&byte) = bytes.next() {
        let decoded = if byte == b'%' {
            let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) else {
                return Err(Status::BadRequest);
            };
            (high * 16 + low) as u8
        } else {
            byte
        };
        if decoded == 0 {
            return Err(Status::BadRequest);
        }
        out.push(decoded);
    }
    Ok(())
}

/// All but the characters that RFC 3986 lets stand in a path, and the slashes between segments.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Appends the target that leads to the directory `key` with its slash.
///
/// It is made from the key rather than from the path as it came: with runs of slashes gone it cannot
/// be taken for another host (`//host/`).
pub fn write_directory_target(key: &[u8], out: &mut Vec<u8>) {
    out.push(b'/');
    encode(key, out);
    out.push(b'/');
}

/// Appends a decoded path as it stands in an address.
pub fn encode(path: &[u8], out: &mut Vec<u8>) {
    for piece in percent_encode(path, ENCODED) {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::ffi::OsStrExt,
        path::{Component, Path},
    };

    use percent_encoding::percent_decode;
    use proptest::prelude::*;

    use super::*;

    /// The key of a path, where no name in it is hidden.
    fn visible(path: &[u8]) -> Result<Vec<u8>, Status> {
        let mut key = Vec::new();
        canonicalize(path, &mut key)?;
        if is_hidden(&key) { Err(Status::NotFound) } else { Ok(key) }
    }

    fn canonical(path: &str) -> Result<String, u16> {
        let key = visible(path.as_bytes()).map_err(Status::code)?;
        Ok(String::from_utf8_lossy(&key).into_owned())
    }

    #[test]
    fn a_key_is_appended() {
        for (path, expected) in [("/.git/x", "k.git/x"), ("/a/%2elock", "ka/.lock"), ("/b", "kb")] {
            let mut key = b"k".to_vec();
            assert!(canonicalize(path.as_bytes(), &mut key).is_ok());
            assert_eq!(key, expected.as_bytes());
        }
    }

    #[test]
    fn paths_become_keys_or_are_refused() {
        let cases: &[(&str, Result<&str, u16>)] = &[
            ("/", Ok("")),
            ("/a", Ok("a")),
            ("/a/", Ok("a/")),
            ("/a/b.html", Ok("a/b.html")),
            ("//", Ok("")),
            ("//a", Ok("a")),
            ("/a//b", Ok("a/b")),
            ("/a///", Ok("a/")),
            ("/%61", Ok("a")),
            ("/a%20b", Ok("a b")),
            ("/a+b", Ok("a+b")),
            ("/%C3%A9", Ok("é")),
            ("/%c3%a9", Ok("é")),
            ("/a%3Fb", Ok("a?b")),
            ("/a%23b", Ok("a#b")),
            ("/a%25b", Ok("a%b")),
            ("/a%252fb", Ok("a%2fb")),
            ("/%252e%252e/x", Ok("%2e%2e/x")),
            ("/a..b", Ok("a..b")),
            ("/a.", Ok("a.")),
            ("/a..", Ok("a..")),
            ("/a\\b", Ok("a\\b")),
            ("/.well-known/acme", Ok(".well-known/acme")),
            ("/..", Err(400)),
            ("/../x", Err(400)),
            ("/a/..", Ok("")),
            ("/a/../b", Ok("b")),
            ("/a/../../etc/passwd", Err(400)),
            ("/./a", Ok("a")),
            ("/a/.", Ok("a/")),
            ("/%2e%2e/x", Err(400)),
            ("/%2E%2E/x", Err(400)),
            ("/.%2e/x", Err(400)),
            ("/%2e./x", Err(400)),
            ("/%2e", Ok("")),
            ("/a/b/../c", Ok("a/c")),
            ("/a/b/..", Ok("a/")),
            ("/a/b/../", Ok("a/")),
            ("/a/b/../..", Ok("")),
            ("/a//../b", Ok("b")),
            ("/a/%2e%2E/.%2e", Err(400)),
            ("/a/./b/./", Ok("a/b/")),
            ("/a/.//b", Ok("a/b")),
            ("//../x", Err(400)),
            ("/a%2fb/../c", Err(404)),
            ("/a%2fb/../..", Err(400)),
            ("/a%2f../x", Err(404)),
            ("/a/../.git", Err(404)),
            ("/.well-known/../.git", Err(404)),
            ("/..%2fx", Err(404)),
            ("/%2e%2e%2fx", Err(404)),
            ("/a%2fb", Err(404)),
            ("/a%2Fb", Err(404)),
            ("/a%2f..%2fb", Err(404)),
            ("/%2f", Err(404)),
            ("/%2fetc/passwd", Err(404)),
            ("/.git/config", Err(404)),
            ("/a/.htaccess", Err(404)),
            ("/...", Err(404)),
            ("/%2egit", Err(404)),
            ("/a/.well-known", Err(404)),
            ("/.git/../x", Ok("x")),
            ("/.git/%zz", Err(400)),
            ("/a%00", Err(400)),
            ("/%00", Err(400)),
            ("/a%00.html", Err(400)),
            ("/%", Err(400)),
            ("/%4", Err(400)),
            ("/%zz", Err(400)),
            ("/%4z", Err(400)),
            ("/%+1", Err(400)),
            ("/a%", Err(400)),
            ("", Err(400)),
            ("a", Err(400)),
        ];
        for (path, expected) in cases {
            assert_eq!(canonical(path), expected.map(str::to_owned), "{path:?}");
        }
    }

    #[test]
    fn a_redirect_never_leaves_the_host() {
        let target = |key: &[u8]| {
            let mut out = Vec::new();
            write_directory_target(key, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(target(b"a/b"), "/a/b/");
        assert_eq!(target(b"a b"), "/a%20b/");
        assert_eq!(target("\u{e9}".as_bytes()), "/%C3%A9/");
        assert_eq!(target(b"\\evil.example"), "/%5Cevil.example/");
        assert_eq!(target(b"a\r\nSet-Cookie: x"), "/a%0D%0ASet-Cookie:%20x/");
    }

    /// What the path means by plainer rules; `None` where it must be refused.
    fn oracle(path: &[u8]) -> Option<Vec<u8>> {
        let (mut names, mut ends_in_name) = (Vec::new(), false);
        for segment in path.strip_prefix(b"/")?.split(|byte| *byte == b'/') {
            let name: Vec<u8> = percent_decode(segment).collect();
            if name.contains(&0) || name.contains(&b'/') {
                return None;
            }
            ends_in_name = false;
            match name.as_slice() {
                b"" | b"." => {}
                b".." => drop(names.pop()?),
                _ => {
                    names.push(name);
                    ends_in_name = true;
                }
            }
        }
        let is_hidden = |(at, name): (usize, &Vec<u8>)| {
            name.starts_with(b".") && !(at == 0 && name == b".well-known")
        };
        if names.iter().enumerate().any(is_hidden) {
            return None;
        }
        let mut key = names.join(&b'/');
        if !key.is_empty() && !ends_in_name {
            key.push(b'/');
        }
        Some(key)
    }

    proptest! {
        #[test]
        fn a_key_never_climbs(path in "/(%2[eEfF]|%00|[./%a-c0-9]){0,24}") {
            if let Ok(key) = visible(path.as_bytes()) {
                let mut parts = Path::new(OsStr::from_bytes(&key)).components();
                prop_assert!(parts.all(|part| matches!(part, Component::Normal(_))), "{:?}", key);
                prop_assert!(!key.starts_with(b"/") && !key.contains(&0), "{:?}", key);
            }
        }

        #[test]
        fn decoding_agrees_with_the_oracle(
            path in "/(%2[eEfF0]|%00|%6[1-9]|[./ab\u{e9}]|\\.well-known){0,16}",
        ) {
            prop_assert_eq!(visible(path.as_bytes()).ok(), oracle(path.as_bytes()), "{}", path);
        }

        #[test]
        fn a_redirect_leads_back_to_its_key(names in proptest::collection::vec("[^/\0.][^/\0]{0,6}", 1..4)) {
            let key = names.join("/").into_bytes();
            let mut target = Vec::new();
            write_directory_target(&key, &mut target);
            prop_assert!(target.is_ascii());
            prop_assert_eq!(visible(&target), Ok([key.as_slice(), b"/"].concat()));
        }
    }
}
