//! What each path's body must be: as long as it was before and, if that is asked for, of the same
//! content.
//!
//! All cores share the references. The first body of a path becomes its reference; if its SHA-256 is
//! known, only a body that has it can. Later bodies are compared by a faster hash.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::LoadError;

/// A SHA-256.
pub type Hash = [u8; 32];

/// How contents are checked beyond their length.
#[derive(Clone, Debug, Default)]
pub enum Verify {
    /// Not at all.
    #[default]
    Length,
    /// Against the first response to the same path.
    First,
    /// The same, and the first by these hashes: of paths without a leading slash.
    Sha256(HashMap<String, Hash>),
}

/// What the bodies of one path must be.
#[derive(Debug)]
struct Reference {
    /// One more than the length; zero while it is not known.
    len: AtomicU64,
    /// The hash with its lowest bit set; zero while it is not known.
    hash: AtomicU64,
    sha256: Option<Hash>,
}

/// What the bodies of all paths must be.
#[derive(Debug)]
pub(super) struct References {
    references: Vec<Reference>,
    hashes: bool,
}

/// The hash of a body of which only a part has arrived.
#[derive(Clone)]
pub(super) struct Hashing {
    fast: Xxh3,
    sha256: Option<Sha256>,
}

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashing").finish_non_exhaustive()
    }
}

impl Hashing {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.fast.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }
}

impl References {
    /// References for these paths.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] if hashes are given but not for all of them.
    pub(super) fn new(paths: &[String], verify: &Verify) -> Result<Self, LoadError> {
        let hash_of = |path: &String| match verify {
            Verify::Length | Verify::First => Ok(None),
            Verify::Sha256(hashes) => {
                let found = hashes.get(path.trim_start_matches('/')).copied();
                let missing =
                    || LoadError::Usage(format!("the list of hashes has none for {path}"));
                found.ok_or_else(missing).map(Some)
            }
        };
        let references = paths.iter().map(|path| {
            let sha256 = hash_of(path)?;
            Ok(Reference { len: AtomicU64::new(0), hash: AtomicU64::new(0), sha256 })
        });
        let references = references.collect::<Result<_, LoadError>>()?;
        Ok(Self { references, hashes: !matches!(verify, Verify::Length) })
    }

    /// Whether bodies are hashed.
    pub(super) fn hashes(&self) -> bool {
        self.hashes
    }

    /// Whether a body of path `path` may be this long.
    pub(super) fn is_len(&self, path: u32, len: u64) -> bool {
        is_or_becomes(&self.references[path as usize].len, len.saturating_add(1))
    }

    /// Begins the hash of a body of path `path`.
    pub(super) fn hashing(&self, path: u32) -> Hashing {
        let reference = &self.references[path as usize];
        let first = reference.hash.load(Ordering::Relaxed) == 0;
        let sha256 = (first && reference.sha256.is_some()).then(Sha256::new);
        Hashing { fast: Xxh3::new(), sha256 }
    }

    /// Whether a body of path `path` that has arrived in one piece is the right one.
    pub(super) fn is_content(&self, path: u32, body: &[u8]) -> bool {
        let reference = &self.references[path as usize];
        if reference.hash.load(Ordering::Relaxed) == 0 {
            let mut hashing = self.hashing(path);
            hashing.update(body);
            return self.is_hash(path, hashing);
        }
        is_or_becomes(&reference.hash, xxh3_64(body) | 1)
    }

    /// Whether a body of path `path` with this hash is the right one.
    pub(super) fn is_hash(&self, path: u32, hashing: Hashing) -> bool {
        let reference = &self.references[path as usize];
        if let (Some(sha256), Some(wanted)) = (hashing.sha256, reference.sha256)
            && <[u8; 32]>::from(sha256.finalize()) != wanted
        {
            return false;
        }
        is_or_becomes(&reference.hash, hashing.fast.digest() | 1)
    }
}

/// Whether a value that is set once is `value`, maybe only now.
fn is_or_becomes(cell: &AtomicU64, value: u64) -> bool {
    match cell.load(Ordering::Relaxed) {
        0 => match cell.compare_exchange(0, value, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(before) => before == value,
        },
        before => before == value,
    }
}

/// Reads a list as sha256sum writes it: `HASH  PATH`.
///
/// # Errors
///
/// [`LoadError::Usage`] with the number of the line that is not such.
pub(super) fn parse_sha256(text: &str) -> Result<HashMap<String, Hash>, LoadError> {
    let mut hashes = HashMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let entry = line.split_once(' ').and_then(|(hash, path)| {
            // The mark of binary mode, and the directory that `find .` puts in front.
            let path = path.trim_start_matches([' ', '*']).trim_start_matches("./");
            Some((path.trim_start_matches('/').to_owned(), parse_hash(hash)?))
        });
        let Some((path, hash)) = entry.filter(|(path, _)| !path.is_empty()) else {
            return Err(LoadError::Usage(format!(
                "line {number} of the list of hashes is not `SHA-256  PATH`, as sha256sum writes it"
            )));
        };
        hashes.insert(path, hash);
    }
    Ok(hashes)
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn references(verify: &Verify) -> References {
        References::new(&["/hello".to_owned(), "/other".to_owned()][..1], verify).unwrap()
    }

    #[test]
    fn the_first_body_is_the_reference_for_all_later_ones() {
        let references = references(&Verify::First);
        assert!(references.is_len(0, 0) && references.is_len(0, 0) && !references.is_len(0, 1));
        assert!(references.is_content(0, b"hello"));
        assert!(references.is_content(0, b"hello") && !references.is_content(0, b"hullo"));
    }

    #[test]
    fn a_body_in_pieces_hashes_like_one_in_one_piece() {
        let references = references(&Verify::First);
        assert!(references.is_content(0, b"hello"));
        for (body, right) in [(&b"hello"[..], true), (b"hellO", false)] {
            let mut hashing = references.hashing(0);
            body.chunks(2).for_each(|piece| hashing.update(piece));
            assert_eq!(references.is_hash(0, hashing), right);
        }
    }

    #[test]
    fn only_a_body_with_the_given_hash_becomes_the_reference() {
        let hashes = parse_sha256(&format!("{HELLO}  ./hello\n")).unwrap();
        let references = references(&Verify::Sha256(hashes));
        assert!(!references.is_content(0, b"hullo"));
        assert!(references.is_content(0, b"hello"));
        assert!(!references.is_content(0, b"hullo"));
    }

    #[test]
    fn lists_are_read_as_sha256sum_writes_them() {
        let text = format!("{HELLO}  a b.html\n{HELLO} *./c/d\n\n");
        let hashes = parse_sha256(&text).unwrap();
        assert!(hashes.contains_key("a b.html") && hashes.contains_key("c/d"));
        for bad in ["x  y", HELLO, &format!("{HELLO}  "), &format!("{}é  x", &HELLO[2..])] {
            assert!(parse_sha256(bad).is_err(), "{bad}");
        }
        let missing = Verify::Sha256(HashMap::new());
        assert!(References::new(&["/x".to_owned()], &missing).is_err());
    }
}
