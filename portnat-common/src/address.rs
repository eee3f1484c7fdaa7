//! IP addresses as the packet and the maps hold them.

use core::fmt::Debug;
use core::hash::Hash;
use core::net::{Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

/// An address of `WORDS` 32-bit words, in network byte order as it lies in the packet.
///
/// Words rather than bytes: an array of bytes has alignment 1, and LLVM's BPF backend copies and
/// compares such an array byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Ip<const WORDS: usize>([u32; WORDS]);

impl<const WORDS: usize> Default for Ip<WORDS> {
    fn default() -> Self {
        Ip([0; WORDS])
    }
}

/// An IPv4 address.
pub type Ip4 = Ip<1>;

/// An IPv6 address.
pub type Ip6 = Ip<4>;

/// Room for an address of any family: an IPv4 address is the first word, the others are zero.
pub type Wide = [u32; 4];

/// The third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

/// The IPv4-mapped address (RFC 4291 section 2.5.5.2), as which IPv6 tables hold an IPv4 address. No
/// packet has one, see [`Ip6::is_mapped`].
#[inline(always)]
#[must_use]
pub const fn map(address: Ip4) -> Wide {
    [0, 0, MAPPED, address.0[0]]
}

/// The IPv4 address that `wide` maps; any number if it is no such address.
#[inline(always)]
#[must_use]
pub const fn unmap(wide: &Wide) -> Ip4 {
    Ip([wide[3]])
}

/// Whether an address in IPv6's room is an IPv4-mapped one.
#[inline(always)]
#[must_use]
pub const fn is_mapped(wide: &Wide) -> bool {
    // Without branches, for the verifier's sake.
    wide[0] | wide[1] | (wide[2] ^ MAPPED) == 0
}

/// What an address is to us; it can be several things.
pub mod role {
    /// One of the host's own.
    pub const HOST: u32 = 1;
    /// Ports are published on it.
    pub const PUBLISHED: u32 = 2;
    /// Published ports lead to it.
    pub const TARGET: u32 = 4;
}

/// What the NAT needs to know of an address, whatever its family.
pub trait Address: Pod + Default + Debug + Eq + Ord + Hash {
    /// The unspecified address: as a published address it stands for every local one.
    const ANY: Self;

    /// The address in room for any family.
    fn widen(self) -> Wide;

    /// The address that was put into `wide` by [`Address::widen`].
    fn narrow(wide: &Wide) -> Self;

    /// The address's words, in network byte order.
    fn words(&self) -> &[u32];

    /// The addresses that one subscriber has, as the first of them: a /64 of IPv6 (RFC 6177 section 2),
    /// a single one of IPv4.
    fn site(self) -> Self;
}

impl Address for Ip4 {
    const ANY: Self = Ip([0]);

    #[inline(always)]
    fn widen(self) -> Wide {
        [self.0[0], 0, 0, 0]
    }

    #[inline(always)]
    fn narrow(wide: &Wide) -> Self {
        Ip([wide[0]])
    }

    #[inline(always)]
    fn words(&self) -> &[u32] {
        &self.0
    }

    #[inline(always)]
    fn site(self) -> Self {
        self
    }
}

impl Ip4 {
    /// The first octet, `127` in 127.0.0.1.
    #[inline(always)]
    #[must_use]
    pub const fn first_octet(self) -> u8 {
        self.0[0].to_ne_bytes()[0]
    }
}

impl From<Ipv4Addr> for Ip4 {
    fn from(address: Ipv4Addr) -> Self {
        Ip([u32::from_ne_bytes(address.octets())])
    }
}

impl From<Ip4> for Ipv4Addr {
    fn from(address: Ip4) -> Self {
        address.0[0].to_ne_bytes().into()
    }
}

impl Address for Ip6 {
    const ANY: Self = Ip([0; 4]);

    #[inline(always)]
    fn widen(self) -> Wide {
        self.0
    }

    #[inline(always)]
    fn narrow(wide: &Wide) -> Self {
        Ip(*wide)
    }

    #[inline(always)]
    fn words(&self) -> &[u32] {
        &self.0
    }

    #[inline(always)]
    fn site(self) -> Self {
        let [first, second, _, _] = self.0;
        Ip([first, second, 0, 0])
    }
}

impl Ip6 {
    /// The first 16 bits, `0x2001` in 2001:db8::1.
    #[inline(always)]
    #[must_use]
    pub const fn first_group(self) -> u16 {
        let [high, low, _, _] = self.0[0].to_ne_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Whether this is an IPv4-mapped address (::ffff:0:0/96), which must not be in any packet: Linux
    /// drops such packets too.
    #[inline(always)]
    #[must_use]
    pub const fn is_mapped(self) -> bool {
        is_mapped(&self.0)
    }

    /// Whether this is ::1.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        self.0[0] | self.0[1] | self.0[2] == 0 && self.0[3] == 1_u32.to_be()
    }
}

impl From<Ipv6Addr> for Ip6 {
    fn from(address: Ipv6Addr) -> Self {
        Ip(bytemuck::cast(address.octets()))
    }
}

impl From<Ip6> for Ipv6Addr {
    fn from(address: Ip6) -> Self {
        let octets: [u8; 16] = bytemuck::cast(address.0);
        octets.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_lies_in_memory_as_on_the_wire() {
        let address = Ip4::from(Ipv4Addr::new(192, 0, 2, 10));
        assert_eq!(bytemuck::bytes_of(&address), [192, 0, 2, 10]);
        assert_eq!(address.first_octet(), 192);
        assert_eq!(
            Ipv4Addr::from(Ip4::narrow(&address.widen())),
            Ipv4Addr::new(192, 0, 2, 10)
        );
    }

    #[test]
    fn ipv6_lies_in_memory_as_on_the_wire() {
        let text: Ipv6Addr = "2001:db8::a".parse().expect("an address");
        let address = Ip6::from(text);
        assert_eq!(bytemuck::bytes_of(&address), text.octets());
        assert_eq!(address.first_group(), 0x2001);
        assert_eq!(Ipv6Addr::from(Ip6::narrow(&address.widen())), text);
        assert!(Ip6::from(Ipv6Addr::LOCALHOST).is_loopback() && !address.is_loopback());
    }

    #[test]
    fn an_ipv4_address_in_the_tables_of_ipv6() {
        let v4 = Ipv4Addr::new(172, 17, 0, 2);
        let mapped = map(v4.into());
        assert_eq!(Ipv6Addr::from(Ip6::narrow(&mapped)), v4.to_ipv6_mapped());
        assert_eq!(Ipv4Addr::from(unmap(&mapped)), v4);
        assert!(is_mapped(&mapped));
        for other in [
            "::",
            "::1",
            "::172.17.0.2",
            "64:ff9b::172.17.0.2",
            "1::ffff:172.17.0.2",
        ] {
            let other: Ipv6Addr = other.parse().expect("an address");
            assert!(!Ip6::from(other).is_mapped(), "{other}");
        }
    }
}
