//! Media types by file name.

use std::collections::BTreeMap;

use super::{error::RuleError, fields::is_token};

/// Of names that nothing is known about.
const BYTES: &str = "application/octet-stream";

/// Where the table is behind: types that are registered, or that players and browsers count on.
const CORRECTED: &[(&str, &str)] = &[
    // RFC 9239 §6, ECMA-426 §3.
    ("mjs", "text/javascript"),
    ("cjs", "text/javascript"),
    ("map", "application/json"),
    // RFC 8081 §4.4.
    ("woff", "font/woff"),
    ("otf", "font/otf"),
    // RFC 8216 §3, §4; ISO 23009-1 Annex C; RFC 4337 §3.1.
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("ts", "video/mp2t"),
    ("m2ts", "video/mp2t"),
    ("m4s", "video/iso.segment"),
    ("m4a", "audio/mp4"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    // RFC 6713, RFC 8878 §7.1.
    ("tgz", "application/gzip"),
    ("zst", "application/zstd"),
    ("rpm", "application/x-rpm"),
    // RFC 9512 §2.1.
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("toml", "application/toml"),
    ("topojson", "application/json"),
    ("ndjson", "application/x-ndjson"),
    // Registered by IANA: model/.
    ("stl", "model/stl"),
    ("obj", "model/obj"),
    ("usdz", "model/vnd.usdz+zip"),
];

/// Types that a rule gives to extensions, which are lower case and without a dot.
pub(super) type Types = BTreeMap<Box<str>, Box<str>>;

/// Checks the types of a rule.
pub(super) fn check_types(types: &BTreeMap<String, String>) -> Result<Types, RuleError> {
    let mut checked = Types::new();
    for (extension, media_type) in types {
        let essence = media_type.split(';').next().unwrap_or_default().trim_ascii_end();
        let is_type = essence.split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b));
        let is_line = media_type.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !is_type || !is_line || media_type.ends_with(' ') {
            return Err(RuleError::MediaType(media_type.clone()));
        }
        let extension = extension.strip_prefix('.').unwrap_or(extension).to_ascii_lowercase();
        checked.insert(extension.into(), media_type.as_str().into());
    }
    Ok(checked)
}

/// The media type of a file, by what `types` say of its extension, else by the table. Text has `charset`,
/// unless that is empty or there is one already. Unknown names are bytes.
pub(super) fn media_type<'a>(
    name: &[u8],
    types: impl Iterator<Item = &'a Types>,
    charset: &str,
) -> String {
    let base = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let extension = base.iter().rposition(|&byte| byte == b'.').map(|dot| &base[dot + 1..]);
    let extension = extension.map(|it| String::from_utf8_lossy(it).to_ascii_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    let found = types.filter_map(|types| types.get(extension)).last();
    let media_type = match found {
        Some(media_type) => media_type,
        None => from_table(extension),
    };
    if charset.is_empty() || !is_text(media_type) || media_type.contains("charset=") {
        media_type.to_owned()
    } else {
        format!("{media_type}; charset={charset}")
    }
}

fn from_table(extension: &str) -> &'static str {
    let corrected = CORRECTED.iter().find(|(other, _)| *other == extension);
    let corrected = corrected.map(|(_, media_type)| *media_type);
    corrected.or_else(|| mime_guess::from_ext(extension).first_raw()).unwrap_or(BYTES)
}

fn is_text(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim_ascii_end();
    essence.starts_with("text/")
        || matches!(essence, "application/javascript" | "application/xml" | "application/xhtml+xml")
}

/// Whether a type is compressed by itself, so that nobody lays codings of it beside it.
pub(super) fn is_compressed(media_type: &str) -> bool {
    let is_picture = media_type.starts_with("image/")
        && !matches!(media_type, "image/svg+xml" | "image/bmp" | "image/x-icon");
    is_picture || media_type.starts_with("video/") || media_type.starts_with("audio/")
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
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.ndjson", "application/x-ndjson"),
            ("a.stl", "model/stl"),
            ("a.OBJ", "model/obj"),
            ("a.usdz", "model/vnd.usdz+zip"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.avif", "image/avif"),
            ("a.webp", "image/webp"),
            ("a.woff2", "font/woff2"),
            ("a.wasm", "application/wasm"),
            ("a.mp4", "video/mp4"),
            ("a.webm", "video/webm"),
            ("a.tar.gz", "application/gzip"),
            ("a.pdf", "application/pdf"),
            ("a.WOFF", "font/woff"),
            ("live.m3u8", "application/vnd.apple.mpegurl"),
            ("live.ts", "video/mp2t"),
            ("app.js.map", "application/json"),
            ("a.tar.zst", "application/zstd"),
            ("a.yml", "application/yaml"),
            ("LICENSE", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
            ("html", "application/octet-stream"),
            ("a.html/b", "application/octet-stream"),
        ];
        for (name, expected) in cases {
            assert_eq!(media_type(name.as_bytes(), [].into_iter(), "utf-8"), expected, "{name}");
        }
    }

    #[test]
    fn rules_override_the_table_and_the_charset() {
        let types = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
            check_types(&pairs.collect()).unwrap()
        };
        let first = types(&[(".MD", "text/markdown"), ("", "text/plain"), ("x", "text/a")]);
        let second = types(&[("x", "text/b; charset=koi8-r"), ("html", "application/xhtml+xml")]);
        let of = |name: &[u8], charset| media_type(name, [&first, &second].into_iter(), charset);
        assert_eq!(of(b"a.md", "utf-8"), "text/markdown; charset=utf-8");
        assert_eq!(of(b"a.md", ""), "text/markdown");
        assert_eq!(of(b"LICENSE", "latin1"), "text/plain; charset=latin1");
        assert_eq!(of(b"a.x", "utf-8"), "text/b; charset=koi8-r");
        assert_eq!(of(b"a.html", "utf-8"), "application/xhtml+xml; charset=utf-8");
    }

    #[test]
    fn types_that_would_break_a_head_are_refused() {
        for bad in ["", "text", "text/", "/html", "text/a b", "text/html\r\nX: y", "text/html; "] {
            let types = [("x".to_owned(), bad.to_owned())].into();
            assert!(check_types(&types).is_err(), "{bad:?}");
        }
    }
}
