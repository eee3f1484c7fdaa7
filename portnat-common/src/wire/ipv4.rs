//! IPv4, RFC 791.

use bytemuck::{Pod, Zeroable};

use super::Be16;
use crate::Ip4;

/// Where the source address lies in the header, in bytes.
pub const SRC: usize = 12;
/// Where the destination address lies.
pub const DST: usize = 16;
/// Where the header checksum lies.
pub const CHECKSUM: usize = 10;

/// [`Header::version_ihl`] of a header without options.
pub const PLAIN: u8 = 0x45;
/// [`Header::fragment`]: routers must not cut the packet.
pub const DONT_FRAGMENT: u16 = 0x4000;

/// The header without its options.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// Version and length of the header in words of 32 bits.
    pub version_ihl: u8,
    /// Type of service (RFC 2474, RFC 3168).
    pub tos: u8,
    /// Length of header and payload in bytes.
    pub total_length: Be16,
    /// Identification of a datagram's fragments.
    pub identification: Be16,
    /// [`DONT_FRAGMENT`], "more fragments" and the fragment's place.
    pub fragment: Be16,
    /// Time to live, in hops.
    pub ttl: u8,
    /// The transport protocol.
    pub protocol: u8,
    /// Header checksum, memory order.
    pub checksum: u16,
    /// Source address.
    pub src: Ip4,
    /// Destination address.
    pub dst: Ip4,
}

const _: () = assert!(size_of::<Header>() == 20);

impl Header {
    /// The version field, 4 in a sound header.
    #[inline(always)]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// The header's length in bytes, 0 to 60; less than 20 in a broken one.
    #[inline(always)]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * 4
    }

    /// Where this fragment's payload lies in its datagram, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn fragment_offset(&self) -> usize {
        (self.fragment.get() & 0x1fff) as usize * 8
    }

    /// Whether this is a fragment: it lies behind the start, or more follow.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.fragment.get() & 0x3fff != 0
    }
}
