//! Answering takes nothing from the allocator once files are known and buffers have grown.
//!
//! The allocator of this program counts what the one thread of its one test asks for.

#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs, thread,
    time::{Duration, SystemTime},
};

use pagewire::{
    content::{CacheLimits, Catalogue, Content},
    http::Limits,
    service::{Afterwards, Asked, Reply, Service, Step},
    site::config::{CorsConfig, OneOrMore, RedirectConfig, RuleConfig, SiteConfig},
};
use pagewire_driver::{Instant, Waker};
use pagewire_stack::{ConnectionId, DiskPool, Part};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed to the system's allocator as it came; counting touches nothing of it, and a
// `Cell` in a constant-initialized thread local does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` gave out what `System` gave.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`, and `alloc` gave out what `System` gave.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ID: ConnectionId = ConnectionId { slot: 0, generation: 0 };

fn step(service: &mut Service, request: &str, reply: &mut Reply) -> Step {
    let asked = Asked { id: ID, now: Instant::ZERO, found: None, afterwards: Afterwards::GoOn };
    let step = service.step(request.as_bytes(), &asked, reply);
    // As a transport does: the buffer comes back when it is sent.
    for part in reply.parts.drain(..) {
        if let Part::Bytes(mut bytes) = part {
            bytes.clear();
            reply.head = bytes;
        }
    }
    step
}

fn serve(directory: &std::path::Path) -> Service {
    fs::write(directory.join("a.css"), "body {}").unwrap();
    fs::write(directory.join("a.css.br"), "br").unwrap();
    fs::write(directory.join("large"), vec![b'x'; 1 << 20]).unwrap();
    fs::create_dir(directory.join("dir")).unwrap();
    let rules = vec![
        RuleConfig {
            cors: Some(CorsConfig { origins: vec!["https://x".into()], ..CorsConfig::default() }),
            cache_control: Some("no-cache".into()),
            ..RuleConfig::default()
        },
        RuleConfig {
            path: OneOrMore::One("/old/".into()),
            redirect: Some(RedirectConfig { to: "/new/{rest}".into(), status: 301 }),
            ..RuleConfig::default()
        },
    ];
    let site = SiteConfig {
        names: vec!["a.test".into(), "*.b.test".into()],
        default: true,
        rules,
        ..SiteConfig::of_directory(directory)
    };
    let catalogue = Catalogue::open(&[site]).unwrap().into();
    let helpers = DiskPool::start(1, 64).unwrap();
    let content = Content::new(catalogue, helpers, CacheLimits::default(), Waker::new().unwrap());
    Service::new(content, Limits::default(), Instant::ZERO, SystemTime::now())
}

#[test]
fn answers_allocate_nothing_in_the_long_run() {
    let directory = tempfile::tempdir().unwrap();
    let mut service = serve(directory.path());
    let mut reply = Reply::default();
    let get = |path: &str, fields: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: www.b.test:80\r\nUser-Agent: test\r\n{fields}\r\n")
    };
    let requests = [
        (200, get("/a.css", "")),
        (200, get("/a.css", "Accept-Encoding: gzip, br;q=0.9, *;q=0.1\r\n")),
        (200, get("/a.css", "Origin: https://x\r\n")),
        (304, get("/a.css", "If-None-Match: *\r\n")),
        (206, get("/large", "Range: bytes=5-\r\n")),
        (416, get("/large", "Range: bytes=9999999-\r\n")),
        (412, get("/large", "If-Match: \"x\"\r\n")),
        (304, get("/large", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n")),
        (301, get("/dir?x", "")),
        (301, get("/old/x%20y", "")),
        (403, get("/dir/", "")),
        (404, get("/nothing", "")),
        (400, get("/%zz", "")),
        (200, get("//a%2ecss", "")),
        (200, get("/large", "").replace("GET", "HEAD")),
        (204, get("/large", "").replace("GET", "OPTIONS")),
        (405, get("/large", "").replace("GET", "POST")),
        (400, get("/large", "Broken\r\n")),
    ];
    // What is asked for again in the same second is put together then.
    for (_, request) in requests.iter().chain(&requests) {
        while step(&mut service, request, &mut reply) == Step::Waiting {
            while service.content().answered().is_none() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    for (expected, request) in &requests {
        let before = COUNT.with(Cell::get);
        for _ in 0..100 {
            let Step::Answered { status, .. } = step(&mut service, request, &mut reply) else {
                panic!("{request} is not answered");
            };
            assert_eq!(status.code(), *expected, "{request}");
        }
        let allocations = COUNT.with(Cell::get) - before;
        assert_eq!(allocations, 0, "by 100 times {request}");
    }
}
