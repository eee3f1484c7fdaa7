//! A packet that may begin a flow.

use crate::family::{Family, Fragment, Network};
use crate::flow::{NO_PORT, Translation};
use crate::headers::{Transport, Untranslatable, tuple};
use crate::packet::Packet;
use crate::settings::Settings;
use crate::subnet::Subnet;
use crate::tables::{Table, Tables};
use crate::verdict::{DropReason, Verdict};
use crate::wire::udp;

use super::admit::admit;
use super::between::{Between, begin_plain, between, is_between, leave};
use super::map::map;
use super::opening::{ACROSS, COUNTS, MADE, Opening, PLAIN, RESERVED, UNCONFIRMED};
use super::reserve::{self, keep_port, search_port};
use super::rewrite::rewrite;
use super::settle::{Before, settle};
use super::wanted::{Wanted, masquerade, publish};
use super::{Hook, Length, Sight, fits, is_forwarded, told_mtu};

/// Begins a flow where the packet asks for a published port or is to be masqueraded: [`plan`],
/// [`admit`], [`map`], [`make`], [`search`], [`complete`] and [`finish`].
#[inline(always)]
pub fn open<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Verdict {
    plan::<F, P, T>(packet, sight, tables, opening)
        .or_else(|| admit::<F, T>(tables, opening))
        .or_else(|| map::<F, T>(tables, opening))
        .or_else(|| make::<F, T>(sight.hook, tables, opening))
        .or_else(|| search::<F, T>(sight.hook, tables, opening))
        .or_else(|| complete::<F, T>(sight.hook, tables, opening))
        .unwrap_or_else(|| finish::<F, P>(packet, sight, opening))
}

/// Says in `opening` what flow a packet begins; or what becomes of it where it begins none.
#[inline(always)]
pub fn plan<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Option<Verdict> {
    let Some(mut network) = F::network(packet, sight.l3) else {
        return Some(Verdict::Pass);
    };
    if !is_forwarded::<F, T>(tables, sight, &network) {
        return Some(Verdict::Pass);
    }
    let mut transport = match Transport::read::<F, P>(packet, &network) {
        Ok(transport) => transport,
        Err(why) => return Some(untranslatable(tables, sight.hook, &network, reason(why))),
    };
    transport.forget(packet, &mut network.protocol);
    opening.tuple = tuple(&network, &transport, sight.hook.side());
    opening.translation = Translation::to(&opening.tuple);
    opening.port_id = NO_PORT;
    (opening.interface, opening.reply_interface) = (0, 0);
    opening.probes = 0;
    opening.bytes = (network.end - sight.l3) as u64;
    opening.seen = transport.signals.observed();
    opening.transport = transport.pack();
    opening.length = transport.length as u32;
    let wanted = match sight.hook {
        Hook::In | Hook::Local => publish(tables, sight.hook, opening),
        Hook::Inside if is_between::<F, T>(tables) => {
            match between::<F, T>(tables, &network, transport.dst_port) {
                Between::Pass => Wanted::No,
                Between::Drop => Wanted::Impossible(DropReason::Isolated),
                Between::Open => {
                    begin_plain(opening, true);
                    Wanted::Yes
                }
            }
        }
        Hook::Outside | Hook::Inside => masquerade(tables, sight.hook, opening),
    };
    match wanted {
        Wanted::Yes => {}
        Wanted::No if sight.hook == Hook::In => {
            return Some(leave::<F, T>(tables, &network, transport.dst_port).verdict());
        }
        Wanted::No => return Some(Verdict::Pass),
        Wanted::Impossible(reason) => return Some(Verdict::Drop(reason)),
    }
    if transport.lacks_length(network.fragment) {
        return Some(Verdict::Drop(DropReason::Fragment));
    }
    if transport.signals.is_answer() {
        return Some(match sight.hook {
            // The stack refuses what it does not know.
            Hook::In | Hook::Local => Verdict::Pass,
            // Of who may be asked directly: it is an answer to that.
            Hook::Outside | Hook::Inside if opening.wishes(PLAIN) => Verdict::Pass,
            Hook::Outside | Hook::Inside => Verdict::Drop(DropReason::NoFlow),
        });
    }
    None
}

/// Finds whether the flow has entries already, or reserves the port that it wants most; or says what
/// becomes of the packet where that is not possible.
#[inline(always)]
pub fn make<F: Family, T: Tables<F>>(
    hook: Hook,
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Option<Verdict> {
    let settings = tables.settings()?;
    match table(hook, opening) {
        Table::HalfOpen => make_in::<F, T>(tables, settings, Table::HalfOpen, opening),
        Table::Confirmed => make_in::<F, T>(tables, settings, Table::Confirmed, opening),
    }
}

/// Which table a flow begins in: whoever is outside has to show that it is where it says it is.
#[inline(always)]
fn table<A>(hook: Hook, opening: &Opening<A>) -> Table {
    match hook {
        Hook::In => Table::HalfOpen,
        Hook::Outside if opening.wishes(UNCONFIRMED) => Table::HalfOpen,
        _ => Table::Confirmed,
    }
}

/// As [`make`], with a table that is known when this is compiled.
#[inline(always)]
fn make_in<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    table: Table,
    opening: &mut Opening<F::Address>,
) -> Option<Verdict> {
    let now = tables.now();
    match settle::<F, T>(tables, settings, table, opening, now) {
        Before::Same => {
            opening.wishes |= MADE;
            None
        }
        Before::Busy => Some(Verdict::Drop(DropReason::FlowEnding)),
        Before::Nothing
            if table == Table::HalfOpen && now.since(tables.full_since()) < settings.hz =>
        {
            Some(Verdict::Drop(DropReason::FlowTableFull))
        }
        Before::Nothing if has_enough::<F, T>(tables, settings, opening) => {
            Some(Verdict::Drop(DropReason::ContainerLimit))
        }
        Before::Nothing => keep_port::<F, T>(tables, settings, table, opening, now)
            .err()
            .map(Verdict::Drop),
    }
}

/// Reserves a port of the pool where [`make`] has left that open; or says what becomes of the packet
/// where there is none.
#[inline(always)]
pub fn search<F: Family, T: Tables<F>>(
    hook: Hook,
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Option<Verdict> {
    if opening.wishes(RESERVED | MADE) {
        return None;
    }
    let settings = tables.settings()?;
    // Whose sender is unconfirmed at an uplink keeps its port, or there is no flow.
    let table = match hook {
        Hook::In => Table::HalfOpen,
        _ => Table::Confirmed,
    };
    search_port::<F, T>(tables, settings, table, opening)
        .err()
        .map(Verdict::Drop)
}

/// Makes the entries of the flow, for which a port is reserved; or says what becomes of the packet
/// where that is not possible.
#[inline(always)]
pub fn complete<F: Family, T: Tables<F>>(
    hook: Hook,
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Option<Verdict> {
    if opening.wishes(MADE) {
        return None;
    }
    match table(hook, opening) {
        Table::HalfOpen => reserve::complete::<F, T>(tables, Table::HalfOpen, opening),
        Table::Confirmed => reserve::complete::<F, T>(tables, Table::Confirmed, opening),
    }
    .err()
    .map(Verdict::Drop)
}

/// Whether a container has as many flows as it may have. Two CPUs that ask at once may both find room
/// for the last one.
#[inline(always)]
fn has_enough<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    opening: &mut Opening<F::Address>,
) -> bool {
    if !opening.wishes(COUNTS) {
        return false;
    }
    match tables.flows_of(&opening.tuple.src) {
        Some(flows) => flows >= settings.flows_per_container,
        // More containers than can be counted: better served than refused.
        None => {
            opening.wishes &= !COUNTS;
            false
        }
    }
}

/// Translates the packet that has begun the flow.
#[inline(always)]
pub fn finish<F: Family, P: Packet>(
    packet: &mut P,
    sight: Sight,
    opening: &Opening<F::Address>,
) -> Verdict {
    if F::LEADS_ACROSS && opening.wishes(ACROSS) {
        return Verdict::Convert;
    }
    if opening.wishes(PLAIN) {
        return Verdict::Pass;
    }
    let Opening {
        tuple, translation, ..
    } = opening;
    // TCP does not begin with a bundle.
    let headers =
        (opening.bytes as usize).wrapping_sub(opening.length as usize) + size_of::<udp::Header>();
    let length = Length {
        whole: opening.bytes as usize,
        headers,
    };
    let told = |mtu| told_mtu::<F>(sight.hook, &tuple.dst, mtu);
    if !fits(packet, length, opening.interface, 0, told) {
        return Verdict::Drop(DropReason::TooBig);
    }
    let transport = Transport::unpack(
        opening.transport,
        tuple.src_port,
        tuple.dst_port,
        opening.length as usize,
    );
    rewrite::<F, P>(
        packet,
        sight.l3,
        tuple,
        &transport,
        translation,
        opening.interface,
    )
}

/// What becomes of a packet without a translation: with an inside address it must not leave, and an
/// outsider's must not come to one.
#[inline(always)]
pub(super) fn untranslatable<F: Family, T: Tables<F>>(
    tables: &T,
    hook: Hook,
    network: &Network<F::Address>,
    reason: DropReason,
) -> Verdict {
    let inside = tables.subnet(&network.src);
    match hook {
        // Of an answer's datagram the first has passed, if it is one.
        Hook::In if network.fragment == Fragment::Later && is_bypass::<F, T>(tables, network) => {
            Verdict::Pass
        }
        Hook::In => leave::<F, T>(tables, network, 0).verdict(),
        Hook::Inside if is_between::<F, T>(tables) => match between::<F, T>(tables, network, 0) {
            Between::Drop => Verdict::Drop(DropReason::Isolated),
            Between::Pass | Between::Open => Verdict::Pass,
        },
        Hook::Outside if inside.is_some_and(Subnet::is_internal) => {
            Verdict::Drop(DropReason::Isolated)
        }
        Hook::Outside if inside.is_some_and(Subnet::is_masqueraded) => Verdict::Drop(reason),
        Hook::Outside | Hook::Inside | Hook::Local => Verdict::Pass,
    }
}

/// Whether an outsider is asked by containers' own addresses, and answers to one.
#[inline(always)]
fn is_bypass<F: Family, T: Tables<F>>(tables: &T, network: &Network<F::Address>) -> bool {
    let asks =
        |to: &Subnet| to.bypasses() && (!to.is_masqueraded() || tables.is_bypassed(&network.src));
    tables.subnet(&network.dst).is_some_and(asks)
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
