//! Rules, and what they come to for a path.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::{
    config::{Coding, Dotfiles, EtagKind, OneOrMore, RuleConfig, Symlinks},
    cors::Cors,
    error::RuleError,
    fallback::Fallback,
    fields::{self, Standard},
    media::{self, Types},
    redirect::Redirect,
};
use crate::http::Status;

/// The rules of a site, checked.
#[derive(Debug)]
pub(super) struct Rules {
    list: Vec<Rule>,
    patterns: GlobSet,
    /// Which rule each pattern belongs to.
    owners: Vec<usize>,
}

/// One rule.
#[derive(Debug)]
struct Rule {
    is_for_all: bool,
    redirect: Option<Redirect>,
    root: Option<PathBuf>,
    /// Length of the directory whose rest a redirect may use, and where another root lies.
    base_len: usize,
    index: Option<Vec<String>>,
    fallbacks: Option<Vec<Fallback>>,
    hide: Option<bool>,
    listing: Option<bool>,
    dotfiles: Option<Dotfiles>,
    symlinks: Option<Symlinks>,
    codings: Option<Vec<Coding>>,
    types: Types,
    charset: Option<String>,
    etag: Option<EtagKind>,
    cache_control: Option<String>,
    changes: Vec<Change>,
    cors: Option<Arc<Cors>>,
    error_pages: BTreeMap<Status, String>,
}

/// What a rule does to the header.
#[derive(Debug)]
enum Change {
    Set(String, String),
    Remove(String),
}

/// What holds for a path.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Policy<'a> {
    /// Where the client is to go, and how much of the path is the directory of that rule.
    pub redirect: Option<(&'a Redirect, usize)>,
    /// The directory that is not the site's own, by the number of its rule, and how much of the path is the
    /// directory of that rule.
    pub root: Option<(usize, usize)>,
    /// Names of index files.
    pub index: &'a [String],
    /// Files to send where there is none.
    pub fallbacks: &'a [Fallback],
    /// Whether clients are told that nothing is there.
    pub hide: bool,
    /// Whether directories are listed.
    pub listing: bool,
    /// What becomes of names that start with a dot.
    pub dotfiles: Dotfiles,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// What entity tags promise.
    pub etag: EtagKind,
    /// `Cache-Control`; empty for none.
    pub cache_control: &'a str,
    /// Which pages of other origins may read.
    pub cors: Option<&'a Arc<Cors>>,
    /// Whether there is a `Last-Modified` field.
    pub last_modified: bool,
    /// Whether there is an `Accept-Ranges` field.
    pub accept_ranges: bool,
    /// Header fields of all responses.
    pub headers: Vec<(&'a str, &'a str)>,
    codings: &'a [Coding],
    charset: &'a str,
    types: Vec<&'a Types>,
    error_pages: Vec<&'a BTreeMap<Status, String>>,
}

const SERVER: (&str, &str) = ("Server", "pagewire");

/// What holds where no rule says anything.
impl Default for Policy<'_> {
    fn default() -> Self {
        Self {
            redirect: None,
            root: None,
            index: default_index(),
            fallbacks: &[],
            hide: false,
            listing: false,
            dotfiles: Dotfiles::default(),
            symlinks: Symlinks::default(),
            etag: EtagKind::default(),
            cache_control: "",
            cors: None,
            last_modified: true,
            accept_ranges: true,
            headers: vec![SERVER],
            codings: &Coding::ALL,
            charset: "utf-8",
            types: Vec::new(),
            error_pages: Vec::new(),
        }
    }
}

impl Policy<'_> {
    /// The media type of a file.
    pub fn media_type(&self, name: &[u8]) -> String {
        media::media_type(name, self.types.iter().copied(), self.charset)
    }

    /// The codings that may lie beside a file of a media type, in order of preference.
    pub fn codings(&self, media_type: &str) -> &[Coding] {
        if media::is_compressed(media_type) { &[] } else { self.codings }
    }

    /// The page for a status, as a path below the root.
    pub fn error_page(&self, status: Status) -> Option<&str> {
        let mut pages = self.error_pages.iter().rev();
        pages.find_map(|pages| pages.get(&status)).map(String::as_str)
    }

    fn remove(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        match Standard::named(name) {
            Some(Standard::LastModified) => self.last_modified = false,
            Some(Standard::AcceptRanges) => self.accept_ranges = false,
            Some(Standard::Server) | None => {}
        }
    }
}

impl Rules {
    /// Checks rules. An error comes with the index of its rule.
    pub fn build(configs: &[RuleConfig]) -> Result<Self, (usize, RuleError)> {
        let mut patterns = GlobSetBuilder::new();
        let (mut rules, mut owners) = (Vec::new(), Vec::new());
        for (index, config) in configs.iter().enumerate() {
            for pattern in config.path.as_slice() {
                patterns.add(glob(pattern).map_err(|error| (index, error))?);
                owners.push(index);
            }
            rules.push(Rule::build(config).map_err(|error| (index, error))?);
        }
        let patterns = patterns.build().map_err(|error| {
            let pattern = error.glob().unwrap_or_default().to_owned();
            let why = error.kind().to_string();
            (owners.last().copied().unwrap_or(0), RuleError::Pattern { pattern, why })
        })?;
        Ok(Self { list: rules, patterns, owners })
    }

    /// What holds for `path`.
    pub fn policy(&self, path: &[u8]) -> Policy<'_> {
        let mut applies: Vec<_> = self.list.iter().map(|rule| rule.is_for_all).collect();
        for pattern in self.patterns.matches(as_path(path)) {
            applies[self.owners[pattern]] = true;
        }
        self.combine(&applies)
    }

    /// What holds for all paths.
    pub fn everywhere(&self) -> Policy<'_> {
        self.combine(&self.list.iter().map(|rule| rule.is_for_all).collect::<Vec<_>>())
    }

    fn combine(&self, applies: &[bool]) -> Policy<'_> {
        let mut policy = Policy::default();
        let rules = self.list.iter().enumerate().zip(applies);
        let rules = rules.filter_map(|(rule, applies)| applies.then_some(rule));
        for (number, rule) in rules {
            rule.apply(number, &mut policy);
        }
        policy
    }

    /// The directories of rules, with the numbers of these.
    pub fn roots(&self) -> impl Iterator<Item = (usize, &Path)> {
        self.list
            .iter()
            .enumerate()
            .filter_map(|(number, rule)| Some((number, &**rule.root.as_ref()?)))
    }

    /// All error pages. Some may come twice.
    pub fn error_pages(&self) -> impl Iterator<Item = &str> {
        self.list.iter().flat_map(|rule| rule.error_pages.values()).map(String::as_str)
    }
}

impl Rule {
    fn build(config: &RuleConfig) -> Result<Self, RuleError> {
        let base_len = base_len(config.path.as_slice());
        let redirect = config.redirect.as_ref();
        let redirect = redirect.map(|it| Redirect::build(it, base_len.is_some())).transpose()?;
        if let Some(root) = config.root.as_ref().filter(|_| base_len.is_none()) {
            return Err(RuleError::Root(root.clone()));
        }
        for name in config.index.iter().flatten() {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                return Err(RuleError::Index(name.clone()));
            }
        }
        if let Some(value) = config.cache_control.as_ref().filter(|value| !value.is_empty()) {
            fields::check_value("Cache-Control", value)?;
        }
        if let Some(charset) = config.charset.as_ref().filter(|charset| !charset.is_empty())
            && !fields::is_token(charset)
        {
            return Err(RuleError::Charset(charset.clone()));
        }
        let cors = config.cors.as_ref().map(Cors::build).transpose()?;
        Ok(Self {
            is_for_all: config.path.as_slice().is_empty(),
            redirect,
            root: config.root.clone(),
            base_len: base_len.unwrap_or(1),
            index: config.index.clone(),
            fallbacks: fallbacks(config)?,
            hide: config.hide,
            listing: config.listing,
            dotfiles: config.dotfiles,
            symlinks: config.symlinks,
            codings: config.precompressed.clone(),
            types: media::check_types(&config.types)?,
            charset: config.charset.clone(),
            etag: config.etag,
            cache_control: config.cache_control.clone(),
            changes: changes(config)?,
            cors: cors.map(Arc::new),
            error_pages: error_pages(&config.error_pages)?,
        })
    }

    fn apply<'a>(&'a self, number: usize, policy: &mut Policy<'a>) {
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(from) = from {
                *to = from;
            }
        }
        set(&mut policy.redirect, self.redirect.as_ref().map(|it| Some((it, self.base_len))));
        set(&mut policy.root, self.root.as_ref().map(|_| Some((number, self.base_len))));
        set(&mut policy.index, self.index.as_deref());
        set(&mut policy.fallbacks, self.fallbacks.as_deref());
        set(&mut policy.hide, self.hide);
        set(&mut policy.listing, self.listing);
        set(&mut policy.dotfiles, self.dotfiles);
        set(&mut policy.symlinks, self.symlinks);
        set(&mut policy.codings, self.codings.as_deref());
        set(&mut policy.charset, self.charset.as_deref());
        set(&mut policy.etag, self.etag);
        set(&mut policy.cache_control, self.cache_control.as_deref());
        set(&mut policy.cors, self.cors.as_ref().map(Some));
        policy.types.push(&self.types);
        policy.error_pages.push(&self.error_pages);
        for change in &self.changes {
            match change {
                Change::Remove(name) => policy.remove(name),
                Change::Set(name, value) => {
                    policy.remove(name);
                    policy.headers.push((name, value));
                }
            }
        }
    }
}

fn default_index() -> &'static [String] {
    static INDEX: std::sync::LazyLock<[String; 1]> =
        std::sync::LazyLock::new(|| ["index.html".to_owned()]);
    INDEX.as_slice()
}

/// What a rule does to the header, in the order in which it does it.
fn changes(config: &RuleConfig) -> Result<Vec<Change>, RuleError> {
    let mut changes = Vec::new();
    for name in &config.remove_headers {
        fields::check_name(name)?;
        changes.push(Change::Remove(name.clone()));
    }
    for &(name, value) in fields::security(config.security.unwrap_or_default()) {
        changes.push(Change::Set(name.to_owned(), value.to_owned()));
    }
    if let Some(hsts) = &config.hsts {
        changes.push(Change::Set("Strict-Transport-Security".to_owned(), fields::hsts(hsts)?));
    }
    for (name, value) in &config.headers {
        fields::check_name(name)?;
        fields::check_value(name, value)?;
        changes.push(Change::Set(name.clone(), value.clone()));
    }
    Ok(changes)
}

fn error_pages(config: &BTreeMap<String, String>) -> Result<BTreeMap<Status, String>, RuleError> {
    let mut pages = BTreeMap::new();
    for (code, page) in config {
        let status = code.parse().ok().and_then(Status::of_error).ok_or_else(|| {
            let known: Vec<_> = Status::ERRORS.iter().map(|it| it.code().to_string()).collect();
            RuleError::ErrorStatus(code.clone(), known.join(", "))
        })?;
        let path = below_root(page).ok_or_else(|| RuleError::ErrorPage(page.clone()))?;
        pages.insert(status, path.to_owned());
    }
    Ok(pages)
}

fn fallbacks(config: &RuleConfig) -> Result<Option<Vec<Fallback>>, RuleError> {
    let read = |path: &String| {
        let below = below_root(path).and_then(Fallback::read);
        below.ok_or_else(|| RuleError::Fallback(path.clone()))
    };
    let paths = config.fallback.as_ref().map(OneOrMore::as_slice);
    paths.map(|paths| paths.iter().map(read).collect()).transpose()
}

/// A path that names a file below the root, without its slash.
fn below_root(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/').filter(|path| !path.is_empty() && !path.contains('\0'))?;
    path.split('/').all(|name| !matches!(name, "" | "." | "..")).then_some(path)
}

/// The length of the one directory that a rule is about, with its slash; nothing if it is about others.
fn base_len(patterns: &[String]) -> Option<usize> {
    let [pattern] = patterns else { return patterns.is_empty().then_some(1) };
    let base = pattern.strip_suffix("**").unwrap_or(pattern);
    let is_plain = base.starts_with('/') && base.ends_with('/');
    (is_plain && !base.contains(['*', '?', '[', '{', '\\'])).then_some(base.len())
}

fn glob(pattern: &str) -> Result<Glob, RuleError> {
    let full = match pattern {
        "" => return Err(RuleError::Pattern { pattern: String::new(), why: "it is empty".into() }),
        directory if directory.starts_with('/') && directory.ends_with('/') => {
            format!("{directory}**")
        }
        anchored if anchored.starts_with('/') => anchored.to_owned(),
        name if name.contains('/') => {
            let why = "one with a slash in it must begin with a slash".to_owned();
            return Err(RuleError::Pattern { pattern: name.to_owned(), why });
        }
        name => format!("/**/{name}"),
    };
    GlobBuilder::new(&full).literal_separator(true).backslash_escape(true).build().map_err(
        |error| RuleError::Pattern { pattern: pattern.to_owned(), why: error.kind().to_string() },
    )
}

fn as_path(path: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path))
}
