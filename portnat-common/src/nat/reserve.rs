//! Both directions' entries of a flow are made, and with them a source port is reserved.

use crate::family::Family;
use crate::flow::{
    ASKED, COUNTED, Flow, FlowRecord, HALF_OPEN, NAMED, OTHER_FAMILY, PLAIN, REPLY, SAME_SIDE,
    Translation,
};
use crate::settings::{Settings, Ticks};
use crate::tables::{Queued, Refusal, Table, Tables};
use crate::tuple::{Side, Tuple};
use crate::verdict::DropReason;

use super::life::{Life, identity, life, remove, twin_of};
use super::opening::{
    ACROSS, BORROWED, COUNTS, LIMITED, LISTED, Opening, RESERVED, THIS_PORT, UNCONFIRMED,
};

/// How many source ports are tried. With half of all ports in use towards one remote endpoint, all
/// of them are taken once in 2^32 times.
pub const PROBES: u32 = 32;

/// How far apart they are, round and round the pool: all over it, for a published range can be most of
/// it, and ports behind each other in use. A prime: none is probed twice but where the pool's size is a
/// multiple of it.
pub(super) const STRIDE: u32 = 5003;

/// What became of an attempt to put the reply direction under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    /// It is there.
    Yes,
    /// The key is another's: another port may be free.
    No,
    /// There is no room for it.
    Full,
    /// The key will be free in a moment.
    Busy,
}

// The reply direction's entry comes first: that its key was free *is* the reservation of the source
// port towards this remote endpoint. The original direction's comes second, and where that fails the
// first is taken back, so that no half of a flow is left.

/// Reserves the port that is wanted most, if there is one and it is to be had; or says in `opening`
/// that another one is to be searched.
///
/// # Errors
/// The flow table is full, or what has the port is just ending.
#[inline(always)]
pub(super) fn keep_port<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    table: Table,
    opening: &mut Opening<F::Address>,
    now: Ticks,
) -> Result<(), DropReason> {
    // Field by field: a whole value would be cleared by a call, with a frame of its own.
    let flags = flags::<F>(table, opening);
    let entry = &mut opening.entry;
    entry.translation = Translation::to(&opening.tuple.reverse());
    entry.port_id = opening.port_id;
    entry.flags = REPLY | flags;
    entry.interface = opening.reply_interface;
    entry.opened = now.0;
    entry.packets = 0;
    entry.seen = 0;
    entry.last_seen = now.0;
    entry.bytes = 0;
    entry.way.clear();
    if !opening.wishes(THIS_PORT) {
        return Ok(());
    }
    opening.expect_answers();
    if opening.wishes(BORROWED) && tables.is_in_use(&opening.answers) {
        return Ok(());
    }
    match place::<F, T>(tables, settings, table, opening, now) {
        Placed::Yes => {
            opening.wishes |= RESERVED;
            Ok(())
        }
        Placed::Full => Err(DropReason::FlowTableFull),
        Placed::Busy => Err(DropReason::FlowEnding),
        // From another port it would be nobody's answer, and nobody could answer it.
        Placed::No if opening.wishes(UNCONFIRMED | super::opening::PLAIN) => {
            Err(DropReason::NoFlow)
        }
        Placed::No => Ok(()),
    }
}

/// What both entries of a flow say of it.
#[inline(always)]
fn flags<F: Family>(table: Table, opening: &Opening<F::Address>) -> u32 {
    let half_open = match table {
        Table::Confirmed => 0,
        Table::HalfOpen => HALF_OPEN,
    };
    let same_side = if opening.interface != 0 && opening.tuple.side == Side::Ingress {
        SAME_SIDE
    } else {
        0
    };
    let across = if F::LEADS_ACROSS && opening.wishes(ACROSS) {
        OTHER_FAMILY
    } else {
        0
    };
    let asked = if opening.wishes(LISTED | LIMITED) {
        ASKED
    } else {
        0
    };
    let plain = if opening.wishes(super::opening::PLAIN) {
        PLAIN
    } else {
        0
    };
    let named = if opening.wishes(super::opening::NAMED) {
        NAMED
    } else {
        0
    };
    half_open | same_side | across | asked | plain | named
}

/// Finds a source port of the pool under which the key of the answers is free, and reserves it.
///
/// # Errors
/// The flow table is full, or no port was free.
#[inline(always)]
pub(super) fn search_port<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    table: Table,
    opening: &mut Opening<F::Address>,
) -> Result<(), DropReason> {
    // The verifier walks each round by itself, so a round does next to nothing, and so does what
    // follows in the same function.
    let first = tables.random();
    let mut probe = 0;
    loop {
        if probe == PROBES {
            return Err(DropReason::PortsExhausted);
        }
        let port = settings
            .pool
            .nth(first.wrapping_add(probe.wrapping_mul(STRIDE)));
        probe += 1;
        // In memory, where the verifier does not tell one number from another.
        opening.probes = probe;
        if tables.port_is_withheld(opening.tuple.protocol, port) {
            continue;
        }
        opening.translation.src_port = port;
        opening.expect_answers();
        if opening.wishes(BORROWED) && tables.is_across(&opening.answers) {
            continue;
        }
        match insert_free::<F, T>(tables, table, &opening.answers, &opening.entry) {
            Ok(()) => return Ok(()),
            Err(Refusal::Full) => return Err(DropReason::FlowTableFull),
            Err(Refusal::Exists) => {}
        }
    }
}

/// Makes the original direction's entry, where the reply direction's is made and so a port reserved.
///
/// # Errors
/// The flow table is full, or the port is somebody else's after all; nothing is left of the flow.
#[inline(always)]
pub(super) fn complete<F: Family, T: Tables<F>>(
    tables: &T,
    table: Table,
    opening: &mut Opening<F::Address>,
) -> Result<(), DropReason> {
    if opening.wishes(BORROWED) {
        // The port that was kept was nobody's before; one of the other family's flows may have come
        // in between, and one of both must see the other. Of the pool, it is one of tens of
        // thousands: the next packet finds another.
        let (taken, reason) = if opening.wishes(RESERVED) {
            (tables.is_across(&opening.answers), DropReason::FlowEnding)
        } else {
            (
                tables.is_in_use(&opening.answers),
                DropReason::PortsExhausted,
            )
        };
        if taken {
            tables.remove_flow(table, &opening.answers);
            return Err(reason);
        }
        tables.count_probes(opening.probes);
    }
    let counted = if opening.wishes(COUNTS) { COUNTED } else { 0 };
    let flags = flags::<F>(table, opening);
    let entry = &mut opening.entry;
    entry.translation.become_as(&opening.translation);
    entry.flags = flags | counted;
    entry.interface = opening.interface;
    entry.seen = opening.seen;
    entry.packets = 1;
    entry.bytes = opening.bytes;
    match tables.insert_flow(table, &opening.tuple, &opening.entry) {
        Ok(()) => {
            begin::<F, T>(tables, table, opening);
            Ok(())
        }
        Err(Refusal::Full) => {
            tables.remove_flow(table, &opening.answers);
            Err(DropReason::FlowTableFull)
        }
        // Another CPU carries another packet of this flow and was faster: its choice counts.
        Err(Refusal::Exists) => {
            let winner = tables.flow(table, &opening.tuple);
            if let Some(winner) = winner
                && winner.translation.is(&opening.translation)
            {
                return Ok(());
            }
            tables.remove_flow(table, &opening.answers);
            let winner = winner.ok_or(DropReason::FlowEnding)?;
            opening.translation.become_as(&winner.translation);
            Ok(())
        }
    }
}

/// A flow is in its table, both directions.
#[inline(always)]
fn begin<F: Family, T: Tables<F>>(tables: &T, table: Table, opening: &Opening<F::Address>) {
    match table {
        Table::Confirmed => {
            if opening.wishes(COUNTS) {
                tables.count_flow(&opening.tuple.src, 1);
            }
            tables.queue(&Queued {
                opened: Ticks(opening.entry.opened),
                original: opening.tuple,
            });
        }
        // It may be evicted any time: its packets are counted as they come.
        Table::HalfOpen => {
            let inbound = opening.entry.is_inbound(opening.tuple.side);
            tables.add_to_total(opening.port_id, inbound, 1, opening.bytes);
        }
    }
}

/// Inserts the reply direction if neither table has its key.
#[inline(always)]
fn insert_free<F: Family, T: Tables<F>>(
    tables: &T,
    table: Table,
    key: &Tuple<F::Address>,
    reply: &FlowRecord,
) -> Result<(), Refusal> {
    if matches!(table, Table::HalfOpen) && tables.flow(Table::Confirmed, key).is_some() {
        return Err(Refusal::Exists);
    }
    tables.insert_flow(table, key, reply)
}

/// Puts the reply direction under the key that is wanted most, also where something is in the way
/// that is or becomes it: because it is this very flow's (another CPU is opening it, or its other
/// half is gone), or because its time is over.
#[inline(always)]
fn place<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    table: Table,
    opening: &mut Opening<F::Address>,
    now: Ticks,
) -> Placed {
    let (key, reply) = (&opening.answers, &opening.entry);
    match insert_free::<F, T>(tables, table, key, reply) {
        Ok(()) => return Placed::Yes,
        Err(Refusal::Full) => return Placed::Full,
        Err(Refusal::Exists) => {}
    }
    if let Some(holder) = tables.flow(Table::Confirmed, key) {
        let claimed = identity(key, holder);
        if !tables.claim(claimed) {
            return Placed::Busy;
        }
        let placed = take_over::<F, T>(tables, settings, table, opening, claimed, now);
        tables.release(claimed);
        return placed;
    }
    let Some(holder) = tables.flow(Table::HalfOpen, key) else {
        return Placed::Busy;
    };
    let twin = twin_of::<F, T>(tables, Table::HalfOpen, key, holder);
    if holder.translation.is(&reply.translation) {
        adopt(holder, &mut opening.entry, now);
        return Placed::Yes;
    }
    if twin.is_some() && life(settings, key.protocol, holder, twin, now) == Life::Live {
        return Placed::No;
    }
    remove::<F, T>(tables, Table::HalfOpen, key, holder, twin);
    match tables.insert_flow(table, key, reply) {
        Ok(()) => Placed::Yes,
        Err(_) => Placed::Busy,
    }
}

/// Makes a reply direction that is there already that of the flow which is being opened.
#[inline(always)]
fn adopt(holder: &Flow, entry: &mut FlowRecord, now: Ticks) {
    // What it has seen was another connection's.
    holder.seen.set(0);
    holder.way.forget();
    holder.last_seen.set(now.0);
    entry.opened = holder.opened;
}

/// The same where a confirmed flow is in the way, whose claim is held.
#[inline(always)]
fn take_over<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    table: Table,
    opening: &mut Opening<F::Address>,
    claimed: u64,
    now: Ticks,
) -> Placed {
    let (key, reply) = (&opening.answers, &opening.entry);
    // Only now it stays what it is.
    let holder = tables.flow(Table::Confirmed, key);
    let Some(holder) = holder.filter(|holder| identity(key, holder) == claimed) else {
        return Placed::Busy;
    };
    if matches!(table, Table::Confirmed) && holder.translation.is(&reply.translation) {
        adopt(holder, &mut opening.entry, now);
        return Placed::Yes;
    }
    let twin = twin_of::<F, T>(tables, Table::Confirmed, key, holder);
    match life(settings, key.protocol, holder, twin, now) {
        Life::Gone => {
            remove::<F, T>(tables, Table::Confirmed, key, holder, twin);
            match tables.insert_flow(table, key, reply) {
                Ok(()) => Placed::Yes,
                Err(_) => Placed::Busy,
            }
        }
        Life::Over | Life::Live => Placed::No,
    }
}
