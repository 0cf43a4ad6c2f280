//! RFC 9110 §9: methods, and §10.1.1: expectations.

use super::{
    After::{Ends, GoesOn},
    Asked::{Get, Raw},
    Case, LETTERS,
};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    ("9110 §9.3.1", Get("/letters.txt", ""), 200, &[], LETTERS, GoesOn),
    ("9110 §9.3.2", Raw("HEAD /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n"), 200, &["content-length: 26", "content-type: text/plain; charset=utf-8"], "", GoesOn),
    ("9110 §9.3.2", Raw("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n"), 404, &["content-length: 28"], "", GoesOn),
    ("9110 §9.3.2", Raw("HEAD /dir HTTP/1.1\r\nHost: a\r\n\r\n"), 301, &["location: /dir/"], "", GoesOn),
    ("9110 §9.3.2", Raw("HEAD /empty.txt HTTP/1.1\r\nHost: a\r\n\r\n"), 200, &["content-length: 0"], "", GoesOn),
    ("9110 §9.3.3", Raw("POST /letters.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"), 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("9110 §9.3.3", Raw("POST /nothing HTTP/1.1\r\nHost: a\r\n\r\n"), 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("9110 §9.3.4", Raw("PUT /letters.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("9110 §9.3.5", Raw("DELETE /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n"), 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("9110 §9.3.6", Raw("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("9110 §9.3.6", Raw("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), 400, &[], "400", Ends),
    ("9110 §9.3.7", Raw("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 204, &["allow: GET, HEAD, OPTIONS", "!content-length", "!content-type"], "=", GoesOn),
    ("9110 §9.3.7", Raw("OPTIONS /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n"), 204, &["allow: GET, HEAD, OPTIONS"], "=", GoesOn),
    ("9110 §9.3.7", Raw("OPTIONS /dir HTTP/1.1\r\nHost: a\r\n\r\n"), 204, &["allow: GET, HEAD, OPTIONS"], "=", GoesOn),
    ("9110 §9.3.7", Raw("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n"), 204, &[], "=", GoesOn),
    ("9110 §9.3.7", Raw("OPTIONS /nothing HTTP/1.1\r\nHost: a\r\n\r\n"), 404, &[], "404", GoesOn),
    ("9110 §9.3.7", Raw("OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"), 204, &[], "=", GoesOn),
    ("9110 §9.3.7", Raw("OPTIONS a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), 400, &[], "400", Ends),
    ("9110 §9.3.8", Raw("TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n"), 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("5789 §2", Raw("PATCH /letters.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"), 405, &["allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("9110 §15.6.2", Raw("BREW / HTTP/1.1\r\nHost: a\r\n\r\n"), 501, &["!allow"], "501", GoesOn),
    ("9110 §15.6.2", Raw("GETS / HTTP/1.1\r\nHost: a\r\n\r\n"), 501, &[], "501", GoesOn),
    ("4918 §9.1", Raw("PROPFIND / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n<a/>"), 501, &[], "501", GoesOn),
    // Expectations.
    ("9110 §10.1.1", Raw("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"), 405, &["connection: close"], "405", Ends),
    ("9110 §10.1.1", Raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n"), 405, &["connection: close"], "405", Ends),
    ("9110 §10.1.1", Raw("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"), 405, &["!connection"], "405", GoesOn),
    ("9110 §10.1.1", Get("/letters.txt", "Expect: 100-continue"), 200, &[], LETTERS, GoesOn),
    ("9110 §10.1.1", Raw("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"), 413, &["connection: close"], "413", Ends),
    ("9110 §10.1.1", Get("/", "Expect: tea"), 417, &[], "417", Ends),
    ("9110 §10.1.1", Raw("GET /letters.txt HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), 200, &[], LETTERS, Ends),
    ("9110 §10.1.1", Raw("GET /letters.txt HTTP/1.0\r\nExpect: tea\r\n\r\n"), 200, &[], LETTERS, Ends),
];
