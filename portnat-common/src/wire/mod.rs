//! Protocol headers as they lie on the wire, one protocol a file.

pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod sctp;
pub mod tcp;
pub mod udp;

use bytemuck::{Pod, Zeroable};

/// A 16-bit field in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// The field that holds `value`.
    #[inline(always)]
    #[must_use]
    pub const fn new(value: u16) -> Self {
        Be16(value.to_be())
    }

    /// The field's value.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The field as it lies in memory, for checksums.
    #[inline(always)]
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

/// A 32-bit field in network byte order, at a multiple of 4 bytes in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be32(u32);

impl Be32 {
    /// The field that holds `value`.
    #[inline(always)]
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Be32(value.to_be())
    }

    /// The field's value.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0)
    }
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// ICMP, RFC 792.
    pub const ICMP: u8 = 1;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// ICMPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// SCTP, RFC 9260.
    pub const SCTP: u8 = 132;

    /// [`class`] of TCP.
    pub const CLASS_TCP: u8 = 0;
    /// [`class`] of UDP.
    pub const CLASS_UDP: u8 = 1;
    /// [`class`] of SCTP.
    pub const CLASS_SCTP: u8 = 2;
    /// [`class`] of all that have no ports.
    pub const CLASS_OTHER: u8 = 3;

    /// A small number for each protocol with ports, and one for all others. Looked up, because the
    /// verifier would follow each branch through everything behind it.
    #[inline(always)]
    #[must_use]
    pub const fn class(protocol: u8) -> u8 {
        CLASSES[protocol as usize]
    }

    const CLASSES: [u8; 256] = {
        let mut classes = [CLASS_OTHER; 256];
        classes[TCP as usize] = CLASS_TCP;
        classes[UDP as usize] = CLASS_UDP;
        classes[SCTP as usize] = CLASS_SCTP;
        classes
    };
}
