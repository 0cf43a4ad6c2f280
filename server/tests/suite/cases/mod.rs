//! Raw requests and what must come back: tables by topic, each case with the section that asks for it.

mod conditions;
mod contents;
mod messages;
mod methods;
mod negotiation;
mod paths;
mod ranges;
mod rules;
mod targets;

use pagewire::http::{Limits, Parsed, parse};

use crate::{
    Check,
    client::{Client, Content, Response},
    target::Target,
};

pub const CHECKS: &[Check] = &[
    ("RFC 9112 messages", |target| run(target, messages::CASES)),
    ("RFC 9112 targets and hosts", |target| run(target, targets::CASES)),
    ("RFC 9112 content of requests", |target| run(target, contents::CASES)),
    ("RFC 9110 methods", |target| run(target, methods::CASES)),
    ("RFC 9110 conditions", |target| run(target, conditions::CASES)),
    ("RFC 9110 ranges", |target| run(target, ranges::CASES)),
    ("RFC 9110 negotiation", |target| run(target, negotiation::CASES)),
    ("RFC 3986 paths", |target| run(target, paths::CASES)),
    ("rules of a site", |target| run(target, rules::CASES)),
    ("requests that are too large are refused by what is too large", too_large),
    ("requests that are large are answered", large_enough),
    ("parts of a multipart response are what was asked for", parts),
    ("HEAD equals the head of GET", head_equals_get),
];

/// All that is asked there.
const TABLES: [&[Case]; 9] = [
    messages::CASES,
    targets::CASES,
    contents::CASES,
    methods::CASES,
    conditions::CASES,
    ranges::CASES,
    negotiation::CASES,
    paths::CASES,
    rules::CASES,
];

/// What becomes of the connection afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    GoesOn,
    Ends,
}
use After::{Ends, GoesOn};

/// A request.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// These bytes, as characters of Latin-1 or more.
    Raw(&'static str),
    /// A GET of a path with fields, which are separated by bars.
    Get(&'static str, &'static str),
    /// The same from the site that has rules.
    Site(&'static str, &'static str),
}
use Asked::{Get, Raw, Site};

/// Where it says so; a request; the status; fields that must be there (`name: value`, or `*` for any) or must
/// not (`!name`); what the content is (`=text`) or starts with; and what becomes of the connection. In
/// fields, `{name}` stands for an entity tag of [`Tags`].
type Case = (&'static str, Asked, u16, &'static [&'static str], &'static str, After);

const LETTERS: &str = "=abcdefghijklmnopqrstuvwxyz";

/// Entity tags that cases refer to.
struct Tags(Vec<(&'static str, String)>);

impl Tags {
    fn fetch(target: &Target) -> Self {
        let mut client = Client::connect(target);
        let files = [
            ("{etag}", Get("/letters.txt", "")),
            ("{weak}", Site("/weak/x.txt", "")),
            ("{gzip}", Site("/app.css", "Accept-Encoding: gzip")),
        ];
        let mut tag = |asked: Asked| {
            client.send(asked.text());
            client.response().field("etag").unwrap().to_owned()
        };
        let tags: Vec<_> = files.into_iter().map(|(name, asked)| (name, tag(asked))).collect();
        assert!(tags[0].1.starts_with('"') && tags[0].1.ends_with('"') && tags[0].1.len() > 2);
        assert!(tags[1].1.starts_with("W/\""));
        Self(tags)
    }

    fn put_into(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, tag)| text.replace(name, tag))
    }
}

impl Asked {
    fn text(self) -> String {
        let get = |path: &str, host: &str, fields: &str| {
            let fields: Vec<_> = fields.split('|').filter(|it| !it.is_empty()).collect();
            let fields = fields.iter().flat_map(|field| [field, "\r\n"]).collect::<String>();
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
        };
        match self {
            Raw(text) => text.to_owned(),
            Get(path, fields) => get(path, "a", fields),
            Site(path, fields) => get(path, "ruled.test", fields),
        }
    }
}

fn run(target: &Target, cases: &[Case]) {
    let tags = Tags::fetch(target);
    for case in cases {
        let request = tags.put_into(&case.1.text());
        check(target, case, &request, &tags);
        if case.2 == 400 && case.5 == Ends {
            // Nothing behind what is malformed is taken for a request.
            let more = request + "GET /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n";
            check(target, case, &more, &tags);
        }
    }
}

fn check(target: &Target, case: &Case, request: &str, tags: &Tags) {
    let (section, _, status, fields, body, after) = *case;
    let mut client = Client::connect(target);
    client.send(request);
    let content = if request.starts_with("HEAD") { Content::Omitted } else { Content::Follows };
    let response = client.response_to(content);
    let what = format!("{section}: {request:?}: {response:?}");
    assert_eq!(response.status, status, "{what}");
    check_fields(&response, fields, tags, &what);
    let text = String::from_utf8_lossy(&response.body);
    match body.strip_prefix('=') {
        Some(whole) => assert_eq!(text, whole, "{what}"),
        None => assert!(text.starts_with(body), "{what}"),
    }
    match after {
        Ends => client.expect_end(),
        GoesOn => {
            client.get("/letters.txt");
            assert_eq!(client.response().body, b"abcdefghijklmnopqrstuvwxyz", "after {what}");
        }
    }
}

fn check_fields(response: &Response, fields: &[&str], tags: &Tags, what: &str) {
    for field in fields {
        if let Some(name) = field.strip_prefix('!') {
            assert_eq!(response.field(name), None, "{what}");
            continue;
        }
        let (name, value) = field.split_once(": ").unwrap();
        match value {
            "*" => assert!(response.field(name).is_some(), "{name} of {what}"),
            value => assert_eq!(response.field(name), Some(&*tags.put_into(value)), "{what}"),
        }
    }
    if !fields.contains(&"!server") {
        assert_eq!(response.field("server"), Some("pagewire"), "{what}");
    }
    let date = response.field("date");
    assert!(date.is_some_and(|date| date.len() == 29 && date.ends_with(" GMT")), "{what}");
}

fn too_large(target: &Target) {
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

/// RFC 9112 §3 recommends room for 8,000 bytes in the first line; what browsers add is beside that.
fn large_enough(target: &Target) {
    let fill = |len: usize| "a".repeat(len);
    let fields = format!("Host: a\r\nUser-Agent: {}\r\nCookie: {}", fill(200), fill(4_000));
    let line = |path: &str| format!("GET {path}?{} HTTP/1.1", fill(7_984 - path.len()));
    let many = "\r\nX: y".repeat(120);
    let requests = [
        format!("{}\r\n{fields}\r\n\r\n", line("/letters.txt")),
        format!("GET /letters.txt HTTP/1.1\r\nHost: a{many}\r\n\r\n"),
        format!("GET /letters.txt HTTP/1.1\r\nHost: a\r\n{}: {}\r\n\r\n", fill(4_000), fill(4_000)),
    ];
    let mut client = Client::connect(target);
    for request in requests {
        client.send(&request);
        assert_eq!(client.response().status, 200, "{request}");
    }
}

/// A request that comes in pieces reads as one that comes whole: a part of it decides nothing, or what stays.
#[test]
fn no_part_of_a_request_reads_as_something_else() {
    let all = TABLES.into_iter().flatten().map(|case| case.1.text());
    // What comes before the content is answered at once then.
    for text in all.filter(|text| !text.contains("Expect:")) {
        let (bytes, limits) = (text.as_bytes(), Limits::default());
        let whole = parse(bytes, &limits);
        assert_ne!(whole, Parsed::Partial, "{text:?}");
        for len in 0..bytes.len() {
            let part = parse(&bytes[..len], &limits);
            assert!(part == Parsed::Partial || part == whole, "{len} bytes of {text:?}: {part:?}");
        }
    }
}

fn parts(target: &Target) {
    let ask = |path: &str, ranges: &str| {
        let mut client = Client::connect(target);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes={ranges}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 206, "{ranges}");
        let multipart = response.field("content-type").unwrap();
        let boundary = multipart.strip_prefix("multipart/byteranges; boundary=").unwrap();
        split(&response.body, boundary)
    };
    let text = |first: usize, last: usize| {
        let head = format!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {first}-{last}/26"
        );
        (head, (b'a' + first as u8..=b'a' + last as u8).collect::<Vec<_>>())
    };
    assert_eq!(ask("/letters.txt", "0-0,-1"), [text(0, 0), text(25, 25)]);
    assert_eq!(ask("/letters.txt", "20-21,4-6,0-1,5-8"), [text(20, 21), text(4, 8), text(0, 1)]);

    let whole = crate::target::pattern(crate::target::LARGE);
    let ranges = [(0, 99_999), (1_000_000, 1_448_000), (3_000_000, 3_000_000)];
    let asked: Vec<_> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    for ((head, body), (first, last)) in ask("/large.bin", &asked.join(",")).iter().zip(ranges) {
        assert!(head.ends_with(&format!("bytes {first}-{last}/{}", whole.len())), "{head}");
        assert!(*body == whole[first..=last], "{head}");
    }
}

/// The parts of a multipart body (RFC 2046 §5.1): head and content of each.
fn split(body: &[u8], boundary: &str) -> Vec<(String, Vec<u8>)> {
    let delimiter = format!("\r\n--{boundary}");
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|it| it == what);
    let mut rest = body.strip_prefix(delimiter.as_bytes()).expect("a delimiter at the front");
    let mut parts = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head = find(part, b"\r\n\r\n").expect("a head");
        let end = find(part, delimiter.as_bytes()).expect("a delimiter");
        let text = String::from_utf8(part[..head].to_vec()).unwrap();
        parts.push((text, part[head + 4..end].to_vec()));
        rest = &part[end + delimiter.len()..];
    }
    assert_eq!(rest, b"--\r\n", "the end");
    parts
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
