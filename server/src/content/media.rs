//! Content types by file name.

/// The content type of a file, with the charset for text. Unknown names are bytes.
pub fn content_type(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let guess = mime_guess::from_path(name.as_ref());
    match guess.first_raw() {
        None => "application/octet-stream".to_owned(),
        Some(text) if is_text(text) => format!("{text}; charset=utf-8"),
        Some(other) => other.to_owned(),
    }
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || matches!(media_type, "application/javascript" | "application/xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_types() {
        let cases = [
            ("a/index.html", "text/html; charset=utf-8"),
            ("a.HTM", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.woff2", "font/woff2"),
            ("a.wasm", "application/wasm"),
            ("a.mp4", "video/mp4"),
            ("a.tar.gz", "application/gzip"),
            ("a.pdf", "application/pdf"),
            ("LICENSE", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
            ("html", "application/octet-stream"),
        ];
        for (name, expected) in cases {
            assert_eq!(content_type(name.as_bytes()), expected, "{name}");
        }
    }
}
