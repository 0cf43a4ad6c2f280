//! Connections over time: pipelining, fragments, half-closes, deadlines, large files.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Check,
    client::{Client, Content, Response, fetch},
    target::{
        HEAD_TIMEOUT, IDLE_TIMEOUT, LARGE, SPARSE, SPARSE_TEXT, SPARSE_TEXT_AT, Target, pattern,
    },
};

pub const CHECKS: &[Check] = &[
    ("pipelined requests are answered in order", pipelining),
    ("responses of all kinds keep apart", all_kinds),
    ("a request may come byte by byte", byte_by_byte),
    ("a request may be cut anywhere", cut_anywhere),
    ("requests before a half-close are answered", half_close),
    ("a half-close within a request ends the connection", half_close_within_a_request),
    ("files of every size around a boundary are whole", sizes),
    ("any range of a large file is right", ranges_of_a_large_file),
    ("a file beyond 4 GiB is served at its far end", beyond_four_gibibytes),
];

pub const DEADLINES: &[Check] = &[
    ("an empty line between requests begins none", empty_line),
    ("a slow head gets 408", slow_head),
    ("a drip of header fields gets 408", drip),
    ("an idle connection ends in order", idle),
];

fn pipelining(target: &Target) {
    let mut client = Client::connect(target);
    let round = ["/letters.txt", "/nothing", "/size/16385", "/dir", "/size/1448"];
    let request = |path: &&str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(round.iter().cycle().take(200).map(request).collect::<String>());
    for path in round.iter().cycle().take(200) {
        let response = client.response();
        match *path {
            "/letters.txt" => assert_eq!(response.body.len(), 26),
            "/nothing" => assert_eq!(response.status, 404),
            "/dir" => assert_eq!(response.status, 301),
            sized => {
                let size = sized.rsplit('/').next().unwrap().parse().unwrap();
                assert_eq!(response.body, pattern(size));
            }
        }
    }
    // A request to close hides those behind it.
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /letters.txt HTTP/1.1\r\n",
    );
    assert_eq!(client.response().status, 200);
    client.expect_end();
}

/// Requests after which the connection goes on: what each is answered must not run into the next answer.
const KINDS: [&str; 18] = [
    "GET /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\"\r\nIf-None-Match: *\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=2-5\r\n\r\n",
    "GET /letters.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=26-\r\n\r\n",
    "HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /letters.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\nGET /dir HTTP/1.1\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;a=\"b\"\r\nGET \r\n0\r\nX: y\r\n\r\n",
    "BREW /letters.txt HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /dir HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /dir?x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /letters.txt HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\n",
    "GET /empty.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "GET /x/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /size/65536 HTTP/1.2\r\nHost: a\r\n\r\n",
    "HEAD /app.css HTTP/1.1\r\nHost: ruled.test\r\nAccept-Encoding: br;q=0\r\nAccept-Encoding: gzip\r\n\r\n",
];

/// The next response, without its date.
fn answer(client: &mut Client, request: &str) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let is_head = request.starts_with("HEAD");
    let content = if is_head { Content::Omitted } else { Content::Follows };
    let Response { status, mut fields, body } = client.response_to(content);
    fields.retain(|(name, _)| name != "Date");
    (status, fields, body)
}

fn all_kinds(target: &Target) {
    let alone: Vec<_> = KINDS
        .iter()
        .map(|request| {
            let mut client = Client::connect(target);
            client.send(request);
            answer(&mut client, request)
        })
        .collect();
    let mut client = Client::connect(target);
    // Each behind each.
    let pairs =
        (0..KINDS.len()).flat_map(|one| (0..KINDS.len()).flat_map(move |other| [one, other]));
    let order: Vec<_> = pairs.collect();
    for some in order.chunks(24) {
        client.send(some.iter().map(|&kind| KINDS[kind]).collect::<String>());
        for &kind in some {
            let response = answer(&mut client, KINDS[kind]);
            assert!(response == alone[kind], "{}: {:?}", KINDS[kind], response.1);
        }
    }
}

fn cut_anywhere(target: &Target) {
    let mut client = Client::connect(target);
    for request in KINDS {
        client.send(request);
        let whole = answer(&mut client, request);
        for at in 1..request.len() {
            client.send(&request[..at]);
            thread::sleep(Duration::from_millis(1));
            client.send(&request[at..]);
            assert!(answer(&mut client, request) == whole, "{request:?} cut at {at}");
        }
    }
}

/// RFC 9112 §2.2: some clients send one behind their content.
fn empty_line(target: &Target) {
    let mut client = Client::connect(target);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n");
    assert_eq!(client.response().status, 405);
    client.expect_silence(HEAD_TIMEOUT * 2);
    client.send("\r").expect_silence(HEAD_TIMEOUT / 4);
    client.send("\n").expect_silence(HEAD_TIMEOUT * 3 / 2);
    client.get("/letters.txt");
    assert_eq!(client.response().status, 200);
}

fn byte_by_byte(target: &Target) {
    let mut client = Client::connect(target);
    let request = b"GET /letters.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy";
    for byte in request {
        client.send([*byte]);
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(client.response().body.len(), 26);
    client.get("/");
    assert_eq!(client.response().status, 200);
}

fn half_close(target: &Target) {
    let mut client = Client::connect(target);
    client.get("/large.bin").get("/letters.txt");
    client.shut_down_sending();
    assert_eq!(client.response().body, pattern(LARGE));
    assert_eq!(client.response().body.len(), 26);
    client.expect_end();
}

fn half_close_within_a_request(target: &Target) {
    let mut client = Client::connect(target);
    client.get("/letters.txt").send("GET / HT");
    client.shut_down_sending();
    assert_eq!(client.response().status, 200);
    client.expect_end();
    let mut silent = Client::connect(target);
    silent.shut_down_sending();
    silent.expect_end();
}

fn sizes(target: &Target) {
    let mut client = Client::connect(target);
    for size in [1, 1_447, 1_448, 1_449, 4_096, 16_384, 16_385, 65_535, 65_536, 100_000] {
        client.get(&format!("/size/{size}"));
        assert_eq!(client.response().body, pattern(size), "{size}");
    }
}

fn ranges_of_a_large_file(target: &Target) {
    let whole = pattern(LARGE);
    let mut client = Client::connect(target);
    // A walk over offsets that meet no boundary twice.
    let mut at = 1usize;
    for _ in 0..60 {
        at = (at * 1_103_515 + 12_345) % LARGE;
        let len = (at * 7 % 70_000).min(LARGE - at).max(1);
        let last = at + len - 1;
        client.send(format!(
            "GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes={at}-{last}\r\n\r\n"
        ));
        let response = client.response();
        let range = format!("bytes {at}-{last}/{LARGE}");
        assert_eq!((response.status, response.field("content-range")), (206, Some(&*range)));
        assert!(response.body == whole[at..=last], "{range}");
    }
}

fn beyond_four_gibibytes(target: &Target) {
    let mut client = Client::connect(target);
    let mut part = |range: String| {
        client.send(format!("GET /sparse.bin HTTP/1.1\r\nHost: a\r\nRange: bytes={range}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 206);
        response
    };
    let (first, last) = (SPARSE_TEXT_AT, SPARSE_TEXT_AT + SPARSE_TEXT.len() as u64 - 1);
    let text = part(format!("{first}-{last}"));
    assert_eq!(text.body, SPARSE_TEXT);
    let range = format!("bytes {first}-{last}/{SPARSE}");
    assert_eq!(text.field("content-range"), Some(&*range));
    let around = part(format!("{}-{}", first - 100_000, last + 100_000));
    assert_eq!(&around.body[100_000..100_000 + SPARSE_TEXT.len()], SPARSE_TEXT);
    assert!(around.body[..100_000].iter().all(|byte| *byte == 0));
    assert_eq!(part("-10".to_owned()).body, [0; 10]);
    assert_eq!(part(format!("{}-", SPARSE - 1)).body, [0]);
}

fn slow_head(target: &Target) {
    let mut client = Client::connect(target);
    client.get("/letters.txt");
    assert_eq!(client.response().status, 200);
    let start = Instant::now();
    client.send("GET /letters.txt HTTP/1.1\r\nHost:");
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    client.expect_end();
    let took = start.elapsed();
    assert!(took >= HEAD_TIMEOUT && took < HEAD_TIMEOUT * 3, "{took:?}");
}

fn drip(target: &Target) {
    let mut client = Client::connect(target);
    client.send("GET / HTTP/1.1\r\n");
    let start = Instant::now();
    for number in 0.. {
        if start.elapsed() > HEAD_TIMEOUT * 4 / 5 {
            break;
        }
        client.send(format!("X-{number}: y\r\n"));
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(client.response().status, 408);
    client.expect_end();
}

fn idle(target: &Target) {
    let mut client = Client::connect(target);
    client.get("/letters.txt");
    assert_eq!(client.response().status, 200);
    client.expect_silence(IDLE_TIMEOUT / 2);
    client.get("/letters.txt");
    assert_eq!(client.response().status, 200);
    let start = Instant::now();
    client.expect_end();
    let took = start.elapsed();
    assert!(took > IDLE_TIMEOUT * 3 / 4 && took < IDLE_TIMEOUT * 2, "{took:?}");
    assert_eq!(fetch(target, "/").status, 200);
}
