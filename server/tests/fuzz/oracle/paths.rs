//! Paths, decoded and taken apart name by name.

/// The key of a path, or the status of its refusal.
pub fn key(path: &[u8]) -> Result<Vec<u8>, u16> {
    if path.first() != Some(&b'/') {
        return Err(400);
    }
    let segments = path[1..].split(|&byte| byte == b'/').map(decode);
    let segments: Vec<_> = segments.collect::<Option<_>>().ok_or(400u16)?;
    if segments.iter().any(|name| name.contains(&0)) {
        return Err(400);
    }
    let mut names: Vec<&[u8]> = Vec::new();
    for segment in &segments {
        match segment.as_slice() {
            b"" | b"." => {}
            b".." => drop(names.pop().ok_or(400u16)?),
            name => names.push(name),
        }
    }
    if segments.iter().any(|name| name.contains(&b'/')) {
        return Err(404);
    }
    let mut key = names.join(&b'/');
    let last = segments.last().map_or(b"".as_slice(), Vec::as_slice);
    if matches!(last, b"" | b"." | b"..") && !key.is_empty() {
        key.push(b'/');
    }
    Ok(key)
}

/// Whether a name on the way to `key` begins with a dot, `.well-known` at the top not counted.
pub fn is_hidden(key: &[u8]) -> bool {
    let key = match key.strip_prefix(b".well-known") {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => key,
    };
    [b"/", key].concat().windows(2).any(|pair| pair == b"/.")
}

/// A name without its escapes; nothing if one is malformed.
fn decode(name: &[u8]) -> Option<Vec<u8>> {
    let mut pieces = name.split(|&byte| byte == b'%');
    let mut decoded = pieces.next()?.to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        decoded.extend_from_slice(rest);
    }
    Some(decoded)
}
