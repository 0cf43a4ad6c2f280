//! What rules make of a directory: codings, links, listings, pages for errors.

use std::{
    fs,
    os::unix::fs::{chown, symlink},
    time::{Duration, SystemTime},
};

use pagewire_stack::DiskReads;

use super::*;
use crate::http::response::{self, Common};

const COMMON: Common<'static> = Common {
    date: "Sat, 21 Nov 2026 05:40:00 GMT",
    is_1_1: true,
    keep_alive: true,
    allowed_origin: None,
};

fn head(representation: &Representation) -> String {
    let mut out = Vec::new();
    response::write_whole(&mut out, COMMON, &representation.entity);
    String::from_utf8(out).unwrap()
}

fn file(resource: &Resource) -> &FileEntry {
    let Resource::File(file) = resource else { panic!("{resource:?}") };
    file
}

fn codings(resource: &Resource) -> Vec<&'static str> {
    file(resource).coded.iter().map(|(coding, _)| coding.name()).collect()
}

#[test]
fn coded_files_are_found_beside_a_file_unless_they_are_older() {
    let mut fixture = Fixture::with_rules(
        CacheLimits::default(),
        "[[rule]]\npath = '/only/'\nprecompressed = ['gzip', 'br']\n\
         [[rule]]\npath = '/none/'\nprecompressed = []",
    );
    for place in ["", "only/", "none/"] {
        for name in ["a.css", "a.css.gz", "a.css.br", "a.css.zst", "b.css", "p.png", "p.png.gz"] {
            fixture.write(&format!("{place}{name}"), name.as_bytes());
        }
    }
    let at = Instant::from_millis;
    let found = fixture.get("a.css", at(0));
    assert_eq!(codings(&found), ["br", "zstd", "gzip"]);
    let plain = head(&file(&found).plain);
    assert!(plain.contains("\r\nVary: Accept-Encoding\r\n") && !plain.contains("Content-Encoding"));
    let gzip = head(&file(&found).coded[2].1);
    assert!(gzip.contains("\r\nContent-Encoding: gzip\r\nContent-Type: text/css; charset=utf-8"));
    assert!(gzip.contains("\r\nContent-Length: 8\r\n") && gzip.contains("-gzip\"\r\n"), "{gzip}");
    assert_eq!(codings(&fixture.get("only/a.css", at(0))), ["gzip", "br"]);
    for path in ["none/a.css", "b.css", "p.png"] {
        let found = fixture.get(path, at(0));
        assert!(
            codings(&found).is_empty() && !head(&file(&found).plain).contains("Vary"),
            "{path}"
        );
    }
    // One that is asked for by its own name is a file like others.
    let gzip = fixture.get("a.css.gz", at(0));
    assert!(head(&file(&gzip).plain).contains("\r\nContent-Type: application/gzip\r\n"));

    assert!(Arc::ptr_eq(&found, &fixture.get("a.css", at(5_000))));
    // The file is replaced: what was made from the old one no longer counts.
    fs::remove_file(fixture.directory.path().join("a.css.zst")).unwrap();
    let future = SystemTime::now() + Duration::from_secs(5);
    let file =
        fs::File::options().write(true).open(fixture.directory.path().join("a.css")).unwrap();
    file.set_modified(future).unwrap();
    assert!(codings(&fixture.get("a.css", at(10_000))).is_empty());
}

#[test]
fn links_are_followed_as_far_as_the_rule_says() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("far"), b"far").unwrap();
    let rules = ["none", "within", "owner", "follow"]
        .map(|policy| format!("[[rule]]\npath = '/{policy}/'\nsymlinks = '{policy}'\n"));
    let mut fixture = Fixture::with_rules(CacheLimits::default(), &rules.concat());
    let base = fixture.directory.path().to_owned();
    let is_root = rustix::process::geteuid().is_root();
    for policy in ["none", "within", "owner", "follow"] {
        fixture.write(&format!("{policy}/file"), b"12");
        fixture.write(&format!("{policy}/dir/file"), b"123");
        fixture.write(&format!("{policy}/theirs"), b"1234");
        let base = base.join(policy);
        symlink("file", base.join("link")).unwrap();
        symlink("dir", base.join("to-dir")).unwrap();
        symlink("theirs", base.join("to-theirs")).unwrap();
        symlink(outside.path(), base.join("out")).unwrap();
        if is_root {
            chown(base.join("theirs"), Some(65_534), None).unwrap();
        }
    }
    let theirs = if is_root { "404" } else { "file of 4" };
    let cases: &[(&str, [&str; 4])] = &[
        ("file", ["file of 2"; 4]),
        ("dir/file", ["file of 3"; 4]),
        ("link", ["404", "file of 2", "file of 2", "file of 2"]),
        ("to-dir/file", ["404", "file of 3", "file of 3", "file of 3"]),
        ("to-theirs", ["404", "file of 4", theirs, "file of 4"]),
        ("out/far", ["404", "404", "404", "file of 3"]),
        ("out/", ["404", "404", "404", "403"]),
        ("to-dir/", ["404", "403", "403", "403"]),
    ];
    for (path, expected) in cases {
        for (policy, expected) in ["none", "within", "owner", "follow"].iter().zip(expected) {
            assert_eq!(fixture.describe(&format!("{policy}/{path}")), *expected, "{policy}/{path}");
        }
    }
}

#[test]
fn dotfiles_are_hidden_unless_a_rule_serves_them() {
    let rules = "[[rule]]\npath = '/open/'\ndotfiles = 'serve'";
    let mut fixture = Fixture::with_rules(CacheLimits::default(), rules);
    for path in [".x", "a/.x", ".well-known/x", "a/.well-known/x", "open/.x", "open/.d/x"] {
        fixture.write(path, b"1");
    }
    for (path, expected) in [
        (".x", "404"),
        ("a/.x", "404"),
        (".well-known/x", "file of 1"),
        ("a/.well-known/x", "404"),
        ("open/.x", "file of 1"),
        ("open/.d/x", "file of 1"),
    ] {
        assert_eq!(fixture.describe(path), expected, "{path}");
    }
}

#[test]
fn indexes_are_looked_for_in_order_and_have_the_rules_of_their_own_path() {
    let rules = "[[rule]]\nindex = ['main.htm', 'index.html']\n\
        [[rule]]\npath = '*.htm'\ncache_control = 'no-store'";
    let mut fixture = Fixture::with_rules(CacheLimits::default(), rules);
    fixture.write("a/main.htm", b"1");
    fixture.write("a/index.html", b"22");
    fixture.write("b/index.html", b"22");
    fixture.write("c/main.htm/x", b"");
    fixture.write("c/index.html", b"22");
    assert_eq!(fixture.describe("b/"), "file of 2");
    assert_eq!(fixture.describe("c/"), "file of 2");
    let found = fixture.get("a/", Instant::ZERO);
    assert!(head(&file(&found).plain).contains("\r\nCache-Control: no-store\r\n"));
}

fn listing(resource: &Resource) -> (String, String) {
    let Resource::Listing(listing) = resource else { panic!("{resource:?}") };
    let text = |entry: &FileEntry| {
        String::from_utf8(entry.plain.object.memory().unwrap().to_vec()).unwrap()
    };
    (text(&listing.html), text(&listing.json))
}

#[test]
fn a_listing_is_sorted_escaped_and_shows_what_can_be_had() {
    let mut fixture = Fixture::with_rules(CacheLimits::default(), "[[rule]]\nlisting = true");
    for name in ["a10.txt", "a9.txt", "B.txt", ".hidden", "<b>&'\".html", "javascript:x", "q?#%"] {
        fixture.write(&format!("d/{name}"), &[b'x'; 2_000]);
    }
    fixture.write("d/zoo/x", b"");
    fixture.write("d/indexed/index.html", b"index");
    let base = fixture.directory.path().join("d");
    symlink("a9.txt", base.join("link")).unwrap();
    symlink("/etc", base.join("out")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, base.join("fifo"), 0o644.into()).unwrap();
    let first = fixture.get("d/", Instant::from_millis(0));
    let (html, json) = listing(&first);
    let order: Vec<_> = html
        .match_indices("<td><a href=\"")
        .map(|(at, found)| html[at + found.len()..].split('"').next().unwrap())
        .collect();
    let expected = [
        "../",
        "./indexed/",
        "./zoo/",
        "./%3Cb%3E&amp;&#39;%22.html",
        "./a9.txt",
        "./a10.txt",
        "./B.txt",
        "./javascript:x",
        "./link",
        "./q%3F%23%25",
    ];
    assert_eq!(order, expected);
    assert!(html.contains(">&lt;b&gt;&amp;&#39;&quot;.html</a>") && html.contains("2.0 KiB"));
    assert!(html.contains("<h1><a href=\"../\">/</a><a href=\"./\">d/</a></h1>"), "{html}");
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let entries = parsed.as_array().unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["indexed", "zoo", "<b>&'\".html"]);
    assert_eq!(entries[2]["href"], "./%3Cb%3E&'%22.html");
    assert_eq!((&entries[2]["size"], &entries[2]["type"]), (&2_000.into(), &"file".into()));
    assert_eq!((&entries[0]["size"], &entries[0]["type"]), (&().into(), &"directory".into()));
    assert_eq!(fixture.describe("d/indexed/"), "file of 5");

    // The same list is the same object; a change is seen.
    assert!(Arc::ptr_eq(&first, &fixture.get("d/", Instant::from_millis(5_000))));
    fixture.write("d/new", b"");
    assert!(listing(&fixture.get("d/", Instant::from_millis(10_000))).0.contains("./new"));
    assert_eq!(fixture.describe("nothing/"), "404");
}

#[test]
fn a_listing_knows_the_rules_of_what_it_shows() {
    let rules = "[[rule]]\nlisting = true\n\
        [[rule]]\npath = '*.php'\nhide = true\n[[rule]]\npath = '/open/.*'\ndotfiles = 'serve'\n\
        [[rule]]\npath = '/open/l*'\nsymlinks = 'none'";
    let mut fixture = Fixture::with_rules(CacheLimits::default(), rules);
    for path in ["a.txt", "open/a.php", "open/b.txt", "open/.c"] {
        fixture.write(path, b"x");
    }
    let base = fixture.directory.path().join("open");
    symlink("../a.txt", base.join("elsewhere")).unwrap();
    symlink("b.txt", base.join("link")).unwrap();
    symlink("nowhere", base.join("to-nothing")).unwrap();
    let (_, json) = listing(&fixture.get("open/", Instant::ZERO));
    let entries: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, [".c", "b.txt", "elsewhere"]);
    for name in [".c", "b.txt", "elsewhere", "a.php", "link", "to-nothing"] {
        let found = fixture.describe(&format!("open/{name}"));
        assert_eq!(found, if names.contains(&name) { "file of 1" } else { "404" }, "{name}");
    }
}

#[test]
fn fallbacks_are_sent_where_there_is_nothing_and_what_is_hidden_is_nothing() {
    let rules = "[[rule]]\nfallback = ['/{path}.html', '/{path}/main.html', '/app.html']\n\
        [[rule]]\npath = '/api/'\nfallback = []\n\
        [[rule]]\npath = '*.php'\nhide = true\n\
        [[rule]]\npath = '/app.html'\ncache_control = 'no-cache'\nhide = true";
    let mut fixture = Fixture::with_rules(CacheLimits::default(), rules);
    for (path, len) in [
        ("app.html", 1),
        ("about.html", 2),
        ("deep/x.html", 3),
        ("team/main.html", 4),
        ("real.txt", 5),
        ("a.php", 6),
        ("indexed/index.html", 7),
    ] {
        fixture.write(path, &vec![b'x'; len]);
    }
    symlink("/etc/passwd", fixture.directory.path().join("escape.html")).unwrap();
    for (path, expected) in [
        ("about", "file of 2"),
        ("about/", "file of 2"),
        ("about.html", "file of 2"),
        ("deep/x", "file of 3"),
        ("team/", "file of 4"),
        ("real.txt", "file of 5"),
        ("indexed/", "file of 7"),
        ("indexed", "to /indexed/"),
        ("any/thing", "file of 1"),
        ("real.txt/beyond", "file of 1"),
        ("", "file of 1"),
        ("escape", "file of 1"),
        ("deep/", "file of 1"),
        ("api/x", "404"),
        ("a.php", "404"),
        ("app.html", "404"),
        (".git/config", "404"),
    ] {
        assert_eq!(fixture.describe(path), expected, "{path}");
    }
    let found = fixture.get("any/thing", Instant::ZERO);
    let head = head(&file(&found).plain);
    assert!(head.contains("\r\nCache-Control: no-cache\r\n") && head.contains(": text/html;"));
    // It is looked at again as any file is, and makes room for one of the name.
    assert!(Arc::ptr_eq(&found, &fixture.get("any/thing", Instant::from_millis(5_000))));
    fixture.write("any/thing", &[b'x'; 9]);
    let found = fixture.get("any/thing", Instant::from_millis(10_000));
    assert_eq!(file(&found).plain.object.len(), 9);
}

#[test]
fn a_rule_lays_another_directory_at_its_path() {
    let media = tempfile::tempdir().unwrap();
    fs::create_dir_all(media.path().join("deep/indexed")).unwrap();
    for (path, len) in
        [("a.txt", 1), ("a.txt.gz", 2), ("deep/b.txt", 3), ("deep/indexed/index.html", 4)]
    {
        fs::write(media.path().join(path), vec![b'x'; len]).unwrap();
    }
    symlink("../a.txt", media.path().join("deep/link")).unwrap();
    symlink("/etc/passwd", media.path().join("escape")).unwrap();
    let rules = format!(
        "[[rule]]\npath = '/media/'\nroot = '{}'\nlisting = true\nfallback = '/own.html'",
        media.path().display()
    );
    let mut fixture = Fixture::with_rules(CacheLimits::default(), &rules);
    fixture.write("own.html", &[b'x'; 5]);
    fixture.write("media/only-here", &[b'x'; 6]);
    for (path, expected) in [
        ("media/a.txt", "file of 1"),
        ("media/deep/b.txt", "file of 3"),
        ("media/deep/indexed/", "file of 4"),
        ("media/deep", "to /media/deep/"),
        ("media/deep/link", "file of 1"),
        ("media/deep/", "listing"),
        ("media/", "listing"),
        ("media/only-here", "file of 5"),
        ("media/escape", "file of 5"),
        ("own.html", "file of 5"),
        ("a.txt", "404"),
    ] {
        assert_eq!(fixture.describe(path), expected, "{path}");
    }
    assert_eq!(codings(&fixture.get("media/a.txt", Instant::ZERO)), ["gzip"]);
    let (html, json) = listing(&fixture.get("media/deep/", Instant::ZERO));
    assert!(html.contains("<a href=\"../\">media/</a><a href=\"./\">deep/</a>"), "{html}");
    let entries: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["indexed", "b.txt", "link"]);
}

#[test]
fn names_that_are_no_text_are_listed_and_reachable() {
    use std::os::unix::ffi::OsStrExt;
    let mut fixture = Fixture::with_rules(CacheLimits::default(), "[[rule]]\nlisting = true");
    let name = std::ffi::OsStr::from_bytes(b"\xff\n\xe2\x80\xaex");
    fs::write(fixture.directory.path().join(name), b"").unwrap();
    let (html, json) = listing(&fixture.get("", Instant::ZERO));
    assert!(html.contains("href=\"./%FF%0A%E2%80%AEx\">\u{fffd}\u{fffd}\u{fffd}x<"), "{html}");
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
}

#[test]
fn errors_have_the_pages_and_fields_of_their_path() {
    let rules = "[[rule]]\nerror_pages = { 404 = '/e/404.html' }\nheaders = { X-A = 'b' }\n\
        [[rule]]\npath = '/sub/'\nerror_pages = { 404 = '/e/sub.txt' }\ncache_control = 'no-store'";
    let mut fixture = Fixture::prepared(CacheLimits::default(), rules, |base| {
        fs::create_dir(base.join("e")).unwrap();
        fs::write(base.join("e/404.html"), "<p>nothing").unwrap();
        fs::write(base.join("e/sub.txt"), "sub").unwrap();
    });
    let mut page = |path: &str| {
        let found = fixture.get(path, Instant::ZERO);
        let Resource::Refused(refusal) = &*found else { panic!() };
        let lines = String::from_utf8(refusal.shared.lines.to_vec()).unwrap();
        assert_eq!(lines, "Server: pagewire\r\nX-A: b\r\n");
        let page = refusal.shared.page(refusal.status);
        page.map(|page| (page.object.memory().unwrap().to_vec(), page.content_type.clone()))
    };
    let html = "text/html; charset=utf-8".to_owned();
    assert_eq!(page("nothing"), Some((b"<p>nothing".to_vec(), html)));
    let text = "text/plain; charset=utf-8".to_owned();
    assert_eq!(page("sub/nothing"), Some((b"sub".to_vec(), text)));
    assert_eq!(page(""), None);
    let catalogue = Arc::clone(fixture.content.catalogue());
    let has_page = |site, status| catalogue.refusal(site, status).shared.page(status).is_some();
    assert!(has_page(Some(SiteId(0)), Status::NotFound));
    assert!(!has_page(Some(SiteId(0)), Status::BadRequest));
    assert!(!has_page(None, Status::NotFound));
}

#[test]
fn an_error_page_that_cannot_be_read_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let rule = RuleConfig {
        error_pages: [("404".to_owned(), "/no.html".to_owned())].into(),
        ..RuleConfig::default()
    };
    let site = SiteConfig { rules: vec![rule], ..SiteConfig::of_directory(directory.path()) };
    let error = Catalogue::open(&[site]).unwrap_err().to_string();
    assert!(error.contains("the error page /no.html in"), "{error}");
}

#[test]
fn redirects_come_before_what_is_on_the_disk() {
    let rules = "[[rule]]\npath = '/old/'\nredirect = { to = '/new/{rest}', status = 308 }\n\
        cache_control = 'max-age=60'";
    let mut fixture = Fixture::with_rules(CacheLimits::default(), rules);
    fixture.write("old/a", b"");
    let found = fixture.get("old/a b", Instant::ZERO);
    let Resource::Elsewhere(elsewhere) = &*found else { panic!() };
    assert_eq!(
        (&*elsewhere.target, elsewhere.status),
        (b"/new/a%20b".as_slice(), Status::PermanentRedirect)
    );
    assert_eq!(&*elsewhere.lines, b"Cache-Control: max-age=60\r\n");
    assert_eq!(fixture.describe("old"), "to /old/");
}

#[test]
fn sites_do_not_share_what_they_have_cached() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    fs::write(directories[0].path().join("a"), b"1").unwrap();
    fs::write(directories[1].path().join("a"), b"22").unwrap();
    let site = |index: usize, name: &str| SiteConfig {
        names: vec![name.to_owned()],
        ..SiteConfig::of_directory(directories[index].path())
    };
    let catalogue = Catalogue::open(&[site(0, "one"), site(1, "two")]).unwrap();
    for (id, expected) in [(0, 1), (1, 2)] {
        let mut key = Vec::new();
        Catalogue::begin_key(SiteId(id), &mut key);
        key.push(b'a');
        assert_eq!(
            file(&catalogue.resolve(&key, None, &DiskReads::default())).plain.object.len(),
            expected
        );
    }
    let unknown = catalogue.resolve(b"\xff\xffa", None, &DiskReads::default());
    assert!(matches!(*unknown, Resource::Refused(Refusal { status: Status::Misdirected, .. })));
}
