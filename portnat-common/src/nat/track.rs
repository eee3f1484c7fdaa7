//! A packet meets its flow.

use crate::conntrack::{self, State};
use crate::family::Family;
use crate::flow::{Direction, Flow};
use crate::headers::Transport;
use crate::settings::{Settings, Ticks};
use crate::tables::Tables;
use crate::tuple::Tuple;

/// What a flow entry is worth to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    /// The flow lives and has counted the packet.
    Live,
    /// Its life time was over and this packet may not revive it: it is removed.
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
    let idle = flow.idle(now);
    let opens = conntrack::opens(tuple.protocol, transport.tcp_flags);
    if idle >= settings.hz || opens {
        let twin = tables.flow(&flow.translation.twin(tuple));
        let dead = is_over(settings, tuple.protocol, flow, twin, now);
        let reopened = opens && state(tuple.protocol, flow, twin) == State::Closing;
        if flow.direction() == Direction::Original {
            if dead || reopened {
                // Who opened the flow begins it anew, on the same ports.
                flow.seen.set(0);
                if let Some(twin) = twin {
                    twin.seen.set(0);
                }
            }
        } else if dead {
            // The other side may not (RFC 4787 REQ-6: the inside refreshes a mapping).
            tables.remove_flow(&flow.translation.twin(tuple));
            tables.remove_flow(tuple);
            return Hit::Expired;
        }
        flow.last_seen.set(now.0);
    }
    let seen = flow.seen.get();
    let observed = conntrack::observed(tuple.protocol, transport.tcp_flags);
    if seen | observed != seen {
        flow.seen.set(seen | observed);
    }
    flow.count(bytes);
    Hit::Live
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
