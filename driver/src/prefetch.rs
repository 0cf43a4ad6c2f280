//! Hints to the processor that memory will be needed soon.
//!
//! With many connections nearly every segment finds its connection's memory out of the caches, and
//! the waits add up to several times the work. A burst of segments, and what it leads to, is therefore
//! gone through in stages, so that the waits of all of them overlap.

#![allow(unsafe_code)]

/// Bytes of a cache line on every machine that is served here.
const LINE: usize = 64;
/// How many places further on the next stage is, where there are that many.
const APART: usize = 4;

/// Goes through `0..len` in `N` stages. What a stage has asked for has come when the next one is at that place:
/// others have been seen to meanwhile. Each step tells the place that each stage is at, the first stage's first.
#[inline]
pub fn stages<const N: usize>(len: usize) -> impl Iterator<Item = [Option<usize>; N]> {
    let apart = len.min(APART);
    let place =
        move |step: usize, stage| step.checked_sub(stage * apart).filter(|&place| place < len);
    (0..len + (N - 1) * apart).map(move |step| std::array::from_fn(|stage| place(step, stage)))
}

/// Brings all of `value` towards the core's own cache. Costs nothing where it is already.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_range(std::ptr::from_ref(value).cast(), size_of_val(value));
}

/// The same for `len` bytes at an address that need not be valid.
#[inline]
pub fn prefetch_range(start: *const u8, len: usize) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_comes_to_each_place_once_and_in_order() {
        for len in 0..3 * APART {
            let steps: Vec<[Option<usize>; 3]> = stages(len).collect();
            for stage in 0..3 {
                let places: Vec<_> = steps.iter().filter_map(|step| step[stage]).collect();
                assert_eq!(places, (0..len).collect::<Vec<_>>());
            }
            let step_of = |stage: usize, place| {
                steps.iter().position(|step| step[stage] == Some(place)).unwrap()
            };
            for (stage, place) in (1..3).flat_map(|stage| (0..len).map(move |place| (stage, place)))
            {
                let apart = step_of(stage, place) - step_of(stage - 1, place);
                assert_eq!(apart, len.min(APART), "stage {stage} of {len} places");
            }
        }
    }
}
