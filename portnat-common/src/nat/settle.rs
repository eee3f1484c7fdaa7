//! What a flow that begins finds in its place: an earlier flow with the same tuple.

use crate::address::Address;
use crate::family::Family;
use crate::flow::{ASKED, Direction, Flow};
use crate::settings::{Settings, Ticks};
use crate::tables::{Table, Tables};

use super::life::{Life, identity, life, remove, revive, state, twin_of};
use super::opening::{BORROWED, MAPPED, MAPS, Opening};

/// What there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing, or nothing is left: the flow may be made.
    Nothing,
    /// The same flow, which lives again or still.
    Same,
    /// Something that cannot be removed at this moment.
    Busy,
}

/// Clears the way for a flow. If there is the same already, the translation becomes that of its
/// packets.
#[inline(always)]
pub(super) fn settle<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    table: Table,
    opening: &mut Opening<F::Address>,
    now: Ticks,
) -> Before {
    let confirmed = settle_confirmed::<F, T>(tables, settings, opening, now);
    if matches!(table, Table::Confirmed) || confirmed != Before::Nothing {
        return confirmed;
    }
    let tuple = &opening.tuple;
    let Some(flow) = tables.flow(Table::HalfOpen, tuple) else {
        return Before::Nothing;
    };
    let twin = twin_of::<F, T>(tables, Table::HalfOpen, tuple, flow);
    let is_over = flow.flags & ASKED != 0 && state(tuple.protocol, flow, twin).is_closing();
    if !is_over && twin.is_some() && life(settings, tuple.protocol, flow, twin, now) == Life::Live {
        // Another CPU has just made it.
        opening.translation.become_as(&flow.translation);
        opening.interface = flow.interface;
        return Before::Same;
    }
    remove::<F, T>(tables, Table::HalfOpen, tuple, flow, twin);
    Before::Nothing
}

#[inline(always)]
fn settle_confirmed<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    opening: &mut Opening<F::Address>,
    now: Ticks,
) -> Before {
    let Some(flow) = tables.flow(Table::Confirmed, &opening.tuple) else {
        return Before::Nothing;
    };
    let claimed = identity(&opening.tuple, flow);
    if !tables.claim(claimed) {
        return Before::Busy;
    }
    // Only now it stays what it is: before, another CPU could have it removed or revived.
    let before = match tables.flow(Table::Confirmed, &opening.tuple) {
        None => Before::Nothing,
        Some(flow) if identity(&opening.tuple, flow) != claimed => Before::Busy,
        Some(flow) => claimed_flow::<F, T>(tables, settings, opening, flow, now),
    };
    tables.release(claimed);
    before
}

#[inline(always)]
fn claimed_flow<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    opening: &mut Opening<F::Address>,
    flow: &Flow,
    now: Ticks,
) -> Before {
    let tuple = &opening.tuple;
    let twin = twin_of::<F, T>(tables, Table::Confirmed, tuple, flow);
    let life = life(settings, tuple.protocol, flow, twin, now);
    if life == Life::Live {
        opening.translation.become_as(&flow.translation);
        opening.interface = flow.interface;
        return Before::Same;
    }
    // Who opened a flow may begin it anew, and not the other side (RFC 4787 REQ-6: the inside
    // refreshes a mapping).
    if let Some(twin) = twin
        && flow.direction() == Direction::Original
        && leads_there(opening, flow)
        && is_still_lent::<F, T>(tables, opening, flow)
    {
        revive(flow, twin, opening.seen, now);
        flow.count(opening.bytes);
        opening.translation.become_as(&flow.translation);
        return Before::Same;
    }
    if life == Life::Over {
        return Before::Busy;
    }
    remove::<F, T>(tables, Table::Confirmed, tuple, flow, twin);
    Before::Nothing
}

/// Whether the port that an old flow had is still to be lent: it may have been published or reserved
/// since, or a socket of the host may have it.
#[inline(always)]
fn is_still_lent<F: Family, T: Tables<F>>(
    tables: &T,
    opening: &Opening<F::Address>,
    flow: &Flow,
) -> bool {
    let tuple = &opening.tuple;
    !opening.wishes(BORROWED)
        || (!tables.port_is_withheld(tuple.protocol, flow.translation.src_port)
            && !tables.is_in_use(&flow.twin(tuple)))
}

/// Whether an old flow goes where a new one would go, and comes from the same address.
#[inline(always)]
fn leads_there<A: Address>(opening: &Opening<A>, flow: &Flow) -> bool {
    let (old, new) = (&flow.translation, &opening.translation);
    A::narrow(&old.src) == A::narrow(&new.src)
        && A::narrow(&old.dst) == A::narrow(&new.dst)
        && old.dst_port == new.dst_port
        && flow.port_id == opening.port_id
        && flow.interface == opening.interface
        // Its port may be another's by now.
        && (!opening.wishes(MAPS) || opening.wishes(MAPPED) && old.src_port == new.src_port)
}
