//! Asking whether bytes of a mapped file are in memory, and having them there.

use std::{
    fs::File,
    io::ErrorKind,
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::fs::Advice;

use super::reads::{DiskReads, read_cached};
use crate::{CloseReason, FileObject};

/// Most pages that are asked about at once.
const PAGES_MAX: usize = 256;

/// Bytes of one entry of the page map.
const ENTRY_BYTES: usize = 8;

/// In an entry: the page is in memory (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;

/// This process's page table, as the kernel shows it to the process itself.
#[derive(Debug)]
pub(super) struct PageMap {
    /// Nothing where /proc is not mounted, or hidden from us: then it knows of no page.
    file: Option<File>,
    /// The kernel does not fill it when asked to (before 5.14), so what is not in it may be in memory.
    is_incomplete: AtomicBool,
}

/// Opens the process's page table, by which residency is asked. To be called by a process that is about to
/// become another user: the kernel then keeps it from the process (`PR_SET_DUMPABLE` in prctl(2)), and helpers
/// would have to look at everything.
pub fn open_page_map() {
    PageMap::shared();
}

impl PageMap {
    /// That of the process, opened once.
    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<PageMap> = OnceLock::new();
        SHARED.get_or_init(|| Self {
            file: File::open("/proc/self/pagemap").ok(),
            is_incomplete: AtomicBool::new(false),
        })
    }

    /// Whether it tells of all pages that helpers have brought in.
    pub(super) fn is_complete(&self) -> bool {
        self.file.is_some() && !self.is_incomplete.load(Ordering::Relaxed)
    }

    /// Whether all pages of a range of a mapped object are in memory and in our page table. No may
    /// also mean that they were never mapped.
    pub(super) fn holds(&self, object: &FileObject, range: &Range<u64>) -> bool {
        let (Some(file), Some((_, mapping))) = (&self.file, object.mapped()) else { return false };
        let pages = mapping.pages(range.start as usize, (range.end - range.start) as usize);
        let mut entries = [0; PAGES_MAX * ENTRY_BYTES];
        let Some(entries) = entries.get_mut(..pages.len() * ENTRY_BYTES) else { return false };
        let (entries, _) = entries.as_chunks_mut::<ENTRY_BYTES>();
        file.read_exact_at(entries.as_flattened_mut(), (pages.start * ENTRY_BYTES) as u64).is_ok()
            && entries.iter().all(|entry| u64::from_ne_bytes(*entry) & PRESENT != 0)
    }
}

/// What there was to do to have a range in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// Nothing.
    Resident,
    /// Some of it was not in the page table, and perhaps not in memory either.
    Absent,
}

/// Brings a range into memory and into the mapping. Blocks. It counts if the disk had to be waited for.
///
/// The disk is waited for by reading: to wait in a page fault is to keep others waiting for the lock of
/// the address space. Then only the page table is left to be filled.
pub(crate) fn populate(
    object: &FileObject,
    range: Range<u64>,
    reads: &DiskReads,
) -> Result<Found, CloseReason> {
    let Some((_, mapping)) = object.mapped() else { return Ok(Found::Resident) };
    if PageMap::shared().holds(object, &range) && !object.is_damaged() {
        return Ok(Found::Resident);
    }
    read_through(object, range.clone(), reads)?;
    match mapping.populate(range.start as usize, (range.end - range.start) as usize) {
        Ok(()) if object.is_damaged() => Err(CloseReason::ContentChanged),
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Err(fault(object)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            PageMap::shared().is_incomplete.store(true, Ordering::Relaxed);
            Ok(Found::Absent)
        }
        // Any other error: a kernel short of memory for page tables.
        _ => Ok(Found::Absent),
    }
}

/// Reads a range for the sake of the page cache alone.
fn read_through(
    object: &FileObject,
    range: Range<u64>,
    reads: &DiskReads,
) -> Result<(), CloseReason> {
    let Some((descriptor, _)) = object.mapped() else { return Ok(()) };
    let Ok(file) = descriptor.try_clone_to_owned() else {
        return Err(CloseReason::ContentUnreadable);
    };
    let file = File::from(file);
    let mut scratch = vec![0; 64 << 10];
    let mut at = range.start;
    let mut has_waited = false;
    while at < range.end {
        let len = scratch.len().min((range.end - at) as usize);
        let buffer = &mut scratch[..len];
        if !has_waited {
            if let Some(read) = read_cached(&file, buffer, at) {
                at += read as u64;
                continue;
            }
            reads.note();
            has_waited = true;
            // Asked for at once, the disk sees few large reads.
            let rest = NonZeroU64::new(range.end - at);
            let _ = rustix::fs::fadvise(&file, at, rest, Advice::WillNeed);
        }
        match file.read_at(buffer, at) {
            Ok(0) => return Err(CloseReason::ContentChanged),
            Ok(read) => at += read as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(fault(object)),
        }
    }
    Ok(())
}

/// Why bytes could not be read.
fn fault(object: &FileObject) -> CloseReason {
    if object.is_current() { CloseReason::ContentUnreadable } else { CloseReason::ContentChanged }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_page_map_knows_what_was_populated() {
        // Not in a file system that cannot tell whether it would wait, as tmpfs.
        let mut file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        file.write_all(&vec![7; 900_000]).unwrap();
        let object = FileObject::load(file.reopen().unwrap()).unwrap();
        let map = PageMap::shared();
        assert!(!map.holds(&object, &(0..900_000)));
        let reads = DiskReads::default();
        assert_eq!(populate(&object, 0..500_000, &reads), Ok(Found::Absent));
        assert_eq!(populate(&object, 0..500_000, &reads), Ok(Found::Resident));
        assert_eq!(reads.count(), 0, "it has just been written");
        assert!(map.holds(&object, &(0..500_000)));
        assert!(!map.holds(&object, &(0..900_000)));
        file.as_file().set_len(300_000).unwrap();
        assert!(!map.holds(&object, &(0..500_000)));
    }

    #[test]
    fn reading_through_serves_kernels_that_cannot_populate() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let object = FileObject::load(file.reopen().unwrap()).unwrap();
        let reads = DiskReads::default();
        assert_eq!(read_through(&object, 0..1 << 20, &reads), Ok(()));
        file.as_file().set_len(5_000).unwrap();
        assert_eq!(read_through(&object, 0..1 << 20, &reads), Err(CloseReason::ContentChanged));
    }
}
