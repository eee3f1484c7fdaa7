//! What tells one address family from the other; the rest of the crate is generic over it.

mod v4;
mod v6;

pub use v4::V4;
pub use v6::V6;

use crate::address::Address;
use crate::packet::Packet;

/// An address family.
pub trait Family: Copy + 'static {
    /// Its addresses.
    type Address: Address;

    /// Type of its redirect.
    const REDIRECT: u8;
    /// Its EtherType, host byte order.
    const ETHERTYPE: u16;
    /// The protocol number of its ICMP.
    const ICMP: u8;
    /// Type of its echo request.
    const ECHO_REQUEST: u8;
    /// Type of its echo reply.
    const ECHO_REPLY: u8;
    /// Whether its ICMP checksum covers a pseudo header (RFC 4443 section 2.3; not RFC 792).
    const ICMP_PSEUDO_HEADER: bool;
    /// Whether the identification of a datagram's fragments is unique for its protocol only
    /// (RFC 791 section 3.2), or for its addresses (RFC 8200 section 4.5).
    const ID_PER_PROTOCOL: bool;
    /// Whether its published ports can lead to targets of the other family.
    const LEADS_ACROSS: bool;
    /// Where the source address lies in the header, in bytes.
    const SRC: usize;
    /// Where the destination address lies.
    const DST: usize;
    /// Where the header's own checksum lies, if it has one.
    const HEADER_CHECKSUM: Option<usize>;

    /// Length in bytes of a header without options or extensions.
    const HEADER_LEN: usize;
    /// How long a header is at most, in bytes, for an ICMP error to quote it.
    const MOST_HEADERS: usize;
    /// Type and code of its "communication administratively prohibited".
    const PROHIBITED: (u8, u8);
    /// Type and code of its "packet too big".
    const TOO_BIG: (u8, u8);

    /// Writes a header at `l3` for a packet of ours with these source and destination addresses
    /// and a payload of so many bytes.
    fn write_header<P: Packet>(
        packet: &mut P,
        l3: usize,
        protocol: u8,
        addresses: (Self::Address, Self::Address),
        payload_length: u16,
    ) -> Option<()>;

    /// How many hops the packet with the network header at `l3` may still make.
    fn hops<P: Packet>(packet: &P, l3: usize) -> Option<u8>;

    /// Uses up one of them; there must be one.
    fn use_hop<P: Packet>(packet: &mut P, l3: usize) -> Option<()>;

    /// Whether an address is that of one host: neither unspecified nor multicast, nor reserved.
    fn is_one_host(address: Self::Address) -> bool;

    /// Whether an address is that of several hosts: of multicast, or IPv4's limited broadcast.
    fn is_of_many(address: Self::Address) -> bool;

    /// Reads the network header at `l3`; `None` if it is not one of this family or lies about its
    /// own or the packet's length.
    fn network<P: Packet>(packet: &P, l3: usize) -> Option<Network<Self::Address>>;

    /// Reads of the network header at `l3` what most packets' say; `None` if anything is unusual about
    /// it. What it says of lengths is not looked at.
    fn plain<P: Packet>(packet: &P, l3: usize) -> Option<Plain<Self::Address>>;

    /// Reads the network header at `l3` of a packet that an ICMP error quotes. The quotation may end
    /// right behind the first 8 bytes of its transport header, whatever the header says.
    fn quoted<P: Packet>(packet: &P, l3: usize) -> Option<Network<Self::Address>>;

    /// Whether an ICMP message of this type is an error that quotes a packet. The obsolete source
    /// quench is not translated (RFC 6633).
    fn is_error(icmp_type: u8) -> bool;

    /// Whether this is an address of one link only, which IPv4 routers forward and IPv6 routers must
    /// not (RFC 3927 section 7; RFC 4291 section 2.5.6).
    fn is_link_local(address: Self::Address) -> bool;

    /// What a host is to be told of an MTU in bytes, for it to keep it as that of the path to one of
    /// its own addresses.
    fn kept_mtu(address: Self::Address, mtu: usize) -> usize;

    /// Where a redirect quotes the packet that it is about, in bytes from its own start at `l4`;
    /// `None` if it quotes none.
    fn redirected<P: Packet>(packet: &P, l4: usize) -> Option<usize>;

    /// Whether a later fragment that names this protocol can be one of TCP, UDP or ICMP all the same.
    fn hides_transport(protocol: u8) -> bool;

    /// Whether a router must not forward what has this address as source or destination: those of
    /// one host (RFC 1122 section 3.2.1.3) and, in IPv6, of one link (RFC 4291 section 2.5.6). The
    /// stack drops such packets where they come from outside; rewritten it would not know them.
    fn stays_on_link(address: Self::Address) -> bool;
}

/// What the network header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// The transport protocol.
    pub protocol: u8,
    /// Where the transport header lies, in bytes from the start of the packet.
    pub l4: usize,
    /// Where the network packet ends, in bytes from the start of the packet.
    pub end: usize,
    /// Which part of a datagram this is.
    pub fragment: Fragment,
    /// The identification that a datagram's fragments share, host byte order.
    pub id: u32,
}

/// What a network header says that has no options and is no fragment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// The transport protocol.
    pub protocol: u8,
    /// Where the transport header lies, in bytes from the start of the packet.
    pub l4: usize,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first of several: the transport header is here.
    First,
    /// A later one: there is no transport header.
    Later,
}
