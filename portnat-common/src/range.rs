//! Ranges of published ports: few entries of a trie each, however long they are.
//!
//! A range is cut into the largest blocks that begin at a multiple of their size and have a power of
//! two of ports: those are what prefixes of a 16-bit number are.

use core::iter::from_fn;

use crate::address::Address;
use crate::published::PublishedKey;

/// Where a range of ports is published, as the trie compares it: bit by bit from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct RangeKey<A> {
    /// The host's address; the unspecified address stands for every local one.
    pub address: A,
    /// Transport protocol number and port, 16 bits each, in network byte order.
    pub place: u32,
}

const _: () = assert!(size_of::<RangeKey<crate::Ip4>>() == 8);
const _: () = assert!(size_of::<RangeKey<crate::Ip6>>() == 20);

impl<A: Address> RangeKey<A> {
    /// How many bits a key has.
    pub const BITS: u32 = 8 * size_of::<Self>() as u32;

    /// The key of one port.
    #[inline(always)]
    #[must_use]
    pub const fn of(key: &PublishedKey<A>) -> Self {
        RangeKey {
            address: key.address,
            place: ((key.protocol as u32) << 16 | key.port as u32).to_be(),
        }
    }

    /// The protocol and the port that it is the key of.
    #[must_use]
    pub const fn protocol_and_port(&self) -> (u8, u16) {
        let place = u32::from_be(self.place);
        ((place >> 16) as u8, place as u16)
    }
}

/// Ports of which the first so many of their 16 bits are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The first port.
    pub first: u16,
    /// How many bits the ports differ in, up to 16.
    pub bits: u8,
}

impl Block {
    /// The length of the prefix that is this block, in the trie of a family.
    #[must_use]
    pub const fn prefix_len<A: Address>(self) -> u32 {
        RangeKey::<A>::BITS - self.bits as u32
    }
}

/// The ports from `first` to `last`, both included, as blocks: at most 30.
pub fn blocks(first: u16, last: u16) -> impl Iterator<Item = Block> {
    let end = u32::from(last) + 1;
    let mut next = u32::from(first);
    from_fn(move || {
        let left = end.checked_sub(next).filter(|left| *left > 0)?;
        // As many as fit, and as many as this port is a multiple of.
        let bits = left.ilog2().min(next.trailing_zeros());
        let block = Block {
            first: next as u16,
            bits: bits as u8,
        };
        next += 1 << bits;
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::address::Ip4;
    use proptest::prelude::*;

    /// The ports of a block.
    fn ports(block: Block) -> impl Iterator<Item = u32> {
        let first = u32::from(block.first);
        first..first + (1 << block.bits)
    }

    #[test]
    fn the_longest_ranges_take_few_blocks() {
        let all: Vec<_> = blocks(0, u16::MAX).collect();
        let block = Block { first: 0, bits: 16 };
        assert_eq!(all, [block]);
        assert_eq!(block.prefix_len::<Ip4>(), 48);
        assert_eq!(blocks(1, u16::MAX - 1).count(), 30);
        let one = blocks(8080, 8080).map(|block| (block.first, block.bits));
        assert_eq!(one.collect::<Vec<_>>(), [(8080, 0)]);
    }

    #[test]
    fn keys_are_compared_from_the_left() {
        let key = PublishedKey {
            address: Ip4::ANY,
            port: 0x1f90,
            protocol: 17,
            padding: 0,
        };
        let key = RangeKey::of(&key);
        assert_eq!(key.place.to_ne_bytes(), [0, 17, 0x1f, 0x90]);
        assert_eq!(key.protocol_and_port(), (17, 0x1f90));
        assert_eq!(RangeKey::<Ip4>::BITS, 64);
    }

    proptest! {
        /// Every port once, nothing else, and each block is a prefix.
        #[test]
        fn blocks_are_the_range(first: u16, last: u16) {
            let (first, last) = (first.min(last), first.max(last));
            let blocks: Vec<_> = blocks(first, last).collect();
            prop_assert!(blocks.len() <= 30);
            for block in &blocks {
                prop_assert_eq!(u32::from(block.first) % (1 << block.bits), 0);
            }
            let covered = blocks.into_iter().flat_map(ports);
            prop_assert!(covered.eq(u32::from(first)..=u32::from(last)));
        }
    }
}
