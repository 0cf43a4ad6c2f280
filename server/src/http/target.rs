//! What a request is for: its target, and the hosts that stand there or in `Host` (RFC 9112 §3.2, RFC 3986 §3.2).

use super::Status;

/// A request target in its pieces.
pub(super) struct Target<'a> {
    /// If it stands there.
    pub authority: Option<&'a [u8]>,
    /// Empty where the target has none.
    pub path: &'a [u8],
    /// With its question mark; empty without one.
    pub query: &'a [u8],
}

/// The pieces of a request target (RFC 9112 §3.2).
pub(super) fn parse<'a>(target: &'a [u8], method: &str) -> Result<Target<'a>, Status> {
    if !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Status::BadRequest);
    }
    let (authority, path_and_query) = if target.starts_with(b"/") {
        (None, target)
    } else if let Some((is_secure, rest)) = strip_scheme(target) {
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        if !is_authority(authority) {
            return Err(Status::BadRequest);
        }
        if is_secure {
            // What was asked for over a secured connection does not come over this one (RFC 9110 §7.4).
            return Err(Status::Misdirected);
        }
        (Some(authority), path_and_query)
    } else {
        return match method {
            "OPTIONS" if target == b"*" => Ok(Target { authority: None, path: b"", query: b"" }),
            "CONNECT" if target.contains(&b':') && is_authority(target) => {
                Ok(Target { authority: Some(target), path: b"", query: b"" })
            }
            _ => Err(Status::BadRequest),
        };
    };
    let end = memchr::memchr(b'?', path_and_query).unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(end);
    Ok(Target { authority, path: if path.is_empty() { b"/" } else { path }, query })
}

/// Whether the scheme is `https` rather than `http`, and what follows it.
fn strip_scheme(target: &[u8]) -> Option<(bool, &[u8])> {
    [(false, b"http://".as_slice()), (true, b"https://")].into_iter().find_map(
        |(is_secure, scheme)| {
            let (front, rest) = target.split_at_checked(scheme.len())?;
            front.eq_ignore_ascii_case(scheme).then_some((is_secure, rest))
        },
    )
}

/// Whether `value` is a host with an optional port: a name, an IPv4 address, or an IPv6 address in
/// brackets (RFC 3986 §3.2.2).
pub(super) fn is_authority(value: &[u8]) -> bool {
    let (host_is_valid, rest) = if let Some(literal) = value.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', literal) else { return false };
        (is_address(&literal[..end]), &literal[end + 1..])
    } else {
        let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
        let (name, rest) = value.split_at(end);
        let valid = |&byte: &u8| IN_HOST[usize::from(byte)];
        (!name.is_empty() && name.iter().all(valid) && escapes_are_whole(name), rest)
    };
    let port_is_valid = match rest {
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    };
    host_is_valid && port_is_valid
}

/// The bytes that a host's name may consist of: unreserved ones, `sub-delims` but for the comma, escapes.
static IN_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'')
            || matches!(byte as u8, b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
};

/// What stands in brackets. Of the versions to come that RFC 3986 leaves room for there is none.
fn is_address(literal: &[u8]) -> bool {
    let text = std::str::from_utf8(literal);
    text.is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Digits, or none at all (RFC 3986 §3.2.3).
fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0u16, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

/// Whether two hexadecimal digits follow each percent sign.
fn escapes_are_whole(name: &[u8]) -> bool {
    name.split(|&byte| byte == b'%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit))
}
