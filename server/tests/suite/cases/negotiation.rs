//! RFC 9110 §12: representations by what the client would rather have. `app.css` lies there in every
//! coding, `plain.css` in none, `stale.css` has a coded file older than itself.

use super::{
    After::GoesOn,
    Asked::{Get, Site},
    Case, LETTERS,
};

const VARY: &str = "vary: Accept-Encoding";

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    ("9110 §12.5.3", Site("/app.css", ""), 200, &[VARY, "!content-encoding", "content-type: text/css; charset=utf-8"], "=plain css\n", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: br"), 200, &[VARY, "content-encoding: br", "content-type: text/css; charset=utf-8", "content-length: 6"], "=br css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: zstd"), 200, &[VARY, "content-encoding: zstd"], "=zstd css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: gzip"), 200, &[VARY, "content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §8.4.1.3", Site("/app.css", "Accept-Encoding: x-gzip"), 200, &["content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: GZip"), 200, &["content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: gzip, deflate, br, zstd"), 200, &["content-encoding: br"], "=br css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: gzip, deflate"), 200, &["content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: deflate"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding:"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: *"), 200, &["content-encoding: br"], "=br css", GoesOn),
    ("9110 §12.4.2", Site("/app.css", "Accept-Encoding: br;q=0.5, gzip;q=0.8"), 200, &["content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §12.4.2", Site("/app.css", "Accept-Encoding: br;q=0.500, zstd;q=0.501"), 200, &["content-encoding: zstd"], "=zstd css", GoesOn),
    ("9110 §12.4.2", Site("/app.css", "Accept-Encoding: br;q=0, *;q=0.1"), 200, &["content-encoding: zstd"], "=zstd css", GoesOn),
    ("9110 §12.4.2", Site("/app.css", "Accept-Encoding: br ; Q=0.1 , gzip ; q=0.2"), 200, &["content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: gzip;q=0.5, identity"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: identity;q=0.5, gzip;q=0.5"), 200, &["content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: gzip;q=0"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: identity;q=0"), 406, &["!content-encoding"], "406", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: *;q=0"), 406, &[], "406", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: identity;q=0, gzip;q=0.001"), 200, &["content-encoding: gzip"], "=gzip css", GoesOn),
    ("9110 §12.5.3", Site("/app.css", "Accept-Encoding: *;q=0, identity"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §12.4.2", Site("/app.css", "Accept-Encoding: br;q=1.5"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §12.4.2", Site("/app.css", "Accept-Encoding: br;q=x"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §12.5.3", Site("/plain.css", "Accept-Encoding: br, gzip"), 200, &["!content-encoding", "!vary"], "=none\n", GoesOn),
    ("9110 §12.5.3", Site("/plain.css", "Accept-Encoding: identity;q=0"), 406, &[], "406", GoesOn),
    ("9111 §4", Site("/stale.css", "Accept-Encoding: gzip"), 200, &["!content-encoding"], "=fresh\n", GoesOn),
    ("9110 §12.5.3", Site("/app.css.gz", "Accept-Encoding: gzip"), 200, &["!content-encoding", "content-type: application/gzip"], "=gzip css", GoesOn),
    // Each has its own tag, and ranges are of what is sent.
    ("9110 §8.8.3.3", Site("/app.css", "Accept-Encoding: gzip|If-None-Match: {gzip}"), 304, &["etag: {gzip}", VARY], "=", GoesOn),
    ("9110 §8.8.3.3", Site("/app.css", "Accept-Encoding: br|If-None-Match: {gzip}"), 200, &["content-encoding: br"], "=br css", GoesOn),
    ("9110 §8.8.3.3", Site("/app.css", "If-None-Match: {gzip}"), 200, &["!content-encoding"], "=plain css\n", GoesOn),
    ("9110 §14.2", Site("/app.css", "Accept-Encoding: gzip|Range: bytes=0-3"), 206, &["content-encoding: gzip", "content-range: bytes 0-3/8", VARY], "=gzip", GoesOn),
    ("9110 §13.1.5", Site("/app.css", "Accept-Encoding: gzip|Range: bytes=0-3|If-Range: {gzip}"), 206, &["content-encoding: gzip"], "=gzip", GoesOn),
    ("9110 §13.1.5", Site("/app.css", "Range: bytes=0-3|If-Range: {gzip}"), 200, &[], "=plain css\n", GoesOn),
    ("9110 §14.2", Site("/app.css", "Accept-Encoding: br|Range: bytes=8-"), 416, &["content-range: bytes */6"], "416", GoesOn),
    ("9110 §12.5.1", Get("/letters.txt", "Accept: image/png"), 200, &[], LETTERS, GoesOn),
    // Lists of directories.
    ("9110 §12.5.1", Site("/list/", ""), 200, &["content-type: text/html; charset=utf-8", "vary: Accept"], "<!DOCTYPE html>", GoesOn),
    ("9110 §12.5.1", Site("/list/", "Accept: application/json"), 200, &["content-type: application/json", "vary: Accept"], "[\n{\"name\":\"sub\"", GoesOn),
    ("9110 §12.5.1", Site("/list/", "Accept: text/html,*/*;q=0.8"), 200, &["content-type: text/html; charset=utf-8"], "<!DOCTYPE html>", GoesOn),
    ("9110 §12.5.1", Site("/list/", "Accept: */*"), 200, &["content-type: text/html; charset=utf-8"], "<!DOCTYPE html>", GoesOn),
    ("9110 §12.5.1", Site("/list/", "Accept: text/html;q=0.1, application/*"), 200, &["content-type: application/json"], "[\n", GoesOn),
    ("9110 §14.2", Site("/list/", "Range: bytes=0-8"), 206, &[], "=<!DOCTYPE", GoesOn),
];
