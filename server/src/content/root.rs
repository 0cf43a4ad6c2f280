//! A directory to serve: opening what is in it, and nothing outside it. Blocks on the disk.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::site::config::Symlinks;

/// A directory to serve. The kernel refuses to resolve a path, or a symbolic link in it, that leads out;
/// only [`Symlinks::Follow`] lifts that.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
}

impl Root {
    /// Opens a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens what `path` leads to. It is relative, and empty for the directory itself.
    pub fn open_beneath(
        &self,
        path: &[u8],
        access: OFlags,
        symlinks: Symlinks,
    ) -> Result<OwnedFd, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { b"." } else { path };
        match symlinks {
            Symlinks::Within => open_at(&self.directory, path, access, beneath),
            Symlinks::Follow => open_at(&self.directory, path, access, ResolveFlags::NO_MAGICLINKS),
            Symlinks::None => {
                open_at(&self.directory, path, access, beneath | ResolveFlags::NO_SYMLINKS)
            }
            Symlinks::Owner => {
                let resolve = beneath | ResolveFlags::NO_SYMLINKS;
                match open_at(&self.directory, path, access, resolve) {
                    Err(Errno::LOOP) => self.walk(path, access),
                    result => result,
                }
            }
        }
    }

    /// Opens what `path` leads to, name by name. Where a name is a link, what it leads to must belong to
    /// the link's owner; it is asked of what has been opened, so no exchange of links can cheat.
    fn walk(&self, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let mut at: Option<OwnedFd> = None;
        let mut len = 0;
        for name in path.split(|&byte| byte == b'/') {
            len += name.len();
            let is_last = len == path.len();
            if !name.is_empty() {
                let parent = at.as_ref().map_or(self.directory.as_fd(), AsFd::as_fd);
                let step = if is_last { access } else { OFlags::PATH };
                let found = open_at(parent, name, OFlags::PATH | OFlags::NOFOLLOW, beneath)?;
                let link = rustix::fs::fstat(&found)?;
                let next = if FileType::from_raw_mode(link.st_mode) == FileType::Symlink {
                    let target = open_at(&self.directory, &path[..len], step, beneath)?;
                    if rustix::fs::fstat(&target)?.st_uid != link.st_uid {
                        return Err(Errno::LOOP);
                    }
                    target
                } else {
                    open_at(parent, name, step, beneath | ResolveFlags::NO_SYMLINKS)?
                };
                at = Some(next);
            }
            len += 1;
        }
        at.ok_or(Errno::NOENT)
    }
}

fn open_at(
    directory: impl AsFd,
    path: &[u8],
    access: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    // A rename during the walk of a path through `..` (in a link) makes the kernel give up.
    const MOST_TRIES: usize = 8;
    let mut flags = access | OFlags::CLOEXEC;
    if !access.contains(OFlags::PATH) {
        // Neither a FIFO nor a terminal may hold up or take over the process.
        flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
    }
    let mut result = Err(Errno::AGAIN);
    for _ in 0..MOST_TRIES {
        result = rustix::fs::openat2(&directory, path, flags, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

/// Why something cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A directory cannot be opened.
    #[error("{path} cannot be served: {source}; name a directory that this user may read")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An error page cannot be read.
    #[error("the error page {page} in {path} cannot be used: {source}")]
    ErrorPage {
        /// The page.
        page: String,
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is to be served is described in a way that cannot be meant.
    #[error(transparent)]
    Sites(#[from] crate::site::SiteError),
}
