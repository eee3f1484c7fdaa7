//! The NAT: destinations are rewritten where packets come in, sources where they go out, as
//! netfilter does in PREROUTING and POSTROUTING. In between routing, firewall and conntrack see one
//! plain flow between the client and the container.
//!
//! What [`is_bystander`] goes on as it is. A packet meets [`established`] next, which decides about
//! packets of confirmed flows and most else that is not ours. [`fragment`] does the same with
//! fragments. Others go on to [`error`] if they are ICMP
//! errors, else to [`half_open`] for packets of flows that are not confirmed, and to [`open`] if they
//! may begin a flow. [`settle`] lets a first fragment's others follow. These read the packet anew,
//! because each is a function of its own to the kernel, with a stack of its own, and because the first
//! is all that most packets ever meet.

mod accelerate;
mod across;
mod across_error;
mod admit;
mod between;
mod bystander;
mod error;
mod fast;
mod find;
mod fragment;
mod half;
mod internal;
mod length;
mod life;
mod map;
mod open;
mod opening;
mod reserve;
mod rewrite;
mod settle;
mod sweep;
mod track;
mod wanted;

pub use accelerate::{Glance, accelerate};
pub use across::{answer, convert_v4, convert_v6};
pub use across_error::{error_v4, error_v6};
pub use admit::admit;
pub use bystander::is_bystander;
pub use error::error;
pub use fast::arrive_inside;
pub use fragment::{fragment, settle};
pub use half::{confirm, half_open};
pub use internal::{enter_internal, leave_internal};
pub use map::map;
pub use open::{complete, finish, make, open, plan, search};
pub use opening::Opening;
pub use reserve::PROBES;
pub use sweep::{end, sweep};

use crate::family::{Family, Fragment, Network};
use crate::flow::{Flow, NO_PORT, OTHER_FAMILY, PLAIN};
use crate::fragment::First;
use crate::headers::{Transport, Untranslatable, tuple};
use crate::packet::Packet;
use crate::settings::Settings;
use crate::tables::{Table, Tables};
use crate::tuple::{Side, Tuple};
use crate::verdict::{DropReason, Verdict};
use crate::way::port_number;
use between::{leave, meet_plain};
use fast::{arrive_outside, deliver, send};
use find::{find_published, is_loopback};
use length::{Length, fits, told_mtu};
use rewrite::{readdress, rewrite};
use track::track;

/// Where a packet is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// It comes in, from outside or from a container.
    In,
    /// It goes out by an uplink: what comes from a masqueraded subnet gets this interface's
    /// address, and what cannot be translated stays inside.
    Outside,
    /// It goes out by a bridge, to a container: only what a container of this very bridge sends to
    /// a published port is masqueraded, or the answers would go to it directly and from the wrong
    /// address.
    Inside,
    /// It goes from the host to itself, by the loopback interface. What asks for a published port is
    /// rewritten at both ends.
    Local,
}

impl Hook {
    /// The side of the tuples that are seen here.
    #[inline(always)]
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Hook::In => Side::Ingress,
            Hook::Outside | Hook::Inside | Hook::Local => Side::Egress,
        }
    }
}

/// Where and how a packet is seen.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// The hook.
    pub hook: Hook,
    /// Where the network header lies, in bytes.
    pub l3: usize,
    /// Whether the packet came in by an interface, or goes from the host to itself. Of what the host
    /// sends itself only its ICMP errors are looked at, which quote packets in translation, and what it
    /// sends in a container's name.
    pub forwarded: bool,
}

/// What follows [`established`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: this is what becomes of the packet.
    Done(Verdict),
    /// The packet is a fragment, for [`fragment`].
    Fragment,
    /// The packet is an ICMP error, for [`error`].
    Error,
    /// The packet is of no confirmed flow: [`half_open`] and [`open`] may know it.
    Unknown,
}

/// All functions, one after the other.
pub fn process<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Verdict {
    if is_bystander::<F, P, T>(packet, sight, tables) {
        return Verdict::Pass;
    }
    let mut first = First::none();
    let mut next = established::<F, P, T>(packet, sight, tables);
    if next == Next::Fragment {
        next = fragment::<F, P, T>(packet, sight, tables, &mut first);
    }
    let verdict = match next {
        Next::Done(verdict) => verdict,
        Next::Error => error::<F, P, T>(packet, sight, tables),
        Next::Unknown | Next::Fragment => {
            let mut room = Opening::default();
            if let Some(verdict) = half_open::<F, P, T>(packet, sight, tables, &first, &mut room) {
                confirm::<F, T>(tables, &mut room);
                verdict
            } else {
                open::<F, P, T>(packet, sight, tables, &mut room)
            }
        }
    };
    match settle(tables, &mut first, matches!(verdict, Verdict::Drop(_))) {
        0 => verdict,
        places => match tables.release_waiting(&first.waiting, places, packet) {
            Some(()) => verdict,
            None => Verdict::Drop(DropReason::Fragment),
        },
    }
}

/// A packet of a confirmed flow gets its translation, one that cannot be ours passes.
#[inline(always)]
pub fn established<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Next {
    look::<F, P, T, false>(packet, sight, tables)
}

/// As [`established`], of a packet that comes in by a bridge's port: it may go out at once.
#[inline(always)]
pub fn established_at_port<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Next {
    look::<F, P, T, true>(packet, sight, tables)
}

#[inline(always)]
fn look<F: Family, P: Packet, T: Tables<F>, const SENDS: bool>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Next {
    const PASS: Next = Next::Done(Verdict::Pass);
    let Some(network) = F::network(packet, sight.l3) else {
        return PASS;
    };
    let forwarded = is_forwarded::<F, T>(tables, sight, &network);
    if !forwarded && network.protocol != F::ICMP {
        return PASS;
    }
    if SENDS {
        // Also where nobody looks at it: what an inner host has left there would mean something here.
        tables.number(port_number(tables.interface()));
    }
    if network.fragment != Fragment::Whole {
        return Next::Fragment;
    }
    let transport = match Transport::read::<F, P>(packet, &network) {
        Ok(_) if !forwarded => return PASS,
        Ok(transport) => transport,
        Err(Untranslatable::Error) => return Next::Error,
        Err(_) if sight.hook == Hook::In => {
            return Next::Done(leave::<F, T>(tables, &network, 0).verdict());
        }
        Err(_) => return Next::Unknown,
    };
    let Some(settings) = tables.settings() else {
        return PASS;
    };
    if SENDS {
        let sent = send::<F, P, T>(packet, sight, tables, settings, &network, &transport);
        if let Some(verdict) = sent {
            return Next::Done(verdict);
        }
    }
    meet::<F, P, T, SENDS>(packet, sight, tables, settings, &network, &transport)
}

/// A packet whose ports are known meets its confirmed flow.
#[inline(always)]
fn meet<F: Family, P: Packet, T: Tables<F>, const SENDS: bool>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
    settings: &Settings,
    network: &Network<F::Address>,
    transport: &Transport,
) -> Next {
    // Before any hash is looked into: most of what comes in or goes to the host is not ours.
    let published = matches!(sight.hook, Hook::In | Hook::Local)
        && tables.port_is_published(network.protocol, transport.dst_port);
    match sight.hook {
        Hook::In if !published && !settings.pool.contains(transport.dst_port) => {
            let left = leave::<F, T>(tables, network, transport.dst_port);
            if !left.goes_on() {
                return Next::Done(left.verdict());
            }
        }
        Hook::Local if !published => return Next::Done(Verdict::Pass),
        // What a container sends past the host is for the hook where it leaves.
        Hook::In if SENDS && !tables.is_addressed(&network.dst) => {
            let left = leave::<F, T>(tables, network, transport.dst_port);
            if !left.goes_on() {
                return Next::Done(left.verdict());
            }
        }
        // What comes to a container from outside is translated already.
        Hook::Inside
            if tables.subnet(&network.src).is_none() && !tables.is_target(&network.src) =>
        {
            return Next::Done(Verdict::Pass);
        }
        _ => {}
    }
    let tuple = tuple(network, transport, sight.hook.side());
    if let Some(flow) = tables.flow(Table::Confirmed, &tuple) {
        let plain = sight.hook == Hook::In && flow.flags & PLAIN != 0;
        if plain && meet_plain::<F, T>(tables, &network.src) {
            return Next::Done(Verdict::Pass);
        }
        if transport.lacks_length(network.fragment) {
            return Next::Done(Verdict::Drop(DropReason::Fragment));
        }
        let bytes = (network.end - sight.l3) as u64;
        if track::<F, T>(tables, settings, &tuple, transport, flow, bytes) {
            let known = (network, transport, &tuple);
            if sight.hook == Hook::In && !SENDS && flow.interface == 0 {
                let delivered = deliver::<F, P, T>(packet, sight, tables, settings, known, flow);
                if let Some(verdict) = delivered {
                    return Next::Done(verdict);
                }
            }
            arrive_outside::<F, P, T>(packet, sight, tables, settings, known, flow);
            return Next::Done(translate::<F, P>(
                packet, sight, network, &tuple, transport, flow,
            ));
        }
    }
    match sight.hook {
        // An outsider opens flows by published ports only; a target answers what came from the host.
        Hook::In if !published && tables.subnet(&network.src).is_none() => {
            let left = leave::<F, T>(tables, network, transport.dst_port);
            if left.goes_on() {
                Next::Unknown
            } else {
                Next::Done(left.verdict())
            }
        }
        _ => Next::Unknown,
    }
}

/// Whether a packet is to be seen as a forwarded one. That is also what the host sends to the outside in
/// a container's name, as a firewall's refusal (`reject with tcp reset`).
#[inline(always)]
fn is_forwarded<F: Family, T: Tables<F>>(
    tables: &T,
    sight: Sight,
    network: &Network<F::Address>,
) -> bool {
    sight.forwarded
        || sight.hook == Hook::Outside
            && tables.subnet(&network.src).is_some()
            && !tables.is_local(&network.src)
}

/// A packet of a flow gets its translation. A later fragment has no more than addresses.
#[inline(always)]
fn translate<F: Family, P: Packet>(
    packet: &mut P,
    sight: Sight,
    network: &Network<F::Address>,
    tuple: &Tuple<F::Address>,
    transport: &Transport,
    flow: &Flow,
) -> Verdict {
    if is_across::<F>(flow) {
        return Verdict::Convert;
    }
    if flow.flags & PLAIN != 0 {
        return Verdict::Pass;
    }
    let (translation, interface) = (&flow.translation, flow.interface);
    let length = Length::of(packet, sight.l3, network);
    let told = |mtu| told_mtu::<F>(sight.hook, &tuple.dst, mtu);
    if !fits(packet, length, interface, 0, told) {
        return Verdict::Drop(DropReason::TooBig);
    }
    if network.fragment == Fragment::Later {
        readdress::<F, P>(packet, sight.l3, tuple, translation, interface)
    } else {
        rewrite::<F, P>(packet, sight.l3, tuple, transport, translation, interface)
    }
}

/// Whether a flow is between an IPv6 client and an IPv4 target.
#[inline(always)]
const fn is_across<F: Family>(flow: &Flow) -> bool {
    F::LEADS_ACROSS && flow.flags & OTHER_FAMILY != 0
}

/// Whether a packet is on its way from a container of this bridge through a published port back to
/// this bridge: then its answers have an entry already.
#[inline(always)]
fn is_hairpin<F: Family, T: Tables<F>>(tables: &T, tuple: &Tuple<F::Address>) -> bool {
    let answers = tuple.answer();
    let is_published = |table| {
        tables
            .flow(table, &answers)
            .is_some_and(|answers| answers.port_id != NO_PORT)
    };
    (is_published(Table::Confirmed) || is_published(Table::HalfOpen))
        && tables
            .subnet(&tuple.src)
            .is_some_and(|subnet| subnet.bridge == tables.interface())
}
