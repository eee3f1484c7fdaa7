//! A packet that may begin a flow.

use crate::address::Address;
use crate::conntrack;
use crate::family::{Family, Fragment, Network};
use crate::flow::NO_PORT;
use crate::headers::{Transport, Untranslatable, tuple};
use crate::packet::Packet;
use crate::published::PublishedKey;
use crate::settings::Settings;
use crate::subnet::Subnet;
use crate::tables::{Scratch, Tables};
use crate::verdict::{DropReason, Verdict};

use super::reserve::{Opening, insert};
use super::rewrite::rewrite;
use super::{Hook, Sight, find_published, is_hairpin, leave};

/// Begins a flow where the packet asks for a published port or is to be masqueraded.
#[inline(always)]
pub fn open<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Verdict {
    let (Some(mut network), true) = (F::network(packet, sight.l3), sight.forwarded) else {
        return Verdict::Pass;
    };
    let mut transport = match Transport::read::<F, P>(packet, &network) {
        Ok(transport) => transport,
        Err(why) => return untranslatable(tables, sight.hook, &network, reason(why)),
    };
    transport.forget(packet, &mut network.protocol);
    let Some(settings) = tables.settings() else {
        return Verdict::Pass;
    };
    let tuple = tuple(&network, &transport, sight.hook.side());
    let mut opening = Opening {
        tuple: &tuple,
        src: tuple.src,
        dst: tuple.dst,
        dst_port: tuple.dst_port,
        port: Some(tuple.src_port),
        borrowed: false,
        port_id: NO_PORT,
        bytes: (network.end - sight.l3) as u64,
        seen: conntrack::observed(tuple.protocol, transport.tcp_flags),
    };
    let wanted = match sight.hook {
        Hook::In => publish(tables, &mut opening),
        Hook::Outside | Hook::Inside => masquerade(tables, sight.hook, settings, &mut opening),
    };
    match wanted {
        Wanted::Yes => {}
        Wanted::No if sight.hook == Hook::In => return leave::<F, T>(tables, &network),
        Wanted::No => return Verdict::Pass,
        Wanted::Impossible(reason) => return Verdict::Drop(reason),
    }
    if network.fragment != Fragment::Whole {
        // Its other parts would go where this one does not.
        return Verdict::Drop(DropReason::Fragment);
    }
    if transport.is_answer() {
        return match sight.hook {
            // The stack refuses what it does not know.
            Hook::In => Verdict::Pass,
            Hook::Outside | Hook::Inside => Verdict::Drop(DropReason::NoFlow),
        };
    }
    // On the stack its words are more than kernels leave that round each frame up to 32 bytes.
    let Some(outcome) = tables.scratch(Scratch::Outcome) else {
        return Verdict::Drop(DropReason::FlowTableFull);
    };
    match insert::<F, T>(tables, settings, &opening, &mut outcome.translation) {
        Ok(()) => rewrite::<F, P>(packet, sight.l3, &tuple, &transport, &outcome.translation),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Whether a packet begins a flow of ours.
enum Wanted {
    Yes,
    No,
    Impossible(DropReason),
}

/// A published port leads to its target.
#[inline(always)]
fn publish<F: Family, T: Tables<F>>(tables: &T, opening: &mut Opening<'_, F::Address>) -> Wanted {
    let Some(published) = find_published::<F, T>(tables, opening.tuple) else {
        return Wanted::No;
    };
    opening.dst = F::Address::narrow(&published.target);
    opening.dst_port = published.target_port;
    opening.port_id = published.port_id;
    Wanted::Yes
}

/// A masqueraded packet takes the address of its way out, and keeps its port where that is in the
/// pool.
#[inline(always)]
fn masquerade<F: Family, T: Tables<F>>(
    tables: &T,
    hook: Hook,
    settings: &Settings,
    opening: &mut Opening<'_, F::Address>,
) -> Wanted {
    let tuple = opening.tuple;
    let wanted = match hook {
        Hook::Inside => is_hairpin::<F, T>(tables, tuple),
        _ => tables
            .subnet(&tuple.src)
            .is_some_and(Subnet::is_masqueraded),
    };
    if !wanted {
        return Wanted::No;
    }
    let Some(address) = tables.egress_address() else {
        return Wanted::Impossible(DropReason::NoEgressAddress);
    };
    opening.src = address;
    opening.borrowed = true;
    if hook == Hook::Outside && answer_first::<F, T>(tables, opening) {
        return Wanted::Yes;
    }
    let keeps = settings.pool.contains(tuple.src_port)
        && !tables.port_is_published(tuple.protocol, tuple.src_port);
    opening.port = keeps.then_some(tuple.src_port);
    Wanted::Yes
}

/// What a published port's target sends from that very port comes from the published port, also
/// where it speaks first: after a restart of the datapath in the middle of a connection, or because
/// it is a peer rather than a server.
#[inline(always)]
fn answer_first<F: Family, T: Tables<F>>(
    tables: &T,
    opening: &mut Opening<'_, F::Address>,
) -> bool {
    let tuple = opening.tuple;
    let key = PublishedKey {
        address: tuple.src,
        port: tuple.src_port,
        protocol: tuple.protocol,
        padding: 0,
    };
    let Some(back) = tables.published_back(&key) else {
        return false;
    };
    let address = F::Address::narrow(&back.target);
    if address != F::Address::ANY {
        opening.src = address;
    }
    opening.port = Some(back.target_port);
    opening.port_id = back.port_id;
    // The published port is held by us.
    opening.borrowed = false;
    true
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
        Hook::In => leave::<F, T>(tables, network),
        Hook::Outside if inside.is_some_and(Subnet::is_masqueraded) => Verdict::Drop(reason),
        Hook::Outside | Hook::Inside => Verdict::Pass,
    }
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
