//! UDP, RFC 768.

use bytemuck::{Pod, Zeroable};

use super::Be16;

/// Where the source port lies in the header, in bytes.
pub const SRC_PORT: usize = 0;
/// Where the destination port lies.
pub const DST_PORT: usize = 2;
/// Where the checksum lies; zero means that there is none.
pub const CHECKSUM: usize = 6;

/// The header.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    length: Be16,
    checksum: u16,
}

const _: () = assert!(size_of::<Header>() == 8);
