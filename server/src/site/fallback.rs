//! What is sent where there is no file.

/// A path below the root, maybe made from the path asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fallback {
    /// What stands before each path asked for.
    pieces: Box<[Box<str>]>,
    tail: Box<str>,
}

impl Fallback {
    /// Reads one, without its first slash. Nothing if braces hold anything but `path`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut pieces: Vec<Box<str>> = text.split("{path}").map(Box::from).collect();
        let tail = pieces.pop()?;
        let is_text = |text: &str| !text.contains(['{', '}']);
        (is_text(&tail) && pieces.iter().all(|piece| is_text(piece)))
            .then(|| Self { pieces: pieces.into(), tail })
    }

    /// The path for the key of what was asked for; nothing where that has no name of its own.
    pub fn path(&self, key: &[u8]) -> Option<Vec<u8>> {
        let name = key.strip_suffix(b"/").unwrap_or(key);
        if name.is_empty() && !self.pieces.is_empty() {
            return None;
        }
        let mut path = Vec::new();
        for piece in &self.pieces {
            path.extend_from_slice(piece.as_bytes());
            path.extend_from_slice(name);
        }
        path.extend_from_slice(self.tail.as_bytes());
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_from_what_was_asked_for() {
        let path = |fallback: &str, key: &str| {
            let path = Fallback::read(fallback)?.path(key.as_bytes())?;
            Some(String::from_utf8(path).unwrap())
        };
        assert_eq!(path("index.html", "a/b").unwrap(), "index.html");
        assert_eq!(path("index.html", "").unwrap(), "index.html");
        assert_eq!(path("{path}.html", "a/b").unwrap(), "a/b.html");
        assert_eq!(path("{path}.html", "a/").unwrap(), "a.html");
        assert_eq!(path("x/{path}/y{path}", "a").unwrap(), "x/a/ya");
        assert_eq!(path("{path}.html", ""), None);
        for bad in ["{paths}.html", "{path", "a}", "{{path}}"] {
            assert_eq!(Fallback::read(bad), None, "{bad}");
        }
    }
}
