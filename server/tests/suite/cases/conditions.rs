//! RFC 9110 §13: conditions, in the order of §13.2.2. `{etag}` is the tag of `letters.txt`, which was last
//! changed at 05:40:01.

use super::{
    After::GoesOn,
    Asked::{Get, Raw, Site},
    Case, LETTERS,
};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    ("9110 §8.8.2", Get("/letters.txt", ""), 200, &["last-modified: Sun, 21 Nov 2021 05:40:01 GMT", "etag: {etag}"], LETTERS, GoesOn),
    // If-None-Match.
    ("9110 §13.1.2", Get("/letters.txt", "If-None-Match: {etag}"), 304, &["etag: {etag}", "last-modified: *", "date: *", "!content-length", "!content-type", "!accept-ranges"], "=", GoesOn),
    ("9110 §13.1.2", Get("/letters.txt", "If-None-Match: W/{etag}"), 304, &[], "=", GoesOn),
    ("9110 §13.1.2", Get("/letters.txt", "If-None-Match: *"), 304, &["!content-length"], "=", GoesOn),
    ("9110 §13.1.2", Get("/letters.txt", "If-None-Match: \"x\", {etag}"), 304, &[], "=", GoesOn),
    ("9110 §13.1.2", Get("/letters.txt", "If-None-Match: \"x\",W/\"y\",{etag} ,\"z\""), 304, &[], "=", GoesOn),
    ("9110 §5.6.1", Get("/letters.txt", "If-None-Match: ,,{etag}"), 304, &[], "=", GoesOn),
    ("9110 §8.8.3", Get("/letters.txt", "If-None-Match: \"with,comma\", {etag}"), 304, &[], "=", GoesOn),
    ("9110 §13.1.2", Get("/letters.txt", "If-None-Match: \"other\""), 200, &[], LETTERS, GoesOn),
    ("9110 §8.8.3", Get("/letters.txt", "If-None-Match: other"), 200, &[], LETTERS, GoesOn),
    ("9110 §8.8.3", Get("/letters.txt", "If-None-Match: w/{etag}"), 200, &[], LETTERS, GoesOn),
    ("9110 §8.8.3", Get("/letters.txt", "If-None-Match: \"unclosed"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.2", Get("/letters.txt", "If-None-Match:"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.2", Raw("HEAD /letters.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n"), 304, &[], "", GoesOn),
    ("9110 §13.2.1", Get("/nothing", "If-None-Match: *"), 404, &[], "404", GoesOn),
    ("9110 §13.2.1", Get("/dir", "If-None-Match: *"), 301, &[], "301", GoesOn),
    // If-Modified-Since.
    ("9110 §13.1.3", Get("/letters.txt", "If-Modified-Since: Sun, 21 Nov 2021 05:40:01 GMT"), 304, &["etag: {etag}"], "=", GoesOn),
    ("9110 §13.1.3", Get("/letters.txt", "If-Modified-Since: Sun, 21 Nov 2021 05:40:02 GMT"), 304, &[], "=", GoesOn),
    ("9110 §13.1.3", Get("/letters.txt", "If-Modified-Since: Sun, 21 Nov 2021 05:40:00 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §5.6.7", Get("/letters.txt", "If-Modified-Since: Sunday, 21-Nov-21 05:40:01 GMT"), 304, &[], "=", GoesOn),
    ("9110 §5.6.7", Get("/letters.txt", "If-Modified-Since: Sun Nov 21 05:40:01 2021"), 304, &[], "=", GoesOn),
    ("9110 §13.1.3", Get("/letters.txt", "If-Modified-Since: yesterday"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.3", Get("/letters.txt", "If-Modified-Since: 1637473201"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.3", Get("/letters.txt", "If-Modified-Since: Sun, 21 Nov 2021 05:40:01 GMT|If-Modified-Since: Sun, 21 Nov 2021 05:40:01 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.3", Raw("HEAD /letters.txt HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Sun, 21 Nov 2021 05:40:01 GMT\r\n\r\n"), 304, &[], "", GoesOn),
    // If-Match.
    ("9110 §13.1.1", Get("/letters.txt", "If-Match: {etag}"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.1", Get("/letters.txt", "If-Match: *"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.1", Get("/letters.txt", "If-Match: \"x\", {etag}"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.1", Get("/letters.txt", "If-Match: W/{etag}"), 412, &["!etag"], "412", GoesOn),
    ("9110 §13.1.1", Get("/letters.txt", "If-Match: \"other\""), 412, &["content-type: text/plain; charset=utf-8"], "412", GoesOn),
    ("9110 §13.1.1", Get("/letters.txt", "If-Match:"), 412, &[], "412", GoesOn),
    ("9110 §13.1.1", Raw("HEAD /letters.txt HTTP/1.1\r\nHost: a\r\nIf-Match: \"other\"\r\n\r\n"), 412, &[], "", GoesOn),
    // If-Unmodified-Since.
    ("9110 §13.1.4", Get("/letters.txt", "If-Unmodified-Since: Sun, 21 Nov 2021 05:40:01 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.4", Get("/letters.txt", "If-Unmodified-Since: Sun, 21 Nov 2021 05:40:02 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.4", Get("/letters.txt", "If-Unmodified-Since: Sun, 21 Nov 2021 05:40:00 GMT"), 412, &[], "412", GoesOn),
    ("9110 §13.1.4", Get("/letters.txt", "If-Unmodified-Since: tomorrow"), 200, &[], LETTERS, GoesOn),
    // One before the other.
    ("9110 §13.2.2", Get("/letters.txt", "If-Match: {etag}|If-Unmodified-Since: Sun, 21 Nov 2021 05:40:00 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-Match: \"x\"|If-Unmodified-Since: Sun, 21 Nov 2021 05:40:01 GMT"), 412, &[], "412", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-Match: \"x\"|If-None-Match: {etag}"), 412, &[], "412", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-Match: {etag}|If-None-Match: {etag}"), 304, &[], "=", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-Unmodified-Since: Sun, 21 Nov 2021 05:40:00 GMT|If-None-Match: {etag}"), 412, &[], "412", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-None-Match: \"x\"|If-Modified-Since: Sun, 21 Nov 2021 05:40:01 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-None-Match: {etag}|If-Modified-Since: Sun, 21 Nov 2021 05:40:00 GMT"), 304, &[], "=", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-None-Match: {etag}|Range: bytes=0-1"), 304, &["!content-range"], "=", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-None-Match: \"x\"|Range: bytes=0-1"), 206, &[], "=ab", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-Match: \"x\"|Range: bytes=0-1"), 412, &[], "412", GoesOn),
    ("9110 §13.2.2", Get("/letters.txt", "If-Match: {etag}|Range: bytes=99-"), 416, &[], "416", GoesOn),
    // Weak tags, and none.
    ("9110 §8.8.1", Site("/weak/x.txt", "If-None-Match: {weak}"), 304, &["etag: {weak}"], "=", GoesOn),
    ("9110 §8.8.3.2", Site("/weak/x.txt", "If-Match: {weak}"), 412, &[], "412", GoesOn),
    ("9110 §13.1.5", Site("/weak/x.txt", "If-Range: {weak}|Range: bytes=0-0"), 200, &["!content-range"], "=weak\n", GoesOn),
    ("9110 §8.8.3", Site("/untagged/x.txt", ""), 200, &["!etag", "last-modified: *"], "=untagged\n", GoesOn),
    ("9110 §13.1.2", Site("/untagged/x.txt", "If-None-Match: *"), 304, &["!etag"], "=", GoesOn),
    ("9110 §13.1.2", Site("/untagged/x.txt", "If-None-Match: \"\""), 200, &[], "=untagged\n", GoesOn),
];
