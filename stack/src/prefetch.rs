//! Hints to the processor that memory will be needed soon.
//!
//! With many connections nearly every segment finds its connection's memory out of the caches, and
//! the waits add up to several times the work. A burst of segments, and what it leads to, is therefore
//! gone through in stages, so that the waits of all of them overlap.

#![allow(unsafe_code)]

/// Bytes of a cache line on every machine that is served here.
const LINE: usize = 64;

/// Brings all of `value` towards the core's own cache. Costs nothing where it is already.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_range(std::ptr::from_ref(value).cast(), size_of_val(value));
}

/// The same for `len` bytes at an address that need not be valid.
#[inline]
pub(crate) fn prefetch_range(start: *const u8, len: usize) {
    let first = start.addr() % LINE;
    for offset in (0..first + len).step_by(LINE) {
        let line = start.wrapping_add(offset).wrapping_sub(first);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing that the program could notice, and never faults.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}
