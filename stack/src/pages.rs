//! Huge pages for large tables. With ordinary ones every entry of a table of many megabytes costs a miss
//! of the TLB beside the cache's.

#![allow(unsafe_code)]

/// Bytes of a huge page on every machine that is served here.
const HUGE_PAGE: usize = 2 << 20;

/// An empty vector with room for `capacity` entries, on huge pages as far as it fills them. Memory is
/// taken when entries are first written.
pub fn reserve<T>(capacity: usize) -> Vec<T> {
    let vector = Vec::with_capacity(capacity);
    advise(&vector);
    vector
}

/// Empties a vector that [`reserve`] has made and gives its memory back; it stays reserved.
pub fn give_back<T>(vector: &mut Vec<T>) {
    vector.clear();
    let start = vector.as_mut_ptr().cast::<u8>();
    let lead = start.align_offset(HUGE_PAGE);
    let len = (vector.capacity() * size_of::<T>()).saturating_sub(lead) / HUGE_PAGE * HUGE_PAGE;
    if len == 0 {
        return;
    }
    // SAFETY: whole pages of the vector's own memory, which holds no entries, so nobody expects anything
    // to be in it. It is private and anonymous like all that the allocator hands out.
    unsafe { libc::madvise(start.wrapping_add(lead).cast(), len, libc::MADV_DONTNEED) };
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
