//! Paths, decoded and taken apart name by name.

/// The key of a path, or the status of its refusal.
pub fn key(path: &[u8]) -> Result<Vec<u8>, u16> {
    if path.first() != Some(&b'/') {
        return Err(400);
    }
    let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    let names: Vec<_> = names.map(decode).collect::<Option<_>>().ok_or(400u16)?;
    if names.iter().any(|name| name == b"." || name == b".." || name.contains(&0)) {
        return Err(400);
    }
    if names.iter().any(|name| name.contains(&b'/')) {
        return Err(404);
    }
    let mut key = names.join(&b'/');
    if path.ends_with(b"/") && !key.is_empty() {
        key.push(b'/');
    }
    Ok(key)
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
