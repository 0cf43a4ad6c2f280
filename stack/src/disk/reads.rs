//! Reading files, and knowing whether the disk had to be waited for.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::{fd::AsFd, unix::fs::FileExt},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::io::{ReadWriteFlags, preadv2};

/// Counts what helpers had to wait for the disk for. Where something has to be read, the page cache
/// may have to take memory from something else: each core watches this count, and trusts less while it rises.
/// Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct DiskReads(Arc<AtomicU64>);

impl DiskReads {
    /// How many there have been.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads what the page cache has of a file from `at` on, without waiting (`RWF_NOWAIT` in preadv2(2)). None if
/// not even the first byte is there, or for any error, which a read that waits tells; and on file systems that
/// cannot say, such as tmpfs and overlayfs: what is read there counts. May have the disk read in the
/// name of the caller: for helper threads.
pub(super) fn read_cached(file: impl AsFd, buffer: &mut [u8], at: u64) -> Option<usize> {
    let read = preadv2(file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT).ok();
    // Kernels 5.9 and 5.10 may say nothing where they would wait.
    read.filter(|read| *read > 0)
}

/// Fills `buffer` from the beginning of a file, which counts if the disk has to be waited for.
///
/// # Errors
///
/// The file is shorter, or whatever the system says.
pub(crate) fn read_beginning(file: &File, buffer: &mut [u8], reads: &DiskReads) -> io::Result<()> {
    let cached = read_cached(file, buffer, 0).unwrap_or(0);
    if cached == buffer.len() {
        return Ok(());
    }
    reads.note();
    file.read_exact_at(&mut buffer[cached..], cached as u64)
}
