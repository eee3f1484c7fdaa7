//! IPv4, RFC 791.

use bytemuck::{Pod, Zeroable};

use super::Be16;
use crate::Ip4;
use crate::checksum::Sum;

/// Where the source address lies in the header, in bytes.
pub const SRC: usize = 12;
/// Where the time to live lies, and behind it the protocol.
pub const TTL_AND_PROTOCOL: usize = 8;
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
    /// A router's own message of `payload_length` bytes: with precedence 6 (RFC 1812 section
    /// 4.3.2.5), never to be fragmented and so in need of no identification (RFC 6864).
    #[inline(always)]
    #[must_use]
    pub fn new(protocol: u8, (src, dst): (Ip4, Ip4), payload_length: u16) -> Self {
        Header {
            version_ihl: PLAIN,
            tos: 0xc0,
            total_length: Be16::new(payload_length.wrapping_add(size_of::<Header>() as u16)),
            identification: Be16::new(0),
            fragment: Be16::new(DONT_FRAGMENT),
            ttl: 64,
            protocol,
            checksum: 0,
            src,
            dst,
        }
        .sealed()
    }

    /// With the checksum of what else it says.
    #[inline(always)]
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.checksum = 0;
        let words: &[u32; 5] = bytemuck::cast_ref(&self);
        self.checksum = !Sum::of(words).fold();
        self
    }

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
