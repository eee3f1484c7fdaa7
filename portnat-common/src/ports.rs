//! Which source ports masquerade may use, and the bitmap of published ports.

use crate::wire::protocol;

/// The lowest port that is handed out: below are the well-known services (RFC 4787 REQ-3a).
const LOWEST: u16 = 1024;

/// The source ports that masquerade chooses from: 1024 to 65535 without the range that the host's
/// own connections use, so that the two never meet on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PortPool {
    /// First port of the excluded range, at least [`LOWEST`].
    first_excluded: u16,
    /// How many ports are excluded from there.
    excluded: u16,
}

impl PortPool {
    /// All ports from 1024 outside `first..=last`. Where that leaves none, as with a local range
    /// of 1024 to 65535, all of them: then the two may meet, which is better than no port at all.
    #[must_use]
    pub const fn outside((first, last): (u16, u16)) -> Self {
        let first = if first < LOWEST { LOWEST } else { first };
        if last < first || (first == LOWEST && last == u16::MAX) {
            return PortPool {
                first_excluded: u16::MAX,
                excluded: 0,
            };
        }
        PortPool {
            first_excluded: first,
            excluded: last - first + 1,
        }
    }

    /// How many ports there are; at least one.
    #[inline(always)]
    #[must_use]
    pub const fn size(&self) -> u32 {
        u16::MAX as u32 - LOWEST as u32 + 1 - self.excluded as u32
    }

    /// Whether `port` is one of them.
    #[inline(always)]
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        port >= LOWEST && port.wrapping_sub(self.first_excluded) >= self.excluded
    }

    /// A port by its number in the pool, counted round and round.
    #[inline(always)]
    #[must_use]
    pub const fn nth(&self, number: u32) -> u16 {
        // The size is never 0, which the compiler cannot know: a panic must not be reachable.
        let number = match number.checked_rem(self.size()) {
            Some(number) => number,
            None => 0,
        };
        let port = LOWEST as u32 + number;
        if port < self.first_excluded as u32 {
            port as u16
        } else {
            (port + self.excluded as u32) as u16
        }
    }
}

/// Words of 64 bits in the bitmap of published ports: one protocol after the other, and an empty one
/// for all that have no ports.
pub const BITMAP_WORDS: u32 = 4 * 65536 / 64;

/// Where the bitmap holds a port: the word and the bit in it.
#[inline(always)]
#[must_use]
pub const fn bitmap_position(protocol: u8, port: u16) -> (u32, u64) {
    let map = protocol::class(protocol) as u32;
    (map * (65536 / 64) + port as u32 / 64, 1 << (port % 64))
}

/// Where the bitmap holds the ports from `first` to `last`, both included: words and the bits in
/// them.
pub fn bitmap_positions(protocol: u8, first: u16, last: u16) -> impl Iterator<Item = (u32, u64)> {
    let (base, _) = bitmap_position(protocol, 0);
    let ends = move |port: u16| (u32::from(port / 64), u32::from(port % 64));
    let ((first_word, low), (last_word, high)) = (ends(first), ends(last));
    (first_word..=last_word).map(move |word| {
        let mut bits = u64::MAX;
        if word == first_word {
            bits &= u64::MAX << low;
        }
        if word == last_word {
            bits &= u64::MAX >> (63 - high);
        }
        (base + word, bits)
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_usual_pool_has_36_280_ports() {
        let pool = PortPool::outside((32768, 60999));
        assert_eq!(pool.size(), 36_280);
        assert_eq!(
            (pool.nth(0), pool.nth(31_743), pool.nth(31_744)),
            (1024, 32767, 61000)
        );
        assert_eq!(pool.nth(36_279), 65535);
        assert_eq!(pool.nth(36_280), 1024);
    }

    #[test]
    fn a_local_range_of_everything_leaves_everything() {
        for range in [(1024, 65535), (1, 65535)] {
            assert_eq!(PortPool::outside(range).size(), 64_512);
            assert!(PortPool::outside(range).contains(65535));
        }
    }

    #[test]
    fn every_published_port_has_a_bit_of_its_own() {
        let all: BTreeSet<_> = [protocol::TCP, protocol::UDP, protocol::SCTP]
            .into_iter()
            .flat_map(|p| (0..=u16::MAX).map(move |port| bitmap_position(p, port)))
            .collect();
        assert_eq!(all.len(), 3 * 65536);
        assert!(all.iter().all(|(word, _)| *word < BITMAP_WORDS));
        for protocol in [protocol::ICMP, protocol::ICMPV6, 0, 38, 255] {
            for port in [0, 8, u16::MAX] {
                let position = bitmap_position(protocol, port);
                assert!(position.0 < BITMAP_WORDS && !all.contains(&position));
            }
        }
    }

    proptest! {
        /// A range's words are those of its ports.
        #[test]
        fn a_range_has_the_bits_of_its_ports(first: u16, last: u16) {
            let (first, last) = (first.min(last), first.max(last));
            let mut words = std::collections::BTreeMap::<u32, u64>::new();
            for (word, bit) in (first..=last).map(|port| bitmap_position(protocol::UDP, port)) {
                *words.entry(word).or_default() |= bit;
            }
            prop_assert!(bitmap_positions(protocol::UDP, first, last).eq(words));
        }

        /// What the pool hands out is in the pool, never reserved, and every port has its turn.
        #[test]
        fn the_pool_is_what_is_outside(range in any::<(u16, u16)>(), number in any::<u32>()) {
            let range = (range.0.min(range.1), range.0.max(range.1));
            let pool = PortPool::outside(range);
            let port = pool.nth(number);
            prop_assert!(port >= 1024);
            prop_assert!(pool.contains(port));
            if range.0 > 1024 || range.1 < 65535 {
                prop_assert!(port < range.0 || port > range.1);
            }
            let counted = (0..=u16::MAX).filter(|p| pool.contains(*p)).count();
            prop_assert_eq!(counted as u32, pool.size());
            prop_assert_eq!(pool.nth(number % pool.size() + pool.size()), port);
        }
    }
}
