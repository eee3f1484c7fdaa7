//! Flows between IPv6 clients and IPv4 targets.
//!
//! Such a flow lives in the tables of IPv6, both directions, where its IPv4 end has IPv4-mapped
//! addresses. So all that flows do (being opened, confirmed, renewed, removed) is the same as for any
//! other. What differs is here: how a target's IPv4 packet finds the flow, and that packets become
//! ones of the other family, with new headers (RFC 7915, see [`crate::translate`]).

use crate::address::{Address, Ip4, Ip6, map, unmap};
use crate::family::{Family, Fragment, Network, V4, V6};
use crate::flow::{Direction, Flow};
use crate::headers::{Transport, tuple};
use crate::packet::{Convertible, Packet};
use crate::tables::{Table, Tables};
use crate::translate::{LONGER, difference, to_v4, to_v6};
use crate::tuple::Tuple;
use crate::verdict::{DropReason, Verdict};
use crate::wire::{ipv4, ipv6, protocol};

use super::half::{Evidence, follow};
use super::life::{Life, life, twin_of};
use super::rewrite::{go, write_transport};
use super::track::track;
use super::{Hook, Length, Sight, fits};

/// An IPv4 packet that comes in and answers an IPv6 client is counted in its flow. `None` for any
/// other.
#[inline(always)]
pub fn answer<P: Packet, T: Tables<V6>>(packet: &P, sight: Sight, tables: &T) -> Option<Verdict> {
    let mut network = V4::network(packet, sight.l3)?;
    // Before any flow is looked for: it comes from behind a bridge and is for the bridge itself.
    if tables.bridge_v4(network.src)?.1 != network.dst {
        return None;
    }
    let mut transport = Transport::read::<V4, P>(packet, &network).ok()?;
    let evidence = Evidence::read(packet, &network);
    transport.forget(packet, &mut network.protocol);
    let tuple = mapped(&network, &transport);
    let settings = tables.settings()?;
    let bytes = (network.end - sight.l3) as u64;
    if let Some(flow) = tables.flow(Table::Confirmed, &tuple) {
        if network.fragment != Fragment::Whole {
            return Some(Verdict::Drop(DropReason::Fragment));
        }
        if track::<V6, T>(tables, settings, &tuple, &transport, flow, bytes) {
            return Some(Verdict::Convert);
        }
    }
    let flow = tables.flow(Table::HalfOpen, &tuple)?;
    let twin = twin_of::<V6, T>(tables, Table::HalfOpen, &tuple, flow)?;
    let now = tables.now();
    if life(settings, tuple.protocol, flow, Some(twin), now) != Life::Live {
        return None;
    }
    if network.fragment != Fragment::Whole {
        return Some(Verdict::Drop(DropReason::Fragment));
    }
    follow(&tuple, &transport, flow, twin, now, bytes);
    tables.add_to_total(flow.port_id, false, 1, bytes);
    evidence.expect_acknowledgement(flow);
    Some(Verdict::Convert)
}

/// The key under which an IPv4 answer's flow is.
#[inline(always)]
fn mapped(network: &Network<Ip4>, transport: &Transport) -> Tuple<Ip6> {
    Tuple {
        src: Ip6::narrow(&map(network.src)),
        dst: Ip6::narrow(&map(network.dst)),
        src_port: transport.src_port,
        dst_port: transport.dst_port,
        protocol: network.protocol,
        side: Hook::In.side(),
        zone: 0,
    }
}

/// The flow of this direction under a key.
#[inline(always)]
pub(super) fn across<'t, T: Tables<V6>>(
    tables: &'t T,
    key: &Tuple<Ip6>,
    direction: Direction,
) -> Option<&'t Flow> {
    tables
        .flow(Table::Confirmed, key)
        .or_else(|| tables.flow(Table::HalfOpen, key))
        .filter(|flow| flow.flags & crate::flow::OTHER_FAMILY != 0 && flow.direction() == direction)
}

/// An IPv6 client's packet, which has been counted in its flow, becomes the IPv4 one that its target
/// gets.
#[inline(always)]
pub fn convert_v6<P: Convertible, T: Tables<V6>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Verdict {
    const FAILED: Verdict = Verdict::Drop(DropReason::Untranslatable);
    let header: Option<ipv6::Header> = packet.read(sight.l3);
    let (Some(header), Some(mut network)) = (header, V6::network(packet, sight.l3)) else {
        return FAILED;
    };
    if network.fragment != Fragment::Whole {
        return Verdict::Drop(DropReason::Fragment);
    }
    let Ok(mut transport) = Transport::read::<V6, P>(packet, &network) else {
        return FAILED;
    };
    transport.forget(packet, &mut network.protocol);
    let tuple = tuple(&network, &transport, sight.hook.side());
    // One that is half-open can have been evicted meanwhile.
    let Some(flow) = across(tables, &tuple, Direction::Original) else {
        return Verdict::Drop(DropReason::FlowEnding);
    };
    let l4 = sight.l3 + size_of::<ipv6::Header>();
    if network.l4 != l4 {
        return FAILED;
    }
    if header.hop_limit <= 1 {
        return Verdict::Drop(DropReason::HopLimit);
    }
    let length = Length::of(packet, sight.l3, &network);
    if !fits(packet, length, flow.interface, -LONGER, |mtu| mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    let translation = &flow.translation;
    let (src, dst) = (unmap(&translation.src), unmap(&translation.dst));
    let addresses = difference((&tuple.src, &tuple.dst), (&src, &dst));
    let (payload, id) = (network.end.wrapping_sub(l4), tables.random() as u16);
    let Some(new) = to_v4(&header, (src, dst), network.protocol, payload, id) else {
        return FAILED;
    };
    if write_transport(packet, &tuple, &transport, translation, addresses).is_none() {
        return Verdict::Drop(DropReason::Unwritable);
    }
    let converted = packet
        .change_family(sight.l3, V4::ETHERTYPE)
        .and_then(|()| packet.store(sight.l3, &new));
    match converted {
        Some(()) => go(packet, flow.interface),
        None => FAILED,
    }
}

/// An IPv4 target's packet, which has been counted in its flow, becomes the IPv6 one that the client
/// gets.
#[inline(always)]
pub fn convert_v4<P: Convertible, T: Tables<V6>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Verdict {
    const FAILED: Verdict = Verdict::Drop(DropReason::Untranslatable);
    let header: Option<ipv4::Header> = packet.read(sight.l3);
    let (Some(header), Some(mut network)) = (header, V4::network(packet, sight.l3)) else {
        return FAILED;
    };
    if network.fragment != Fragment::Whole {
        return Verdict::Drop(DropReason::Fragment);
    }
    let Ok(mut transport) = Transport::read::<V4, P>(packet, &network) else {
        return FAILED;
    };
    transport.forget(packet, &mut network.protocol);
    let tuple = mapped(&network, &transport);
    let Some(flow) = across(tables, &tuple, Direction::Reply) else {
        return Verdict::Drop(DropReason::FlowEnding);
    };
    let l4 = sight.l3 + size_of::<ipv4::Header>();
    if network.l4 != l4 {
        return FAILED;
    }
    if header.ttl <= 1 {
        return Verdict::Drop(DropReason::HopLimit);
    }
    let length = Length::of(packet, sight.l3, &network);
    if !fits(packet, length, flow.interface, LONGER, |mtu| mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    let payload = network.end.wrapping_sub(l4);
    // The pseudo header alone would make one, and the payload is out of reach.
    if network.protocol == protocol::UDP && packet.read(transport.checksum_at) == Some(0_u16) {
        return Verdict::Drop(DropReason::NoChecksum);
    }
    let translation = &flow.translation;
    let (src, dst) = (Ip6::narrow(&translation.src), Ip6::narrow(&translation.dst));
    let addresses = difference((&network.src, &network.dst), (&src, &dst));
    let Some(new) = to_v6(&header, (src, dst), payload) else {
        return FAILED;
    };
    if write_transport(packet, &tuple, &transport, translation, addresses).is_none() {
        return Verdict::Drop(DropReason::Unwritable);
    }
    let converted = packet
        .change_family(sight.l3, V6::ETHERTYPE)
        .and_then(|()| packet.store(sight.l3, &new));
    match converted {
        Some(()) => go(packet, flow.interface),
        None => FAILED,
    }
}
