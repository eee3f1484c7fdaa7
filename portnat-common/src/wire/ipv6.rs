//! IPv6, RFC 8200.

use bytemuck::{Pod, Zeroable};

use super::{Be16, Be32};
use crate::Ip6;

/// The smallest MTU that a link may have, in bytes (RFC 8200 section 5).
pub const MIN_MTU: u32 = 1280;
/// Where the source address lies in the header, in bytes.
pub const SRC: usize = 8;
/// Where the number of what follows lies, and behind it the hop limit.
pub const NEXT_AND_HOP_LIMIT: usize = 6;
/// Where the destination address lies.
pub const DST: usize = 24;

/// Next header: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Next header: routing.
pub const ROUTING: u8 = 43;
/// Next header: fragment.
pub const FRAGMENT: u8 = 44;
/// Next header: nothing follows.
pub const NO_NEXT: u8 = 59;
/// Next header: destination options.
pub const DESTINATION: u8 = 60;

/// Where the identification lies in a fragment header, in bytes.
pub const FRAGMENT_ID: usize = 4;

/// The header without its extensions.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// Version (4 bits), traffic class (8) and flow label (20).
    pub version_class_flow: Be32,
    /// Length of extensions and payload in bytes.
    pub payload_length: Be16,
    /// What follows: an extension or the transport protocol.
    pub next: u8,
    /// Hops that are left.
    pub hop_limit: u8,
    /// Source address.
    pub src: Ip6,
    /// Destination address.
    pub dst: Ip6,
}

const _: () = assert!(size_of::<Header>() == 40);

impl Header {
    /// A message of `payload_length` bytes.
    #[inline(always)]
    #[must_use]
    pub fn new(next: u8, (src, dst): (Ip6, Ip6), payload_length: u16) -> Self {
        Header {
            version_class_flow: Self::first_word(0),
            payload_length: Be16::new(payload_length),
            next,
            hop_limit: 64,
            src,
            dst,
        }
    }

    /// Version 6, this traffic class and no flow label.
    #[inline(always)]
    #[must_use]
    pub const fn first_word(class: u8) -> Be32 {
        Be32::new(6 << 28 | (class as u32) << 20)
    }

    /// The version field, 6 in a sound header.
    #[inline(always)]
    #[must_use]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// The traffic class (RFC 2474, RFC 3168).
    #[inline(always)]
    #[must_use]
    pub const fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }
}

/// What every extension begins with; the fragment header has fields of its own behind `next`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Extension {
    /// What follows.
    pub next: u8,
    length: u8,
    fragment: Be16,
}

impl Extension {
    /// The extension's length in bytes, unless it is a fragment header, which has 8.
    #[inline(always)]
    #[must_use]
    pub const fn byte_len(&self) -> usize {
        (self.length as usize + 1) * 8
    }

    /// Of a fragment header: where the payload lies in its datagram, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn fragment_offset(&self) -> usize {
        (self.fragment.get() & 0xfff8) as usize
    }

    /// Of a fragment header: whether more fragments follow.
    #[inline(always)]
    #[must_use]
    pub const fn more_fragments(&self) -> bool {
        self.fragment.get() & 1 != 0
    }
}
