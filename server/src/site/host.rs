//! Host names to sites.

use std::collections::HashMap;

use super::{SiteId, error::SiteError};

/// Longest host name, in bytes (RFC 1035 §2.3.4). A longer one is nobody's.
const LONGEST: usize = 255;

/// Which site has which name.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<[u8]>, SiteId>,
    /// By what follows the `*.`.
    wildcards: HashMap<Box<[u8]>, SiteId>,
    default: Option<SiteId>,
}

impl Hosts {
    /// Gives a name to a site.
    pub fn add(&mut self, name: &str, id: SiteId) -> Result<(), SiteError> {
        let (map, rest) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcards, rest),
            None => (&mut self.exact, name),
        };
        let mut buffer = [0; LONGEST];
        let host = normalize(rest.as_bytes(), &mut buffer).filter(|host| is_host(host));
        // What is cut off when a request names it would never be found: a port, a dot at the end.
        let Some(host) = host.filter(|host| host.len() == rest.len()) else {
            return Err(SiteError::Name(name.to_owned()));
        };
        match map.insert(host.into(), id) {
            Some(_) => Err(SiteError::NameTwice(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Makes a site the default.
    pub fn set_default(&mut self, id: SiteId) -> Result<(), SiteError> {
        match self.default.replace(id) {
            Some(_) => Err(SiteError::DefaultTwice),
            None => Ok(()),
        }
    }

    /// The site that has the host of `authority`: by its name, else by the longest wildcard, else the
    /// default.
    pub fn find(&self, authority: &[u8]) -> Option<SiteId> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return self.default;
        }
        let mut buffer = [0; LONGEST];
        let Some(host) = normalize(authority, &mut buffer) else { return self.default };
        if let Some(&id) = self.exact.get(host) {
            return Some(id);
        }
        let mut rest = host;
        while !self.wildcards.is_empty()
            && let Some(dot) = memchr::memchr(b'.', rest)
        {
            rest = &rest[dot + 1..];
            if dot > 0
                && let Some(&id) = self.wildcards.get(rest)
            {
                return Some(id);
            }
        }
        self.default
    }
}

/// The host of an authority in lower case, without port and without the root's dot; nothing if it is
/// too long.
fn normalize<'a>(authority: &[u8], buffer: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
    let end = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map_or(authority.len(), |end| end + 1),
        _ => memchr::memchr(b':', authority).unwrap_or(authority.len()),
    };
    let host = &authority[..end];
    let host = host.strip_suffix(b".").unwrap_or(host);
    let buffer = buffer.get_mut(..host.len())?;
    buffer.copy_from_slice(host);
    buffer.make_ascii_lowercase();
    Some(buffer)
}

fn is_host(host: &[u8]) -> bool {
    if let Some(literal) = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        let literal = std::str::from_utf8(literal);
        return literal.is_ok_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && label.len() <= 63
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    host.split(|&byte| byte == b'.').all(is_label)
}
