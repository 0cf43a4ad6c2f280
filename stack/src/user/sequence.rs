//! Arithmetic on sequence numbers and timestamps, which wrap around (RFC 9293 section 3.4).

/// How far `number` is ahead of `from`, negative if it is behind: right while they are less than half
/// of the number space apart.
pub const fn ahead(number: u32, from: u32) -> i32 {
    number.wrapping_sub(from).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_across_the_wrap() {
        assert_eq!(ahead(5, u32::MAX - 4), 10);
        assert_eq!(ahead(u32::MAX - 4, 5), -10);
        assert_eq!(ahead(7, 7), 0);
    }
}
