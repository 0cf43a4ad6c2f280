//! Raw requests and what must come back.

use crate::{
    Check,
    client::{Client, Content, fetch},
    target::Target,
};

pub const CHECKS: &[Check] = &[
    ("raw requests get their responses", raw_requests),
    ("conditional requests are answered by the file's own validators", conditional_requests),
    ("HEAD equals the head of GET", head_equals_get),
];

/// What becomes of the connection afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    GoesOn,
    Ends,
}
use After::{Ends, GoesOn};

/// A request; the status; fields that must be there (`name: value`) or must not (`!name`); what the
/// content is (`=text`) or starts with; and what becomes of the connection.
type Case = (&'static str, u16, &'static [&'static str], &'static str, After);

const LETTERS: &str = "=abcdefghijklmnopqrstuvwxyz";

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Plain.
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &["content-type: text/plain; charset=utf-8", "content-length: 26", "accept-ranges: bytes", "!connection", "!content-range", "!transfer-encoding"], LETTERS, GoesOn),
    ("GET /empty.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &["content-length: 0"], "=", GoesOn),
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, &["content-type: text/html; charset=utf-8"], "=<h1>root</h1>\n", GoesOn),
    ("GET /dir/ HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], "=<h1>dir</h1>\n", GoesOn),
    ("GET /dir/style.css HTTP/1.1\r\nHost: a\r\n\r\n", 200, &["content-type: text/css; charset=utf-8"], "=body {}\n", GoesOn),
    ("GET /letters.txt?query=1 HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /letters%2Etxt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET //letters.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /link HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /sp%20ace%20&%20%C3%A9.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], "=odd name\n", GoesOn),
    ("GET /.well-known/security.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], "=Contact: x\n", GoesOn),
    ("GET http://other/letters.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("\r\nGET /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[], LETTERS, GoesOn),
    // Directories.
    ("GET /dir HTTP/1.1\r\nHost: a\r\n\r\n", 301, &["location: /dir/"], "301", GoesOn),
    ("GET /dir?a=b HTTP/1.1\r\nHost: a\r\n\r\n", 301, &["location: /dir/?a=b"], "301", GoesOn),
    ("GET //dir HTTP/1.1\r\nHost: a\r\n\r\n", 301, &["location: /dir/"], "301", GoesOn),
    ("GET /bare/ HTTP/1.1\r\nHost: a\r\n\r\n", 403, &["content-type: text/plain; charset=utf-8"], "403", GoesOn),
    // Nothing there, or nothing to be seen.
    ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /nothing/ HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /letters.txt/ HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /letters.txt/x HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /.hidden HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /%2ehidden HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /.git/config HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    // Out of the root.
    ("GET /escape HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /slash/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /up/ HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400, &[], "400", GoesOn),
    ("GET /dir/../letters.txt HTTP/1.1\r\nHost: a\r\n\r\n", 400, &[], "400", GoesOn),
    ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400, &[], "400", GoesOn),
    ("GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /%2fetc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /dir%2findex.html HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /%252e%252e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404, &[], "404", GoesOn),
    ("GET /letters.txt%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, &[], "400", GoesOn),
    ("GET /letters%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, &[], "400", GoesOn),
    // Ranges.
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-3\r\n\r\n", 206, &["content-range: bytes 0-3/26", "content-length: 4"], "=abcd", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=20-\r\n\r\n", 206, &["content-range: bytes 20-25/26"], "=uvwxyz", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=-2\r\n\r\n", 206, &["content-range: bytes 24-25/26"], "=yz", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=25-99\r\n\r\n", 206, &["content-range: bytes 25-25/26"], "=z", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=-99\r\n\r\n", 206, &["content-range: bytes 0-25/26"], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=26-\r\n\r\n", 416, &["content-range: bytes */26"], "416", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=-0\r\n\r\n", 416, &["content-range: bytes */26"], "416", GoesOn),
    ("GET /empty.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n", 416, &["content-range: bytes */0"], "416", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0,1-2\r\n\r\n", 206, &["content-range: bytes 0-2/26"], "=abc", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=3-1\r\n\r\n", 200, &["!content-range"], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: lines=0-1\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nIf-Range: \"other\"\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /nothing HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n", 404, &[], "404", GoesOn),
    // Conditions that need no tag.
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 304, &["!content-length", "!content-type"], "=", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"other\"\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-Match: *\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-Match: \"other\"\r\n\r\n", 412, &[], "412", GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", 412, &[], "412", GoesOn),
    ("GET /nothing HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 404, &[], "404", GoesOn),
    // Methods.
    ("POST /letters.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("DELETE /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n", 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204, &["allow: GET, HEAD, OPTIONS", "!content-length"], "=", GoesOn),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501, &["!allow"], "501", GoesOn),
    // Content of requests.
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", 200, &[], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n", 200, &[], LETTERS, GoesOn),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", 413, &["connection: close"], "413", Ends),
    ("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", 405, &["connection: close"], "405", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417, &[], "417", Ends),
    // Versions and the end of the connection.
    ("GET /letters.txt HTTP/1.0\r\n\r\n", 200, &["connection: close"], LETTERS, Ends),
    ("GET /letters.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, &["connection: keep-alive"], LETTERS, GoesOn),
    ("GET /letters.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, &["connection: close"], LETTERS, Ends),
    ("GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, &["connection: close"], "404", Ends),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, &["connection: close"], "505", Ends),
    // Malformed: always the end.
    ("GET / HTTP/1.1\r\n\r\n", 400, &["connection: close"], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\nHost: a\n\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400, &[], "400", Ends),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, &[], "501", Ends),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, &[], "400", Ends),
    ("GET letters.txt HTTP/1.1\r\nHost: a\r\n\r\n", 400, &[], "400", Ends),
    ("nonsense\r\n\r\n", 400, &[], "400", Ends),
    ("\x16\x03\x01\x02\x01\x01\x7f\x03\x03", 400, &[], "400", Ends),
];

fn raw_requests(target: &Target) {
    for case in CASES {
        check(target, case);
    }
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000));
    let long_field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(20_000));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    let long_name = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(300));
    for (request, status) in
        [(long_target, 414), (long_field, 431), (many_fields, 431), (long_name, 404)]
    {
        let mut client = Client::connect(target);
        client.send(request);
        assert_eq!(client.response().status, status);
        if status > 404 {
            client.expect_end();
        }
    }
}

fn check(target: &Target, &(request, status, fields, body, after): &Case) {
    let mut client = Client::connect(target);
    client.send(request);
    let response = client.response();
    assert_eq!(response.status, status, "{request:?}: {response:?}");
    for field in fields {
        if let Some(name) = field.strip_prefix('!') {
            assert_eq!(response.field(name), None, "{request:?}: {response:?}");
        } else {
            let (name, value) = field.split_once(": ").unwrap();
            assert_eq!(response.field(name), Some(value), "{request:?}: {response:?}");
        }
    }
    assert_eq!(response.field("server"), Some("pagewire"));
    assert!(response.field("date").is_some_and(|date| date.ends_with(" GMT")));
    let text = String::from_utf8_lossy(&response.body);
    match body.strip_prefix('=') {
        Some(whole) => assert_eq!(text, whole, "{request:?}"),
        None => assert!(text.starts_with(body), "{request:?}: {text}"),
    }
    match after {
        Ends => client.expect_end(),
        GoesOn => {
            client.get("/letters.txt");
            assert_eq!(client.response().body, b"abcdefghijklmnopqrstuvwxyz", "after {request:?}");
        }
    }
}

fn conditional_requests(target: &Target) {
    let first = fetch(target, "/letters.txt");
    let etag = first.field("etag").unwrap();
    let date = first.field("last-modified").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2, "a strong tag: {etag}");
    let mut client = Client::connect(target);
    let mut ask = |fields: &str, status| {
        client.send(format!("GET /letters.txt HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!(response.status, status, "{fields}");
        assert_eq!(response.field("etag").is_some(), status != 412, "{fields}");
        if status == 200 {
            assert_eq!(response.body, first.body);
        }
        response
    };
    let early = "Sun, 06 Nov 1994 08:49:37 GMT";
    ask(&format!("If-None-Match: {etag}\r\n"), 304);
    ask(&format!("If-None-Match: W/{etag}, \"x\"\r\n"), 304);
    ask(&format!("If-Modified-Since: {date}\r\n"), 304);
    ask(&format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"), 200);
    ask(&format!("If-None-Match: {etag}\r\nIf-Modified-Since: {early}\r\n"), 304);
    ask(&format!("If-None-Match: {etag}\r\nRange: bytes=0-1\r\n"), 304);
    ask(&format!("If-Match: {etag}\r\nIf-Unmodified-Since: {early}\r\n"), 200);
    ask(&format!("If-Match: W/{etag}\r\n"), 412);
    ask(&format!("If-Unmodified-Since: {date}\r\n"), 200);
    let part = ask(&format!("If-Range: {etag}\r\nRange: bytes=1-2\r\n"), 206);
    assert_eq!(part.body, b"bc");
    ask(&format!("If-Range: {date}\r\nRange: bytes=1-2\r\n"), 206);
    ask(&format!("If-Range: W/{etag}\r\nRange: bytes=1-2\r\n"), 200);
    ask(&format!("If-Range: {early}\r\nRange: bytes=1-2\r\n"), 200);
}

fn head_equals_get(target: &Target) {
    let paths = [
        "/",
        "/letters.txt",
        "/empty.txt",
        "/large.bin",
        "/sparse.bin",
        "/dir",
        "/bare/",
        "/nothing",
        "/%00",
    ];
    let mut client = Client::connect(target);
    for path in paths {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.response_to(Content::Omitted);
        if path == "/sparse.bin" {
            assert_eq!(head.field("content-length"), Some(&*crate::target::SPARSE.to_string()));
            continue;
        }
        client.get(path);
        let get = client.response();
        let without_date = |fields: &[(String, String)]| -> Vec<_> {
            fields.iter().filter(|(name, _)| name != "Date").cloned().collect()
        };
        assert_eq!(
            (head.status, without_date(&head.fields)),
            (get.status, without_date(&get.fields))
        );
    }
    client.send("HEAD /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n");
    let head = client.response_to(Content::Omitted);
    assert_eq!((head.status, head.field("content-length")), (200, Some("26")));
}
