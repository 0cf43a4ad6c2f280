//! From a path in a site to a resource. Blocks on the disk: for helper threads only.

use std::{
    fs::File,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pagewire_stack::{DiskReads, FileObject, Identity};
use rustix::{fs::OFlags, io::Errno};

use super::{
    catalogue::{Place, VARY_ORIGIN},
    listing,
    resource::{Elsewhere, FileEntry, Listing, Representation, Resource, Shared},
};
use crate::{
    http::{
        Status,
        negotiate::Coding,
        path,
        response::{Description, Entity, write_line},
    },
    site::{
        Policy, Site,
        config::{Dotfiles, EtagKind},
    },
};

/// Looks at what `key`, a path below the root, leads to now. If that is still the same as `known`, the
/// answer is `known`. What has to be read from the disk for it is counted.
pub(super) fn resolve(
    site: &Site,
    place: &Place,
    key: &[u8],
    known: Option<Arc<Resource>>,
    reads: &DiskReads,
) -> Arc<Resource> {
    let asked = [b"/", key].concat();
    let policy = site.policy(&asked);
    let look = Look { site, place, known: known.as_deref(), reads };
    let found = look.at(key, &asked, &policy);
    match (found, known) {
        (Ok(Found::New(resource)), _) => resource,
        (Ok(Found::Unchanged), Some(known)) => known,
        (Ok(Found::Unchanged), None) => Arc::new(place.refuse(Status::NotFound, &policy)),
        (Err(error), _) => Arc::new(place.refuse(status(error), &policy)),
    }
}

/// What a look has found.
enum Found {
    /// What was known.
    Unchanged,
    New(Arc<Resource>),
}

/// A look at the disk.
struct Look<'a> {
    site: &'a Site,
    place: &'a Place,
    known: Option<&'a Resource>,
    reads: &'a DiskReads,
}

/// A file that is open.
struct Opened {
    file: File,
    identity: Identity,
}

impl Look<'_> {
    fn at(&self, key: &[u8], asked: &[u8], policy: &Policy<'_>) -> Result<Found, Errno> {
        if policy.hide {
            return Err(Errno::NOENT);
        }
        if let Some((redirect, base_len)) = policy.redirect {
            let mut target = Vec::new();
            redirect.write_target(asked, base_len, &mut target);
            return Ok(Found::New(Arc::new(Resource::Elsewhere(Elsewhere {
                status: redirect.status(),
                target: target.into(),
                keeps_query: redirect.keeps_query(),
                shared: self.place.shared(policy, None),
                lines: cache_control(policy).into(),
            }))));
        }
        if policy.dotfiles == Dotfiles::Hide && path::is_hidden(key) {
            return Err(Errno::NOENT);
        }
        match self.at_name(key, policy) {
            Err(error) if status(error) == Status::NotFound => {
                self.at_fallback(key, policy).unwrap_or(Err(error))
            }
            found => found,
        }
    }

    /// What there is instead of something that there is not.
    fn at_fallback(&self, key: &[u8], policy: &Policy<'_>) -> Option<Result<Found, Errno>> {
        policy.fallbacks.iter().find_map(|fallback| {
            let path = fallback.path(key)?;
            let policy = self.site.policy(&[b"/", &*path].concat());
            let opened = self.open(&path, &policy).ok().flatten()?;
            Some(self.at_file(&path, opened))
        })
    }

    fn at_name(&self, key: &[u8], policy: &Policy<'_>) -> Result<Found, Errno> {
        if key.is_empty() || key.ends_with(b"/") {
            return self.at_directory(key, policy);
        }
        if let Some(opened) = self.open(key, policy)? {
            return self.at_file(key, opened);
        }
        let mut target = Vec::new();
        path::write_directory_target(key, &mut target);
        // The rule's `Cache-Control` is about files: a year is long for what is a directory today.
        Ok(Found::New(Arc::new(Resource::Elsewhere(Elsewhere {
            status: Status::MovedPermanently,
            target: target.into(),
            keeps_query: true,
            shared: self.place.shared(policy, None),
            lines: Box::default(),
        }))))
    }

    fn at_directory(&self, key: &[u8], policy: &Policy<'_>) -> Result<Found, Errno> {
        for index in policy.index {
            let path = [key, index.as_bytes()].concat();
            match self.open(&path, policy) {
                Ok(Some(opened)) => return self.at_file(&path, opened),
                Ok(None) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        if !policy.listing {
            // A directory that is not listed is not the same as none.
            let (root, below) = self.place.locate(key, policy);
            root.open_beneath(below, OFlags::PATH | OFlags::DIRECTORY, policy.symlinks)?;
            return self.at_fallback(key, policy).unwrap_or(Err(Errno::ACCESS));
        }
        let listed = listing::list(self.site, self.place, key, policy)?;
        Ok(self.at_listing(listed, policy))
    }

    fn at_listing(&self, listed: listing::Listed, policy: &Policy<'_>) -> Found {
        if let Some(Resource::Listing(known)) = self.known
            && known.html.plain.object.memory() == Some(listed.html.as_bytes())
            && known.json.plain.object.memory() == Some(listed.json.as_bytes())
        {
            return Found::Unchanged;
        }
        let shared = self.place.shared(policy, None);
        let lines = lines_of_entities(policy, &shared, "Accept");
        let entry = |text: String, content_type: &str, tag: &str| {
            let etag = format!("\"{:x}-{tag}\"", listed.digest);
            let object = FileObject::from_bytes(text.into_bytes());
            let entity = entity(policy, &lines, &object, &etag, listed.changed, None, content_type);
            FileEntry {
                plain: Representation { object, entity },
                coded: Box::default(),
                shared: shared.clone(),
            }
        };
        Found::New(Arc::new(Resource::Listing(Listing {
            html: entry(listed.html, "text/html; charset=utf-8", "html"),
            json: entry(listed.json, "application/json", "json"),
        })))
    }

    /// The file at `path`, with its coded siblings. The rules for its own path count, which is not the
    /// one asked for if it is an index.
    fn at_file(&self, path: &[u8], opened: Opened) -> Result<Found, Errno> {
        let policy = self.site.policy(&[b"/", path].concat());
        let content_type = policy.media_type(path);
        let coded = self.open_coded(path, &opened, &policy, &content_type);
        if let Some(Resource::File(known)) = self.known
            && is_same(known, &opened, &coded)
        {
            return Ok(Found::Unchanged);
        }
        let shared = self.place.shared(&policy, None);
        let vary = if coded.is_empty() { "" } else { "Accept-Encoding" };
        let lines = lines_of_entities(&policy, &shared, vary);
        let represent = |opened: Opened, coding: Option<Coding>| {
            let object = FileObject::bring_in(opened.file, self.reads)?;
            let etag = etag(object.identity(), coding);
            let changed = last_modified(object.identity());
            let entity = entity(&policy, &lines, &object, &etag, changed, coding, &content_type);
            Ok(Representation { object, entity })
        };
        let plain = represent(opened, None).map_err(|error: io::Error| errno(&error))?;
        // A coded file that cannot be had is done without.
        let coded = coded
            .into_iter()
            .filter_map(|(coding, opened)| Some((coding, represent(opened, Some(coding)).ok()?)));
        let coded = coded.collect();
        let file = FileEntry { plain, coded, shared };
        Ok(Found::New(Arc::new(Resource::File(file))))
    }

    /// The coded files beside `path`. One that is older than the file is of an earlier version of it.
    fn open_coded(
        &self,
        path: &[u8],
        plain: &Opened,
        policy: &Policy<'_>,
        content_type: &str,
    ) -> Vec<(Coding, Opened)> {
        let beside = |&coding: &Coding| {
            let path = [path, coding.suffix().as_bytes()].concat();
            let opened = self.open(&path, policy).ok().flatten()?;
            let is_current = opened.identity.mtime_ns >= plain.identity.mtime_ns;
            (is_current && opened.identity.size > 0).then_some((coding, opened))
        };
        policy.codings(content_type).iter().filter_map(beside).collect()
    }

    /// Opens a file; nothing if it is a directory.
    fn open(&self, path: &[u8], policy: &Policy<'_>) -> Result<Option<Opened>, Errno> {
        let (root, below) = self.place.locate(path, policy);
        let file = File::from(root.open_beneath(below, OFlags::RDONLY, policy.symlinks)?);
        let metadata = file.metadata().map_err(|error| errno(&error))?;
        if metadata.is_dir() {
            return Ok(None);
        }
        if !metadata.is_file() {
            return Err(Errno::ACCESS);
        }
        Ok(Some(Opened { file, identity: Identity::of(&metadata) }))
    }
}

/// Whether `known` is what has been opened.
fn is_same(known: &FileEntry, plain: &Opened, coded: &[(Coding, Opened)]) -> bool {
    let is = |known: &Representation, opened: &Opened| {
        *known.object.identity() == opened.identity && !known.object.is_outdated()
    };
    is(&known.plain, plain)
        && known.coded.len() == coded.len()
        && known.coded.iter().zip(coded).all(|((known_coding, known), (coding, opened))| {
            known_coding == coding && is(known, opened)
        })
}

fn cache_control(policy: &Policy<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    if !policy.cache_control.is_empty() {
        write_line(&mut line, "Cache-Control", policy.cache_control);
    }
    line
}

/// Whole lines of fields of all representations at a path.
fn lines_of_entities(policy: &Policy<'_>, shared: &Shared, vary: &str) -> Vec<u8> {
    // One line for all that they vary by: not everybody puts two together.
    let (others, by_origin) = match shared.lines.strip_prefix(VARY_ORIGIN) {
        Some(others) => (others, "Origin"),
        None => (&*shared.lines, ""),
    };
    let mut lines = others.to_vec();
    lines.extend(cache_control(policy));
    let vary: Vec<_> = [by_origin, vary].into_iter().filter(|it| !it.is_empty()).collect();
    if !vary.is_empty() {
        write_line(&mut lines, "Vary", &vary.join(", "));
    }
    lines
}

/// The head of a representation, by the rules for its path.
fn entity(
    policy: &Policy<'_>,
    lines: &[u8],
    object: &FileObject,
    etag: &str,
    last_modified: SystemTime,
    coding: Option<Coding>,
    content_type: &str,
) -> Entity {
    let etag = match policy.etag {
        EtagKind::Strong => etag.to_owned(),
        EtagKind::Weak => format!("W/{etag}"),
        EtagKind::Off => String::new(),
    };
    Entity::new(&Description {
        lines,
        etag: &etag,
        last_modified,
        shows_last_modified: policy.last_modified,
        shows_ranges: policy.accept_ranges,
        coding: coding.map(Coding::name),
        content_type,
        len: object.len(),
    })
}

/// The inode is in it because a replacement may keep size and time (packages built reproducibly give
/// all files the same time). A file rewritten in place without a change of either keeps its tag.
fn etag(identity: &Identity, coding: Option<Coding>) -> String {
    let (dash, name) = coding.map_or(("", ""), |coding| ("-", coding.name()));
    format!("\"{:x}-{:x}-{:x}{dash}{name}\"", identity.mtime_ns, identity.size, identity.ino)
}

/// No later than now (RFC 9110 §8.8.2.1).
fn last_modified(identity: &Identity) -> SystemTime {
    let nanos = u64::try_from(identity.mtime_ns).unwrap_or_default();
    (SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)).min(SystemTime::now())
}

/// An error without a number is a file that could not be had as it kept changing.
fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::AGAIN)
}

fn status(error: Errno) -> Status {
    match error {
        // XDEV: a link that leads out of the root. NXIO: a socket.
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::NAMETOOLONG
        | Errno::LOOP
        | Errno::XDEV
        | Errno::NXIO
        | Errno::INVAL => Status::NotFound,
        Errno::ACCESS | Errno::PERM => Status::Forbidden,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR => {
            Status::Unavailable
        }
        _ => Status::InternalError,
    }
}
