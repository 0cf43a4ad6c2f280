//! Configurations as users write them, and what they come to.

use proptest::prelude::*;
use serde::Deserialize;

use super::{
    config::{Coding, Dotfiles, EtagKind, Symlinks},
    *,
};
use crate::http::Status;

#[derive(Deserialize)]
struct Document {
    site: Vec<SiteConfig>,
}

fn parse(text: &str) -> Result<Sites, String> {
    let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
    Sites::build(&document.site).map_err(|error| error.to_string())
}

fn sites(text: &str) -> Sites {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One site with these rules.
fn site(rules: &str) -> Sites {
    sites(&format!("[[site]]\nroot = '/srv'\n{rules}"))
}

fn policy<'a>(sites: &'a Sites, path: &str) -> Policy<'a> {
    sites.get(SiteId(0)).unwrap().policy(path.as_bytes())
}

const FULL: &str = r#"
    [[site]]
    names = ["example.com", "*.example.com"]
    root = "/srv/www"

    [[site.rule]]
    index = ["index.html", "index.htm"]
    cache_control = "no-cache"
    security = "basic"
    hsts = { max_age = "365d", subdomains = true }
    types = { md = "text/markdown" }
    headers = { X-Served-By = "pagewire" }
    error_pages = { 404 = "/errors/404.html", 403 = "/errors/403.html" }

    [[site.rule]]
    path = "/assets/"
    cache_control = "public, max-age=31536000, immutable"
    cors = { origins = ["*"], max_age = "1h" }
    precompressed = ["gzip"]
    etag = "weak"

    [[site.rule]]
    path = ["*.html", "/assets/*.map"]
    cache_control = ""
    remove_headers = ["server", "x-served-by"]
    headers = { X-Frame-Options = "DENY" }

    [[site.rule]]
    path = "/old/**"
    redirect = { to = "/new/{rest}", status = 308 }

    [[site.rule]]
    path = "/pub/"
    listing = true
    dotfiles = "serve"
    symlinks = "owner"
    charset = "koi8-r"
    error_pages = { 404 = "/pub/nothing.html" }
"#;

#[test]
fn rules_add_up_and_the_last_one_wins() {
    let sites = sites(FULL);
    let plain = policy(&sites, "/a.txt");
    assert_eq!((plain.cache_control, plain.etag), ("no-cache", EtagKind::Strong));
    assert_eq!(plain.index, ["index.html", "index.htm"]);
    assert_eq!((plain.listing, plain.dotfiles), (false, Dotfiles::Hide));
    assert_eq!(plain.symlinks, Symlinks::Within);
    assert_eq!(plain.codings("text/css"), Coding::ALL);
    assert!(plain.codings("image/png").is_empty() && plain.cors.is_none());
    let expected = [
        ("Server", "pagewire"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
        ("X-Served-By", "pagewire"),
    ];
    assert_eq!(plain.headers, expected);
    assert_eq!(plain.media_type(b"a.md"), "text/markdown; charset=utf-8");
    assert_eq!(plain.error_page(Status::NotFound), Some("errors/404.html"));
    assert_eq!(plain.error_page(Status::BadRequest), None);

    let asset = policy(&sites, "/assets/js/a.js");
    assert_eq!(asset.cache_control, "public, max-age=31536000, immutable");
    assert_eq!(
        (asset.codings("text/css"), asset.etag),
        ([Coding::Gzip].as_slice(), EtagKind::Weak)
    );
    assert!(asset.cors.is_some_and(|cors| !cors.varies() && cors.allows(b"https://a.example")));

    let page = policy(&sites, "/assets/x/page.html");
    assert_eq!(page.cache_control, "");
    let names: Vec<_> = page.headers.iter().map(|(name, _)| *name).collect();
    let rest = [
        "X-Content-Type-Options",
        "Referrer-Policy",
        "Strict-Transport-Security",
        "X-Frame-Options",
    ];
    assert_eq!(names, rest);
    assert_eq!(page.headers.last(), Some(&("X-Frame-Options", "DENY")));
    assert_eq!(policy(&sites, "/assets/a.map").cache_control, "");
    assert_eq!(
        policy(&sites, "/assets/b/a.map").cache_control,
        "public, max-age=31536000, immutable"
    );

    let public = policy(&sites, "/pub/");
    assert_eq!((public.listing, public.dotfiles), (true, Dotfiles::Serve));
    assert_eq!(public.symlinks, Symlinks::Owner);
    assert_eq!(public.media_type(b"x.txt"), "text/plain; charset=koi8-r");
    assert_eq!(public.error_page(Status::NotFound), Some("pub/nothing.html"));
    assert_eq!(public.error_page(Status::Forbidden), Some("errors/403.html"));
    let pages: Vec<_> = sites.get(SiteId(0)).unwrap().error_pages().collect();
    assert_eq!(pages, ["errors/403.html", "errors/404.html", "pub/nothing.html"]);
}

#[test]
fn patterns_match_as_they_are_explained() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("/a/", &["/a/", "/a/b", "/a/b/c", "/a/.x"], &["/a", "/", "/ab/c", "/b/a/x"]),
        ("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/ab"]),
        ("/a/*", &["/a/", "/a/b"], &["/a/b/c", "/a"]),
        ("/a/*.css", &["/a/x.css", "/a/.css"], &["/a/b/x.css", "/x.css", "/a/x.css.gz"]),
        ("/a/**/*.css", &["/a/x.css", "/a/b/c/x.css"], &["/x.css"]),
        ("*.css", &["/x.css", "/a/b/x.css"], &["/x.css/y", "/x.cssx", "/x.CSS"]),
        ("favicon.ico", &["/favicon.ico", "/a/favicon.ico"], &["/xfavicon.ico"]),
        ("/exact", &["/exact"], &["/exact/", "/exact/x", "/x/exact"]),
        ("/", &["/", "/a", "/a/b"], &[]),
        ("/?", &["/a"], &["/", "/ab"]),
        ("/[ab]x", &["/ax", "/bx"], &["/cx"]),
        ("/{a,b}/", &["/a/x", "/b/"], &["/c/"]),
        ("/\\*", &["/*"], &["/a"]),
    ];
    for (pattern, matching, others) in cases {
        let sites = site(&format!("[[site.rule]]\npath = '{pattern}'\nlisting = true"));
        for path in *matching {
            assert!(policy(&sites, path).listing, "{pattern} {path}");
        }
        for path in *others {
            assert!(!policy(&sites, path).listing, "{pattern} {path}");
        }
    }
}

#[test]
fn redirects_lead_where_they_say() {
    let cases: &[(&str, &str, &str, &str, bool)] = &[
        ("/old/", "/new/{rest}", "/old/a b/c", "/new/a%20b/c", true),
        ("/old/**", "/new/{rest}", "/old/", "/new/", true),
        ("/old/*", "/x/{path}", "/old/a", "/x/old/a", true),
        ("/a", "/b?c=1", "/a", "/b?c=1", false),
        ("/a", "https://b.example", "/a", "https://b.example", true),
        ("/", "https://b.example/{path}", "/a/\u{e9}", "https://b.example/a/%C3%A9", true),
        ("/", "https://b.example/{rest}", "/a", "https://b.example/a", true),
        ("/", "https://b.example/?from=/{path}", "/a?b", "https://b.example/?from=/a%3Fb", false),
        ("/a/", "/b/{rest}/c/{path}", "/a/x", "/b/x/c/a/x", true),
        ("/", "/x/{path}", "/a\r\nb", "/x/a%0D%0Ab", true),
    ];
    for (pattern, to, path, expected, keeps_query) in cases {
        let rule = format!("[[site.rule]]\npath = '{pattern}'\nredirect = {{ to = '{to}' }}");
        let sites = site(&rule);
        let policy = policy(&sites, path);
        let (redirect, base_len) = policy.redirect.unwrap();
        let mut target = Vec::new();
        redirect.write_target(path.as_bytes(), base_len, &mut target);
        assert_eq!(String::from_utf8(target).unwrap(), *expected, "{rule}");
        assert_eq!(
            (redirect.keeps_query(), redirect.status()),
            (*keeps_query, Status::MovedPermanently)
        );
    }
}

#[test]
fn hosts_find_their_site() {
    let sites = sites(
        "[[site]]\nnames = ['a.example', '*.a.example']\nroot = '/a'\n\
         [[site]]\nnames = ['b.a.example', '*.x.a.example', '192.0.2.1', '[2001:db8::1]']\nroot = '/b'\n\
         [[site]]\nnames = ['Other.Example', 'c']\ndefault = true\nroot = '/c'",
    );
    let cases: &[(&str, u16)] = &[
        ("a.example", 0),
        ("A.EXAMPLE", 0),
        ("a.example.", 0),
        ("a.example:8080", 0),
        ("a.example.:8080", 0),
        ("www.a.example", 0),
        ("deep.www.a.example", 0),
        ("b.a.example", 1),
        ("y.b.a.example", 0),
        ("x.a.example", 0),
        ("y.x.a.example", 1),
        ("192.0.2.1", 1),
        ("192.0.2.1:80", 1),
        ("[2001:DB8::1]:80", 1),
        ("other.example", 2),
        ("example", 2),
        (".a.example", 2),
        ("", 2),
        ("xa.example", 2),
        ("[::1]", 2),
    ];
    for (authority, expected) in cases {
        assert_eq!(sites.route(authority.as_bytes()), Some(SiteId(*expected)), "{authority}");
    }
    assert_eq!(sites.route(&[b'a'; 300]), Some(SiteId(2)));
}

#[test]
fn without_a_default_other_hosts_have_no_site() {
    let named = sites("[[site]]\nnames = ['a']\nroot = '/a'");
    assert_eq!((named.route(b"a"), named.route(b"b")), (Some(SiteId(0)), None));
    assert_eq!(site("").route(b"anything"), Some(SiteId(0)));
}

#[test]
fn cors_names_origins_and_answers_preflights() {
    let sites = site(
        "[[site.rule]]\ncors = { origins = ['https://A.example', 'http://b:81'], \
         headers = ['X-Token'], expose = ['ETag'], credentials = true, max_age = '10m' }",
    );
    let policy = policy(&sites, "/");
    let cors = policy.cors.unwrap();
    assert!(cors.varies() && cors.allows(b"https://a.example") && cors.allows(b"http://b:81"));
    assert!(!cors.allows(b"http://b") && !cors.allows(b"null") && !cors.allows(b"*"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let response = text(cors.response_fields());
    assert_eq!(
        response,
        "Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: ETag\r\n"
    );
    assert_eq!(
        text(cors.preflight_fields()),
        "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
         Access-Control-Allow-Headers: X-Token\r\nAccess-Control-Max-Age: 600\r\n"
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_to_write() {
    let rule = |text: &str| format!("[[site]]\nroot = '/a'\n[[site.rule]]\n{text}");
    let cases: &[(String, &str)] = &[
        ("site = []".to_owned(), "between 1 and"),
        ("[[site]]\nroot = '/a'\nrooot = 'x'".to_owned(), "unknown field `rooot`"),
        (rule("cache = 'x'"), "unknown field `cache`"),
        ("[[site]]\nnames = ['a']".to_owned(), "missing field `root`"),
        ("[[site]]\nroot='/a'\n[[site]]\nroot='/b'".to_owned(), "all other names"),
        (
            "[[site]]\nroot='/a'\nnames=['a']\n[[site]]\nroot='/b'\nnames=['A']".to_owned(),
            "two sites",
        ),
        ("[[site]]\nroot='/a'\nnames=['a:80']".to_owned(), "without a port"),
        ("[[site]]\nroot='/a'\nnames=['a.']".to_owned(), "no host name"),
        ("[[site]]\nroot='/a'\nnames=['*']".to_owned(), "no host name"),
        ("[[site]]\nroot='/a'\nnames=['a.*.b']".to_owned(), "no host name"),
        ("[[site]]\nroot='/a'\nnames=['']".to_owned(), "no host name"),
        ("[[site]]\nroot='/a'\nnames=['[::1']".to_owned(), "no host name"),
        (rule("path = ''"), "it is empty"),
        (rule("path = 'a/b'"), "begin with a slash"),
        (rule("path = '/[a'"), "rule 1: the path `/[a` is no pattern"),
        (rule("headers = { 'X Y' = 'z' }"), "no name of a header field"),
        (rule("headers = { Content-Length = '1' }"), "cannot be set"),
        (rule("headers = { cache-control = 'x' }"), "use `cache_control`"),
        (rule("headers = { X = \"a\\r\\nb\" }"), "control characters"),
        (rule("headers = { X = ' a' }"), "blank ends"),
        (rule("headers = { X = '' }"), "empty"),
        (rule("cache_control = \"a\\nb\""), "control characters"),
        (rule("remove_headers = ['Date']"), "cannot be set or removed"),
        (rule("redirect = { to = '/a', status = 200 }"), "none of 301"),
        (rule("redirect = { to = 'a' }"), "must begin with a slash"),
        (rule("redirect = { to = '//a/{path}' }"), "must begin with a slash"),
        (rule("redirect = { to = '{path}' }"), "must begin with a slash"),
        (rule("redirect = { to = 'https://{path}' }"), "must begin with a slash"),
        (rule("redirect = { to = 'https://a{path}' }"), "must begin with a slash"),
        (rule("redirect = { to = 'https:///{path}' }"), "must begin with a slash"),
        (rule("redirect = { to = 'javascript://x/{path}' }"), "must begin with a slash"),
        (rule("redirect = { to = '/{host}' }"), "{path} and {rest}"),
        (rule("redirect = { to = '/{path' }"), "{path} and {rest}"),
        (rule("redirect = { to = '/path}' }"), "{path} and {rest}"),
        (rule("redirect = { to = '/a b' }"), "encode them"),
        (rule("path = '/a'\nredirect = { to = '/{rest}' }"), "{rest} needs"),
        (rule("types = { x = 'text' }"), "no media type"),
        (rule("charset = 'a b'"), "no charset"),
        (rule("index = ['a/b']"), "no name of a file"),
        (rule("error_pages = { 200 = '/a' }"), "choose among 400, 403"),
        (rule("error_pages = { 404 = 'a' }"), "below the root"),
        (rule("error_pages = { 404 = '/../a' }"), "below the root"),
        (rule("path = '*.css'\nroot = '/srv'"), "/srv needs a rule with one path"),
        (rule("fallback = 'a'"), "the fallback `a` is not a path below the root"),
        (rule("fallback = ['/{name}.html']"), "or /{path}.html"),
        (rule("fallback = '/a/../b'"), "below the root"),
        (rule("cors = { origins = ['a.example'] }"), "no origin"),
        (rule("cors = { origins = ['https://a/'] }"), "no origin"),
        (rule("cors = { origins = ['*'], credentials = true }"), "name the origins"),
        (rule("cors = { origins = ['*'], headers = ['a b'] }"), "no name of a header"),
        (rule("hsts = { max_age = '1' }"), "no duration"),
        (rule("dotfiles = 'show'"), "unknown variant"),
        (rule("security = 'paranoid'"), "unknown variant"),
        (rule("precompressed = ['deflate']"), "unknown variant"),
    ];
    for (text, part) in cases {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(error.contains(part), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn a_redirect_never_leaves_its_host_or_line(path in "/[^\0]{0,20}") {
        let sites = site("[[site.rule]]\npath = '/a/'\nredirect = { to = '/x/{path}' }\n\
            [[site.rule]]\nredirect = { to = 'https://h.example/{rest}' }");
        let policy = policy(&sites, &path);
        let (redirect, base_len) = policy.redirect.unwrap();
        let mut target = Vec::new();
        redirect.write_target(path.as_bytes(), base_len, &mut target);
        prop_assert!(target.starts_with(b"https://h.example/"));
        prop_assert!(target.iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn any_authority_is_borne(authority in proptest::collection::vec(any::<u8>(), 0..300)) {
        let sites = sites("[[site]]\nnames = ['*.a', 'b']\nroot = '/a'");
        let _ = sites.route(&authority);
    }
}
