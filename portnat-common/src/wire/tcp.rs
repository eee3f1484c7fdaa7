//! TCP, RFC 9293.

use bytemuck::{Pod, Zeroable};

use super::Be16;

/// Where the source port lies in the header, in bytes.
pub const SRC_PORT: usize = 0;
/// Where the destination port lies.
pub const DST_PORT: usize = 2;
/// Where the checksum lies.
pub const CHECKSUM: usize = 16;

/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// Synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// Reset the connection.
pub const RST: u8 = 0x04;
/// The acknowledgement field counts.
pub const ACK: u8 = 0x10;

/// The header without its options.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    sequence: [Be16; 2],
    acknowledgement: [Be16; 2],
    data_offset: u8,
    /// [`FIN`], [`SYN`], [`RST`], [`ACK`] and others.
    pub flags: u8,
    window: Be16,
    checksum: u16,
    urgent: Be16,
}

impl Header {
    /// The sequence number of the first byte of data.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        word(self.sequence)
    }

    /// The sequence number that the sender expects next.
    #[inline(always)]
    #[must_use]
    pub const fn acknowledgement(&self) -> u32 {
        word(self.acknowledgement)
    }

    /// Length in bytes, as the header says.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }
}

#[inline(always)]
const fn word([high, low]: [Be16; 2]) -> u32 {
    (high.get() as u32) << 16 | low.get() as u32
}

const _: () = assert!(size_of::<Header>() == 20);
