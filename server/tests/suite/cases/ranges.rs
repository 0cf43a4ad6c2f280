//! RFC 9110 §14: ranges of a file of 26 letters, one part or several. What several parts consist of is
//! checked apart.

use super::{
    After::GoesOn,
    Asked::{Get, Raw},
    Case, LETTERS,
};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=0-3"), 206, &["content-range: bytes 0-3/26", "content-length: 4", "content-type: text/plain; charset=utf-8", "etag: {etag}", "last-modified: *"], "=abcd", GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=0-0"), 206, &["content-range: bytes 0-0/26"], "=a", GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=20-"), 206, &["content-range: bytes 20-25/26"], "=uvwxyz", GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=0-"), 206, &["content-range: bytes 0-25/26"], LETTERS, GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=25-25"), 206, &["content-range: bytes 25-25/26"], "=z", GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=25-99"), 206, &["content-range: bytes 25-25/26"], "=z", GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=0-99999999999999999999999999"), 206, &["content-range: bytes 0-25/26"], LETTERS, GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=-2"), 206, &["content-range: bytes 24-25/26"], "=yz", GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=-26"), 206, &["content-range: bytes 0-25/26"], LETTERS, GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=-99"), 206, &["content-range: bytes 0-25/26"], LETTERS, GoesOn),
    ("9110 §14.1", Get("/letters.txt", "Range: BYTES=0-1"), 206, &[], "=ab", GoesOn),
    ("9110 §5.6.1", Get("/letters.txt", "Range: bytes=, 0-1 ,"), 206, &[], "=ab", GoesOn),
    ("9110 §14.1.1", Get("/letters.txt", "Range: bytes=00-001"), 206, &[], "=ab", GoesOn),
    // Outside.
    ("9110 §15.5.17", Get("/letters.txt", "Range: bytes=26-"), 416, &["content-range: bytes */26"], "416", GoesOn),
    ("9110 §15.5.17", Get("/letters.txt", "Range: bytes=26-99"), 416, &["content-range: bytes */26"], "416", GoesOn),
    ("9110 §15.5.17", Get("/letters.txt", "Range: bytes=99999999999999999999999999-"), 416, &["content-range: bytes */26"], "416", GoesOn),
    ("9110 §14.1.2", Get("/letters.txt", "Range: bytes=-0"), 416, &["content-range: bytes */26"], "416", GoesOn),
    ("9110 §15.5.17", Get("/letters.txt", "Range: bytes=26-,99-"), 416, &["content-range: bytes */26"], "416", GoesOn),
    ("9110 §15.5.17", Get("/empty.txt", "Range: bytes=0-0"), 416, &["content-range: bytes */0"], "416", GoesOn),
    ("9110 §15.5.17", Get("/empty.txt", "Range: bytes=0-"), 416, &["content-range: bytes */0"], "416", GoesOn),
    ("9110 §14.1.2", Get("/empty.txt", "Range: bytes=-1"), 200, &["content-length: 0"], "=", GoesOn),
    // To be ignored.
    ("9110 §14.1.1", Get("/letters.txt", "Range: bytes=3-1"), 200, &["!content-range"], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: lines=0-1"), 200, &["!content-range"], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes="), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=-"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=a-b"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=1 - 2"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=+1-2"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=--1"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=0-1,x"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes =0-1"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: 0-1"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=0-1|Range: bytes=3-4"), 200, &[], LETTERS, GoesOn),
    ("9110 §14.2", Raw("HEAD /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n"), 200, &["content-length: 26", "!content-range"], "", GoesOn),
    ("9110 §14.2", Get("/nothing", "Range: bytes=0-1"), 404, &[], "404", GoesOn),
    ("9110 §14.2", Get("/dir", "Range: bytes=0-1"), 301, &[], "301", GoesOn),
    ("9110 §14.3", Get("/letters.txt", ""), 200, &["accept-ranges: bytes"], LETTERS, GoesOn),
    // Several that come to one.
    ("9110 §15.3.7", Get("/letters.txt", "Range: bytes=0-0,1-2"), 206, &["content-range: bytes 0-2/26"], "=abc", GoesOn),
    ("9110 §15.3.7", Get("/letters.txt", "Range: bytes=0-5,3-8"), 206, &["content-range: bytes 0-8/26"], "=abcdefghi", GoesOn),
    ("9110 §15.3.7", Get("/letters.txt", "Range: bytes=0-1,99-"), 206, &["content-range: bytes 0-1/26"], "=ab", GoesOn),
    ("9110 §15.3.7", Get("/letters.txt", "Range: bytes=0-,0-,0-,0-,0-"), 206, &["content-range: bytes 0-25/26"], LETTERS, GoesOn),
    // Several parts.
    ("9110 §14.6", Get("/letters.txt", "Range: bytes=0-0,-1"), 206, &["!content-range", "etag: {etag}"], "\r\n--", GoesOn),
    ("9110 §14.6", Get("/letters.txt", "Range: bytes=20-21,0-1"), 206, &["!content-range"], "\r\n--", GoesOn),
    ("9110 §14.2", Get("/letters.txt", "Range: bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24"), 206, &["!content-range"], "\r\n--", GoesOn),
    // If-Range.
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: {etag}"), 206, &[], "=bc", GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: Sun, 21 Nov 2021 05:40:01 GMT"), 206, &[], "=bc", GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: W/{etag}"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: \"other\""), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: \"other\", {etag}"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: *"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: Sun, 21 Nov 2021 05:40:00 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: Sun, 21 Nov 2021 05:40:02 GMT"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=1-2|If-Range: whenever"), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "Range: bytes=99-|If-Range: \"other\""), 200, &[], LETTERS, GoesOn),
    ("9110 §13.1.5", Get("/letters.txt", "If-Range: {etag}"), 200, &["!content-range"], LETTERS, GoesOn),
];
