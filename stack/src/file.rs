//! A file opened for serving: its identity, and its bytes as a copy or a mapping with a descriptor.
//!
//! Files of at most [`IN_MEMORY_MAX`] bytes are read whole when they are opened: they cost neither a
//! mapping nor a descriptor, are one version of the file for good, and are never asked about again.
//! Larger ones are mapped and keep their descriptor; their bytes are whatever the file holds when they
//! are sent, and may vanish ([`FileObject::is_damaged`]) or change ([`FileObject::is_current`]).

use std::{
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::fs::Advice;

use crate::{
    DiskReads, disk,
    mapping::{self, Mapping},
};

/// Files of at most this many bytes are held in memory. A mapping costs one of the process's 65,530
/// and a descriptor, and sending from it an fstat and a call more; above, copying costs the kernel's
/// TCP more than that (from 4 KiB on by a little, at 16 KiB by about a fifth of a request's CPU time).
pub const IN_MEMORY_MAX: u64 = 8 << 10;

/// How often a file that changes while it is opened is tried again.
const LOAD_ATTEMPTS: usize = 4;

/// Tells one version of one file from others, as far as the file system does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of content, name, links or rights, nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl Identity {
    /// The identity that `metadata` describes.
    pub fn of(metadata: &Metadata) -> Self {
        let nanos = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether `other` is the same content. The ctime does not count: a file that is replaced by a
    /// rename, unlinked or given other rights keeps its content and its running transfers.
    pub fn same_content(&self, other: &Self) -> bool {
        Self { ctime_ns: 0, ..*self } == Self { ctime_ns: 0, ..*other }
    }
}

/// A file opened for serving. Shared by the responses that send it and kept alive by them.
#[derive(Debug)]
pub struct FileObject {
    identity: Identity,
    /// Nothing only while it is dropped.
    backing: Option<Backing>,
    /// Never used twice in a process.
    serial: u64,
    /// Its file was seen to have changed. Written once at most, so cores may share it.
    outdated: AtomicBool,
}

#[derive(Debug)]
enum Backing {
    Memory(Box<[u8]>),
    Mapped { mapping: Mapping, file: File },
}

impl FileObject {
    /// Opens what `file` holds for serving. Blocks: for helper threads.
    ///
    /// # Errors
    ///
    /// Not a regular file, a file that keeps changing, too many mappings, or whatever the system says.
    pub fn load(file: File) -> io::Result<Arc<Self>> {
        Self::load_counted(file, &DiskReads::default())
    }

    /// The same, with its beginning read into memory, so that whoever asks for it next need not wait. It counts
    /// if the disk had to be waited for.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn bring_in(file: File, reads: &DiskReads) -> io::Result<Arc<Self>> {
        let object = Self::load_counted(file, reads)?;
        // What cannot be read now is found so again when it is to be sent.
        let _ = disk::populate(&object, 0..object.len().min(disk::WINDOW), reads);
        Ok(object)
    }

    fn load_counted(file: File, reads: &DiskReads) -> io::Result<Arc<Self>> {
        for _ in 0..LOAD_ATTEMPTS {
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            let identity = Identity::of(&metadata);
            if identity.size > IN_MEMORY_MAX {
                let mapping = Mapping::new(&file, to_usize(identity.size)?)?;
                // Read-ahead would be done by the core that sends; helpers do it instead.
                let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
                return Ok(Self::with(identity, Backing::Mapped { mapping, file }));
            }
            let mut bytes = vec![0; to_usize(identity.size)?];
            let read = disk::read_beginning(&file, &mut bytes, reads);
            if Identity::of(&file.metadata()?) == identity {
                read?;
                return Ok(Self::with(identity, Backing::Memory(bytes.into())));
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the file keeps changing while it is read"))
    }

    /// An object without a file.
    pub fn from_bytes(bytes: Vec<u8>) -> Arc<Self> {
        let size = bytes.len() as u64;
        let identity = Identity { dev: 0, ino: 0, size, mtime_ns: 0, ctime_ns: 0 };
        Self::with(identity, Backing::Memory(bytes.into()))
    }

    fn with(identity: Identity, backing: Backing) -> Arc<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let backing = Some(backing);
        Arc::new(Self { identity, backing, serial, outdated: AtomicBool::new(false) })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.identity.size
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the file was when it was opened.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its bytes, if it holds a copy of them.
    pub fn memory(&self) -> Option<&[u8]> {
        match &self.backing {
            Some(Backing::Memory(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Its descriptor, if it does not hold a copy of its bytes.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.mapped().map(|(file, _)| file)
    }

    /// Whether bytes were missing when they were read. What was read since is not to be sent.
    pub fn is_damaged(&self) -> bool {
        self.mapped().is_some_and(|(_, mapping)| mapping.is_damaged())
    }

    /// Whether the file's content is still what was opened, asked afresh of the file system. A copy
    /// always is. Not seen: a rewrite in place that leaves size and modification time unchanged.
    pub fn is_current(&self) -> bool {
        let Some(Backing::Mapped { file, mapping }) = &self.backing else { return true };
        let now = file.metadata().map(|metadata| Identity::of(&metadata));
        let is_current =
            !mapping.is_damaged() && now.is_ok_and(|now| now.same_content(&self.identity));
        if !is_current {
            self.outdated.store(true, Ordering::Relaxed);
        }
        is_current
    }

    /// Whether it is known already that the file is not what was opened, or that its bytes cannot be
    /// had: it is to be opened again. Asks nobody.
    pub fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed) || self.is_damaged()
    }

    /// Most objects of this process that can have a mapping and a descriptor at once.
    pub const MAPPED_MAX: usize = mapping::MAPPINGS_MAX;

    /// How many objects of this process have a mapping and a descriptor.
    pub fn live_mappings() -> usize {
        mapping::live_mappings()
    }

    /// Where `len` bytes from `start` on are in memory; nothing if they reach beyond the object. Valid
    /// while the object lives. The bytes may change at any time: copy them, then ask
    /// [`is_damaged`](Self::is_damaged). Reading those that are not resident waits for the disk.
    pub(crate) fn pointer(&self, start: u64, len: usize) -> Option<*const u8> {
        match &self.backing {
            Some(Backing::Memory(bytes)) => {
                let start = usize::try_from(start).ok()?;
                Some(bytes.get(start..start.checked_add(len)?)?.as_ptr())
            }
            Some(Backing::Mapped { mapping, .. }) => mapping.pointer(start, len),
            None => None,
        }
    }

    /// Its descriptor and mapping, if it is mapped.
    pub(crate) fn mapped(&self) -> Option<(BorrowedFd<'_>, &Mapping)> {
        match &self.backing {
            Some(Backing::Mapped { file, mapping }) => Some((file.as_fd(), mapping)),
            _ => None,
        }
    }

    /// A number that no other object of this process has had.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }
}

/// The last to let go of an object is as a rule a core, and taking a large mapping down takes long.
impl Drop for FileObject {
    fn drop(&mut self) {
        if let Some(backing @ Backing::Mapped { .. }) = self.backing.take() {
            disk::discard(Box::new(backing));
        }
    }
}

fn to_usize(size: u64) -> io::Result<usize> {
    usize::try_from(size)
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "larger than the address space"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(len: usize) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; len]).unwrap();
        file
    }

    #[test]
    fn a_small_file_is_one_version_for_good() {
        let file = file_of(IN_MEMORY_MAX as usize);
        let object = FileObject::load(file.reopen().unwrap()).unwrap();
        file.as_file().set_len(1).unwrap();
        assert_eq!(object.memory().unwrap(), vec![7; IN_MEMORY_MAX as usize]);
        assert!(object.is_current() && !object.is_damaged());
    }

    #[test]
    fn a_large_file_notices_that_it_shrank_or_changed() {
        let mut file = file_of(IN_MEMORY_MAX as usize + 1);
        let object = FileObject::load(file.reopen().unwrap()).unwrap();
        assert!(object.memory().is_none());
        assert!(object.is_current());
        file.write_all(b"more").unwrap();
        assert!(!object.is_outdated(), "nobody has looked");
        assert!(!object.is_current());
        assert!(object.is_outdated());
        let object = FileObject::load(file.reopen().unwrap()).unwrap();
        assert!(object.is_current());
        file.as_file().set_len(3).unwrap();
        assert!(!object.is_current());
    }

    #[test]
    fn a_file_that_is_unlinked_or_replaced_by_rename_is_still_current() {
        let file = file_of(20_000);
        let object = FileObject::load(file.reopen().unwrap()).unwrap();
        let replacement = file_of(30_000);
        std::fs::rename(replacement.path(), file.path()).unwrap();
        assert!(object.is_current());
        assert_eq!(object.len(), 20_000);
    }

    #[test]
    fn directories_and_devices_are_refused() {
        for path in ["/", "/dev/null"] {
            let error = FileObject::load(File::open(path).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file");
        }
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let object = FileObject::load(file_of(0).reopen().unwrap()).unwrap();
        assert!(object.is_empty());
        assert_eq!(object.memory(), Some(&[][..]));
    }
}
