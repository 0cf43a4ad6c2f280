//! Read-only mappings of files that may shrink while they are read, and the guard that survives it.
//!
//! Reading a mapped page that its file no longer has raises SIGBUS on the reading thread. The guard
//! finds the mapping that holds the address, marks it damaged, covers it with zero pages from that
//! page to its end, and lets the read go on: it yields zeros, which the reader throws away when it
//! sees the mark. A SIGBUS elsewhere goes to the handler that was there before, or kills as usual.
//!
//! Invariants that the `unsafe` here relies on:
//! - A mapping's bytes are only ever read through raw pointers that [`Mapping::pointer`] gave out, by
//!   holders of the mapping; no reference to them is made, since another process may write them.
//! - A mapping is in [`REGISTRY`] before its first read and until after its last, so the entry of a
//!   faulting mapping does not change while the handler runs. Other entries may; each carries a
//!   version that is odd while it changes, and the handler skips what it cannot read whole.
//! - The handler only reads atomics and calls mmap, sigaction and raise.

#![allow(unsafe_code)]

mod entry;

use std::{
    fs::File,
    io, mem,
    ops::Range,
    ptr,
    sync::{Mutex, OnceLock, PoisonError},
};

use atomics::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use entry::Entry;
use memmap2::{Advice, Mmap, MmapOptions};

/// What [`entry`] is made of here.
mod atomics {
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
}

/// Most mappings alive at once. The kernel's default limit is 65,530 per process
/// (`vm.max_map_count`); a damaged mapping counts twice, and the process needs some for itself.
pub(crate) const MAPPINGS_MAX: usize = 30_000;

/// What the handler searches. Pages of it that were never used cost no memory.
static REGISTRY: [Entry; MAPPINGS_MAX] = [const { empty() }; MAPPINGS_MAX];

/// Entries at and beyond this were never used.
static REGISTRY_USED: AtomicUsize = AtomicUsize::new(0);

/// Who may change the registry.
static REGISTRAR: Mutex<Registrar> = Mutex::new(Registrar { installed: false, free: Vec::new() });

/// The action that SIGBUS had before ours.
static PREVIOUS_ACTION: OnceLock<libc::sigaction> = OnceLock::new();

/// Bytes of a page, for the handler. Set before it is installed.
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(4_096);

/// A read-only shared mapping of the first bytes of a file.
#[derive(Debug)]
pub(crate) struct Mapping {
    entry: usize,
    bytes: Mmap,
}

impl Mapping {
    /// Maps the first `len` bytes of `file`, at least one.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: no reference to the bytes is ever made (first invariant).
        let bytes = unsafe { MmapOptions::new().len(len).map(file)? };
        // Whoever should find a page missing waits for that page alone. Helpers read ahead.
        let _ = bytes.advise(Advice::Random);
        let start = bytes.as_ptr() as usize;
        let entry = registrar().register(start, start + len)?;
        Ok(Self { entry, bytes })
    }

    /// Where `len` bytes from `start` on are; nothing if they reach beyond the mapping. The bytes may
    /// change at any time and are zeros once the mapping is damaged.
    pub(crate) fn pointer(&self, start: u64, len: usize) -> Option<*const u8> {
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(len)?;
        (end <= self.bytes.len()).then(|| self.bytes.as_ptr().wrapping_add(start))
    }

    /// Whether a page was missing when it was read. Asked after a copy, it covers that copy.
    pub(crate) fn is_damaged(&self) -> bool {
        fence(Ordering::Acquire);
        REGISTRY[self.entry].damaged.load(Ordering::Acquire)
    }

    /// The numbers of the pages that hold a range, in this process's address space.
    pub(crate) fn pages(&self, start: usize, len: usize) -> Range<usize> {
        let page_size = PAGE_SIZE.load(Ordering::Acquire);
        let first = self.bytes.as_ptr() as usize + start;
        first / page_size..(first + len).div_ceil(page_size)
    }

    /// Reads the pages of a range into memory and maps them. Blocks; raises no SIGBUS. EFAULT says
    /// that a page is missing or could not be read, EINVAL that the kernel is older than 5.14.
    pub(crate) fn populate(&self, start: usize, len: usize) -> io::Result<()> {
        self.bytes.advise_range(Advice::PopulateRead, start, len)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        registrar().unregister(self.entry);
    }
}

const fn empty() -> Entry {
    Entry {
        version: AtomicU32::new(0),
        damaged: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
    }
}

struct Registrar {
    installed: bool,
    free: Vec<usize>,
}

fn registrar() -> std::sync::MutexGuard<'static, Registrar> {
    REGISTRAR.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registrar {
    fn register(&mut self, start: usize, end: usize) -> io::Result<usize> {
        if !self.installed {
            install_handler()?;
            self.installed = true;
        }
        let used = REGISTRY_USED.load(Ordering::Relaxed);
        let entry = match self.free.pop() {
            Some(entry) => entry,
            None if used < MAPPINGS_MAX => {
                REGISTRY_USED.store(used + 1, Ordering::Release);
                used
            }
            None => {
                return Err(io::Error::other(format!(
                    "{MAPPINGS_MAX} files are mapped already; let fewer objects be cached"
                )));
            }
        };
        REGISTRY[entry].set(start, end);
        Ok(entry)
    }

    fn unregister(&mut self, entry: usize) {
        REGISTRY[entry].set(0, 0);
        self.free.push(entry);
    }
}

/// How many mappings are alive.
pub(crate) fn live_mappings() -> usize {
    let registrar = registrar();
    REGISTRY_USED.load(Ordering::Relaxed) - registrar.free.len()
}

fn install_handler() -> io::Result<()> {
    // SAFETY: sysconf takes no pointers.
    if let Ok(size) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) {
        PAGE_SIZE.store(size, Ordering::Release);
    }
    // SAFETY: all-zero bytes are a valid `sigaction` (default action, empty mask).
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    let mut previous = action;
    action.sa_sigaction = on_bus_error as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: a null new action only reads the present one into `previous`.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Before the handler can run, since it looks here.
    PREVIOUS_ACTION.get_or_init(|| previous);
    // SAFETY: `on_bus_error` has the signature that SA_SIGINFO asks for and is async-signal-safe
    // (last invariant).
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `info`; `si_addr` is set for the codes asked for.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let of_memory = code == libc::BUS_ADRERR || code == libc::BUS_MCEERR_AR;
    if of_memory && cover(address) {
        return;
    }
    forward(signal, code, info, context);
}

/// Puts zero pages under a mapping from the page of `address` to its end and marks it. False if no
/// mapping holds the address or the kernel refuses.
fn cover(address: usize) -> bool {
    let page_size = PAGE_SIZE.load(Ordering::Acquire);
    let used = REGISTRY_USED.load(Ordering::Acquire);
    let found = REGISTRY[..used]
        .iter()
        .find_map(|entry| entry.end_if_holding(address).map(|end| (entry, end)));
    let Some((entry, end)) = found else { return false };
    // The mark comes first: who reads zeros from the new pages finds it.
    entry.damaged.store(true, Ordering::SeqCst);
    let start = address & !(page_size - 1);
    let len = end.next_multiple_of(page_size) - start;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the range lies inside the mapping that the faulting thread is reading, which therefore
    // stays alive and is read through raw pointers only. errno is kept for the interrupted code.
    unsafe {
        let errno = *libc::__errno_location();
        let covered = libc::mmap(start as *mut _, len, libc::PROT_READ, flags, -1, 0);
        *libc::__errno_location() = errno;
        covered != libc::MAP_FAILED
    }
}

/// Does with the signal what would have been done without us.
fn forward(
    signal: libc::c_int,
    code: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let handler = PREVIOUS_ACTION.get().filter(|previous| {
        previous.sa_sigaction != libc::SIG_DFL && previous.sa_sigaction != libc::SIG_IGN
    });
    // SAFETY: a handler that is neither default nor ignore is a function of the signature that its
    // flags say. Otherwise the default action is restored; the fault then repeats on return, and a
    // signal that somebody sent (`code` not positive) is raised again.
    unsafe {
        match handler {
            Some(previous) if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
                let call = mem::transmute::<usize, Handler>(previous.sa_sigaction);
                call(signal, info, context);
            }
            Some(previous) => {
                let call =
                    mem::transmute::<usize, extern "C" fn(libc::c_int)>(previous.sa_sigaction);
                call(signal);
            }
            None => {
                let default: libc::sigaction = mem::zeroed();
                libc::sigaction(signal, &raw const default, ptr::null_mut());
                if code <= 0 {
                    libc::raise(signal);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(len: usize) -> (tempfile::NamedTempFile, Mapping) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(len as u64).unwrap();
        let mapping = Mapping::new(file.as_file(), len).unwrap();
        (file, mapping)
    }

    fn read(mapping: &Mapping, at: u64) -> u8 {
        let byte = mapping.pointer(at, 1).unwrap();
        // SAFETY: inside the live mapping; the guard covers missing pages.
        unsafe { byte.read_volatile() }
    }

    #[test]
    fn a_missing_page_reads_as_zero_and_marks_only_its_mapping() {
        let (file, mapping) = mapped(1 << 20);
        let (_other_file, other) = mapped(1 << 20);
        assert_eq!(read(&mapping, 900_000), 0);
        assert!(!mapping.is_damaged());
        file.as_file().set_len(100).unwrap();
        assert_eq!(read(&mapping, 900_000), 0);
        assert!(mapping.is_damaged());
        assert_eq!(read(&other, 900_000), 0);
        assert!(!other.is_damaged());
        // Pages before the fault are still the file's, and fault by themselves.
        assert_eq!(read(&mapping, 500_000), 0);
        assert_eq!(read(&mapping, 50), 0);
    }

    #[test]
    fn many_threads_survive_the_same_missing_pages() {
        let (file, mapping) = mapped(4 << 20);
        file.as_file().set_len(0).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for at in (0..4 << 20).rev().step_by(4_096) {
                        assert_eq!(read(&mapping, at), 0);
                    }
                });
            }
        });
        assert!(mapping.is_damaged());
    }

    #[test]
    fn populating_missing_pages_is_an_error_and_no_signal() {
        let (file, mapping) = mapped(1 << 20);
        mapping.populate(0, 1 << 20).unwrap();
        file.as_file().set_len(4_096).unwrap();
        let error = mapping.populate(0, 1 << 20).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        assert!(!mapping.is_damaged());
    }

    #[test]
    fn pointers_beyond_the_mapping_are_refused() {
        let (_file, mapping) = mapped(20_000);
        assert!(mapping.pointer(0, 20_000).is_some());
        assert!(mapping.pointer(20_000, 0).is_some());
        assert!(mapping.pointer(19_999, 2).is_none());
        assert!(mapping.pointer(u64::MAX, 2).is_none());
        assert!(mapping.pointer(2, usize::MAX).is_none());
    }

    #[test]
    fn entries_are_reused_and_start_undamaged() {
        for _ in 0..100 {
            let (file, mapping) = mapped(32_768);
            file.as_file().set_len(0).unwrap();
            assert!(!mapping.is_damaged());
            read(&mapping, 0);
            assert!(mapping.is_damaged());
        }
        assert!(live_mappings() < 50);
    }
}
