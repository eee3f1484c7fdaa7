//! IPv6.

use crate::address::{Address, Ip6};
use crate::checksum::Sum;
use crate::icmp_answer::MOST_QUOTED;
use crate::packet::Packet;
use crate::wire::{Be16, ethernet, icmp, ipv6, protocol};

use super::{Family, Fragment, Network, Plain};

/// How many extension headers are followed. RFC 8200 section 4.1 has no use for more of those that
/// may stand before a transport header that can be translated.
const EXTENSIONS: u32 = 4;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

impl Family for V6 {
    type Address = Ip6;

    const ETHERTYPE: u16 = ethernet::ETHERTYPE_IPV6;
    const ICMP: u8 = protocol::ICMPV6;
    const ECHO_REQUEST: u8 = icmp::ECHO_REQUEST_V6;
    const ECHO_REPLY: u8 = icmp::ECHO_REPLY_V6;
    const ICMP_PSEUDO_HEADER: bool = true;
    const REDIRECT: u8 = icmp::REDIRECT_V6;
    const ID_PER_PROTOCOL: bool = false;
    const LEADS_ACROSS: bool = true;
    const SRC: usize = ipv6::SRC;
    const DST: usize = ipv6::DST;
    const HEADER_CHECKSUM: Option<usize> = None;
    const HEADER_LEN: usize = size_of::<ipv6::Header>();
    const MOST_HEADERS: usize = MOST_QUOTED - 8;
    const PROHIBITED: (u8, u8) = icmp::PROHIBITED_V6;
    const TOO_BIG: (u8, u8) = icmp::TOO_BIG_V6;

    #[inline(always)]
    fn write_header<P: Packet>(
        packet: &mut P,
        l3: usize,
        protocol: u8,
        addresses: (Ip6, Ip6),
        payload_length: u16,
    ) -> Option<()> {
        packet.write(l3, ipv6::Header::new(protocol, addresses, payload_length))
    }

    #[inline(always)]
    fn hops<P: Packet>(packet: &P, l3: usize) -> Option<u8> {
        packet
            .read(l3 + ipv6::NEXT_AND_HOP_LIMIT)
            .map(|word: Be16| word.get() as u8)
    }

    #[inline(always)]
    fn use_hop<P: Packet>(packet: &mut P, l3: usize) -> Option<()> {
        let old: Be16 = packet.read(l3 + ipv6::NEXT_AND_HOP_LIMIT)?;
        let new = Be16::new(old.get().wrapping_sub(1));
        packet.write(l3 + ipv6::NEXT_AND_HOP_LIMIT, new)?;
        packet.changed_by(Sum::ZERO.replace16(old.raw(), new.raw()));
        Some(())
    }

    #[inline(always)]
    fn is_one_host(address: Ip6) -> bool {
        address != Ip6::ANY && address.first_group() < 0xff00
    }

    #[inline(always)]
    fn is_of_many(address: Ip6) -> bool {
        address.first_group() >= 0xff00
    }

    #[inline(always)]
    fn network<P: Packet>(packet: &P, l3: usize) -> Option<Network<Ip6>> {
        let network = Self::quoted(packet, l3)?;
        if network.end < network.l4 || network.end > packet.len() || network.src.is_mapped() {
            return None;
        }
        Some(network)
    }

    /// What follows may be an extension, which is a protocol without ports.
    #[inline(always)]
    fn plain<P: Packet>(packet: &P, l3: usize) -> Option<Plain<Ip6>> {
        let header: ipv6::Header = packet.read(l3)?;
        if header.version() != 6 {
            return None;
        }
        Some(Plain {
            src: header.src,
            dst: header.dst,
            protocol: header.next,
            l4: l3 + size_of::<ipv6::Header>(),
        })
    }

    /// What cannot be followed to its transport header counts as a protocol without ports.
    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, l3: usize) -> Option<Network<Ip6>> {
        let header: ipv6::Header = packet.read(l3)?;
        if header.version() != 6 {
            return None;
        }
        let mut network = Network {
            src: header.src,
            dst: header.dst,
            protocol: header.next,
            l4: l3 + size_of::<ipv6::Header>(),
            end: l3 + size_of::<ipv6::Header>() + header.payload_length.get() as usize,
            fragment: Fragment::Whole,
            id: 0,
        };
        if header.payload_length.get() == 0 && packet.len() > l3 + 0xffff {
            // More than 64 KiB, put together by the receiving device (Linux 5.19, BIG TCP).
            network.end = packet.len();
        }
        if is_extension(network.protocol) {
            follow(packet, &mut network);
        }
        Some(network)
    }

    #[inline(always)]
    fn is_error(icmp_type: u8) -> bool {
        matches!(icmp_type, 1..=icmp::LAST_ERROR_V6)
    }

    /// An extension header that is fragmented too.
    #[inline(always)]
    fn hides_transport(protocol: u8) -> bool {
        is_extension(protocol)
    }

    #[inline(always)]
    fn redirected<P: Packet>(packet: &P, l4: usize) -> Option<usize> {
        // Both its type and its length: LLVM compares a single byte's bounds in a way that the
        // verifier does not follow.
        let option: Be16 = packet.read(l4 + icmp::REDIRECT_V6_LEN)?;
        let address = if (option.get() >> 8) as u8 == icmp::LINK_ADDRESS_OPTION {
            icmp::OPTION_LEN
        } else {
            0
        };
        Some(icmp::REDIRECT_V6_LEN + address + icmp::OPTION_LEN)
    }

    /// Linux keeps no MTU of a path that is not less than that of the interface which has the address
    /// (`rt6_insert_exception`), and 1500 is both the bridge's and, mostly, that one's. The least is
    /// less than any other; ::1 is on the loopback interface, which takes more than bridges do.
    #[inline(always)]
    fn kept_mtu(address: Ip6, mtu: usize) -> usize {
        if address.is_loopback() || mtu < ipv6::MIN_MTU as usize {
            mtu
        } else {
            ipv6::MIN_MTU as usize
        }
    }

    #[inline(always)]
    fn is_link_local(address: Ip6) -> bool {
        address.first_group() & 0xffc0 == 0xfe80
    }

    #[inline(always)]
    fn stays_on_link(address: Ip6) -> bool {
        address.is_loopback() || Self::is_link_local(address)
    }
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::FRAGMENT | ipv6::DESTINATION
    )
}

/// Follows the extension headers to the transport header.
#[inline(always)]
fn follow<P: Packet>(packet: &P, network: &mut Network<Ip6>) {
    let (mut next, mut at) = (network.protocol, network.l4);
    let mut fragment = Fragment::Whole;
    let mut id = 0;
    let mut followed = 0;
    while is_extension(next) && fragment != Fragment::Later {
        let extension: Option<ipv6::Extension> = packet.read(at);
        let (Some(extension), true) = (extension, followed < EXTENSIONS) else {
            next = ipv6::NO_NEXT;
            break;
        };
        followed += 1;
        if next == ipv6::FRAGMENT {
            let identification: Option<u32> = packet.read(at + ipv6::FRAGMENT_ID);
            let Some(identification) = identification else {
                next = ipv6::NO_NEXT;
                break;
            };
            id = u32::from_be(identification);
            at += 8;
            fragment = if extension.fragment_offset() > 0 {
                Fragment::Later
            } else if extension.more_fragments() {
                Fragment::First
            } else {
                // An atomic fragment is a whole packet (RFC 6946).
                Fragment::Whole
            };
        } else {
            at += extension.byte_len();
        }
        next = extension.next;
    }
    let fragment = match fragment {
        Fragment::Whole => 0,
        Fragment::First => 1,
        Fragment::Later => 2,
    };
    // Four extensions of 2 KiB each fit in 14 bits; the verifier wants offsets well below 16.
    let found = packet
        .forget(at as u64 & 0x3fff | u64::from(next) << 16 | fragment << 24 | u64::from(id) << 32);
    network.l4 = (found & 0x3fff) as usize;
    network.protocol = (found >> 16) as u8;
    network.id = (found >> 32) as u32;
    network.fragment = match found >> 24 & 3 {
        0 => Fragment::Whole,
        1 => Fragment::First,
        _ => Fragment::Later,
    };
}
