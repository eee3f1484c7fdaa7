//! Packets of established flows go past the host's stack, by the way that another of the same flow has
//! just taken through it.
//!
//! The first packets of a flow take the host's routing, firewall, neighbours and MTU. Where one leaves
//! the stack ([`arrive_outside`], [`arrive_inside`]) its way is learnt, and where others of its
//! direction come in they take it ([`deliver`], [`send`]): with one hop less, and with the link header
//! that the learnt one had. What is in any way unusual goes through the stack; and each second or two
//! one packet of each direction does, so that what changes there takes hold.

use crate::conntrack::{DEAD, State};
use crate::family::{Family, Fragment, Network};
use crate::flow::Flow;
use crate::headers::{Transport, tuple};
use crate::packet::Packet;
use crate::settings::Settings;
use crate::tables::{Table, Tables};
use crate::tuple::{Side, Tuple};
use crate::verdict::{DropReason, Verdict};
use crate::way::{Exit, Header, PORT_NUMBER, port_number};
use crate::wire::protocol;

use super::life::{state, twin_of};
use super::rewrite::rewrite;
use super::{Hook, Length, Sight};

/// A packet that comes in and is for a container goes to it, if it may. `None` leaves it to the stack.
#[inline(always)]
pub(super) fn deliver<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
    settings: &Settings,
    (network, transport, key): (&Network<F::Address>, &Transport, &Tuple<F::Address>),
    flow: &Flow,
) -> Option<Verdict> {
    if !tables.is_for_us() {
        return None;
    }
    let length = length_if_plain::<F, P>(packet, sight, settings, network, transport)?;
    if tables.is_tagged() {
        return None;
    }
    let (at, now) = (tables.interface(), tables.now());
    let interface = flow.way.of_packet(at, length, settings.hz, now)?;
    Some(hand_over::<F, P>(
        packet, sight, transport, key, flow, interface,
    ))
}

/// A packet is translated and goes to its container by the interface of its way.
#[inline(always)]
pub(super) fn hand_over<F: Family, P: Packet>(
    packet: &mut P,
    sight: Sight,
    transport: &Transport,
    key: &Tuple<F::Address>,
    flow: &Flow,
    interface: u32,
) -> Verdict {
    let translation = &flow.translation;
    let done = match rewrite::<F, P>(packet, sight.l3, key, transport, translation, interface) {
        Verdict::Redirect => hop::<F, P>(packet, sight.l3, flow),
        _ => None,
    };
    match done {
        Some(()) => Verdict::Deliver,
        // It is altered by half.
        None => Verdict::Drop(DropReason::Unwritable),
    }
}

/// A container's packet goes out, if it may, and gets its translation there. `None` leaves it to the
/// stack.
#[inline(always)]
pub(super) fn send<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
    settings: &Settings,
    network: &Network<F::Address>,
    transport: &Transport,
) -> Option<Verdict> {
    let length = length_if_plain::<F, P>(packet, sight, settings, network, transport)?;
    if tables.is_tagged() {
        return None;
    }
    let key = tuple(network, transport, Side::Egress);
    let flow = tables.flow(Table::Confirmed, &key)?;
    if flow.interface != 0 || flow.seen.get() & DEAD != 0 {
        return None;
    }
    let (at, now) = (port_number(tables.interface()), tables.now());
    let interface = flow.way.of_packet(at, length, settings.hz, now)?;
    packet.redirect(interface);
    Some(match hop::<F, P>(packet, sight.l3, flow) {
        Some(()) => Verdict::Send,
        None => Verdict::Drop(DropReason::Unwritable),
    })
}

/// How long a packet is from its network header on, in bytes, or each that is to be made of it; if it is
/// one of many and has hops left.
#[inline(always)]
pub(super) fn length_if_plain<F: Family, P: Packet>(
    packet: &P,
    sight: Sight,
    settings: &Settings,
    network: &Network<F::Address>,
    transport: &Transport,
) -> Option<usize> {
    if settings.fast == 0
        || !is_plain::<F>(sight, network, transport)
        || F::hops(packet, sight.l3)? <= 1
    {
        return None;
    }
    // What lies behind the network packet is cut off by the stack, and goes along past it.
    Some(match packet.segment() {
        0 => packet.len().wrapping_sub(sight.l3),
        _ => Length::of(packet, sight.l3, network).longest(packet),
    })
}

/// Whether a packet is one of many: data, and no more than an acknowledgement, in a header without
/// options, behind an Ethernet header.
#[inline(always)]
fn is_plain<F: Family>(sight: Sight, network: &Network<F::Address>, transport: &Transport) -> bool {
    sight.l3 != 0
        && network.l4 == sight.l3 + F::HEADER_LEN
        && matches!(network.protocol, protocol::TCP | protocol::UDP)
        && transport.signals.is_data()
}

/// A hop is used up, as by a router, and the packet gets the link header of its way.
#[inline(always)]
fn hop<F: Family, P: Packet>(packet: &mut P, l3: usize, flow: &Flow) -> Option<()> {
    F::use_hop(packet, l3)?;
    let Header { first, second } = flow.way.header();
    packet.write(0, first)?;
    packet.write(size_of_val(&first), second)
}

/// A packet of the flow that `key` leads to goes out to the outside.
#[inline(always)]
pub(super) fn arrive_outside<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    sight: Sight,
    tables: &T,
    settings: &Settings,
    (network, transport, key): (&Network<F::Address>, &Transport, &Tuple<F::Address>),
    flow: &Flow,
) {
    if settings.fast == 0 || sight.hook != Hook::Outside || sight.l3 == 0 || flow.interface != 0 {
        return;
    }
    if flow.way.is_known(settings.hz, tables.now())
        || !is_plain::<F>(sight, network, transport)
        || !note_port::<F, T>(tables, settings, key, flow)
    {
        return;
    }
    let twin = twin_of::<F, T>(tables, Table::Confirmed, key, flow);
    if is_established(key.protocol, flow, twin) {
        learn::<F, P, T>(packet, tables, flow, flow.way.port(), false);
    }
}

/// Notes by which port of its bridge a container's packet came in that has come through the stack; or
/// returns `false` where that is not known. Past the stack it comes from the port itself, else from the
/// bridge; and what nobody lets through tells nothing.
#[inline(always)]
pub(super) fn note_port<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    key: &Tuple<F::Address>,
    flow: &Flow,
) -> bool {
    let number = tables.numbered() & PORT_NUMBER;
    if settings.fast == 0 || number == 0 {
        return false;
    }
    let bridge = tables.subnet(&key.src).map_or(0, |subnet| subnet.bridge);
    if bridge == 0 || bridge != tables.came_in() {
        return false;
    }
    flow.way.set_port(number);
    true
}

/// A packet goes out by a bridge's port, to a container.
#[inline(always)]
pub fn arrive_inside<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    sight: Sight,
    tables: &T,
) -> Option<()> {
    let settings = tables.settings()?;
    if settings.fast == 0 || !sight.forwarded {
        return None;
    }
    let network = F::network(packet, sight.l3)?;
    if network.fragment != Fragment::Whole {
        return None;
    }
    let transport = Transport::read::<F, P>(packet, &network).ok()?;
    if !is_plain::<F>(sight, &network, &transport) {
        return None;
    }
    // It is translated already: its flow is found by what would answer it.
    let answers = tuple(&network, &transport, Side::Egress).answer();
    let twin = tables.flow(Table::Confirmed, &answers)?;
    // A bridge that does not know where an address is floods what is for it to all its ports.
    if twin.interface != 0 || twin.way.port() != port_number(tables.interface()) {
        return None;
    }
    // Of what a bridge's own ports send to each other nothing is learnt.
    let came_in = tables.came_in();
    if !tables.is_gate(came_in) {
        return None;
    }
    let flow = twin_of::<F, T>(tables, Table::Confirmed, &answers, twin)?;
    if !flow.way.is_known(settings.hz, tables.now())
        && is_established(answers.protocol, flow, Some(twin))
    {
        let until = tables.takes_frames_until(tables.interface());
        let takes_frames = tables.now() < until;
        learn::<F, P, T>(packet, tables, flow, came_in, takes_frames);
    }
    Some(())
}

/// Whether both ends have agreed on a connection, and neither has said anything else since: the
/// kernel's connection tracking has seen as much.
#[inline(always)]
fn is_established(protocol: u8, flow: &Flow, twin: Option<&Flow>) -> bool {
    matches!(
        state(protocol, flow, twin),
        State::TCP_ESTABLISHED | State::UDP_ANSWERED
    )
}

/// The way of a packet that goes out here and that had come in by `came_in`.
#[inline(always)]
fn learn<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    tables: &T,
    flow: &Flow,
    came_in: u32,
    takes_frames: bool,
) -> Option<()> {
    let first: u64 = packet.read(0)?;
    let second: u32 = packet.read(size_of_val(&first))?;
    let interface = tables.interface();
    let exit = Exit {
        interface,
        mtu: packet.mtu(interface)? as u32,
        takes_frames,
    };
    let header = Header { first, second };
    flow.way.learn(came_in, exit, header, tables.now());
    Some(())
}
