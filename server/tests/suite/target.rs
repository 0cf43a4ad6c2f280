//! A server to test, and the files it serves.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{FileExt, symlink},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use pagewire::{config::Config, counters::Counter, serve::Server};
use tempfile::TempDir;

/// Where a check finds the server and its files.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's address.
    pub address: SocketAddr,
    /// Its directory, as prepared by [`Running::start`].
    pub root: PathBuf,
}

/// Longer than anything takes, also where others have the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What clients may count on once the server has been told to [hurry](Running::hurry): how long it waits for a
/// request to be complete...
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// ...for a request to begin...
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// ...and for the client to take something.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(3);

/// Length of `large.bin` in bytes.
pub const LARGE: usize = 3 << 20;
/// Length of `sparse.bin` in bytes: 5 GiB and a little.
pub const SPARSE: u64 = (5 << 30) + 12_345;
/// Offset of the only text in `sparse.bin`.
pub const SPARSE_TEXT_AT: u64 = (4 << 30) + 7;
/// When `letters.txt` was last changed: Sun, 21 Nov 2021 05:40:01 GMT.
const LETTERS_CHANGED: u64 = 1_637_473_201;

/// The directory of the default site.
const ROOT: &str = "root";

/// The default site, and one whose rules are tried.
const SITES: &str = r#"
[[site]]
root = "{base}/root"

[[site]]
names = ["ruled.test", "*.wild.test"]
root = "{base}/ruled"

[[site.rule]]
index = ["index.html", "index.htm"]
cache_control = "no-cache"
security = "basic"
hsts = { max_age = "365d", subdomains = true }
headers = { X-Rule = "all" }
types = { custom = "text/x-custom" }
error_pages = { 404 = "/errors/404.html", 405 = "/errors/405.txt" }

[[site.rule]]
path = "/assets/"
cache_control = "public, max-age=31536000, immutable"
cors = { origins = ["*"] }
headers = { X-Rule = "assets" }
error_pages = { 416 = "/errors/416.txt" }

[[site.rule]]
path = "/api/"
cors = { origins = ["https://app.test"], headers = ["X-Token"], expose = ["ETag"], credentials = true, max_age = "10m" }

[[site.rule]]
path = "/bare/"
remove_headers = ["Server", "Last-Modified", "Accept-Ranges", "X-Frame-Options"]

[[site.rule]]
path = "/cyrillic/"
charset = "koi8-r"

[[site.rule]]
path = "/weak/"
etag = "weak"

[[site.rule]]
path = "/untagged/"
etag = "off"

[[site.rule]]
path = "/list/"
listing = true

[[site.rule]]
path = "/open/"
dotfiles = "serve"

[[site.rule]]
path = "/links/"
symlinks = "none"

[[site.rule]]
path = "/old/**"
redirect = { to = "/new/{rest}", status = 308 }

[[site.rule]]
path = "/there"
redirect = { to = "https://there.test/{path}?from=here", status = 302 }

[[site.rule]]
path = "/tour"
redirect = { to = "/site.txt#part", status = 302 }

[[site.rule]]
path = "/app/"
fallback = ["/{path}.html", "/app/main.html"]

[[site.rule]]
path = "/app/*.map"
hide = true

[[site.rule]]
path = "/303"
redirect = { to = "/site.txt", status = 303 }

[[site.rule]]
path = "/307"
redirect = { to = "/site.txt", status = 307 }
"#;

/// The text.
pub const SPARSE_TEXT: &[u8] = b"beyond four gibibytes";

/// What `large.bin` holds at each offset: nothing that repeats at the size of a page or a segment.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 13)) as u8).collect()
}

/// A server in this process.
pub struct Running {
    server: Server,
    config: Config,
    directory: TempDir,
}

impl Running {
    /// Serves a fresh directory, on the transport that `flags` choose, with patience for clients that have to wait
    /// for the machine.
    pub fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(&directory.path().join(ROOT));
        prepare_ruled(&directory.path().join("ruled"));
        let file = directory.path().join("pagewire.toml");
        let base = directory.path().to_str().unwrap();
        fs::write(&file, SITES.replace("{base}", base)).unwrap();
        let times = ["--head-timeout=1m", "--idle-timeout=2m", "--send-timeout=1m"];
        let words =
            ["pagewire", "serve", "--config", file.to_str().unwrap()].into_iter().chain(times);
        let config = Config::of_command_line(words.chain(flags.iter().copied())).unwrap();
        let server = Server::start(&config).unwrap();
        Self { server, config, directory }
    }

    /// From now on it waits no longer for clients than they may count on.
    pub fn hurry(&self) {
        let mut config = self.config.clone();
        let timeouts = &mut config.live.timeouts;
        (timeouts.head, timeouts.idle, timeouts.send) = (HEAD_TIMEOUT, IDLE_TIMEOUT, SEND_TIMEOUT);
        self.server.reload(&config).unwrap();
    }

    /// How to reach it, by its address of number `address`.
    pub fn target(&self, address: usize) -> Target {
        let address = self.server.addresses()[address];
        Target { address, root: self.directory.path().join(ROOT) }
    }

    /// Waits for all connections to be gone, drains, and says what was counted. Fails if `failed` has
    /// anything in it, or a connection was left.
    pub fn finish(self, failed: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        let is_even = || self.total(&[Counter::Opened]) == self.total(CLOSED);
        while !is_even() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let (opened, closed) = (self.total(&[Counter::Opened]), self.total(CLOSED));
        self.server.drain();
        let has_drained = self.server.wait_ended(Instant::now() + PATIENCE);
        let summary = self.server.finish().unwrap();
        for shard in summary.shards {
            eprintln!("core {}: {}; {}", shard.core, shard.counters, shard.transport);
        }
        eprintln!("{}", summary.steering);
        assert!(failed.is_empty(), "failed: {failed:?}");
        assert_eq!(opened, closed, "opened, and closed");
        assert!(has_drained, "it does not drain");
    }

    fn total(&self, counters: &[Counter]) -> u64 {
        self.server
            .counters()
            .flat_map(|shard| counters.iter().map(|&counter| shard.get(counter)))
            .sum()
    }
}

const CLOSED: &[Counter] = &[
    Counter::Finished,
    Counter::Aborted,
    Counter::Reset,
    Counter::TimedOut,
    Counter::Unreachable,
    Counter::ContentChanged,
    Counter::ContentUnreadable,
];

fn write_below(root: &Path) -> impl Fn(&str, &[u8]) {
    move |path, bytes| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn set_modified(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

fn prepare(root: &Path) {
    let write = write_below(root);
    write("index.html", b"<h1>root</h1>\n");
    write("letters.txt", b"abcdefghijklmnopqrstuvwxyz");
    write("empty.txt", b"");
    write("sp ace & \u{e9}.txt", b"odd name\n");
    write("dir/index.html", b"<h1>dir</h1>\n");
    write("dir/style.css", b"body {}\n");
    write("bare/file", b"x");
    write("no index/file", b"x");
    write(".hidden", b"secret");
    write(".git/config", b"secret");
    write("dir/.hidden", b"secret");
    write("dir/.git/config", b"secret");
    write("dir/.well-known/x", b"secret");
    write(".well-known/.hidden", b"secret");
    write(".well-known/security.txt", b"Contact: x\n");
    write("large.bin", &pattern(LARGE));
    for size in [1, 1_447, 1_448, 1_449, 4_096, 16_384, 16_385, 65_535, 65_536, 100_000] {
        write(&format!("size/{size}"), &pattern(size));
    }
    set_modified(&root.join("letters.txt"), LETTERS_CHANGED);
    symlink("letters.txt", root.join("link")).unwrap();
    symlink("/etc/passwd", root.join("escape")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    symlink("..", root.join("up")).unwrap();
    let sparse = fs::File::create(root.join("sparse.bin")).unwrap();
    sparse.set_len(SPARSE).unwrap();
    sparse.write_all_at(SPARSE_TEXT, SPARSE_TEXT_AT).unwrap();
}

fn prepare_ruled(root: &Path) {
    let write = write_below(root);
    write("site.txt", b"ruled\n");
    write("app.css", b"plain css\n");
    write("app.css.br", b"br css");
    write("app.css.zst", b"zstd css");
    write("app.css.gz", b"gzip css");
    write("plain.css", b"none\n");
    write("stale.css.gz", b"stale");
    set_modified(&root.join("stale.css.gz"), LETTERS_CHANGED);
    write("stale.css", b"fresh\n");
    write("assets/a.js", b"asset\n");
    write("api/x.json", b"{}\n");
    write("api/c.css", b"c\n");
    write("api/c.css.gz", b"gzip c");
    write("bare/x.txt", b"bare\n");
    write("page.custom", b"custom\n");
    write("cyrillic/x.txt", b"x\n");
    write("indexed/index.htm", b"index htm\n");
    write("assets/sub/b.js", b"deeper\n");
    write("errors/404.html", b"<p>nothing\n");
    write("errors/405.txt", b"read only\n");
    write("errors/416.txt", b"beyond\n");
    write(".hidden", b"hidden\n");
    write("open/.visible", b"visible\n");
    write("unlisted/x", b"");
    write("links/real.txt", b"real\n");
    symlink("real.txt", root.join("links/link.txt")).unwrap();
    write("weak/x.txt", b"weak\n");
    write("untagged/x.txt", b"untagged\n");
    write("app/main.html", b"app\n");
    write("app/about.html", b"about\n");
    write("app/main.js.map", b"{}");
    write("list/a.txt", b"a");
    write("list/sub/b.txt", b"b");
}
