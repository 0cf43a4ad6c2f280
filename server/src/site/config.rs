//! What a user may say about a site, as plain data. It means something once `build` has checked it.
//!
//! A rule without a path is about the whole site; where several rules speak of a path, the last one that
//! says something about a setting decides it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

pub use crate::http::negotiate::Coding;

/// A directory served under some host names.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Host names: `example.com`, or `*.example.com` for all names below it. A site without names is
    /// the default.
    #[serde(default)]
    pub names: Vec<String>,
    /// Whether it also answers for names that no site has. Where none does, they get 421.
    #[serde(default)]
    pub default: bool,
    /// Directory.
    pub root: PathBuf,
    /// What holds for which paths; later rules win, setting by setting.
    #[serde(default, rename = "rule")]
    pub rules: Vec<RuleConfig>,
}

impl SiteConfig {
    /// The default site, of everything below `root`.
    pub fn of_directory(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..Self::default() }
    }
}

/// What holds for some paths. Each setting that is left out stays as it was.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Patterns of paths; none for all. `/a/` is everything below a directory, `/a/*.css` (`*` and `?`
    /// stop at slashes, `**` does not) some files of it, `*.css` files of that name in any directory.
    #[serde(default)]
    pub path: OneOrMore,
    /// Sends the client elsewhere.
    pub redirect: Option<RedirectConfig>,
    /// Directory that lies at the rule's path in place of what the site's own directory has there, such as
    /// `/srv/media` at `/media/`. [none]
    pub root: Option<PathBuf>,
    /// Names of the file that stands for its directory, in order of preference. [`index.html`]
    pub index: Option<Vec<String>>,
    /// Files to send where there is none, nor a list: paths below the root, such as `/index.html`, in which
    /// `{path}` is the path asked for, as in `/{path}.html`. The first that is there is sent, with a 200.
    /// [none]
    pub fallback: Option<OneOrMore>,
    /// Whether clients are told that nothing is there, also by lists. Indexes, fallbacks, error pages and
    /// coded files are found all the same. [no]
    pub hide: Option<bool>,
    /// Whether directories without an index are listed. [no]
    pub listing: Option<bool>,
    /// What becomes of names that start with a dot. [hidden]
    pub dotfiles: Option<Dotfiles>,
    /// Which symbolic links are followed. [those that stay within the root]
    pub symlinks: Option<Symlinks>,
    /// Codings whose files (`.br`, `.zst`, `.gz`) are looked for beside a file, in order of preference;
    /// `[]` for none. [br, zstd, gzip]
    pub precompressed: Option<Vec<Coding>>,
    /// Media types by file extension, before those of the built-in table.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    /// Charset of text; empty for none. [utf-8]
    pub charset: Option<String>,
    /// What entity tags promise. [strong]
    pub etag: Option<EtagKind>,
    /// `Cache-Control` of files, listings and `redirect`; empty for none. Errors and the redirect of a
    /// directory to its slash never have it. [none]
    pub cache_control: Option<String>,
    /// Header fields to add, or to replace if an earlier rule has added them; on errors and redirects as
    /// well, like those of `cors`, `hsts` and `security`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Header fields to leave out: those of earlier rules, `Server`, `Last-Modified`, `Accept-Ranges`.
    #[serde(default)]
    pub remove_headers: Vec<String>,
    /// Which pages of other origins may read (the Fetch standard's CORS protocol). [none]
    pub cors: Option<CorsConfig>,
    /// `Strict-Transport-Security` (RFC 6797), for a server behind one that ends TLS: clients ignore it
    /// on plain HTTP. [none]
    pub hsts: Option<HstsConfig>,
    /// Header fields that make browsers careful. [off]
    pub security: Option<SecurityPreset>,
    /// Pages for errors, by status: files below the root, read when the site is opened.
    #[serde(default)]
    pub error_pages: BTreeMap<String, String>,
}

/// One string, or a list of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// A list.
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl OneOrMore {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        }
    }
}

/// Where to send a client.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RedirectConfig {
    /// A path or an `http` or `https` address. `{path}` in it is the path asked for, `{rest}` what of it
    /// lies below the rule's directory; both without a leading slash. The query follows it, unless
    /// there is one in it.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "moved_permanently")]
    pub status: u16,
}

const fn moved_permanently() -> u16 {
    301
}

/// What becomes of names that start with a dot.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Dotfiles {
    /// They are not there, but for `/.well-known` (RFC 8615).
    #[default]
    Hide,
    /// They are names like others.
    Serve,
}

/// Which symbolic links are followed. None of the choices leads out of the root but `Follow`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Symlinks {
    /// None: what lies behind one is not there.
    None,
    /// Those that stay within the root.
    #[default]
    Within,
    /// Those that stay within the root and whose file belongs to the link's owner.
    Owner,
    /// All of them, also out of the root.
    Follow,
}

/// What entity tags promise (RFC 9110 §8.8.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum EtagKind {
    /// The same bytes.
    #[default]
    Strong,
    /// The same meaning: parts are then not combined.
    Weak,
    /// There are none.
    Off,
}

/// Which pages of other origins may read.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins, such as `https://example.com`, or `*` for all.
    pub origins: Vec<String>,
    /// Request header fields that they may send.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Response header fields that they may see.
    #[serde(default)]
    pub expose: Vec<String>,
    /// Whether they may send cookies and the like.
    #[serde(default)]
    pub credentials: bool,
    /// How long browsers may remember this, such as `1h`.
    pub max_age: Option<String>,
}

/// What `Strict-Transport-Security` says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HstsConfig {
    /// How long browsers may use TLS alone, such as `365d`.
    pub max_age: String,
    /// Whether that goes for names below the host's as well.
    #[serde(default)]
    pub subdomains: bool,
    /// Whether the site agrees to be in browsers' lists.
    #[serde(default)]
    pub preload: bool,
}

/// Header fields that make browsers careful.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityPreset {
    /// None.
    #[default]
    Off,
    /// Those that no ordinary site notices: no guessed types, no frames elsewhere, short referrers.
    Basic,
    /// Those too that a site has to be made for: nothing from other origins, no inline scripts.
    Strict,
}
