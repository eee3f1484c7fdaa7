//! The NAT: destinations are rewritten where packets come in, sources where they go out, as
//! netfilter does in PREROUTING and POSTROUTING. In between routing, firewall and conntrack see one
//! plain flow between the client and the container.

mod error;
mod open;
mod rewrite;
mod track;

use crate::address::Address;
use crate::family::{Family, Fragment, Network};
use crate::headers::{Transport, Untranslatable, tuple};
use crate::packet::Packet;
use crate::published::PublishedKey;
use crate::settings::Settings;
use crate::subnet::Subnet;
use crate::tables::Tables;
use crate::tuple::{Side, Tuple};
use crate::verdict::{DropReason, Verdict};
use crate::{Published, conntrack};
use open::{Opening, open};
use rewrite::rewrite;
use track::{Hit, track};

/// A packet comes in, from outside or from a container: replies to masqueraded flows and requests
/// to published ports get the container's address as their destination.
///
/// `l3` is where the network header lies, in bytes.
#[inline(always)]
pub fn ingress<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    l3: usize,
    tables: &T,
) -> Verdict {
    let Some(network) = F::network(packet, l3) else {
        return Verdict::Pass;
    };
    let transport = match Transport::read::<F, P>(packet, &network) {
        Ok(transport) => transport,
        Err(Untranslatable::Error) => {
            return error::translate::<F, P, T>(packet, l3, &network, Side::Ingress, tables)
                .unwrap_or(Verdict::Pass);
        }
        Err(_) => return Verdict::Pass,
    };
    let Some(settings) = tables.settings() else {
        return Verdict::Pass;
    };
    let published = tables.port_is_published(network.protocol, transport.dst_port);
    if !published && !settings.pool.contains(transport.dst_port) {
        return Verdict::Pass;
    }
    let tuple = tuple(&network, &transport, Side::Ingress);
    let bytes = (network.end - l3) as u64;

    // Flows come before published ports, or a port that is published later would steal the
    // replies of a masqueraded flow.
    if let Some(flow) = tables.flow(&tuple) {
        if network.fragment != Fragment::Whole {
            return Verdict::Drop(DropReason::Fragment);
        }
        if track::<F, T>(tables, settings, &tuple, &transport, flow, bytes) == Hit::Live {
            return rewrite::<F, P>(packet, l3, &tuple, &transport, &flow.translation);
        }
    }
    if !published {
        return Verdict::Pass;
    }
    let Some(target) = find_published(tables, &tuple) else {
        return Verdict::Pass;
    };
    if network.fragment != Fragment::Whole {
        // Its other parts would reach the host instead of the container.
        return Verdict::Drop(DropReason::Fragment);
    }
    if transport.is_answer() {
        // Opens nothing; the stack refuses what it does not know.
        return Verdict::Pass;
    }
    let opening = Opening {
        tuple: &tuple,
        src: tuple.src,
        dst: F::Address::narrow(&target.target),
        dst_port: target.target_port,
        port: Some(tuple.src_port),
        port_id: target.port_id,
        bytes,
        seen: conntrack::observed(tuple.protocol, transport.tcp_flags),
    };
    match open::<F, T>(tables, settings, &opening) {
        Ok(translation) => rewrite::<F, P>(packet, l3, &tuple, &transport, &translation),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// The published port that a tuple asks for: on its very address, else on every local one.
#[inline(always)]
fn find_published<'t, F: Family, T: Tables<F>>(
    tables: &'t T,
    tuple: &Tuple<F::Address>,
) -> Option<&'t Published> {
    // A loopback address from outside is a martian that the stack drops; rewritten it would not.
    if F::is_loopback(tuple.dst) || F::is_loopback(tuple.src) {
        return None;
    }
    let mut key = PublishedKey {
        address: tuple.dst,
        port: tuple.dst_port,
        protocol: tuple.protocol,
        padding: 0,
    };
    if let Some(published) = tables.published(&key) {
        return Some(published);
    }
    key.address = F::Address::ANY;
    tables
        .published(&key)
        .filter(|_| tables.is_local(&tuple.dst))
}

/// Where a packet goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// By an uplink: what comes from a masqueraded subnet gets this interface's address, and what
    /// cannot be translated stays inside.
    Outside,
    /// By a bridge, to a container: only what a container of this very bridge sends to a published
    /// port is masqueraded, or the answers would go to it directly and from the wrong address.
    Inside,
}

/// A packet goes out: replies from published ports get the host's address and port as their
/// source, and what is masqueraded gets this interface's address and a port of its own.
///
/// Of what the host sends itself (`forwarded` is false) only its ICMP errors are looked at: they
/// quote packets in translation.
///
/// `l3` is where the network header lies, in bytes.
#[inline(always)]
pub fn egress<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    l3: usize,
    forwarded: bool,
    leaving: Leaving,
    tables: &T,
) -> Verdict {
    let Some(network) = F::network(packet, l3) else {
        return Verdict::Pass;
    };
    if !forwarded && network.protocol != F::ICMP {
        return Verdict::Pass;
    }
    let transport = match Transport::read::<F, P>(packet, &network) {
        Ok(_) if !forwarded => return Verdict::Pass,
        Ok(transport) => transport,
        Err(Untranslatable::Error) => {
            match error::translate::<F, P, T>(packet, l3, &network, Side::Egress, tables) {
                Some(verdict) => return verdict,
                None => return untranslatable(tables, leaving, &network, DropReason::NoFlow),
            }
        }
        Err(why) => return untranslatable(tables, leaving, &network, reason(why)),
    };
    let Some(settings) = tables.settings() else {
        return Verdict::Pass;
    };
    let tuple = tuple(&network, &transport, Side::Egress);
    let bytes = (network.end - l3) as u64;

    if let Some(flow) = tables.flow(&tuple) {
        if network.fragment != Fragment::Whole {
            return Verdict::Drop(DropReason::Fragment);
        }
        if track::<F, T>(tables, settings, &tuple, &transport, flow, bytes) == Hit::Live {
            return rewrite::<F, P>(packet, l3, &tuple, &transport, &flow.translation);
        }
    }
    let Some(subnet) = tables.subnet(&tuple.src) else {
        return Verdict::Pass;
    };
    let masquerade = match leaving {
        Leaving::Outside => subnet.is_masqueraded(),
        Leaving::Inside => is_hairpin(tables, subnet, &tuple),
    };
    if !masquerade {
        return Verdict::Pass;
    }
    if network.fragment != Fragment::Whole {
        return Verdict::Drop(DropReason::Fragment);
    }
    if transport.is_answer() {
        return Verdict::Drop(DropReason::NoFlow);
    }
    let Some(address) = tables.egress_address() else {
        return Verdict::Drop(DropReason::NoEgressAddress);
    };
    let opening = Opening {
        tuple: &tuple,
        src: address,
        dst: tuple.dst,
        dst_port: tuple.dst_port,
        port: masquerade_keeps(settings, tables, &tuple).then_some(tuple.src_port),
        port_id: crate::flow::NO_PORT,
        bytes,
        seen: conntrack::observed(tuple.protocol, transport.tcp_flags),
    };
    match open::<F, T>(tables, settings, &opening) {
        Ok(translation) => rewrite::<F, P>(packet, l3, &tuple, &transport, &translation),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Whether a packet is on its way from a container of this bridge through a published port back to
/// this bridge: then its answers have an entry already.
#[inline(always)]
fn is_hairpin<F: Family, T: Tables<F>>(
    tables: &T,
    subnet: &Subnet,
    tuple: &Tuple<F::Address>,
) -> bool {
    let answer = Tuple {
        side: Side::Egress,
        ..tuple.reverse()
    };
    subnet.bridge == tables.interface()
        && tables
            .flow(&answer)
            .is_some_and(|flow| flow.port_id != crate::flow::NO_PORT)
}

/// What becomes of a packet without a translation: with an inside address it must not leave.
#[inline(always)]
fn untranslatable<F: Family, T: Tables<F>>(
    tables: &T,
    leaving: Leaving,
    network: &Network<F::Address>,
    reason: DropReason,
) -> Verdict {
    let inside = tables.subnet(&network.src);
    match leaving {
        Leaving::Outside if inside.is_some_and(Subnet::is_masqueraded) => Verdict::Drop(reason),
        _ => Verdict::Pass,
    }
}

/// Whether a masqueraded flow may try its own source port first.
#[inline(always)]
fn masquerade_keeps<F: Family, T: Tables<F>>(
    settings: &Settings,
    tables: &T,
    tuple: &Tuple<F::Address>,
) -> bool {
    settings.pool.contains(tuple.src_port)
        && !tables.port_is_published(tuple.protocol, tuple.src_port)
}

/// Why a packet that cannot be translated is dropped.
#[inline(always)]
const fn reason(why: Untranslatable) -> DropReason {
    match why {
        Untranslatable::Fragment => DropReason::Fragment,
        Untranslatable::Protocol | Untranslatable::Error => DropReason::UnsupportedProtocol,
        Untranslatable::Truncated => DropReason::Malformed,
    }
}
