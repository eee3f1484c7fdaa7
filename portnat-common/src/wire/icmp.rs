//! ICMP, RFC 792 and RFC 4443: the echo query and its reply, and errors, which quote the packet that they are
//! about.

use bytemuck::{Pod, Zeroable};

use super::{Be16, Be32};

/// Where the identifier lies in an echo message, in bytes.
pub const IDENTIFIER: usize = 4;
/// Where the checksum lies.
pub const CHECKSUM: usize = 2;
/// Type of an echo reply over IPv4.
pub const ECHO_REPLY_V4: u8 = 0;
/// Type of an echo request over IPv4.
pub const ECHO_REQUEST_V4: u8 = 8;

/// Length in bytes of an error's header; the quoted packet follows.
pub const ERROR_HEADER_LEN: usize = 8;
/// Type of "destination unreachable", among them "fragmentation needed", over IPv4.
pub const UNREACHABLE_V4: u8 = 3;
/// Type of a redirect over IPv4; it quotes a packet as an error does.
pub const REDIRECT_V4: u8 = 5;
/// Type and code of "communication administratively prohibited" over IPv4 (RFC 1812).
pub const PROHIBITED_V4: (u8, u8) = (UNREACHABLE_V4, 13);
/// Type and code of "fragmentation needed" over IPv4 (RFC 1191).
pub const TOO_BIG_V4: (u8, u8) = (UNREACHABLE_V4, 4);
/// Type and code of "communication administratively prohibited" over IPv6.
pub const PROHIBITED_V6: (u8, u8) = (1, 1);
/// Type and code of "packet too big" over IPv6.
pub const TOO_BIG_V6: (u8, u8) = (2, 0);
/// Type of "time exceeded" over IPv4.
pub const TIME_EXCEEDED_V4: u8 = 11;
/// Type of "parameter problem" over IPv4.
pub const PARAMETER_PROBLEM_V4: u8 = 12;
/// Type of an echo request over IPv6.
pub const ECHO_REQUEST_V6: u8 = 128;
/// Type of an echo reply over IPv6.
pub const ECHO_REPLY_V6: u8 = 129;
/// The last type of an error over IPv6: 1 unreachable, 2 too big, 3 time exceeded, 4 parameter
/// problem.
pub const LAST_ERROR_V6: u8 = 4;

/// Type of a redirect over IPv6 (RFC 4861 section 4.5).
pub const REDIRECT_V6: u8 = 137;
/// Length in bytes of a redirect over IPv6 without its options.
pub const REDIRECT_V6_LEN: usize = 40;
/// The option of neighbour discovery that has a link-layer address; that of Ethernet has 8 bytes.
pub const LINK_ADDRESS_OPTION: u8 = 2;
/// Length in bytes of that, and of what stands before the packet that a redirect quotes.
pub const OPTION_LEN: usize = 8;

/// The header of an echo message.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Echo {
    /// Type of the message.
    pub kind: u8,
    code: u8,
    checksum: u16,
    /// Tells one querier's messages from another's.
    pub identifier: Be16,
    sequence: Be16,
}

const _: () = assert!(size_of::<Echo>() == 8);

/// The header of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Error {
    /// Type of the message.
    pub kind: u8,
    /// What it is of its type.
    pub code: u8,
    /// Checksum, memory order.
    pub checksum: u16,
    /// By the type: an MTU, a pointer into the packet, or nothing.
    pub value: Be32,
}

const _: () = assert!(size_of::<Error>() == ERROR_HEADER_LEN);

impl Error {
    /// The header of an error of this type and code, with a checksum of 0. The value is a number.
    #[inline(always)]
    #[must_use]
    pub const fn new(kind: u8, code: u8, value: u32) -> Self {
        Error {
            kind,
            code,
            checksum: 0,
            value: Be32::new(value),
        }
    }
}
