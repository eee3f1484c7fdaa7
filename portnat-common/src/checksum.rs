//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//!
//! Everything here is in memory order: the ones' complement sum does not care about byte order as
//! long as summands and result agree (RFC 1071 section 2 B), so no byte is swapped on the way.

/// A ones' complement sum that has not been folded to 16 bits yet, as the kernel's `__wsum`.
///
/// As a difference it is the sum of `!old + new` over all that was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u32);

impl Sum {
    /// The empty sum: nothing was replaced.
    pub const ZERO: Sum = Sum(0);

    /// This sum and one more 32-bit summand, with end-around carry.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, word: u32) -> Sum {
        let sum = self.0 as u64 + word as u64;
        // A carry and a sum of all ones do not come together, so this cannot overflow.
        Sum(sum as u32 + (sum >> 32) as u32)
    }

    /// The sum of these, in memory order.
    #[inline(always)]
    #[must_use]
    pub fn of(words: &[u32]) -> Sum {
        words.iter().fold(Sum::ZERO, |sum, word| sum.add(*word))
    }

    /// This difference and the replacement of `old` by `new`, two words in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn replace(self, old: u32, new: u32) -> Sum {
        self.add(!old).add(new)
    }

    /// As [`Sum::replace`], for 16-bit fields at even offsets, in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn replace16(self, old: u16, new: u16) -> Sum {
        self.add(!old as u32).add(new as u32)
    }

    /// The sum of two.
    #[inline(always)]
    #[must_use]
    pub const fn join(self, other: Sum) -> Sum {
        self.add(other.0)
    }

    /// The sum as the kernel's `__wsum`, for the checksum helpers.
    #[inline(always)]
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Whether adding this changes no checksum. What was replaced by itself adds all ones, the
    /// other zero of ones' complement.
    #[inline(always)]
    #[must_use]
    pub const fn is_zero(self) -> bool {
        matches!(self.fold(), 0 | 0xffff)
    }

    /// The 16-bit ones' complement sum.
    #[inline(always)]
    #[must_use]
    pub const fn fold(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        (once + (once >> 16)) as u16
    }

    /// The checksum field `checksum` (memory order) after this difference was applied to what it
    /// covers: `HC' = ~(~HC + difference)`.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !self.add((!checksum) as u32).fold()
    }

    /// This sum and all of `bytes`; an odd last byte counts as if a zero followed.
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Sum {
        let mut sum = self;
        let (pairs, odd) = bytes.as_chunks::<2>();
        for pair in pairs {
            sum = sum.add(u32::from(u16::from_ne_bytes(*pair)));
        }
        if let [last] = odd {
            sum = sum.add(u32::from(u16::from_ne_bytes([*last, 0])));
        }
        sum
    }
}

/// The checksum (memory order) over `bytes`, whose own checksum field must be zero.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    !Sum::ZERO.add_bytes(bytes).fold()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(
            Sum::ZERO.add_bytes(&bytes).fold().to_ne_bytes(),
            [0xdd, 0xf2]
        );
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: header checksum 0xDD2F, a field goes from 0x5555 to 0x3285, result 0x0000.
        let be = |value: u16| u16::from_ne_bytes(value.to_be_bytes());
        assert_eq!(
            Sum::ZERO
                .replace16(be(0x5555), be(0x3285))
                .apply(be(0xdd2f)),
            be(0x0000)
        );
    }

    #[test]
    fn what_was_replaced_by_itself_is_no_difference() {
        for value in [0, 1, 80, 0xffff] {
            assert!(Sum::ZERO.replace16(value, value).replace16(7, 7).is_zero());
            assert!(
                Sum::ZERO
                    .replace(u32::from(value), u32::from(value))
                    .is_zero()
            );
        }
        assert!(!Sum::ZERO.replace16(1, 2).is_zero());
    }

    proptest! {
        /// An incremental update gives what a full computation gives.
        #[test]
        fn incremental_equals_full(
            mut bytes in prop::collection::vec(any::<u8>(), 12..64),
            at in 0usize..2,
            word in any::<u32>(),
            half in any::<u16>(),
        ) {
            let before = checksum(&bytes);
            let word_at = at * 4;
            let old_word = u32::from_ne_bytes(bytes[word_at..word_at + 4].try_into().unwrap());
            let old_half = u16::from_ne_bytes(bytes[8..10].try_into().unwrap());
            bytes[word_at..word_at + 4].copy_from_slice(&word.to_ne_bytes());
            bytes[8..10].copy_from_slice(&half.to_ne_bytes());
            let updated = Sum::ZERO.replace(old_word, word).replace16(old_half, half).apply(before);
            let full = checksum(&bytes);
            // Zero has two representations; a full sum over bytes that are not all zero never
            // gives 0xffff, an update does only where everything is zero.
            prop_assert!(updated == full || (bytes.iter().all(|b| *b == 0)), "{updated:#x} {full:#x}");
        }
    }
}
