//! Huge pages for large tables. With ordinary ones every entry of a table of many megabytes costs a miss
//! of the TLB beside the cache's.

#![allow(unsafe_code)]

use std::ops::Range;

/// Bytes of a huge page on every machine that is served here.
pub const HUGE_PAGE: usize = 2 << 20;
/// Bytes of an ordinary page, or of a part of one.
const PAGE: usize = 4_096;

/// An empty vector with room for `capacity` entries, on huge pages as far as it fills them. Memory is
/// taken when entries are first written.
pub fn reserve<T>(capacity: usize) -> Vec<T> {
    let vector = Vec::with_capacity(capacity);
    advise(&vector);
    vector
}

/// Has the system provide the memory of the first `count` entries that a vector has reserved. Otherwise a page
/// comes when it is first written: a huge one after a tenth of a millisecond, and after several where the system
/// is a guest that must ask its host. Not to get it now is no error.
pub fn populate<T>(vector: &Vec<T>, count: usize) {
    let len = count.min(vector.capacity()) * size_of::<T>();
    if len == 0 {
        return;
    }
    let start = vector.as_ptr().cast::<u8>().cast_mut();
    let lead = start.addr() % PAGE;
    // SAFETY: pages that hold the vector's own memory, and no others; it changes none of their contents.
    unsafe {
        libc::madvise(start.wrapping_sub(lead).cast(), lead + len, libc::MADV_POPULATE_WRITE)
    };
}

/// Empties a vector that [`reserve`] has made and gives its memory back; it stays reserved.
pub fn give_back<T>(vector: &mut Vec<T>) {
    truncate(vector, 0);
}

/// Shortens a vector that [`reserve`] has made to `len` entries and gives the memory of the others back.
pub fn truncate<T>(vector: &mut Vec<T>, len: usize) {
    let [from, to] = [len, vector.len()].map(|entries| entries * size_of::<T>());
    vector.truncate(len);
    let size = vector.capacity() * size_of::<T>();
    // SAFETY: the vector's own memory behind its last entry, in which nobody expects anything to be. It is
    // private and anonymous like all that the allocator hands out.
    unsafe { discard(vector.as_mut_ptr().cast(), from..to, size) };
}

/// Gives back the huge pages of a block of `size` bytes that begin in `range`, and that which its end is in.
/// So what is given back piece by piece, from the end on, is given back once and wholly, but for what is not
/// a whole page of the block.
///
/// # Safety
///
/// The block is private anonymous memory, and nobody expects anything to be in it behind the start of `range`.
pub unsafe fn discard(start: *mut u8, range: Range<usize>, size: usize) {
    let lead = start.align_offset(HUGE_PAGE);
    let page_from = |offset: usize| offset.saturating_sub(lead).next_multiple_of(HUGE_PAGE) + lead;
    let whole = lead + size.saturating_sub(lead) / HUGE_PAGE * HUGE_PAGE;
    let (from, to) = (page_from(range.start), page_from(range.end).min(whole));
    if from < to {
        // SAFETY: whole pages of the block behind the start of the range.
        unsafe { libc::madvise(start.wrapping_add(from).cast(), to - from, libc::MADV_DONTNEED) };
    }
}

/// Gives back what the allocator of small pieces keeps in hand, where it can be asked to.
pub(crate) fn give_back_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches nothing but memory that is free.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Asks for huge pages for all memory that a vector has reserved. Not to get them is no error.
pub fn advise<T>(vector: &Vec<T>) {
    let start = vector.as_ptr().cast::<u8>();
    let lead = start.align_offset(HUGE_PAGE);
    let len = (vector.capacity() * size_of::<T>()).saturating_sub(lead);
    if len < HUGE_PAGE {
        return;
    }
    // SAFETY: the range is the vector's own memory; the advice changes none of its contents.
    unsafe { libc::madvise(start.wrapping_add(lead).cast_mut().cast(), len, libc::MADV_HUGEPAGE) };
}
