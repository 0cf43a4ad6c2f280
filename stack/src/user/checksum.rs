//! The Internet checksum (RFC 1071), as partial sums that can be added.
//!
//! Sums are of 16-bit words in memory order, so one's complement arithmetic gives the same checksum on
//! either endianness (RFC 1071 section 2(B)), and headers can be patched with native-endian stores.

use std::net::IpAddr;

/// A partial one's complement sum. Only `finish` folds it to 16 bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of `bytes`, which start at an even offset of what is summed. An odd last byte counts as
    /// if a zero byte followed.
    pub fn of(bytes: &[u8]) -> Self {
        // Four lanes of 32-bit words in 64-bit accumulators: no carries to handle below 16 GiB, and a
        // shape that compilers turn into vector code.
        let mut lanes = [0u64; 4];
        let mut blocks = bytes.chunks_exact(16);
        for block in &mut blocks {
            for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
                *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        let mut sum: u64 = lanes.iter().sum();
        let mut rest = blocks.remainder();
        if let Some((&[a, b, c, d, e, f, g, h], others)) = rest.split_first_chunk() {
            sum += u64::from(u32::from_ne_bytes([a, b, c, d]));
            sum += u64::from(u32::from_ne_bytes([e, f, g, h]));
            rest = others;
        }
        if let Some((&word, others)) = rest.split_first_chunk() {
            sum += u64::from(u32::from_ne_bytes(word));
            rest = others;
        }
        if let Some((&word, others)) = rest.split_first_chunk() {
            sum += u64::from(u16::from_ne_bytes(word));
            rest = others;
        }
        if let [last] = rest {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Self(sum)
    }

    /// The sum of 16-bit words that were added up in 64 bits, two at a time or one by one.
    pub const fn of_words(words: u64) -> Self {
        Self(words)
    }

    /// The sum of a field of 16 or 32 bits, in host order, at an even offset.
    pub fn of_field(field: impl Into<u32>) -> Self {
        // Two halves of a word add up as the word does (RFC 1071 section 2(A)).
        Self(u64::from(field.into().to_be()))
    }

    /// The same bytes' sum when they begin at this offset of what is summed: at an odd one, each byte
    /// takes the other half of a word (RFC 1071 section 2(B)).
    pub fn at(self, offset: usize) -> Self {
        if offset.is_multiple_of(2) { self } else { Self(u64::from(self.fold().swap_bytes())) }
    }

    /// The sum of a TCP or `ICMPv6` pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Self {
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => Self::of(&address.octets()),
            IpAddr::V6(address) => Self::of(&address.octets()),
        };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        address(source)
            + address(destination)
            + Self(u64::from(u16::from(protocol).to_be()))
            + Self::of(&len.to_be_bytes())
    }

    /// The checksum field's value, in memory order.
    pub fn finish(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether the sum of data that includes its checksum is right.
    pub fn is_valid(self) -> bool {
        self.fold() == u16::MAX
    }

    fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

impl std::ops::Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + u64::from(carry))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RFC 1071 section 4.1 words it.
    fn by_the_book(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_by_the_book(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Sum::of(&bytes).finish(), by_the_book(&bytes));
        }

        #[test]
        fn sums_of_even_pieces_add_up(
            bytes in prop::collection::vec(any::<u8>(), 2..3000), cut in 0usize..1500,
        ) {
            let (front, back) = bytes.split_at((2 * cut).min(bytes.len()));
            prop_assert_eq!((Sum::of(front) + Sum::of(back)).finish(), by_the_book(&bytes));
        }
    }

    proptest! {
        #[test]
        fn sums_of_any_pieces_add_up(
            bytes in prop::collection::vec(any::<u8>(), 2..3000), cut in 0usize..3000,
        ) {
            let cut = cut.min(bytes.len());
            let (front, back) = bytes.split_at(cut);
            let sum = Sum::of(front) + Sum::of(back).at(cut);
            prop_assert_eq!(sum.finish(), by_the_book(&bytes));
        }
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).finish(), [!0xdd, !0xf2]);
    }

    #[test]
    fn data_with_its_checksum_is_valid_and_one_flipped_bit_is_not() {
        let mut bytes = *b"pagewire\0\0";
        let checksum = Sum::of(&bytes).finish();
        bytes[8..].copy_from_slice(&checksum);
        assert!(Sum::of(&bytes).is_valid());
        bytes[3] ^= 4;
        assert!(!Sum::of(&bytes).is_valid());
    }
}
