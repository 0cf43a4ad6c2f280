//! Copying and checksumming in one pass: bytes are summed while they are in registers anyway.
//!
//! On x86-64 with AVX2 this reaches what a plain copy does, and more than it where the source is not in
//! the caches, thanks to the prefetch (`pagewire-bench engine` measures it). Elsewhere the sum is a
//! second pass over bytes that the copy has just brought into the first-level cache.

#![allow(unsafe_code)]

use super::checksum::Sum;

/// Copies `into.len()` bytes from `from` and returns their sum, as if they began at an even offset.
///
/// # Safety
///
/// `from` must be readable for that many bytes and not overlap `into`. The bytes may change meanwhile:
/// the sum then is of what was copied, or of neither version.
pub unsafe fn copy_and_sum(from: *const u8, into: &mut [u8]) -> Sum {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the rest is the caller's promise.
        return unsafe { copy_and_sum_avx2(from, into) };
    }
    // SAFETY: the caller's promise.
    unsafe { copy_then_sum(from, into) }
}

/// The portable way.
///
/// # Safety
///
/// As for [`copy_and_sum`].
unsafe fn copy_then_sum(from: *const u8, into: &mut [u8]) -> Sum {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
    Sum::of(into)
}

/// How far ahead of the copy the source is fetched: about six segments, the time of a trip to memory and
/// through the tables of two pages. Measured over a file beyond the caches, 3 KiB cost a quarter more.
#[cfg(target_arch = "x86_64")]
const PREFETCH_AHEAD: usize = 8_192;

/// # Safety
///
/// As for [`copy_and_sum`], and the processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn copy_and_sum_avx2(from: *const u8, into: &mut [u8]) -> Sum {
    use std::arch::x86_64::{
        _MM_HINT_T0, _mm_prefetch, _mm256_add_epi64, _mm256_and_si256, _mm256_extract_epi64,
        _mm256_loadu_si256, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srli_epi64,
        _mm256_storeu_si256,
    };
    const BLOCK: usize = 64;
    let low = _mm256_set1_epi64x(0xffff_ffff);
    let mut sums = [_mm256_setzero_si256(); 4];
    let blocks = into.len() / BLOCK;
    for block in 0..blocks {
        let offset = block * BLOCK;
        // SAFETY: a prefetch never faults. Both halves of the block are inside both ranges, by the
        // caller's promise and by the bound of the loop; unaligned loads and stores are used.
        unsafe {
            let source = from.add(offset);
            _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(PREFETCH_AHEAD).cast());
            let one = _mm256_loadu_si256(source.cast());
            let two = _mm256_loadu_si256(source.add(BLOCK / 2).cast());
            let target = into.as_mut_ptr().add(offset);
            _mm256_storeu_si256(target.cast(), one);
            _mm256_storeu_si256(target.add(BLOCK / 2).cast(), two);
            // Words of 32 bits in lanes of 64: no carry is lost below 2^32 words.
            sums[0] = _mm256_add_epi64(sums[0], _mm256_and_si256(one, low));
            sums[1] = _mm256_add_epi64(sums[1], _mm256_srli_epi64::<32>(one));
            sums[2] = _mm256_add_epi64(sums[2], _mm256_and_si256(two, low));
            sums[3] = _mm256_add_epi64(sums[3], _mm256_srli_epi64::<32>(two));
        }
    }
    let mut done = blocks * BLOCK;
    if into.len() - done >= BLOCK / 2 {
        // SAFETY: half a block is left of both ranges.
        unsafe {
            let one = _mm256_loadu_si256(from.add(done).cast());
            _mm256_storeu_si256(into.as_mut_ptr().add(done).cast(), one);
            sums[0] = _mm256_add_epi64(sums[0], _mm256_and_si256(one, low));
            sums[1] = _mm256_add_epi64(sums[1], _mm256_srli_epi64::<32>(one));
        }
        done += BLOCK / 2;
    }
    // SAFETY: what is left of both ranges.
    let rest = unsafe { copy_and_sum_words(from.add(done), &mut into[done..]) };
    let both = [_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3])];
    let sum = _mm256_add_epi64(both[0], both[1]);
    let lanes = [
        _mm256_extract_epi64::<0>(sum),
        _mm256_extract_epi64::<1>(sum),
        _mm256_extract_epi64::<2>(sum),
        _mm256_extract_epi64::<3>(sum),
    ];
    let lanes = lanes.into_iter().map(|lane| Sum::of_words(lane.cast_unsigned()));
    lanes.fold(rest, |sum, lane| sum + lane)
}

/// A few bytes, word by word.
///
/// # Safety
///
/// As for [`copy_and_sum`].
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn copy_and_sum_words(from: *const u8, into: &mut [u8]) -> Sum {
    /// Copies the words of one width that fit, from `done` on, and adds them up.
    macro_rules! copy_words {
        ($word:ty, $done:ident, $sum:ident) => {
            while into.len() - $done >= size_of::<$word>() {
                // SAFETY: a word is left of both ranges; unaligned accesses are used.
                let word = unsafe {
                    let word = from.add($done).cast::<$word>().read_unaligned();
                    into.as_mut_ptr().add($done).cast::<$word>().write_unaligned(word);
                    word
                };
                $sum += u64::from(word);
                $done += size_of::<$word>();
            }
        };
    }
    let (mut done, mut sum) = (0, 0);
    copy_words!(u32, done, sum);
    copy_words!(u16, done, sum);
    // Little-endian: a zero would follow in the upper half.
    copy_words!(u8, done, sum);
    Sum::of_words(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_copy_is_exact_and_its_sum_right(
            bytes in prop::collection::vec(any::<u8>(), 0..5000), skip in 0usize..70,
            shift in 0usize..70,
        ) {
            let source = &bytes[skip.min(bytes.len())..];
            let mut memory = vec![0xa5; source.len() + shift + 64];
            let into = &mut memory[shift..shift + source.len()];
            // SAFETY: two separate vectors, as long as stated.
            let sums = unsafe {
                [copy_and_sum(source.as_ptr(), into), copy_then_sum(source.as_ptr(), into)]
            };
            prop_assert_eq!(&*into, source);
            prop_assert!(memory[shift + source.len()..].iter().all(|&byte| byte == 0xa5));
            for sum in sums {
                prop_assert_eq!(sum.finish(), Sum::of(source).finish());
            }
        }
    }
}
