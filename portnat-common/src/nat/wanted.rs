//! Whether a packet begins a flow, and which.

use crate::address::{Address, is_mapped, map as mapped, unmap};
use crate::family::Family;
use crate::published::PublishedKey;
use crate::settings::Settings;
use crate::subnet::Subnet;
use crate::tables::Tables;
use crate::tuple::{Side, Tuple};
use crate::verdict::DropReason;

use super::admit::asked;
use super::between::{begin_plain, is_published_target, is_unprotected};
use super::map::maps;
use super::opening::{ACROSS, BORROWED, COUNTS, MAPS, NAMED, Opening, THIS_PORT, UNCONFIRMED};
use super::{Hook, find_published, is_hairpin, is_loopback};

/// Whether a packet begins a flow of ours.
pub(super) enum Wanted {
    Yes,
    No,
    Impossible(DropReason),
}

/// A published port leads to its target.
#[inline(always)]
pub(super) fn publish<F: Family, T: Tables<F>>(
    tables: &T,
    hook: Hook,
    opening: &mut Opening<F::Address>,
) -> Wanted {
    let Some(published) = find_published::<F, T>(tables, hook, &opening.tuple) else {
        let Tuple { src, dst, .. } = &opening.tuple;
        if hook == Hook::In && is_unprotected::<F, T>(tables, src, dst) {
            begin_plain(opening, false);
            return Wanted::Yes;
        }
        return Wanted::No;
    };
    opening.translation.dst = published.target;
    opening.translation.dst_port = published.target_port_of(opening.tuple.dst_port);
    opening.port_id = published.port_id;
    if hook == Hook::In && is_loopback::<F>(opening.tuple.dst) {
        return Wanted::Impossible(DropReason::Loopback);
    }
    let asked = asked(hook, published.flags);
    opening.wishes = THIS_PORT | asked;
    if hook == Hook::In && claims_to_be_inside::<F, T>(tables, &opening.tuple) {
        return Wanted::Impossible(DropReason::InsideSource);
    }
    let tuple = &opening.tuple;
    let across = F::LEADS_ACROSS && is_mapped(&opening.translation.dst);
    if across || hook == Hook::Local || F::is_link_local(tuple.src) || F::is_link_local(tuple.dst) {
        let wanted = replace_both_ends::<F, T>(tables, opening);
        opening.wishes |= asked;
        return wanted;
    }
    Wanted::Yes
}

/// Whether an outsider uses the address of a container: the bridge would take the packet for one of the
/// container's own. A bridge's port says nothing of where it belongs, and bridges see their own subnets.
#[inline(always)]
fn claims_to_be_inside<F: Family, T: Tables<F>>(tables: &T, tuple: &Tuple<F::Address>) -> bool {
    let here = tables.interface();
    tables
        .subnet(&tuple.src)
        .is_some_and(|subnet| subnet.bridge != 0 && subnet.bridge != here)
        && tables.is_gate(here)
}

/// The stack forwards nothing that comes from the host itself or must stay on its link: such a packet
/// comes from the bridge's address and goes there past the stack, and so do the answers.
#[inline(always)]
fn replace_both_ends<F: Family, T: Tables<F>>(
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Wanted {
    // A bridge's port has no neighbours of its own: there the bridge itself sees the packet next.
    let here = tables.interface();
    if opening.tuple.side == Side::Ingress && !tables.is_gate(here) {
        return Wanted::No;
    }
    let Some(settings) = tables.settings() else {
        return Wanted::No;
    };
    opening.wishes = borrowed_port::<F, T>(tables, settings, &opening.tuple);
    let target = &opening.translation.dst;
    let bridge = if F::LEADS_ACROSS && is_mapped(target) {
        let Some((bridge, address)) = tables.bridge_v4(unmap(target)) else {
            return Wanted::No;
        };
        opening.translation.src = mapped(address);
        opening.wishes |= ACROSS;
        bridge
    } else {
        let target = F::Address::narrow(target);
        let bridge = tables.subnet(&target).map_or(0, |subnet| subnet.bridge);
        let Some(address) = tables.egress_address(bridge) else {
            return Wanted::No;
        };
        opening.translation.src = address.widen();
        bridge
    };
    (opening.interface, opening.reply_interface) = (bridge, here);
    Wanted::Yes
}

/// The wishes for a source port where the address is lent: the sender's own, where that is in the
/// pool.
#[inline(always)]
fn borrowed_port<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    tuple: &Tuple<F::Address>,
) -> u32 {
    let keeps = settings.pool.contains(tuple.src_port)
        && !tables.port_is_withheld(tuple.protocol, tuple.src_port);
    BORROWED | if keeps { THIS_PORT } else { 0 }
}

/// A masqueraded packet takes the address of its way out, or the one that its subnet names, and keeps its
/// port where that is in the pool. Who is not masqueraded, or not to this prefix, goes as it is, and its
/// answers are to be known.
#[inline(always)]
pub(super) fn masquerade<F: Family, T: Tables<F>>(
    tables: &T,
    hook: Hook,
    opening: &mut Opening<F::Address>,
) -> Wanted {
    let subnet = match hook {
        Hook::Inside if is_hairpin::<F, T>(tables, &opening.tuple) => None,
        Hook::Inside => return Wanted::No,
        _ => match tables.subnet(&opening.tuple.src) {
            Some(subnet) if subnet.is_routed() => return route::<F, T>(tables, opening),
            Some(subnet) if subnet.is_internal() => {
                return Wanted::Impossible(DropReason::Isolated);
            }
            Some(subnet) if subnet.is_masqueraded() || subnet.bypasses() => Some(subnet),
            _ => return Wanted::No,
        },
    };
    let mut address = tables.egress_address(tables.interface());
    let mut named = 0;
    if let Some(subnet) = subnet {
        if let Some(address) = address {
            opening.translation.src = address.widen();
            if answer_first::<F, T>(tables, opening) {
                return Wanted::Yes;
            }
        }
        let as_itself = |subnet: &Subnet| {
            !subnet.is_masqueraded() || subnet.bypasses() && tables.is_bypassed(&opening.tuple.dst)
        };
        if as_itself(subnet) {
            opening.translation.src = opening.tuple.src.widen();
            begin_plain(opening, true);
            return Wanted::Yes;
        }
        if let Some(key) = subnet.named_address() {
            address = tables.egress_address(key);
            named = NAMED;
        }
    }
    let (Some(address), Some(settings)) = (address, tables.settings()) else {
        return Wanted::Impossible(DropReason::NoEgressAddress);
    };
    opening.translation.src = address.widen();
    let maps = hook == Hook::Outside && maps(settings, &opening.tuple);
    let maps = if maps { MAPS } else { 0 };
    let port = borrowed_port::<F, T>(tables, settings, &opening.tuple);
    opening.wishes = COUNTS | named | maps | port;
    Wanted::Yes
}

/// A routed container asks outside: its answers are to be known. What it says from a published port needs
/// no flow for that, for everybody may speak to that one.
#[inline(always)]
fn route<F: Family, T: Tables<F>>(tables: &T, opening: &mut Opening<F::Address>) -> Wanted {
    let tuple = &opening.tuple;
    if is_published_target::<F, T>(tables, tuple.src, tuple.src_port, tuple.protocol) {
        return Wanted::No;
    }
    begin_plain(opening, true);
    Wanted::Yes
}

/// What a published port's target sends from that very port comes from the published port, also
/// where it speaks first: after a restart of the datapath in the middle of a connection, because it is
/// a peer rather than a server, or because it answers so late that the flow is forgotten. That may be
/// answers to spoofed packets, so such a flow is to be confirmed.
#[inline(always)]
fn answer_first<F: Family, T: Tables<F>>(tables: &T, opening: &mut Opening<F::Address>) -> bool {
    let tuple = &opening.tuple;
    let key = PublishedKey {
        address: tuple.src,
        port: tuple.src_port,
        protocol: tuple.protocol,
        padding: 0,
    };
    let Some(back) = tables.published_back(&key) else {
        return false;
    };
    if F::Address::narrow(&back.target) != F::Address::ANY {
        opening.translation.src = back.target;
    }
    opening.translation.src_port = back.target_port_of(tuple.src_port);
    opening.port_id = back.port_id;
    // The published port is held by us.
    opening.wishes = THIS_PORT | UNCONFIRMED;
    true
}
