//! Lists of directories, for people (HTML) and programs (JSON). Blocks on the disk.
//!
//! Directories come first, then files, each by name with numbers in their natural order. What cannot be
//! reached is not listed: hidden names, and links that are not followed or lead nowhere.

use std::{
    cmp::Ordering,
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    os::fd::OwnedFd,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, OFlags, Stat},
    io::Errno,
};

use super::{catalogue::Place, root::Root};
use crate::{
    http::path,
    site::{Policy, Site, config::Dotfiles},
};

/// Most entries of a list. A directory that has more is listed up to that, and says so.
const MOST_ENTRIES: usize = 10_000;

/// A list of a directory.
pub(super) struct Listed {
    pub html: String,
    pub json: String,
    /// Of the content.
    pub digest: u64,
    /// When the directory, or one of what is in it, was last changed.
    pub changed: SystemTime,
}

/// One entry.
struct Entry {
    /// With a slash at its end if it is a directory.
    name: Vec<u8>,
    is_directory: bool,
    size: u64,
    /// Seconds since 1970.
    changed: u64,
}

/// Lists the directory whose path below the root is `key`.
pub(super) fn list(
    site: &Site,
    place: &Place,
    key: &[u8],
    policy: &Policy<'_>,
) -> Result<Listed, Errno> {
    let access = OFlags::RDONLY | OFlags::DIRECTORY;
    let (root, below) = place.locate(key, policy);
    let directory = root.open_beneath(below, access, policy.symlinks)?;
    let own = seconds(&rustix::fs::fstat(&directory)?);
    let shelf = Shelf { site, root, directory, key, below };
    let (mut entries, is_cut) = shelf.read()?;
    entries.sort_unstable_by(|a, b| {
        b.is_directory.cmp(&a.is_directory).then_with(|| natural(&a.name, &b.name))
    });
    let changed = entries.iter().map(|entry| entry.changed).fold(own, u64::max);
    let html = html(key, &entries, is_cut);
    let json = json(&entries);
    let mut hasher = DefaultHasher::new();
    (&html, &json).hash(&mut hasher);
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
    Ok(Listed { html, json, digest: hasher.finish(), changed: changed.min(SystemTime::now()) })
}

/// A directory that is being listed.
struct Shelf<'a> {
    site: &'a Site,
    root: &'a Root,
    directory: OwnedFd,
    key: &'a [u8],
    /// The same as seen from `root`.
    below: &'a [u8],
}

impl Shelf<'_> {
    /// The entries, and whether there are more.
    fn read(&self) -> Result<(Vec<Entry>, bool), Errno> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let Some(stat) = self.look_at(name) else { continue };
            let is_directory = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => true,
                FileType::RegularFile => false,
                _ => continue,
            };
            if entries.len() == MOST_ENTRIES {
                return Ok((entries, true));
            }
            let slash = if is_directory { b"/".as_slice() } else { b"" };
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            let name = [name, slash].concat();
            entries.push(Entry { name, is_directory, size, changed: seconds(&stat) });
        }
        Ok((entries, false))
    }

    /// What an entry is, or leads to, if that can be had.
    fn look_at(&self, name: &[u8]) -> Option<Stat> {
        let path = [self.key, name].concat();
        let policy = self.site.policy(&[b"/", &*path].concat());
        if policy.hide || (policy.dotfiles == Dotfiles::Hide && path::is_hidden(&path)) {
            return None;
        }
        let stat = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Some(stat);
        }
        let below = [self.below, name].concat();
        let target = self.root.open_beneath(&below, OFlags::PATH, policy.symlinks).ok()?;
        rustix::fs::fstat(target).ok()
    }
}

fn seconds(stat: &Stat) -> u64 {
    u64::try_from(stat.st_mtime).unwrap_or_default()
}

/// By bytes, but for runs of digits, which are numbers; and without regard to case unless that decides.
fn natural(a: &[u8], b: &[u8]) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (Some((&byte_a, after_a)), Some((&byte_b, after_b))) =
            (rest_a.split_first(), rest_b.split_first())
        else {
            return rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b));
        };
        if byte_a.is_ascii_digit() && byte_b.is_ascii_digit() {
            let (number_a, tail_a) = digits(rest_a);
            let (number_b, tail_b) = digits(rest_b);
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (rest_a, rest_b) = (tail_a, tail_b);
            continue;
        }
        match byte_a.to_ascii_lowercase().cmp(&byte_b.to_ascii_lowercase()) {
            Ordering::Equal => (rest_a, rest_b) = (after_a, after_b),
            order => return order,
        }
    }
}

/// The digits at the front without leading zeros, and what follows them.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, tail) = text.split_at(end);
    let zeros = digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len());
    (&digits[zeros..], tail)
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8883;--dim:#666}\
@media(prefers-color-scheme:dark){:root{--dim:#999}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}\
th{text-align:left;font-weight:500;color:var(--dim);border-bottom:2px solid var(--line)}\
td,th{padding:.35rem 0 .35rem 1.5rem}\
td:first-child,th:first-child{padding-left:0;width:100%}\
td{border-bottom:1px solid var(--line)}\
td:first-child{overflow-wrap:anywhere}\
td+td,th+th{white-space:nowrap;color:var(--dim);font-variant-numeric:tabular-nums}\
th.size,td.size{text-align:right}\
a{text-decoration:none}a:hover{text-decoration:underline}\
p{color:var(--dim)}\
@media(max-width:32rem){.time{display:none}}";

fn html(key: &[u8], entries: &[Entry], is_cut: bool) -> String {
    let mut out = String::with_capacity(1_024 + entries.len() * 160);
    let title = escape(&format!("/{}", String::from_utf8_lossy(key)));
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{}</h1>\n<table>\n<thead><tr><th>Name</th>\
         <th class=\"size\">Size</th><th class=\"time\">Changed (UTC)</th></tr></thead>\n<tbody>\n",
        crumbs(key)
    );
    if !key.is_empty() {
        out += "<tr><td><a href=\"../\">../</a></td><td class=\"size\"></td>\
            <td class=\"time\"></td></tr>\n";
    }
    for entry in entries {
        let name = escape(&String::from_utf8_lossy(&entry.name));
        let size = if entry.is_directory { String::new() } else { human(entry.size) };
        let _ = writeln!(
            out,
            "<tr><td><a href=\"./{}\">{name}</a></td><td class=\"size\" title=\"{}\">{size}</td>\
             <td class=\"time\">{}</td></tr>",
            escape(&encode(&entry.name)),
            if entry.is_directory { String::new() } else { format!("{} bytes", entry.size) },
            minute(entry.changed),
        );
    }
    out += "</tbody>\n</table>\n";
    if is_cut {
        let _ = writeln!(out, "<p>There are more than these {MOST_ENTRIES} entries.</p>");
    } else if entries.is_empty() {
        out += "<p>This directory is empty.</p>\n";
    }
    out += "</body>\n</html>\n";
    out
}

/// The path, each directory of it with its link.
fn crumbs(key: &[u8]) -> String {
    let names: Vec<_> = key.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    let up = |depth: usize| if depth == 0 { "./".to_owned() } else { "../".repeat(depth) };
    let mut out = format!("<a href=\"{}\">/</a>", up(names.len()));
    for (index, name) in names.iter().enumerate() {
        let name = escape(&String::from_utf8_lossy(name));
        let _ = write!(out, "<a href=\"{}\">{name}/</a>", up(names.len() - 1 - index));
    }
    out
}

fn json(entries: &[Entry]) -> String {
    let mut out = "[".to_owned();
    for (index, entry) in entries.iter().enumerate() {
        let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
        let _ = write!(
            out,
            "{}{{\"name\":{},\"href\":\"./{}\",\"type\":\"{}\",\"mtime\":\"{}\"",
            if index == 0 { "\n" } else { ",\n" },
            quote(&String::from_utf8_lossy(name)),
            encode(&entry.name),
            if entry.is_directory { "directory" } else { "file" },
            rfc3339(entry.changed),
        );
        if !entry.is_directory {
            let _ = write!(out, ",\"size\":{}", entry.size);
        }
        out.push('}');
    }
    out += "\n]\n";
    out
}

/// As it stands in an address.
fn encode(name: &[u8]) -> String {
    let mut out = Vec::with_capacity(name.len());
    path::encode(name, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // Neither may a name reorder what stands around it.
            control if control.is_control() || is_directional(control) => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// Whether a character changes the direction of text.
fn is_directional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// RFC 8259 §7.
fn quote(text: &str) -> String {
    let mut out = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be written as 1024.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let places = usize::from(value < 9.95);
    format!("{value:.places$} {}", UNITS[unit])
}

fn rfc3339(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn minute(seconds: u64) -> String {
    let text = rfc3339(seconds);
    text.get(..16).unwrap_or(&text).replace('T', " ")
}
