//! A packet meets its flow.

use crate::address::Address;
use crate::conntrack::{self, State};
use crate::family::Family;
use crate::flow::{Direction, Flow, NO_PORT, Translation};
use crate::headers::Transport;
use crate::settings::{Settings, Ticks};
use crate::tables::Tables;
use crate::tuple::Tuple;
use crate::wire::tcp;

/// What a flow entry is worth to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    /// The flow lives and has counted the packet.
    Live,
    /// It led nowhere any more and is removed; what comes may open another.
    Expired,
}

/// Counts a packet in its flow's entry, renews the flow and follows its state.
///
/// The other direction's entry is read only where this one has been silent for a second or a
/// connection opens, so that two directions share no cache line.
#[inline(always)]
pub(super) fn track<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    tuple: &Tuple<F::Address>,
    transport: &Transport,
    flow: &Flow,
    bytes: u64,
) -> Hit {
    let now = tables.now();
    let opens = conntrack::opens(tuple.protocol, transport.tcp_flags);
    if flow.idle(now) >= settings.hz || opens {
        let twin = twin_of::<F, T>(tables, tuple, flow);
        let dead = is_over(settings, tuple.protocol, flow, twin, now);
        let resets = transport.tcp_flags & tcp::RST != 0;
        let original = flow.direction() == Direction::Original;
        let lost = original && (twin.is_none() || has_moved::<F, T>(tables, flow));
        if lost || (dead && (resets || !original)) {
            // Without its twin, or with an address that this interface has no more, it leads
            // nowhere. One whose time is over may be begun anew by who opened it, and not by the
            // other side (RFC 4787 REQ-6: the inside refreshes a mapping).
            if twin.is_some() {
                tables.remove_flow(&flow.translation.twin(tuple));
            }
            tables.remove_flow(tuple);
            return Hit::Expired;
        }
        let reopened = opens && state(tuple.protocol, flow, twin) == State::Closing;
        if original && (dead || reopened) {
            flow.seen.set(0);
            if let Some(twin) = twin {
                twin.seen.set(0);
            }
        }
        // The first reset begins the time that a closing flow has; further ones do not keep it
        // alive (RFC 7857 section 2.2).
        if !resets || flow.seen.get() & conntrack::RST == 0 {
            flow.last_seen.set(now.0);
        }
    }
    let seen = flow.seen.get();
    let observed = conntrack::observed(tuple.protocol, transport.tcp_flags);
    if seen | observed != seen {
        flow.seen.set(seen | observed);
    }
    flow.count(bytes);
    Hit::Live
}

/// The entry of the other direction. Under its key may lie another flow's by now: only one that
/// leads back is this flow's.
#[inline(always)]
pub(super) fn twin_of<'t, F: Family, T: Tables<F>>(
    tables: &'t T,
    tuple: &Tuple<F::Address>,
    flow: &Flow,
) -> Option<&'t Flow> {
    let back = Translation::to(&tuple.reverse());
    tables
        .flow(&flow.translation.twin(tuple))
        .filter(|twin| twin.translation.is(&back))
}

/// Whether a masqueraded flow has an address that its interface does not lend any more.
#[inline(always)]
fn has_moved<F: Family, T: Tables<F>>(tables: &T, flow: &Flow) -> bool {
    flow.port_id == NO_PORT
        && tables.egress_address() != Some(F::Address::narrow(&flow.translation.src))
}

/// The state of the flow of which `flow` is one direction.
#[inline(always)]
fn state(protocol: u8, flow: &Flow, twin: Option<&Flow>) -> State {
    let own = flow.seen.get();
    let other = twin.map_or(0, |twin| twin.seen.get());
    match flow.direction() {
        Direction::Original => State::of(protocol, own, other),
        Direction::Reply => State::of(protocol, other, own),
    }
}

/// Whether a flow has been silent in both directions for longer than it lives.
#[inline(always)]
pub(super) fn is_over(
    settings: &Settings,
    protocol: u8,
    flow: &Flow,
    twin: Option<&Flow>,
    now: Ticks,
) -> bool {
    let own = flow.idle(now);
    let idle = twin.map_or(own, |twin| {
        let other = twin.idle(now);
        if other < own { other } else { own }
    });
    idle > state(protocol, flow, twin).lifetime(&settings.lifetimes)
}
