//! IPv4.

use crate::address::{Address, Ip4};
use crate::checksum::Sum;
use crate::packet::Packet;
use crate::wire::{Be16, ethernet, icmp, ipv4, protocol};

use super::{Family, Fragment, Network, Plain};

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
    const REDIRECT: u8 = icmp::REDIRECT_V4;
    const ID_PER_PROTOCOL: bool = true;
    const LEADS_ACROSS: bool = false;
    const SRC: usize = ipv4::SRC;
    const DST: usize = ipv4::DST;
    const HEADER_CHECKSUM: Option<usize> = Some(ipv4::CHECKSUM);
    const HEADER_LEN: usize = size_of::<ipv4::Header>();
    const MOST_HEADERS: usize = 60;
    const PROHIBITED: (u8, u8) = icmp::PROHIBITED_V4;
    const TOO_BIG: (u8, u8) = icmp::TOO_BIG_V4;

    #[inline(always)]
    fn write_header<P: Packet>(
        packet: &mut P,
        l3: usize,
        protocol: u8,
        addresses: (Ip4, Ip4),
        payload_length: u16,
    ) -> Option<()> {
        packet.write(l3, ipv4::Header::new(protocol, addresses, payload_length))
    }

    #[inline(always)]
    fn hops<P: Packet>(packet: &P, l3: usize) -> Option<u8> {
        packet
            .read(l3 + ipv4::TTL_AND_PROTOCOL)
            .map(|word: Be16| (word.get() >> 8) as u8)
    }

    #[inline(always)]
    fn use_hop<P: Packet>(packet: &mut P, l3: usize) -> Option<()> {
        let old: Be16 = packet.read(l3 + ipv4::TTL_AND_PROTOCOL)?;
        let new = Be16::new(old.get().wrapping_sub(1 << 8));
        let checksum: u16 = packet.read(l3 + ipv4::CHECKSUM)?;
        let checksum = Sum::ZERO.replace16(old.raw(), new.raw()).apply(checksum);
        packet.write(l3 + ipv4::TTL_AND_PROTOCOL, new)?;
        packet.write(l3 + ipv4::CHECKSUM, checksum)
    }

    #[inline(always)]
    fn is_one_host(address: Ip4) -> bool {
        // "This" network, multicast, class E with the limited broadcast.
        address.first_octet() != 0 && address.first_octet() < 224
    }

    #[inline(always)]
    fn is_of_many(address: Ip4) -> bool {
        address.first_octet() & 0xf0 == 224 || address.words() == [u32::MAX]
    }

    #[inline(always)]
    fn network<P: Packet>(packet: &P, l3: usize) -> Option<Network<Ip4>> {
        let network = Self::quoted(packet, l3)?;
        if network.end < network.l4 || network.end > packet.len() {
            return None;
        }
        Some(network)
    }

    #[inline(always)]
    fn plain<P: Packet>(packet: &P, l3: usize) -> Option<Plain<Ip4>> {
        let header: ipv4::Header = packet.read(l3)?;
        if header.version_ihl != ipv4::PLAIN || header.is_fragment() {
            return None;
        }
        Some(Plain {
            src: header.src,
            dst: header.dst,
            protocol: header.protocol,
            l4: l3 + size_of::<ipv4::Header>(),
        })
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
            end: match header.total_length.get() as usize {
                // More than 64 KiB, put together by the receiving device (Linux 6.3, BIG TCP).
                0 if packet.len() > l3 + 0xffff => packet.len(),
                length => l3 + length,
            },
            fragment,
            id: header.identification.get().into(),
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
    fn redirected<P: Packet>(_: &P, _: usize) -> Option<usize> {
        Some(icmp::ERROR_HEADER_LEN)
    }

    #[inline(always)]
    fn is_link_local(_: Ip4) -> bool {
        false
    }

    #[inline(always)]
    fn kept_mtu(_: Ip4, mtu: usize) -> usize {
        mtu
    }

    #[inline(always)]
    fn hides_transport(_protocol: u8) -> bool {
        false
    }

    #[inline(always)]
    fn stays_on_link(address: Ip4) -> bool {
        address.first_octet() == 127
    }
}
