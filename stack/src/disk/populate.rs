//! Asking whether bytes of a file are cached, and having them cached.

use std::{
    fs::File,
    io::{ErrorKind, IoSliceMut},
    num::NonZeroU64,
    ops::Range,
    os::{fd::BorrowedFd, unix::fs::FileExt},
};

use rustix::{fs::Advice, io::ReadWriteFlags};

use crate::{CloseReason, FileObject};

/// Bytes between two probes: of the smallest page there is.
const PAGE: usize = 4_096;

/// Whether the first `len` bytes are all in the page cache. No also means that the file system cannot
/// say.
pub(super) fn are_cached(file: BorrowedFd<'_>, len: u64) -> bool {
    (0..len).step_by(PAGE).all(|at| {
        let mut byte = [0];
        let mut target = [IoSliceMut::new(&mut byte)];
        let read = rustix::io::preadv2(file, &mut target, at, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == 1)
    })
}

/// Brings a range into memory and into the mapping. Blocks.
pub(super) fn populate(object: &FileObject, range: Range<u64>) -> Result<(), CloseReason> {
    let Some((descriptor, mapping)) = object.mapped() else { return Ok(()) };
    let len = range.end - range.start;
    // Asked for at once, the disk sees few large reads; populating alone asks page by page.
    let whole = NonZeroU64::new(len);
    let _ = rustix::fs::fadvise(descriptor, range.start, whole, Advice::WillNeed);
    match mapping.populate(range.start as usize, len as usize) {
        Ok(()) if object.is_damaged() => Err(CloseReason::ContentChanged),
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Err(fault(object)),
        // A kernel before 5.14, or one short of memory for page tables.
        Err(_) => read_through(object, range),
    }
}

/// Reads a range for the sake of the page cache alone.
fn read_through(object: &FileObject, range: Range<u64>) -> Result<(), CloseReason> {
    let Some((descriptor, _)) = object.mapped() else { return Ok(()) };
    let Ok(file) = descriptor.try_clone_to_owned() else {
        return Err(CloseReason::ContentUnreadable);
    };
    let file = File::from(file);
    let mut scratch = vec![0; 64 << 10];
    let mut at = range.start;
    while at < range.end {
        let len = scratch.len().min((range.end - at) as usize);
        match file.read_at(&mut scratch[..len], at) {
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
    fn reading_through_serves_kernels_that_cannot_populate() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let object = FileObject::load(file.reopen().unwrap()).unwrap();
        assert_eq!(read_through(&object, 0..1 << 20), Ok(()));
        file.as_file().set_len(5_000).unwrap();
        assert_eq!(read_through(&object, 0..1 << 20), Err(CloseReason::ContentChanged));
    }
}
