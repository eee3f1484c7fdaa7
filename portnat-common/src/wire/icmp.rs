//! ICMP, RFC 792: the echo query and its reply.

use bytemuck::{Pod, Zeroable};

use super::Be16;

/// Where the identifier lies in an echo message, in bytes.
pub const IDENTIFIER: usize = 4;
/// Where the checksum lies.
pub const CHECKSUM: usize = 2;
/// Type of an echo reply over IPv4.
pub const ECHO_REPLY_V4: u8 = 0;
/// Type of an echo request over IPv4.
pub const ECHO_REQUEST_V4: u8 = 8;

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
