//! Who reaches containers by their own addresses: outsiders, and containers of other bridges.
//!
//! What comes in from outside is judged where it comes in, whoever it says it is. Between bridges the same
//! packet can be an answer of a connection that the host's own netfilter has translated; so it is numbered
//! there, as asking for the address itself, and judged where it comes out of the stack: if it still comes
//! from a container then, and is of no flow, it asks for a container directly.

use crate::address::Address;
use crate::family::{Family, Fragment, Network};
use crate::published::PublishedKey;
use crate::subnet::Subnet;
use crate::tables::{Tables, gate};
use crate::verdict::{DropReason, Verdict};
use crate::way::BETWEEN_BRIDGES;

use super::opening::{COUNTS, Opening, PLAIN, THIS_PORT};

/// What becomes of a packet that comes in and is not ours. A number, for a verdict within a tuple is one
/// of whose parts the verifier knows nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Left {
    /// It passes.
    Passes,
    /// It passes; but it may belong to a flow that translates nothing ([`crate::flow::PLAIN`]), or begin
    /// one.
    Begins,
    /// It is dropped, unless it belongs to such a flow, as answers from a prefix that is not masqueraded
    /// to do, and what began while its network let everybody in.
    Answers,
    /// It is dropped.
    Refused,
}

impl Left {
    /// Whether flows have to be looked through.
    #[inline(always)]
    pub(super) const fn goes_on(self) -> bool {
        matches!(self, Left::Begins | Left::Answers)
    }

    /// What becomes of it if there is none.
    #[inline(always)]
    pub(super) const fn verdict(self) -> Verdict {
        match self {
            Left::Passes | Left::Begins => Verdict::Pass,
            Left::Answers | Left::Refused => Verdict::Drop(DropReason::DirectAccess),
        }
    }
}

/// What becomes of a packet that comes in and is not ours: it passes, unless an outsider asks for a
/// container by its own address. Only what the host forwards for our sake makes that possible, and
/// Docker since 28 does not allow it either. And whether it may belong to a flow that translates
/// nothing ([`crate::flow::PLAIN`]), or begin one.
#[inline(always)]
pub(super) fn leave<F: Family, T: Tables<F>>(
    tables: &T,
    network: &Network<F::Address>,
    dst_port: u16,
) -> Left {
    let Some(to) = tables.subnet(&network.dst) else {
        return Left::Passes;
    };
    let claimed = tables.subnet(&network.src);
    let mut from = claimed;
    if let Some(claimed) = claimed
        && is_forged::<F, T>(tables, claimed, to, &network.src)
    {
        from = None;
    }
    let Some(from) = from else {
        let may = if to.is_isolated() && !to.is_closed() {
            is_outside::<F, T>(tables)
        } else {
            !to.is_guarded()
        };
        return if may || tables.is_local(&network.dst) {
            if lets_in(to) {
                Left::Begins
            } else {
                Left::Passes
            }
        } else if claimed.is_none() && is_among_neighbours::<F, T>(tables, to) {
            Left::Passes
        } else if !to.is_routed() {
            if to.bypasses() || is_outside::<F, T>(tables) {
                Left::Answers
            } else {
                Left::Refused
            }
        } else if is_open::<F, T>(tables, network, dst_port) {
            Left::Begins
        } else {
            Left::Answers
        };
    };
    // The host's own address may be translated by its netfilter yet.
    if !are_strangers(from, to) || was_seen::<F, T>(tables, from) || tables.is_local(&network.dst) {
        return Left::Passes;
    }
    tables.number(tables.numbered() | BETWEEN_BRIDGES);
    Left::Begins
}

/// Whether a packet is not from the subnet that it claims to be from. One for the very same subnet that
/// comes in by another interface: its own would not have left the bridge. A bridge's port says nothing of
/// where it belongs; its packets are seen again at the bridge. And one for another subnet from an address of
/// the host's, as which the host's netfilter has translated nothing yet where packets come in; IPv4's stack
/// takes none of those, IPv6's does.
#[inline(always)]
fn is_forged<F: Family, T: Tables<F>>(
    tables: &T,
    from: &Subnet,
    to: &Subnet,
    src: &F::Address,
) -> bool {
    if are_two(from, to) {
        return tables.is_local(src);
    }
    let here = tables.interface();
    from.bridge != 0 && from.bridge != here && tables.is_gate(here)
}

/// Whether a packet for a subnet's container, from an address that is in none, comes from its own bridge:
/// neighbours talk as whoever they are, and ask by their link-local addresses whether the other is still
/// there (RFC 4861 section 7.3.3). A bridge's port says nothing of where it belongs; what goes from there to
/// the host, the bridge sees again.
#[inline(always)]
fn is_among_neighbours<F: Family, T: Tables<F>>(tables: &T, to: &Subnet) -> bool {
    let here = tables.interface();
    !to.is_apart() && (to.bridge == here || !tables.is_gate(here))
}

/// Whether a packet of this subnet has been seen before it came here: at the bridge's port, as the
/// container sent it. The bridge sees it translated, by us or by netfilter (br_netfilter).
#[inline(always)]
fn was_seen<F: Family, T: Tables<F>>(tables: &T, from: &Subnet) -> bool {
    from.bridge == tables.interface() && !from.is_alone()
}

/// What is known of a flow that translates nothing, of which a packet has come in. `true` if it has been
/// counted already.
#[inline(always)]
pub(super) fn meet_plain<F: Family, T: Tables<F>>(tables: &T, src: &F::Address) -> bool {
    // It asks for nobody.
    tables.number(tables.numbered() & !BETWEEN_BRIDGES);
    tables
        .subnet(src)
        .is_some_and(|from| was_seen::<F, T>(tables, from))
}

/// Whether an outsider asks for a container directly that may be asked, and whose answers would be
/// masqueraded.
#[inline(always)]
pub(super) fn is_unprotected<F: Family, T: Tables<F>>(
    tables: &T,
    src: &F::Address,
    dst: &F::Address,
) -> bool {
    tables.subnet(dst).is_some_and(lets_in)
        && tables.subnet(src).is_none()
        && !tables.is_local(dst)
        && is_outside::<F, T>(tables)
}

/// Whether a packet comes in by an uplink: what comes by a bridge is a container's, whatever its source.
#[inline(always)]
fn is_outside<F: Family, T: Tables<F>>(tables: &T) -> bool {
    tables.gate(tables.interface()) == Some(gate::UPLINK)
}

/// Whether every outsider reaches a subnet's containers, as whom they do not speak.
#[inline(always)]
const fn lets_in(subnet: &Subnet) -> bool {
    subnet.is_masqueraded() && !subnet.is_guarded()
}

/// Whether two subnets are behind different bridges.
#[inline(always)]
const fn are_two(from: &Subnet, to: &Subnet) -> bool {
    from.bridge != to.bridge && from.bridge != 0 && to.bridge != 0
}

/// Whether containers of two subnets reach each other by the host, if they do: behind two bridges, or behind
/// one whose ports are apart.
#[inline(always)]
const fn are_strangers(from: &Subnet, to: &Subnet) -> bool {
    are_two(from, to) || are_apart(from, to)
}

/// Whether two subnets are behind one bridge whose ports are kept apart.
#[inline(always)]
const fn are_apart(from: &Subnet, to: &Subnet) -> bool {
    to.is_apart() && from.bridge == to.bridge
}

/// Whether everybody may ask a routed container for this: a port of its own that is published, ICMP, and
/// fragments, which are nothing without their first.
#[inline(always)]
fn is_open<F: Family, T: Tables<F>>(
    tables: &T,
    network: &Network<F::Address>,
    dst_port: u16,
) -> bool {
    if network.protocol == F::ICMP || network.fragment == Fragment::Later {
        return true;
    }
    is_published_target::<F, T>(tables, network.dst, dst_port, network.protocol)
}

/// Whether a container's own port is published.
#[inline(always)]
pub(super) fn is_published_target<F: Family, T: Tables<F>>(
    tables: &T,
    address: F::Address,
    port: u16,
    protocol: u8,
) -> bool {
    let key = PublishedKey {
        address,
        port,
        protocol,
        padding: 0,
    };
    tables.published_back(&key).is_some()
}

/// Whether a packet that goes out by a bridge has come in asking for a container by its own address, of
/// another bridge or of one whose ports are apart.
#[inline(always)]
pub(super) fn is_between<F: Family, T: Tables<F>>(tables: &T) -> bool {
    tables.numbered() & BETWEEN_BRIDGES != 0
}

/// What becomes of such a packet that is of no flow.
pub(super) enum Between {
    /// It may pass, and so may its answers.
    Pass,
    /// It may pass, and what answers it would not: it begins a flow.
    Open,
    /// It must not.
    Drop,
}

/// Judges such a packet. `dst_port` is 0 where it has none.
#[inline(always)]
pub(super) fn between<F: Family, T: Tables<F>>(
    tables: &T,
    network: &Network<F::Address>,
    dst_port: u16,
) -> Between {
    let (Some(from), Some(to)) = (tables.subnet(&network.src), tables.subnet(&network.dst)) else {
        return Between::Pass;
    };
    // What the host's own netfilter has translated comes from elsewhere by now.
    if !are_two(from, to) {
        return match are_apart(from, to) {
            true => Between::Drop,
            false => Between::Pass,
        };
    }
    let may = if network.fragment == Fragment::Later {
        // Of an answer's datagram the first has passed, if it is one.
        !(from.is_isolated() && to.is_isolated())
    } else if to.is_routed() {
        is_open::<F, T>(tables, network, dst_port)
    } else {
        !to.is_isolated()
    };
    match may {
        // The host's own netfilter has made it an answer of the host's.
        false if tables.is_local(&network.src) => Between::Pass,
        false => Between::Drop,
        true if from.is_isolated() || from.is_routed() => Between::Open,
        true => Between::Pass,
    }
}

/// What begins is a flow that translates nothing, by which answers are known.
#[inline(always)]
pub(super) fn begin_plain<A: Address>(opening: &mut Opening<A>, counts: bool) {
    let counts = if counts { COUNTS } else { 0 };
    opening.wishes = PLAIN | THIS_PORT | counts;
}
