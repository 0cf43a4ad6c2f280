//! Requests, well-formed and not, and what the parser makes of them.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { head_bytes: 1024, body_bytes: 64 };

/// What became of a request, in a form short enough for a table.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Method, path, query, and whether the connection goes on.
    Taken(Method, &'static str, &'static str, bool),
    Partial,
    Refused(u16),
}

fn outcome(bytes: &'static [u8]) -> Outcome {
    match parse(bytes, &LIMITS) {
        Parsed::Partial => Outcome::Partial,
        Parsed::Invalid(status) => Outcome::Refused(status.code()),
        Parsed::Complete(request) => {
            assert_eq!(request.consumed, bytes.len(), "{}", bytes.escape_ascii());
            Outcome::Taken(
                request.method,
                std::str::from_utf8(request.path).unwrap(),
                std::str::from_utf8(request.query).unwrap(),
                request.keep_alive,
            )
        }
    }
}

fn check(cases: &[(&'static [u8], Outcome)]) {
    for (bytes, expected) in cases {
        assert_eq!(&outcome(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn requests_are_understood() {
    use Method::{Get, Head, NotAllowed, Options, Unknown};
    use Outcome::Taken;
    check(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Get, "/", "", true)),
        (b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Head, "/x", "", true)),
        (b"GET /x?y=1?z HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Get, "/x", "?y=1?z", true)),
        (b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Get, "/", "?", true)),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nhOST:a\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Taken(Get, "/", "", false)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", Taken(Get, "/", "", false)),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
            Taken(Get, "/", "", false),
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n",
            Taken(Get, "/", "", false),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.0\r\n\r\n", Taken(Get, "/", "", false)),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Taken(Get, "/", "", false)),
        (b"GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n", Taken(Get, "/x", "", true)),
        (b"GET HTTP://a:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Get, "/x", "?y", true)),
        (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Get, "/", "?q", true)),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", Taken(NotAllowed, "/", "", true)),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Options, "", "", true)),
        (b"OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Options, "/x", "", true)),
        (b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Options, "/", "", true)),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", Taken(NotAllowed, "", "", true)),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Unknown, "/", "", true)),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", Taken(Unknown, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", Taken(Get, "/", "", true)),
    ]);
}

#[test]
fn content_is_skipped() {
    use Method::{Get, NotAllowed};
    use Outcome::{Partial, Refused, Taken};
    check(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", Taken(Get, "/", "", true)),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:3\r\n\r\nabc",
            Taken(NotAllowed, "/", "", true),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", Partial),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 65\r\n\r\n", Refused(413)),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            Taken(Get, "/", "", true),
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
            Taken(Get, "/", "", true),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", Partial),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Refused(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", Refused(413)),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            Taken(NotAllowed, "/", "", false),
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
            Taken(NotAllowed, "/", "", true),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", Refused(417)),
        (b"GET / HTTP/1.0\r\nExpect: tea\r\n\r\n", Taken(Get, "/", "", false)),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nExpect: ,100-continue\r\nexpect:100-continue\r\n\r\n",
            Taken(Get, "/", "", true),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: tea\r\n\r\n", Refused(417)),
    ]);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let bad: &[&'static [u8]] = &[
        // Two answers to where the content ends.
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: one\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Two answers to where a line ends.
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tfolded\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        // Two answers to what a name is.
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: nul\x00\r\n\r\n",
        // Host.
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1%25lo]\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [192.0.2.1]\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: %4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n",
        // The request line.
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/11\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n",
        b"GET / ICY/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n",
        b"GET / \r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ];
    for bytes in bad {
        assert_eq!(outcome(bytes), Outcome::Refused(400), "{}", bytes.escape_ascii());
    }
}

#[test]
fn other_versions_and_codings_are_named() {
    use Method::Get;
    use Outcome::{Partial, Refused, Taken};
    check(&[
        // A later minor version is taken for the last that there is.
        (b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", Taken(Get, "/x", "", true)),
        (b"\r\nGET / HTTP/1.9\r\nhost: a\r\nConnection: close\r\n\r\n", Taken(Get, "/", "", false)),
        (b"GET / HTTP/1.2\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", Taken(Get, "/", "", true)),
        (b"GET / HTTP/1.2\r\nHost: a\r\n", Partial),
        (b"GET / HTTP/1.2\r", Partial),
        (b"GET / HTTP/1.2\r\n\r\n", Refused(400)),
        (b"GET / HTTP/1.2\nHost: a\r\n\r\n", Refused(400)),
        (b"GET / HTTP/1.2\r\nHost: a\n\r\n", Refused(400)),
        (b"GET / HTTP/1.2\r\nHost: a\r\n b\r\n\r\n", Refused(400)),
        (b"GET / HTTP/1.2\r\nHost : a\r\n\r\n", Refused(400)),
        (b"\nGET / HTTP/1.2\r\nHost: a\r\n\r\n", Refused(400)),
        (b"GET / HTTP/1.2 \r\nHost: a\r\n\r\n", Refused(400)),
        (b"GET / HTTP/1.2\r x\nHost: a\r\n\r\n", Refused(400)),
        (b"GET / HTTP/1.20\r\nHost: a\r\n\r\n", Refused(400)),
        (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(421)),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Outcome::Refused(505)),
        (b"GET / HTTP/0.9\r\n\r\n", Outcome::Refused(505)),
        (b"GET / HTTP/3.1\r\n\r\n", Outcome::Refused(505)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Outcome::Refused(505)),
        (b"GET / HTTP/2.", Outcome::Partial),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Outcome::Refused(501),
        ),
    ]);
}

#[test]
fn every_prefix_of_a_request_is_partial() {
    let whole: &[u8] =
        b"GET /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nRange: bytes=0-\r\n\r\nxy";
    for len in 0..whole.len() {
        assert_eq!(parse(&whole[..len], &LIMITS), Parsed::Partial, "{len}");
    }
    assert!(matches!(parse(whole, &LIMITS), Parsed::Complete(_)));
}

#[test]
fn only_the_first_of_several_requests_is_consumed() {
    let one: &[u8] = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = [one, b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let Parsed::Complete(request) = parse(&bytes, &LIMITS) else { panic!() };
    assert_eq!((request.consumed, request.path), (one.len(), b"/1".as_slice()));
}

#[test]
fn oversized_heads_are_blamed_on_line_or_fields() {
    let long_line = [b"GET /".as_slice(), &[b'a'; 1100], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(parse(&long_line, &LIMITS), Parsed::Invalid(Status::UriTooLong));
    assert_eq!(parse(&long_line[..1024], &LIMITS), Parsed::Invalid(Status::UriTooLong));
    assert_eq!(parse(&long_line[..1023], &LIMITS), Parsed::Partial);

    let long_field =
        [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".as_slice(), &[b'a'; 1100], b"\r\n\r\n"].concat();
    assert_eq!(parse(&long_field, &LIMITS), Parsed::Invalid(Status::HeadersTooLarge));
    assert_eq!(parse(&long_field[..1024], &LIMITS), Parsed::Invalid(Status::HeadersTooLarge));

    let many_fields =
        [b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(), &b"A:b\r\n".repeat(150), b"\r\n"].concat();
    assert_eq!(parse(&many_fields, &LIMITS), Parsed::Invalid(Status::HeadersTooLarge));

    assert_eq!(parse(&[b'\n'; 2000], &LIMITS), Parsed::Invalid(Status::UriTooLong));
    assert_eq!(parse(&b"\r\n".repeat(600), &LIMITS), Parsed::Invalid(Status::UriTooLong));
}

#[test]
fn fields_are_found_whatever_their_case() {
    let bytes = b"GET / HTTP/1.1\r\nHOST: a\r\nRANGE: bytes=1-\r\nif-NONE-match: \"x\"\r\n\
        If-Modified-Since: d\r\nIF-MATCH: *\r\nIf-range:  y \r\nIf-Unmodified-Since: e\r\n\r\n";
    let Parsed::Complete(request) = parse(bytes, &LIMITS) else { panic!() };
    let expected = Conditions {
        if_match: Field::Once(b"*"),
        if_unmodified_since: Field::Once(b"e"),
        if_none_match: Field::Once(b"\"x\""),
        if_modified_since: Field::Once(b"d"),
        if_range: Field::Once(b"y"),
        range: Field::Once(b"bytes=1-"),
    };
    assert_eq!(request.conditions, expected);
}

#[test]
fn the_values_of_a_repeated_field_are_found() {
    let values = |bytes: &'static [u8]| {
        let Parsed::Complete(request) = parse(bytes, &LIMITS) else { panic!() };
        let field = request.conditions.if_none_match;
        field
            .values("if-none-match")
            .map(|value| String::from_utf8_lossy(value))
            .collect::<Vec<_>>()
    };
    assert_eq!(values(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), [""; 0]);
    assert_eq!(values(b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\"\r\n\r\n"), ["\"x\""]);
    assert_eq!(
        values(
            b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match:\"x\" \r\nIf-None-Matches: n\r\nif-NONE-match: \
              \r\nIf-Match: n\r\nIF-NONE-MATCH:\t*\r\nX: If-None-Match: n\r\n\r\n"
        ),
        ["\"x\"", "", "*"]
    );
}

#[test]
fn the_authority_is_the_targets_or_else_the_hosts() {
    let authority = |bytes: &'static [u8]| match parse(bytes, &LIMITS) {
        Parsed::Complete(request) => std::str::from_utf8(request.authority).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(authority(b"GET / HTTP/1.1\r\nHost: a:81\r\n\r\n"), "a:81");
    assert_eq!(authority(b"GET http://b:82/x HTTP/1.1\r\nHost: a:81\r\n\r\n"), "b:82");
    assert_eq!(authority(b"GET / HTTP/1.0\r\n\r\n"), "");
    assert_eq!(authority(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), "");
}

#[test]
fn preferences_and_origin_are_found() {
    let bytes = b"OPTIONS / HTTP/1.1\r\nHost: a\r\naccept: text/html\r\nACCEPT-ENCODING: br\r\n\
        oRIGIN: https://b\r\nAccess-Control-Request-Method: GET\r\nAccent: x\r\n\r\n";
    let Parsed::Complete(request) = parse(bytes, &LIMITS) else { panic!() };
    let expected =
        Preferences { accept: Field::Once(b"text/html"), accept_encoding: Field::Once(b"br") };
    assert_eq!(request.preferences, expected);
    assert_eq!(
        (request.asker.origin, request.asker.is_preflight),
        (Field::Once(b"https://b"), true)
    );
}

#[test]
fn a_drip_is_parsed_only_where_it_matters() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(worth_parsing(b"G", 0, &LIMITS));
    assert!(!worth_parsing(b"GE", 1, &LIMITS));
    assert!(worth_parsing(&head[..16], 15, &LIMITS));
    assert!(!worth_parsing(&head[..15], 14, &LIMITS), "a CR may end a line");
    assert!(worth_parsing(b"GET / HTTP/1.1\r\nX: a\rb", 21, &LIMITS), "and this one does not");
    assert!(worth_parsing(b"GET / HTTP/1.1\r\nX: a\rb", 20, &LIMITS));
    assert!(!worth_parsing(b"G", 1, &LIMITS));
    assert!(worth_parsing(head, head.len() - 1, &LIMITS));
    assert!(worth_parsing(&[b'a'; 1024], 1023, &LIMITS));
}

proptest! {
    #[test]
    fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, &LIMITS);
    }

    #[test]
    fn near_requests_are_borne_and_never_overrun(
        line in "(GET|HEAD|PUT|X) (/|\\*|http://a/)[a-c%?/]{0,8} HTTP/[012]\\.[019](\r\n|\n|\r)",
        fields in "((Host|Range|Expect|Content-Length|Transfer-Encoding|X)( ?):[ a0-9,=-]{0,6}(chunked)?(\r\n|\n|\r\n ))*",
        end in "(\r\n|\n)?[0-9a-f\r\n]{0,12}",
    ) {
        let bytes = [line, fields, end].concat().into_bytes();
        if let Parsed::Complete(request) = parse(&bytes, &LIMITS) {
            prop_assert!(request.consumed <= bytes.len());
            // A complete request does not depend on what follows it...
            let alone = parse(&bytes[..request.consumed], &LIMITS);
            prop_assert_eq!(alone, Parsed::Complete(request));
            // ...and is not complete before its last byte.
            prop_assert!(!matches!(
                parse(&bytes[..request.consumed - 1], &LIMITS), Parsed::Complete(_)
            ) || request.consumed == 0);
        }
    }

    #[test]
    fn lines_end_as_a_search_for_line_feeds_says(
        start in "(\r\n|\n)?",
        line in "GET / HTTP/1\\.1(\r\n|\n)",
        fields in "((A|Bc): ?[x\r ]{0,3}(\r\n|\n|\r\n ))*",
        end in "(\r\n|\n)",
    ) {
        let bytes = [start, line, fields, end].concat().into_bytes();
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut raw = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(len)) = raw.parse(&bytes) {
            let expected = lines_end_properly(&bytes[..len]);
            prop_assert_eq!(head_lines_end_properly(&bytes[..len], raw.headers), expected);
        }
    }
}
