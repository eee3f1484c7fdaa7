//! Headers of one address family from those of the other: RFC 7915, which section of it is said where
//! it is followed.

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, Ip4, Ip6};
use crate::checksum::Sum;
use crate::family::{Family, V4};
use crate::wire::{Be16, icmp, ipv4, ipv6, protocol};

/// How much longer IPv6's header is, in bytes.
pub const LONGER: isize = (size_of::<ipv6::Header>() - size_of::<ipv4::Header>()) as isize;
/// The longest IPv4 packet that routers may cut up if they must: the smallest MTU of IPv6 less what
/// its header is longer (section 5.1).
const MAY_BE_CUT: usize = 1260;
/// Where an IPv6 header names what follows it, as a parameter problem says it.
const POINTS_TO_NEXT_HEADER: u32 = 6;

/// What the pseudo header's sum gains where the words of `old` are replaced by those of `new`, source
/// and destination. Length and protocol add the same in both families.
#[inline(always)]
#[must_use]
pub fn difference<A: Address, B: Address>(old: (&A, &A), new: (&B, &B)) -> Sum {
    let mut sum = Sum::ZERO;
    for address in [old.0, old.1] {
        for word in address.words() {
            sum = sum.add(!word);
        }
    }
    for address in [new.0, new.1] {
        for word in address.words() {
            sum = sum.add(*word);
        }
    }
    sum
}

/// The IPv4 header of what came with `header` (section 5.1), with `payload` bytes behind it. Packets
/// that may be cut up on their way have `identification`. `None` if it would be too long.
#[inline(always)]
#[must_use]
pub fn to_v4(
    header: &ipv6::Header,
    (src, dst): (Ip4, Ip4),
    protocol: u8,
    payload: usize,
    identification: u16,
) -> Option<ipv4::Header> {
    let length = payload + size_of::<ipv4::Header>();
    if length > usize::from(u16::MAX) {
        return None;
    }
    let (identification, fragment) = if length > MAY_BE_CUT {
        (0, ipv4::DONT_FRAGMENT)
    } else {
        (identification, 0)
    };
    Some(
        ipv4::Header {
            version_ihl: ipv4::PLAIN,
            tos: header.traffic_class(),
            total_length: Be16::new(length as u16),
            identification: Be16::new(identification),
            fragment: Be16::new(fragment),
            ttl: header.hop_limit.wrapping_sub(1),
            protocol,
            checksum: 0,
            src,
            dst,
        }
        .sealed(),
    )
}

/// The IPv6 header of what came with `header` (section 4.1), with `payload` bytes behind it. `None`
/// if it would be too long.
#[inline(always)]
#[must_use]
pub fn to_v6(
    header: &ipv4::Header,
    (src, dst): (Ip6, Ip6),
    payload: usize,
) -> Option<ipv6::Header> {
    if payload > usize::from(u16::MAX) {
        return None;
    }
    Some(ipv6::Header {
        version_class_flow: ipv6::Header::first_word(header.tos),
        payload_length: Be16::new(payload as u16),
        next: header.protocol,
        hop_limit: header.ttl.wrapping_sub(1),
        src,
        dst,
    })
}

#[inline(always)]
const fn says(kind: u8, code: u8, value: u32) -> Option<icmp::Error> {
    Some(icmp::Error::new(kind, code, value))
}

/// What an ICMPv4 error is in ICMPv6 (section 4.2). `None` for those that have no equal, and for
/// parameter problems, which are about a header that its sender has never seen.
#[inline(always)]
#[must_use]
pub fn meaning_in_v6(error: &icmp::Error) -> Option<icmp::Error> {
    match (error.kind, error.code) {
        (icmp::UNREACHABLE_V4, 0 | 1 | 5..=8 | 11 | 12) => says(1, 0, 0),
        (icmp::UNREACHABLE_V4, 2) => says(4, 1, POINTS_TO_NEXT_HEADER),
        (icmp::UNREACHABLE_V4, 3) => says(1, 4, 0),
        (icmp::UNREACHABLE_V4, 4) => {
            let mtu = (error.value.get() & 0xffff) + LONGER as u32;
            let mtu = if mtu < ipv6::MIN_MTU {
                ipv6::MIN_MTU
            } else {
                mtu
            };
            says(2, 0, mtu)
        }
        (icmp::UNREACHABLE_V4, 9 | 10 | 13 | 15) => says(1, 1, 0),
        (icmp::TIME_EXCEEDED_V4, code) => says(3, code, 0),
        _ => None,
    }
}

/// What an ICMPv6 error is in ICMPv4 (section 5.2). `None` as in [`meaning_in_v6`].
#[inline(always)]
#[must_use]
pub fn meaning_in_v4(error: &icmp::Error) -> Option<icmp::Error> {
    match (error.kind, error.code) {
        (1, 0 | 2 | 3) => says(icmp::UNREACHABLE_V4, 1, 0),
        (1, 1) => says(icmp::UNREACHABLE_V4, 10, 0),
        (1, 4) => says(icmp::UNREACHABLE_V4, 3, 0),
        (2, _) => {
            // IPv6 knows nothing narrower; what says so has IPv6's own fragmentation in mind.
            let mtu = error.value.get();
            let mtu = if mtu < ipv6::MIN_MTU {
                ipv6::MIN_MTU
            } else {
                mtu
            };
            let (kind, code) = V4::TOO_BIG;
            let mtu = mtu - LONGER as u32;
            says(kind, code, if mtu > 0xffff { 0xffff } else { mtu })
        }
        (3, code) => says(icmp::TIME_EXCEEDED_V4, code, 0),
        (4, 1) => says(icmp::UNREACHABLE_V4, 2, 0),
        _ => None,
    }
}

/// An ICMPv4 error with as much of a packet as it must quote (RFC 792).
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ErrorV4 {
    outer: ipv4::Header,
    error: icmp::Error,
    quoted: ipv4::Header,
    transport: [Be16; 4],
}

/// An ICMPv6 error with as much of a packet as its receiver needs.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ErrorV6 {
    outer: ipv6::Header,
    error: icmp::Error,
    quoted: ipv6::Header,
    transport: [Be16; 4],
}

const _: () = assert!(size_of::<ErrorV4>() == 56);
const _: () = assert!(size_of::<ErrorV6>() == 96);

impl ErrorV4 {
    /// The error about what has the header `quoted`, and these first bytes behind it, to its sender;
    /// from whom it was sent to.
    #[inline(always)]
    #[must_use]
    pub fn new(meaning: icmp::Error, quoted: ipv4::Header, transport: [Be16; 4]) -> Self {
        const LENGTH: u16 = (size_of::<ErrorV4>() - size_of::<ipv4::Header>()) as u16;
        let mut error = ErrorV4 {
            outer: ipv4::Header::new(protocol::ICMP, (quoted.dst, quoted.src), LENGTH),
            error: meaning,
            quoted,
            transport,
        };
        let words: &[u32; 14] = bytemuck::cast_ref(&error);
        error.error.checksum = !Sum::of(&words[5..]).fold();
        error
    }
}

impl ErrorV6 {
    /// As [`ErrorV4::new`].
    #[inline(always)]
    #[must_use]
    pub fn new(meaning: icmp::Error, quoted: ipv6::Header, transport: [Be16; 4]) -> Self {
        const LENGTH: usize = size_of::<ErrorV6>() - size_of::<ipv6::Header>();
        let mut error = ErrorV6 {
            outer: ipv6::Header::new(protocol::ICMPV6, (quoted.dst, quoted.src), LENGTH as u16),
            error: meaning,
            quoted,
            transport,
        };
        // The pseudo header (RFC 4443 section 2.3): both addresses, the length and the protocol.
        let words: &[u32; 24] = bytemuck::cast_ref(&error);
        let pseudo = (LENGTH as u32 + u32::from(protocol::ICMPV6)).to_be();
        error.error.checksum = !Sum::of(&words[2..]).add(pseudo).fold();
        error
    }
}

#[cfg(test)]
mod tests;
