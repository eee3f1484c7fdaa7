//! What tells one address family from the other; the rest of the crate is generic over it.

use crate::address::{Address, Ip4};
use crate::packet::Packet;
use crate::wire::{ethernet, icmp, ipv4, protocol};

/// An address family.
pub trait Family: Copy + 'static {
    /// Its addresses.
    type Address: Address;

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
    /// Whether a UDP checksum of 0 means that there is none (RFC 768; not RFC 8200 section 8.1).
    const UDP_CHECKSUM_OPTIONAL: bool;
    /// Where the source address lies in the header, in bytes.
    const SRC: usize;
    /// Where the destination address lies.
    const DST: usize;
    /// Where the header's own checksum lies, if it has one.
    const HEADER_CHECKSUM: Option<usize>;

    /// Reads the network header at `l3`; `None` if it is not one of this family or lies about its
    /// own or the packet's length.
    fn network<P: Packet>(packet: &P, l3: usize) -> Option<Network<Self::Address>>;

    /// Reads the network header at `l3` of a packet that an ICMP error quotes. The quotation may end
    /// right behind the first 8 bytes of its transport header, whatever the header says.
    fn quoted<P: Packet>(packet: &P, l3: usize) -> Option<Network<Self::Address>>;

    /// Whether an ICMP message of this type is an error that quotes a packet. The obsolete source
    /// quench is not translated (RFC 6633).
    fn is_error(icmp_type: u8) -> bool;

    /// Whether `address` must not be seen outside a host (RFC 1122 section 3.2.1.3, RFC 4291
    /// section 2.5.3).
    fn is_loopback(address: Self::Address) -> bool;
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

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

impl Family for V4 {
    type Address = Ip4;

    const ETHERTYPE: u16 = ethernet::ETHERTYPE_IPV4;
    const ICMP: u8 = protocol::ICMP;
    const ECHO_REQUEST: u8 = icmp::ECHO_REQUEST_V4;
    const ECHO_REPLY: u8 = icmp::ECHO_REPLY_V4;
    const ICMP_PSEUDO_HEADER: bool = false;
    const UDP_CHECKSUM_OPTIONAL: bool = true;
    const SRC: usize = ipv4::SRC;
    const DST: usize = ipv4::DST;
    const HEADER_CHECKSUM: Option<usize> = Some(ipv4::CHECKSUM);

    #[inline(always)]
    fn network<P: Packet>(packet: &P, l3: usize) -> Option<Network<Ip4>> {
        let network = Self::quoted(packet, l3)?;
        if network.end < network.l4 || network.end > packet.len() {
            return None;
        }
        Some(network)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, l3: usize) -> Option<Network<Ip4>> {
        let header: ipv4::Header = packet.read(l3)?;
        let header_len = header.header_len();
        if header.version() != 4 || header_len < size_of::<ipv4::Header>() {
            return None;
        }
        let fragment = if !header.is_fragment() {
            Fragment::Whole
        } else if header.fragment_offset() == 0 {
            Fragment::First
        } else {
            Fragment::Later
        };
        Some(Network {
            src: header.src,
            dst: header.dst,
            protocol: header.protocol,
            l4: l3 + header_len,
            end: l3 + header.total_length.get() as usize,
            fragment,
        })
    }

    #[inline(always)]
    fn is_error(icmp_type: u8) -> bool {
        matches!(
            icmp_type,
            icmp::UNREACHABLE_V4 | icmp::TIME_EXCEEDED_V4 | icmp::PARAMETER_PROBLEM_V4
        )
    }

    #[inline(always)]
    fn is_loopback(address: Ip4) -> bool {
        address.first_octet() == 127
    }
}
