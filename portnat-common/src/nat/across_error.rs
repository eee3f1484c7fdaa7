//! ICMP errors about packets of flows between IPv6 clients and IPv4 targets: a new error is written,
//! in the family of who sent what it is about, which is quoted as that one sent it.

use crate::address::{Address, Ip6, map, unmap};
use crate::family::{Family, Fragment, Network, V4, V6};
use crate::flow::Direction;
use crate::packet::{Convertible, Packet};
use crate::tables::Tables;
use crate::translate::{ErrorV4, ErrorV6, meaning_in_v4, meaning_in_v6, to_v4, to_v6};
use crate::tuple::Tuple;
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Be16, icmp, ipv4, ipv6, protocol};

use super::across::across;
use super::rewrite::go;
use super::{Hook, Sight};

/// What an error quotes behind the network header (RFC 792: at least 8 bytes).
type Transport = [Be16; 4];

/// An ICMPv4 error about what an IPv6 client has sent. `None` for any other packet.
#[inline(always)]
pub fn error_v4<P: Convertible, T: Tables<V6>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Option<Verdict> {
    let outer = V4::network(packet, sight.l3)?;
    let quoted_at = outer.l4 + icmp::ERROR_HEADER_LEN;
    let error: icmp::Error = packet.read(outer.l4)?;
    let header: ipv4::Header = packet.read(quoted_at)?;
    let quoted = V4::quoted(packet, quoted_at)?;
    let mut transport = first_bytes(packet, &quoted)?;
    // An error goes to who sent what it quotes.
    if outer.protocol != protocol::ICMP || outer.dst != quoted.src {
        return None;
    }
    let answer = answer(&quoted, &transport, |address| Ip6::narrow(&map(address)));
    let flow = across(tables, &answer, Direction::Reply)?;
    let client = &flow.translation;
    // As the client sent it.
    let (src, dst) = (Ip6::narrow(&client.dst), Ip6::narrow(&client.src));
    (transport[0], transport[1]) = (Be16::new(client.dst_port), Be16::new(client.src_port));
    let payload = quoted.end.wrapping_sub(quoted.l4);
    let (Some(meaning), Some(quoted)) =
        (meaning_in_v6(&error), to_v6(&header, (src, dst), payload))
    else {
        return Some(Verdict::Drop(DropReason::Untranslatable));
    };
    let new = ErrorV6::new(meaning, quoted, transport);
    Some(
        match replace(packet, sight.l3, V6::ETHERTYPE, size_of::<ErrorV6>())
            .and_then(|()| packet.store(sight.l3, &new))
        {
            Some(()) => go(packet, flow.interface),
            None => Verdict::Drop(DropReason::Unwritable),
        },
    )
}

/// An ICMPv6 error about what an IPv4 target has sent. `None` for any other packet.
#[inline(always)]
pub fn error_v6<P: Convertible, T: Tables<V6>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Option<Verdict> {
    let outer = V6::network(packet, sight.l3)?;
    let quoted_at = outer.l4 + icmp::ERROR_HEADER_LEN;
    let error: icmp::Error = packet.read(outer.l4)?;
    let header: ipv6::Header = packet.read(quoted_at)?;
    let quoted = V6::quoted(packet, quoted_at)?;
    let mut transport = first_bytes(packet, &quoted)?;
    if outer.protocol != protocol::ICMPV6 || outer.dst != quoted.src {
        return None;
    }
    let answer = answer(&quoted, &transport, |address| address);
    let flow = across(tables, &answer, Direction::Original)?;
    let target = &flow.translation;
    // As the target sent it.
    let (src, dst) = (unmap(&target.dst), unmap(&target.src));
    (transport[0], transport[1]) = (Be16::new(target.dst_port), Be16::new(target.src_port));
    let payload = quoted.end.wrapping_sub(quoted.l4);
    let (Some(meaning), Some(quoted)) = (
        meaning_in_v4(&error),
        to_v4(&header, (src, dst), quoted.protocol, payload, 0),
    ) else {
        return Some(Verdict::Drop(DropReason::Untranslatable));
    };
    let new = ErrorV4::new(meaning, quoted, transport);
    Some(
        match replace(packet, sight.l3, V4::ETHERTYPE, size_of::<ErrorV4>())
            .and_then(|()| packet.store(sight.l3, &new))
        {
            Some(()) => go(packet, flow.interface),
            None => Verdict::Drop(DropReason::Unwritable),
        },
    )
}

/// What a quotation says of its transport header; `None` if there is none that has ports.
#[inline(always)]
fn first_bytes<A, P: Packet>(packet: &P, quoted: &Network<A>) -> Option<Transport> {
    let ports = matches!(
        quoted.protocol,
        protocol::TCP | protocol::UDP | protocol::SCTP
    );
    if quoted.fragment == Fragment::Later || !ports {
        return None;
    }
    packet.read(quoted.l4)
}

/// The key of what would answer the quoted packet, which comes in where containers or clients are.
#[inline(always)]
fn answer<A: Copy>(
    quoted: &Network<A>,
    transport: &Transport,
    address: impl Fn(A) -> Ip6,
) -> Tuple<Ip6> {
    Tuple {
        src: address(quoted.dst),
        dst: address(quoted.src),
        src_port: transport[1].get(),
        dst_port: transport[0].get(),
        protocol: quoted.protocol,
        side: Hook::In.side(),
        zone: 0,
    }
}

/// Makes room for an error of this family and length behind the link header.
#[inline(always)]
fn replace<P: Convertible>(packet: &mut P, l3: usize, ethertype: u16, len: usize) -> Option<()> {
    packet.change_family(l3, ethertype)?;
    packet.resize(l3 + len)
}
