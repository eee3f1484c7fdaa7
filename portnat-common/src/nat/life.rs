//! How long a flow lives, and how it ends. The protocol with its races is in
//! `docs/flow-protocol.md`.

use crate::address::{Address, Wide};
use crate::conntrack::{DEAD, State};
use crate::family::Family;
use crate::flow::{COUNTED, Direction, Flow, NO_PORT, Translation};
use crate::settings::{Settings, Ticks};
use crate::tables::{Table, Tables};
use crate::tuple::Tuple;

/// What a flow is worth to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It carries packets.
    Live,
    /// Its time is over: packets find nothing here, and who has claimed the flow may revive it.
    Over,
    /// It has been over for a second, so that nobody holds a pointer to it any more who took it for
    /// live: who has claimed it may remove it.
    Gone,
}

/// The life of the flow of which `flow` is one direction. It has the younger half's age.
#[inline(always)]
pub(super) fn life(
    settings: &Settings,
    protocol: u8,
    flow: &Flow,
    twin: Option<&Flow>,
    now: Ticks,
) -> Life {
    let own = flow.idle(now);
    let (idle, other) = match twin {
        Some(twin) => (own.min(twin.idle(now)), twin.seen.get()),
        None => (own, 0),
    };
    let dead = (flow.seen.get() | other) & DEAD != 0;
    let lifetime = if dead {
        Ticks(0)
    } else {
        let state = state(protocol, flow, twin);
        flow.lifetime(protocol, state, &settings.lifetimes)
    };
    if !dead && idle <= lifetime {
        Life::Live
    } else if idle.0 <= lifetime.0.wrapping_add(settings.hz.0) {
        Life::Over
    } else {
        Life::Gone
    }
}

/// The state of the flow of which `flow` is one direction.
#[inline(always)]
pub(super) fn state(protocol: u8, flow: &Flow, twin: Option<&Flow>) -> State {
    let own = flow.seen.get();
    let other = twin.map_or(0, |twin| twin.seen.get());
    match flow.direction() {
        Direction::Original => State::of(protocol, own, other),
        Direction::Reply => State::of(protocol, other, own),
    }
}

/// The entry of the other direction. Under its key may lie another flow's by now: only one that
/// leads back and was made with this one is this flow's.
#[inline(always)]
pub(super) fn twin_of<'t, F: Family, T: Tables<F>>(
    tables: &'t T,
    table: Table,
    tuple: &Tuple<F::Address>,
    flow: &Flow,
) -> Option<&'t Flow> {
    let back = Translation::to(&tuple.reverse());
    tables
        .flow(table, &flow.twin(tuple))
        .filter(|twin| twin.opened == flow.opened && twin.translation.is(&back))
}

/// What a flow is claimed by; the same for both directions. Another flow may have the same, which
/// costs the one that comes second a packet, if both are claimed at once.
#[inline(always)]
pub(super) fn identity<A: Address>(tuple: &Tuple<A>, flow: &Flow) -> u64 {
    // One direction's source before translation is the other's destination after it.
    let translation = &flow.translation;
    let sum = |one: &A, other: &Wide| {
        one.words()
            .iter()
            .zip(other)
            .fold(0u64, |sum, (one, other)| {
                sum.wrapping_add(u64::from(*one))
                    .wrapping_add(u64::from(*other))
            })
    };
    let near = sum(&tuple.src, &translation.dst)
        .wrapping_add((u64::from(tuple.src_port) + u64::from(translation.dst_port)) << 40);
    let far = sum(&tuple.dst, &translation.src)
        .wrapping_add((u64::from(tuple.dst_port) + u64::from(translation.src_port)) << 40);
    near.wrapping_mul(31).wrapping_add(far)
}

/// Ends a live flow. It is in the tables until its time as a dead one is over.
#[inline(always)]
pub(super) fn kill(flow: &Flow, twin: Option<&Flow>, now: Ticks) {
    let end = |flow: &Flow| {
        // Its second begins now.
        flow.last_seen.set(now.0);
        flow.seen.set(flow.seen.get() | DEAD);
    };
    end(flow);
    if let Some(twin) = twin {
        end(twin);
    }
}

/// Begins a flow anew that is over, with the packet that shows `seen`. Its claim must be held.
#[inline(always)]
pub(super) fn revive(flow: &Flow, twin: &Flow, seen: u64, now: Ticks) {
    // Until both are renewed the flow is over to everybody else.
    twin.seen.set(0);
    twin.last_seen.set(now.0);
    flow.way.forget();
    twin.way.forget();
    flow.seen.set(seen);
    flow.last_seen.set(now.0);
}

/// Removes both directions, adds what they have carried to the port's total and counts one flow less
/// of who opened it. Of a confirmed flow the claim must be held.
#[inline(always)]
pub(super) fn remove<F: Family, T: Tables<F>>(
    tables: &T,
    table: Table,
    tuple: &Tuple<F::Address>,
    flow: &Flow,
    twin: Option<&Flow>,
) {
    let twin_tuple = flow.twin(tuple);
    if matches!(table, Table::Confirmed) && flow.port_id != NO_PORT {
        add_to_total::<F, T>(tables, tuple, flow);
        if let Some(twin) = twin {
            add_to_total::<F, T>(tables, &twin_tuple, twin);
        }
    }
    // With the original direction goes the flow that was counted, also where the other is missing.
    let (sender, flags) = match flow.direction() {
        Direction::Original => (&tuple.src, flow.flags),
        Direction::Reply => (&twin_tuple.src, twin.map_or(0, |twin| twin.flags)),
    };
    if flags & COUNTED != 0 {
        tables.count_flow(sender, -1);
    }
    tables.remove_flow(table, tuple);
    if twin.is_some() {
        tables.remove_flow(table, &twin_tuple);
    }
}

#[inline(always)]
fn add_to_total<F: Family, T: Tables<F>>(tables: &T, tuple: &Tuple<F::Address>, flow: &Flow) {
    let inbound = flow.is_inbound(tuple.side);
    tables.add_to_total(flow.port_id, inbound, flow.packets.get(), flow.bytes.get());
}
