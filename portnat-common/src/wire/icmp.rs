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
