//! From a key to a resource. Blocks on the disk: for helper threads only.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use pagewire_stack::{FileObject, Identity};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};
use thiserror::Error;

use crate::{
    http::{Status, response::EntityFields},
    site::{SiteError, SiteId, Sites, config::SiteConfig},
};

const INDEX: &[u8] = b"index.html";

/// What a key leads to.
#[derive(Debug)]
pub enum Resource {
    /// A file, the index of a directory included.
    File(FileEntry),
    /// A directory that was asked for without its slash.
    Directory,
    /// Nothing that can be sent.
    Refused(Status),
}

impl Resource {
    /// Memory that this keeps filled, in bytes. A large file is mapped and costs address space only.
    pub(super) fn held_bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.object.memory().map_or(0, <[u8]>::len) as u64,
            Self::Directory | Self::Refused(_) => 0,
        }
    }

    /// Whether a transfer has met with a change of the file since it was looked at.
    pub(super) fn is_outdated(&self) -> bool {
        matches!(self, Self::File(file) if file.object.is_outdated())
    }

    /// Whether this is a fact about the directory, rather than a want of means to look.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Refused(Status::Unavailable | Status::InternalError))
    }
}

/// A file ready to be sent.
#[derive(Debug)]
pub struct FileEntry {
    /// Its bytes.
    pub object: Arc<FileObject>,
    /// Its header fields.
    pub fields: EntityFields,
}

/// The inode is in it because a replacement may keep size and time (packages built reproducibly give
/// all files the same time). A file rewritten in place without a change of either keeps its tag.
fn etag(identity: &Identity) -> String {
    format!("\"{:x}-{:x}-{:x}\"", identity.mtime_ns, identity.size, identity.ino)
}

/// No later than now (RFC 9110 §8.8.2.1).
fn last_modified(identity: &Identity) -> SystemTime {
    let nanos = u64::try_from(identity.mtime_ns).unwrap_or_default();
    (SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)).min(SystemTime::now())
}

/// Why a directory cannot be served.
#[derive(Debug, Error)]
pub enum RootError {
    /// It cannot be opened.
    #[error("{path} cannot be served: {source}; name a directory that this user may read")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is to be served is described in a way that cannot be meant.
    #[error(transparent)]
    Sites(#[from] SiteError),
}

/// The directory that is served. Nothing outside it is ever opened: the kernel refuses to resolve a
/// path, or a symbolic link in it, that leads out.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    sites: Sites,
}

impl Root {
    /// Opens a directory for serving.
    ///
    /// # Errors
    ///
    /// If it is no directory or may not be read.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let sites = Sites::build(&[SiteConfig::of_directory(path)])?;
        rustix::fs::open(path, flags, Mode::empty())
            .map(|directory| Self { directory, sites })
            .map_err(|error| RootError::Unreadable { path: path.into(), source: error.into() })
    }

    /// Looks at what `key` leads to now. If that is still the file of `known`, the answer is `known`.
    pub fn resolve(&self, key: &[u8], known: Option<Arc<Resource>>) -> Arc<Resource> {
        match self.look(key, known.as_deref()) {
            Look::Unchanged => {
                known.unwrap_or_else(|| Arc::new(Resource::Refused(Status::NotFound)))
            }
            Look::Found(resource) => Arc::new(resource),
        }
    }

    fn look(&self, key: &[u8], known: Option<&Resource>) -> Look {
        let is_directory = key.is_empty() || key.ends_with(b"/");
        let index;
        let path = if is_directory {
            index = [key, INDEX].concat();
            &index
        } else {
            key
        };
        match self.open_file(path, known) {
            Ok(Look::Found(Resource::Directory)) if is_directory => refused(Status::Forbidden),
            Ok(look) => look,
            Err(Errno::NOENT) if is_directory => refused(self.without_index(key)),
            Err(error) => refused(status(error)),
        }
    }

    fn open_file(&self, path: &[u8], known: Option<&Resource>) -> Result<Look, Errno> {
        let file = File::from(self.open_beneath(path, OFlags::RDONLY)?);
        let metadata = file.metadata().map_err(|error| errno(&error))?;
        if metadata.is_dir() {
            return Ok(Look::Found(Resource::Directory));
        }
        if !metadata.is_file() {
            return Ok(refused(Status::Forbidden));
        }
        let identity = Identity::of(&metadata);
        let is_same =
            |file: &FileEntry| *file.object.identity() == identity && !file.object.is_outdated();
        if matches!(known, Some(Resource::File(file)) if is_same(file)) {
            return Ok(Look::Unchanged);
        }
        let object = FileObject::load(file).map_err(|error| errno(&error))?;
        let identity = object.identity();
        let site = self.sites.get(SiteId::default()).ok_or(Errno::NOENT)?;
        let content_type = site.policy(&[b"/", path].concat()).media_type(path);
        let fields = EntityFields::new(&content_type, &etag(identity), last_modified(identity));
        Ok(Look::Found(Resource::File(FileEntry { object, fields })))
    }

    /// A directory without an index is not listed, which is not the same as not being there.
    fn without_index(&self, key: &[u8]) -> Status {
        let key = if key.is_empty() { b"." } else { key };
        match self.open_beneath(key, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Status::Forbidden,
            Err(error) => status(error),
        }
    }

    fn open_beneath(&self, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
        // A rename during the walk of a path through `..` (in a link) makes the kernel give up.
        const MOST_TRIES: usize = 8;
        let mut flags = access | OFlags::CLOEXEC;
        if !access.contains(OFlags::PATH) {
            // Neither a FIFO nor a terminal may hold up or take over the process.
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..MOST_TRIES {
            result = rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }
}

enum Look {
    Unchanged,
    Found(Resource),
}

fn refused(status: Status) -> Look {
    Look::Found(Resource::Refused(status))
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
