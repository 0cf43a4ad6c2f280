//! Where a rule sends clients.

use super::{config::RedirectConfig, error::RuleError};
use crate::http::{Status, path};

/// A piece of a target.
#[derive(Debug)]
enum Piece {
    Text(Box<str>),
    Path,
    Rest,
}

/// A redirect to a target made from the path asked for.
#[derive(Debug)]
pub struct Redirect {
    status: Status,
    pieces: Vec<Piece>,
    keeps_query: bool,
}

impl Redirect {
    pub(super) fn build(config: &RedirectConfig, has_rest: bool) -> Result<Self, RuleError> {
        let refused = |why| RuleError::Redirect { to: config.to.clone(), why };
        let status = match config.status {
            301 => Status::MovedPermanently,
            302 => Status::Found,
            303 => Status::SeeOther,
            307 => Status::TemporaryRedirect,
            308 => Status::PermanentRedirect,
            _ => return Err(refused("its status is none of 301, 302, 303, 307 and 308")),
        };
        let pieces = pieces(&config.to).ok_or(refused("only {path} and {rest} stand in braces"))?;
        let valid = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`|".contains(&byte);
        if !config.to.bytes().all(valid) {
            return Err(refused("it has characters that an address may not have; encode them"));
        }
        let Some(Piece::Text(front)) = pieces.first() else {
            return Err(refused("it must begin with a slash or with http:// or https://"));
        };
        // What a client writes must not become part of a host's name.
        let after_host = match front.split_once("://") {
            Some(("http" | "https", rest)) if !rest.starts_with('/') => rest.contains('/'),
            _ => front.starts_with('/') && !front.starts_with("//"),
        };
        let is_literal = pieces.len() == 1 && front.contains("://");
        if !after_host && !is_literal {
            return Err(refused(
                "it must begin with a slash, or with http:// or https://, a host and a slash",
            ));
        }
        if !has_rest && pieces.iter().any(|piece| matches!(piece, Piece::Rest)) {
            return Err(refused(
                "{rest} needs a rule with one path that ends in a slash or in /**",
            ));
        }
        Ok(Self { status, pieces, keeps_query: !config.to.contains('?') })
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether the query of the request follows the target.
    pub fn keeps_query(&self) -> bool {
        self.keeps_query
    }

    /// Appends the target for `path`, of which the first `base_len` bytes are the rule's directory. Both
    /// start with a slash and are decoded.
    pub fn write_target(&self, path: &[u8], base_len: usize, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Path => path::encode(path.get(1..).unwrap_or_default(), out),
                Piece::Rest => path::encode(path.get(base_len..).unwrap_or_default(), out),
            }
        }
    }
}

/// None if braces hold something else, or are not closed.
fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((front, tail)) = rest.split_once('{') {
        if !front.is_empty() {
            pieces.push(Piece::Text(front.into()));
        }
        let (name, after) = tail.split_once('}')?;
        pieces.push(match name {
            "path" => Piece::Path,
            "rest" => Piece::Rest,
            _ => return None,
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    (!text.replace("{path}", "").replace("{rest}", "").contains('}')).then_some(pieces)
}
