//! Inside subnets: what userspace tells the datapath about where containers are.

use crate::address::Address;

/// A prefix that containers have their addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Subnet {
    /// Index of the bridge that it is behind, or 0 where none is known.
    pub bridge: u32,
    /// [`MASQUERADED`] and the like.
    pub flags: u32,
}

/// [`Subnet::flags`]: what it sends outside is masqueraded.
pub const MASQUERADED: u32 = 1;
/// [`Subnet::flags`]: nobody but its own bridge's containers and the host reaches its containers by
/// their own addresses (mode `nat`).
pub const CLOSED: u32 = 1 << 1;
/// [`Subnet::flags`]: its containers are reached by their own addresses, at the ports of theirs that are
/// published, and nothing is translated (mode `routed`).
pub const ROUTED: u32 = 1 << 2;
/// [`Subnet::flags`]: it is behind an interface that is no bridge and has no ports.
pub const ALONE: u32 = 1 << 3;
/// [`Subnet::flags`]: there are those outside to whom it sends as itself, and whose answers come to its
/// containers' own addresses: where it is masqueraded, certain prefixes ([`crate::Tables::is_bypassed`]), else
/// everybody.
pub const BYPASSES: u32 = 1 << 4;
/// [`Subnet::flags`]: containers of other bridges do not reach its containers by their own addresses, though
/// others may (mode `nat-unprotected`).
pub const ISOLATED: u32 = 1 << 5;
/// [`Subnet::flags`]: its own containers do not reach each other directly either. The bridge keeps its ports
/// apart; this keeps the host from forwarding between them.
pub const APART: u32 = 1 << 6;

/// Where in [`Subnet::flags`] the number of the address begins as which it is masqueraded; 0 there is
/// the address of the interface that a packet goes out by.
const NAMED_AT: u32 = 8;
/// What an address of this number is found by where others are found by an interface's index, which is
/// never so large.
const NAMED: u32 = 1 << 31;

const _: () = assert!(size_of::<Subnet>() == 8);

/// [`Subnet::flags`]: it is masqueraded as the address of this number, of which the lowest 24 bits count.
#[must_use]
pub const fn masqueraded_as(number: u32) -> u32 {
    number << NAMED_AT
}

impl Subnet {
    /// Whether what it sends outside is masqueraded.
    #[inline(always)]
    #[must_use]
    pub const fn is_masqueraded(&self) -> bool {
        self.flags & MASQUERADED != 0
    }

    /// Whether nobody else reaches its containers directly.
    #[inline(always)]
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.flags & CLOSED != 0
    }

    /// Whether others reach published ports of its containers directly.
    #[inline(always)]
    #[must_use]
    pub const fn is_routed(&self) -> bool {
        self.flags & ROUTED != 0
    }

    /// Whether its interface has no ports, where packets would be seen first.
    #[inline(always)]
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.flags & ALONE != 0
    }

    /// Whether some of what it sends outside may go as it is, and is answered.
    #[inline(always)]
    #[must_use]
    pub const fn bypasses(&self) -> bool {
        self.flags & BYPASSES != 0
    }

    /// Whether it leads nowhere outside: nobody reaches it there, and nobody would answer it.
    #[inline(always)]
    #[must_use]
    pub const fn is_internal(&self) -> bool {
        self.flags & (CLOSED | MASQUERADED | BYPASSES) == CLOSED
    }

    /// What the address is found by ([`crate::Tables::egress_address`]) as which it is masqueraded, if one
    /// is named.
    #[inline(always)]
    #[must_use]
    pub const fn named_address(&self) -> Option<u32> {
        match self.flags >> NAMED_AT {
            0 => None,
            number => Some(NAMED | number),
        }
    }

    /// Whether not everybody who knows a way reaches its containers directly.
    #[inline(always)]
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.flags & (CLOSED | ROUTED) != 0
    }

    /// Whether containers of other bridges do not reach its containers directly.
    #[inline(always)]
    #[must_use]
    pub const fn is_isolated(&self) -> bool {
        self.flags & (CLOSED | ISOLATED) != 0
    }

    /// Whether its containers do not reach each other directly.
    #[inline(always)]
    #[must_use]
    pub const fn is_apart(&self) -> bool {
        self.flags & APART != 0
    }
}

/// How many words the bitmap of first octets has, of both families.
pub const FIRST_OCTETS: u32 = 8;

/// Where in that bitmap the first octet of an address lies: the word, and the bit in it. It is set where
/// an inside subnet has addresses that begin so. Most of what passes is asked for both its addresses, and
/// a look-up in a trie costs more than all else that a bystander pays.
#[inline(always)]
#[must_use]
pub fn octet_position<A: Address>(address: &A) -> (u32, u64) {
    let words = address.words();
    let octet = words[0].to_ne_bytes()[0];
    let family = if words.len() == 1 {
        0
    } else {
        FIRST_OCTETS / 2
    };
    (family + u32::from(octet >> 6), 1 << (octet & 63))
}

/// The positions of all addresses of a prefix with this first address and length in bits.
pub fn octet_positions<A: Address>(network: &A, length: u8) -> impl Iterator<Item = (u32, u64)> {
    let (word, bit) = octet_position(network);
    let first = (word & 3) << 6 | bit.trailing_zeros();
    let family = word & !3;
    let count = 1_u32 << 8_u8.saturating_sub(length);
    (first..first + count).map(move |octet| (family + (octet >> 6 & 3), 1 << (octet & 63)))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::vec::Vec;

    use super::*;
    use crate::address::{Ip4, Ip6};

    #[test]
    fn a_named_address_is_found_where_no_interface_is() {
        let plain = Subnet {
            bridge: 3,
            flags: MASQUERADED | CLOSED | ALONE | BYPASSES,
        };
        assert_eq!(plain.named_address(), None);
        let named = |number| Subnet {
            flags: plain.flags | masqueraded_as(number),
            ..plain
        };
        assert_eq!(named(7).named_address(), Some(0x8000_0007));
        assert_eq!(named(0xff_ffff).named_address(), Some(0x80ff_ffff));
        assert!(named(0xff_ffff).is_masqueraded() && !named(0xff_ffff).is_routed());
    }

    #[test]
    fn a_prefix_has_the_positions_of_its_addresses() {
        for (first, length, octets) in [
            ([172, 17, 0, 0], 16, 172..=172),
            ([10, 0, 0, 0], 8, 10..=10),
            ([192, 0, 0, 0], 2, 192..=255),
            ([0, 0, 0, 0], 0, 0..=255),
        ] {
            let network = Ip4::from(Ipv4Addr::from(first));
            let all: Vec<_> = octet_positions(&network, length).collect();
            for octet in 0..=255_u8 {
                let address = Ip4::from(Ipv4Addr::new(octet, 1, 2, 3));
                let position = octet_position(&address);
                assert!(position.0 < 4);
                assert_eq!(all.contains(&position), octets.contains(&octet), "{octet}");
            }
        }
        let network = Ip6::from("fd00:17::".parse::<Ipv6Addr>().expect("an address"));
        let inside = Ip6::from("fd00:17::2".parse::<Ipv6Addr>().expect("an address"));
        let outside = Ip6::from("2001:db8::1".parse::<Ipv6Addr>().expect("an address"));
        let all: Vec<_> = octet_positions(&network, 64).collect();
        assert_eq!(all, [octet_position(&inside)]);
        assert!(!all.contains(&octet_position(&outside)));
        assert!(all.iter().all(|(word, _)| (4..FIRST_OCTETS).contains(word)));
    }
}
