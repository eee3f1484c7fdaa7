//! What the benchmark's userspace tells its programs: the layouts of their maps. Both compile this
//! file.
//!
//! Numbers are in the host's byte order unless it says otherwise.

use bytemuck::{Pod, Zeroable};

/// Length of each generated frame in bytes, without the checksum that a wire would add.
pub(crate) const FRAME: usize = 64;

/// Where IPv4's header lies, and what it has for the generator.
pub(crate) const IPV4: usize = 14;
pub(crate) const IPV4_CHECKSUM: usize = IPV4 + 10;
pub(crate) const SOURCE: usize = IPV4 + 12;
pub(crate) const DESTINATION: usize = IPV4 + 16;

/// Where the ports are: no options.
pub(crate) const PORTS: usize = IPV4 + 20;
pub(crate) const UDP_CHECKSUM: usize = PORTS + 6;

/// One end of the packets.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct End {
    /// The address of the first flow.
    pub(crate) address: u32,
    /// The port of the first flow.
    pub(crate) port: u32,
    /// What a flow adds to the address for each row that is full before it.
    pub(crate) address_step: u32,
    /// What a flow adds to the port for each flow before it in its row.
    pub(crate) port_step: u32,
}

/// What the generator sends: flow after flow, a packet each, and then again from the first one;
/// or each block of flows so many times before the next.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Plan {
    /// The frame but for addresses, ports and checksums, which are 0; its bytes in the order of
    /// memory.
    pub(crate) frame: [u64; FRAME / 8],
    /// The sum of the frame's 16-bit words that IPv4's checksum covers, in network order.
    pub(crate) ipv4_sum: u32,
    /// The same for UDP's checksum, pseudo header included.
    pub(crate) udp_sum: u32,
    /// The index of the interface by which the frames leave.
    pub(crate) interface: u32,
    pub(crate) source: End,
    pub(crate) destination: End,
    /// How many flows are in a row.
    pub(crate) row: u32,
    /// How many flows there are.
    pub(crate) flows: u32,
    /// How many flows are in a block, and how often it comes in a row.
    pub(crate) block: u32,
    pub(crate) passes: u32,
    /// 0.
    pub(crate) reserved: u32,
}

/// A flow.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Flow {
    /// Its number.
    pub(crate) number: u32,
    /// Its row, and its place there.
    pub(crate) row: u32,
    pub(crate) place: u32,
}

/// Where the generator is.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Position {
    /// How many frames it has made.
    pub(crate) made: u64,
    /// The flow that comes next.
    pub(crate) next: Flow,
    /// The first flow of its block.
    pub(crate) block: Flow,
    /// How often the block has come already.
    pub(crate) pass: u32,
    /// How many flows of it have come this time.
    pub(crate) of_block: u32,
}

/// Which packets a sink counts: those of UDP over IPv4 that look as they should at this end of the
/// way. What is 0 may be anything.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Expected {
    /// The address, in network order.
    pub(crate) source: u32,
    /// The address, in network order.
    pub(crate) destination: u32,
    /// The port, in network order.
    pub(crate) source_port: u32,
    /// The port, in network order.
    pub(crate) destination_port: u32,
    /// Whether those are sent back, their ends swapped, instead of dropped.
    pub(crate) answer: u32,
}

/// The entries of a sink's counter: packets that were expected, and other UDP.
pub(crate) const EXPECTED: u32 = 0;
pub(crate) const OTHERS: u32 = 1;
pub(crate) const COUNTERS: u32 = 2;

/// Where the bare redirects lead.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Way {
    /// The index of the interface.
    pub(crate) interface: u32,
    /// The Ethernet address of who gets the frames.
    pub(crate) destination: [u8; 6],
    /// 0.
    pub(crate) reserved: [u8; 2],
}
