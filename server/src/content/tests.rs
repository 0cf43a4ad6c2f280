//! A core's view of a real directory, with real helpers and a made-up clock.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use pagewire_driver::{Instant, Waker};
use pagewire_stack::{ConnectionId, DiskPool};
use tempfile::TempDir;

use super::*;
use crate::{
    http::Status,
    site::{
        SiteId,
        config::{RuleConfig, SiteConfig},
    },
};

struct Fixture {
    directory: TempDir,
    content: Content,
}

const fn connection(slot: u32) -> ConnectionId {
    ConnectionId { slot, generation: 0 }
}

/// The key of a path in the first site.
fn full(path: &str) -> Vec<u8> {
    let mut key = Vec::new();
    Catalogue::begin_key(SiteId::default(), &mut key);
    key.extend_from_slice(path.as_bytes());
    key
}

impl Fixture {
    fn new(limits: CacheLimits) -> Self {
        Self::with_rules(limits, "")
    }

    /// With the rules of one site.
    fn with_rules(limits: CacheLimits, rules: &str) -> Self {
        Self::prepared(limits, rules, |_| {})
    }

    fn prepared(limits: CacheLimits, rules: &str, prepare: impl FnOnce(&Path)) -> Self {
        #[derive(serde::Deserialize)]
        struct Document {
            #[serde(default)]
            rule: Vec<RuleConfig>,
        }
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let Document { rule: rules } = toml::from_str(rules).unwrap();
        let site = SiteConfig { rules, ..SiteConfig::of_directory(directory.path()) };
        let catalogue = Arc::new(Catalogue::open(&[site]).unwrap());
        let helpers = DiskPool::start(2, 1024).unwrap();
        let content = Content::new(catalogue, helpers, limits, Waker::new().unwrap());
        Self { directory, content }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn next_answer(&mut self) -> Answered {
        for _ in 0..30_000 {
            if let Some(answered) = self.content.answered() {
                return answered;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("no helper answered");
    }

    /// What `key` leads to, waiting for a helper if need be.
    fn get(&mut self, key: &str, now: Instant) -> Arc<Resource> {
        match self.content.lookup(&full(key), now, connection(0)) {
            Some(found) => Arc::clone(found.resource),
            None => self.next_answer().resource,
        }
    }

    fn describe(&mut self, key: &str) -> String {
        match &*self.get(key, Instant::ZERO) {
            Resource::File(file) => format!("file of {}", file.plain.object.len()),
            Resource::Listing(_) => "listing".to_owned(),
            Resource::Elsewhere(elsewhere) => {
                format!("to {}", String::from_utf8_lossy(&elsewhere.target))
            }
            Resource::Refused(refusal) => refusal.status.code().to_string(),
        }
    }
}

#[test]
fn keys_lead_where_the_directory_says() {
    let mut fixture = Fixture::new(CacheLimits::default());
    fixture.write("a.txt", b"abc");
    fixture.write("empty", b"");
    fixture.write("indexed/index.html", b"index");
    fixture.write("bare/x", b"x");
    fixture.write("odd/index.html/x", b"x");
    fixture.write("no pl\u{e9}ce?", b"1234");
    let base = fixture.directory.path().to_owned();
    symlink("a.txt", base.join("link")).unwrap();
    symlink("../a.txt", base.join("bare/up")).unwrap();
    symlink("indexed", base.join("link-to-directory")).unwrap();
    symlink("/etc/passwd", base.join("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", base.join("climbs")).unwrap();
    symlink("/etc", base.join("etc")).unwrap();
    symlink("loop", base.join("loop")).unwrap();
    symlink("nowhere", base.join("dangling")).unwrap();
    symlink("/proc/self/root/etc/passwd", base.join("magic")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, base.join("fifo"), 0o644.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(base.join("socket")).unwrap();

    let long = "x".repeat(300);
    let deep = "x/".repeat(3000);
    let cases: &[(&str, &str)] = &[
        ("a.txt", "file of 3"),
        ("a.txt/", "404"),
        ("a.txt/b", "404"),
        ("empty", "file of 0"),
        ("no pl\u{e9}ce?", "file of 4"),
        ("indexed", "to /indexed/"),
        ("indexed/", "file of 5"),
        ("indexed/index.html", "file of 5"),
        ("bare", "to /bare/"),
        ("bare/", "403"),
        ("odd/", "403"),
        ("", "403"),
        ("nothing", "404"),
        ("nothing/", "404"),
        ("nothing/at/all", "404"),
        ("link", "file of 3"),
        ("bare/up", "file of 3"),
        ("link-to-directory", "to /link-to-directory/"),
        ("link-to-directory/", "file of 5"),
        ("absolute", "404"),
        ("climbs", "404"),
        ("etc", "404"),
        ("etc/passwd", "404"),
        ("etc/", "404"),
        ("loop", "404"),
        ("dangling", "404"),
        ("magic", "404"),
        ("fifo", "403"),
        ("socket", "404"),
        // Keys that the path layer never makes still find nothing outside.
        ("../etc/passwd", "404"),
        ("/etc/passwd", "404"),
        (&long, "404"),
        (&deep, "404"),
    ];
    for (key, expected) in cases {
        let cut: String = key.chars().take(40).collect();
        assert_eq!(fixture.describe(key), *expected, "{cut}");
    }
}

#[test]
fn an_answer_is_cached_for_a_second_and_renewed_before_that() {
    let mut fixture = Fixture::new(CacheLimits::default());
    fixture.write("a", b"old");
    let at = Instant::from_millis;
    let first = fixture.get("a", at(0));
    fixture.write("a", b"newer");
    // Within the second the old answer stands; near its end it is renewed in the background.
    assert!(Arc::ptr_eq(
        fixture.content.lookup(&full("a"), at(800), connection(1)).unwrap().resource,
        &first
    ));
    assert!(fixture.content.answered().is_none());
    assert!(Arc::ptr_eq(
        fixture.content.lookup(&full("a"), at(950), connection(1)).unwrap().resource,
        &first
    ));
    let renewed = fixture.next_answer();
    assert!(renewed.waiting.is_empty());
    let Resource::File(file) = &*renewed.resource else { panic!() };
    assert_eq!(file.plain.object.len(), 5);
    let second = fixture.content.lookup(&full("a"), at(960), connection(1)).unwrap();
    assert!(Arc::ptr_eq(second.resource, &renewed.resource));
    // The look at 950 found the second version, so it is good until 1950 and not a moment longer.
    assert!(fixture.content.lookup(&full("a"), at(1_949), connection(1)).is_some());
    fixture.next_answer();
    assert!(fixture.content.lookup(&full("a"), at(2_949), connection(1)).is_none());
    fixture.next_answer();
}

#[test]
fn an_unchanged_file_keeps_its_object() {
    let mut fixture = Fixture::new(CacheLimits::default());
    fixture.write("a", b"same");
    let first = fixture.get("a", Instant::from_millis(0));
    let second = fixture.get("a", Instant::from_millis(5_000));
    assert!(Arc::ptr_eq(&first, &second));
    fs::rename(fixture.directory.path().join("a"), fixture.directory.path().join("b")).unwrap();
    let gone = fixture.get("a", Instant::from_millis(10_000));
    assert!(matches!(*gone, Resource::Refused(Refusal { status: Status::NotFound, .. })));
}

#[test]
fn absent_files_are_cached_too_and_noticed_when_they_come() {
    let mut fixture = Fixture::new(CacheLimits::default());
    fixture.get("a", Instant::from_millis(0));
    assert!(fixture.content.lookup(&full("a"), Instant::from_millis(500), connection(0)).is_some());
    fixture.write("a", b"here");
    let found = fixture.get("a", Instant::from_millis(1_000));
    assert!(matches!(*found, Resource::File(_)));
}

#[test]
fn one_look_serves_all_who_wait_for_it() {
    let mut fixture = Fixture::new(CacheLimits::default());
    fixture.write("a", b"abc");
    for slot in 0..10 {
        assert!(fixture.content.lookup(&full("a"), Instant::ZERO, connection(slot)).is_none());
    }
    let answered = fixture.next_answer();
    assert_eq!(answered.waiting, (0..10).map(connection).collect::<Vec<_>>());
    thread::sleep(Duration::from_millis(20));
    assert!(fixture.content.answered().is_none());
}

#[test]
fn more_looks_than_may_be_under_way_are_all_answered() {
    let mut fixture = Fixture::new(CacheLimits::default());
    for number in 0..1_000u32 {
        let key = format!("nothing-{number}");
        let found = fixture.content.lookup(&full(&key), Instant::ZERO, connection(number));
        assert!(found.is_none());
    }
    let mut waiting: Vec<u32> = (0..1_000).map(|_| fixture.next_answer().waiting[0].slot).collect();
    waiting.sort_unstable();
    assert_eq!(waiting, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn the_cache_is_bounded_in_entries_and_in_bytes() {
    let mut fixture = Fixture::new(CacheLimits { entries: 50, bytes: 1 << 20 });
    for number in 0..200 {
        fixture.write(&format!("small-{number}"), b"x");
        fixture.get(&format!("small-{number}"), Instant::ZERO);
    }
    assert!((25..=50).contains(&fixture.content.cached()), "{}", fixture.content.cached());

    let mut fixture = Fixture::new(CacheLimits { entries: 1_000, bytes: 64 << 10 });
    for number in 0..50 {
        fixture.write(&format!("large-{number}"), &[b'x'; 8 << 10]);
        fixture.get(&format!("large-{number}"), Instant::ZERO);
    }
    assert!((1..=8).contains(&fixture.content.cached()), "{}", fixture.content.cached());
}

#[test]
fn an_unreadable_file_is_forbidden() {
    let mut fixture = Fixture::new(CacheLimits::default());
    fixture.write("secret", b"x");
    let path = fixture.directory.path().join("secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    let expected = if fs::read(&path).is_ok() { "file of 1" } else { "403" };
    assert_eq!(fixture.describe("secret"), expected);
}

#[test]
fn a_root_that_cannot_be_read_says_so() {
    let error = Catalogue::of_directory("/nowhere/at all".as_ref()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at all cannot be served: No such file"));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(
        Catalogue::of_directory(file.path()).unwrap_err().to_string().contains("Not a directory")
    );
}

#[path = "rule_tests.rs"]
mod rules;
