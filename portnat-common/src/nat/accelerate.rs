//! Frames of established flows go to their container before the host has made packets of them (XDP).
//!
//! Nothing is decided here: a frame takes the way that others of its flow have taken through the stack
//! ([`super::fast`]), if that is fresh and there is nothing to do but to rewrite and to count it.
//! Everything else is left untouched to the other hooks, which have it next: also what renews a flow
//! or its way.

use crate::address::Address;
use crate::checksum::Sum;
use crate::family::{Family, Fragment, Network};
use crate::flow::Flow;
use crate::headers::{Transport, tuple};
use crate::packet::Packet;
use crate::settings::{Settings, Ticks};
use crate::tables::{Table, Tables};
use crate::tuple::{Side, Tuple};
use crate::verdict::Verdict;

use super::Sight;
use super::fast::{hand_over, length_if_plain};
use super::track::count_only;

/// What is asked of the world for a frame: little of [`Tables`], and nothing that changes them.
pub trait Glance<F: Family> {
    /// As [`Tables::settings`].
    fn settings(&self) -> Option<&Settings>;

    /// As [`Tables::port_is_published`].
    fn port_is_published(&self, protocol: u8, port: u16) -> bool;

    /// The confirmed flow under `key`, as [`Tables::flow`].
    fn confirmed(&self, key: &Tuple<F::Address>) -> Option<&Flow>;

    /// As [`Tables::is_for_us`].
    fn is_for_us(&self) -> bool;

    /// As [`Tables::interface`].
    fn interface(&self) -> u32;

    /// As [`Tables::now`].
    fn now(&self) -> Ticks;
}

impl<F: Family, T: Tables<F>> Glance<F> for T {
    fn settings(&self) -> Option<&Settings> {
        Tables::settings(self)
    }

    fn port_is_published(&self, protocol: u8, port: u16) -> bool {
        Tables::port_is_published(self, protocol, port)
    }

    fn confirmed(&self, key: &Tuple<F::Address>) -> Option<&Flow> {
        self.flow(Table::Confirmed, key)
    }

    fn is_for_us(&self) -> bool {
        Tables::is_for_us(self)
    }

    fn interface(&self) -> u32 {
        Tables::interface(self)
    }

    fn now(&self) -> Ticks {
        Tables::now(self)
    }
}

/// A frame that comes in from outside goes to its container, if it may. `None` leaves it to the other
/// hooks, as it was.
#[inline(always)]
pub fn accelerate<F: Family, P: Packet, G: Glance<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &G,
) -> Option<Verdict> {
    let settings = tables.settings()?;
    let network = F::network(packet, sight.l3)?;
    if network.fragment != Fragment::Whole {
        return None;
    }
    let transport = Transport::read::<F, P>(packet, &network).ok()?;
    let length = length_if_plain::<F, P>(packet, sight, settings, &network, &transport)?;
    // Before any hash is looked into.
    if !settings.pool.contains(transport.dst_port)
        && !tables.port_is_published(network.protocol, transport.dst_port)
    {
        return None;
    }
    let key = tuple(&network, &transport, Side::Ingress);
    let flow = tables.confirmed(&key)?;
    if flow.interface != 0 {
        return None;
    }
    let (at, now) = (tables.interface(), tables.now());
    let interface = flow.way.of_frame(at, length, settings.hz, now)?;
    if !tables.is_for_us() || is_unfinished::<F, P>(packet, &network, &transport)? {
        return None;
    }
    let bytes = (network.end - sight.l3) as u64;
    if !count_only(settings, &transport, flow, bytes, now) {
        return None;
    }
    Some(hand_over::<F, P>(
        packet, sight, &transport, &key, flow, interface,
    ))
}

/// Whether the transport checksum may be one that a device is still to compute, as of what comes from
/// the same machine: then it is the pseudo header's sum. A frame does not say so, and nobody behind it
/// would compute it. One in 65,536 others looks alike.
#[inline(always)]
fn is_unfinished<F: Family, P: Packet>(
    packet: &P,
    network: &Network<F::Address>,
    transport: &Transport,
) -> Option<bool> {
    let checksum: u16 = packet.read(transport.checksum_at)?;
    let pseudo = Sum::of(network.src.words())
        .join(Sum::of(network.dst.words()))
        .add((transport.length as u16).to_be().into())
        .add(u16::from(network.protocol).to_be().into());
    Some(Sum::ZERO.replace16(checksum, pseudo.fold()).is_zero())
}
