//! SCTP, RFC 9260.

use bytemuck::{Pod, Zeroable};

use super::Be16;

/// Where the source port lies in the header, in bytes.
pub const SRC_PORT: usize = 0;
/// Where the destination port lies.
pub const DST_PORT: usize = 2;
/// Where the checksum lies: a CRC32c over the whole SCTP packet, least significant byte first. It
/// covers no addresses. Zero means that a device is to compute it.
pub const CHECKSUM: usize = 8;
/// Where the type of the first chunk lies.
pub const FIRST_CHUNK: usize = 12;
/// The least length of a packet: the common header and the header of one chunk.
pub const MIN_LEN: usize = 16;

/// The common header, up to the checksum. The checksum is read where it is written.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    verification_tag: [Be16; 2],
}

const _: () = assert!(size_of::<Header>() == CHECKSUM);

/// Types of chunks.
pub mod chunk {
    /// User data.
    pub const DATA: u8 = 0;
    /// Begins an association; travels alone (section 3.3.2).
    pub const INIT: u8 = 1;
    /// Answers [`INIT`].
    pub const INIT_ACK: u8 = 2;
    /// Acknowledges data.
    pub const SACK: u8 = 3;
    /// Asks whether an address is reachable.
    pub const HEARTBEAT: u8 = 4;
    /// Answers [`HEARTBEAT`].
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Ends the association at once.
    pub const ABORT: u8 = 6;
    /// Asks to end the association.
    pub const SHUTDOWN: u8 = 7;
    /// Answers [`SHUTDOWN`].
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Says what was wrong with another packet.
    pub const ERROR: u8 = 9;
    /// The handshake's third packet.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answers [`COOKIE_ECHO`].
    pub const COOKIE_ACK: u8 = 11;
    /// Answers [`SHUTDOWN_ACK`], the last word of an association.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}
