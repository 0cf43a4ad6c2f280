//! Hints to the processor that memory will be needed soon.
//!
//! With many connections nearly every segment finds its connection's memory out of the caches, and
//! the waits add up to several times the work. A burst of segments is therefore gone through in stages,
//! so that the waits of all of them overlap.

#![allow(unsafe_code)]

/// Bytes of a cache line on every machine that is served here.
const LINE: usize = 64;

/// Brings all of `value` towards the core's own cache. Costs nothing where it is already.
pub fn prefetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<i8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing that the program could notice, and never faults.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (start, offset);
    }
}
