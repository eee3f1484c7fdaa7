//! Both directions' entries of a flow are made, and with them a source port is reserved.

use crate::address::Address;
use crate::family::Family;
use crate::flow::{Direction, Flow, NO_PORT, REPLY, Translation};
use crate::settings::{Settings, Ticks};
use crate::tables::{Refusal, Scratch, Tables};
use crate::tuple::Tuple;
use crate::verdict::DropReason;

use super::track::{is_over, twin_of};

/// How many source ports are tried. With half of all ports in use towards one remote endpoint, all
/// of them are taken once in 2^32 times.
const PROBES: u32 = 32;

/// What is known of a flow before its source port is chosen.
pub(super) struct Opening<'a, A> {
    /// Its first packet, before translation.
    pub(super) tuple: &'a Tuple<A>,
    /// The source address afterwards.
    pub(super) src: A,
    /// The destination address afterwards.
    pub(super) dst: A,
    /// The destination port afterwards.
    pub(super) dst_port: u16,
    /// The source port to try first; the others come from the pool.
    pub(super) port: Option<u16>,
    /// Whether the source address is one of the host's, whose sockets may use the port.
    pub(super) borrowed: bool,
    /// The published port that it comes through.
    pub(super) port_id: u32,
    /// Length of the first packet in bytes.
    pub(super) bytes: u64,
    /// What the first packet shows, see [`crate::conntrack`].
    pub(super) seen: u64,
}

/// Makes a flow's entries and writes to `translation` what its packets become.
///
/// The reply direction comes first: that its key was free *is* the reservation of the source port
/// towards this remote endpoint. The original direction comes second, and where that fails the
/// first is taken back, so that no half of a flow is left.
///
/// # Errors
/// The flow table is full, or no port was free.
#[inline(always)]
pub(super) fn insert<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    opening: &Opening<'_, F::Address>,
    translation: &mut Translation,
) -> Result<(), DropReason> {
    let tuple = opening.tuple;
    let now = tables.now();
    // Only before the tables are set up there is none.
    let entry = tables
        .scratch(Scratch::Entry)
        .ok_or(DropReason::FlowTableFull)?;
    // Field by field: a whole value would be cleared by a call, and with a third frame the stack of
    // this chain is too deep for kernels that round each one up to 32 bytes.
    entry.translation = Translation::to(&tuple.reverse());
    entry.port_id = opening.port_id;
    entry.kind = REPLY;
    entry.padding = 0;
    entry.packets.set(0);
    entry.seen.set(0);
    entry.last_seen.set(now.0);
    entry.bytes.set(0);
    *translation = Translation {
        src: opening.src.widen(),
        dst: opening.dst.widen(),
        src_port: 0,
        dst_port: opening.dst_port,
    };
    let mut reply_key = *tuple;
    reserve::<F, T>(
        tables,
        settings,
        opening,
        entry,
        translation,
        &mut reply_key,
    )?;

    entry.translation = *translation;
    entry.kind = 0;
    entry.seen.set(opening.seen);
    entry.packets.set(1);
    entry.bytes.set(opening.bytes);
    match tables.insert_flow(tuple, entry) {
        Ok(()) => Ok(()),
        Err(Refusal::Full) => {
            tables.remove_flow(&reply_key);
            Err(DropReason::FlowTableFull)
        }
        // Another CPU carries another packet of this flow and was faster: its choice counts.
        Err(Refusal::Exists) => {
            let winner = tables.flow(tuple);
            if let Some(winner) = winner
                && winner.translation.is(translation)
            {
                return Ok(());
            }
            tables.remove_flow(&reply_key);
            let winner = winner.ok_or(DropReason::PortsExhausted)?;
            *translation = winner.translation;
            Ok(())
        }
    }
}

/// Finds a source port under which the reply direction's key is free and inserts `reply` there.
/// The port goes into `translation`, the key into `key`: a result that is only there where all went
/// well would leave its registers undefined where not, which the verifier does not forgive.
#[inline(always)]
fn reserve<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    opening: &Opening<'_, F::Address>,
    reply: &Flow,
    translation: &mut Translation,
    key: &mut Tuple<F::Address>,
) -> Result<(), DropReason> {
    let tuple = opening.tuple;
    let now = Ticks(reply.last_seen.get());
    if let Some(port) = opening.port {
        translation.src_port = port;
        *key = translation.twin(tuple);
        let free = !opening.borrowed || !tables.is_in_use(key);
        match if free {
            tables.insert_flow(key, reply)
        } else {
            Err(Refusal::Exists)
        } {
            Ok(()) => return Ok(()),
            Err(Refusal::Full) => return Err(DropReason::FlowTableFull),
            Err(Refusal::Exists)
                if free && take_over::<F, T>(tables, settings, key, reply, now) =>
            {
                return Ok(());
            }
            Err(Refusal::Exists) => {}
        }
    }
    // The verifier walks each round by itself, so a round does next to nothing.
    let first = tables.random();
    let mut probe = 0;
    loop {
        if probe == PROBES {
            return Err(DropReason::PortsExhausted);
        }
        let port = settings.pool.nth(first.wrapping_add(probe));
        probe += 1;
        if tables.port_is_published(tuple.protocol, port) {
            continue;
        }
        translation.src_port = port;
        *key = translation.twin(tuple);
        match tables.insert_flow(key, reply) {
            Ok(()) => break,
            Err(Refusal::Full) => return Err(DropReason::FlowTableFull),
            Err(Refusal::Exists) => {}
        }
    }
    if opening.borrowed && tables.is_in_use(key) {
        // One of tens of thousands, and the next packet finds another.
        tables.remove_flow(key);
        return Err(DropReason::PortsExhausted);
    }
    Ok(())
}

/// Whether the entry that is in the way under `key` is or becomes `reply`: because it is this very
/// flow's (another CPU is opening it, or its other half is gone), because its time is over, or
/// because a published port's target spoke first and was taken for a client.
#[inline(always)]
fn take_over<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    key: &Tuple<F::Address>,
    reply: &Flow,
    now: Ticks,
) -> bool {
    let Some(holder) = tables.flow(key) else {
        return false;
    };
    if holder.translation.is(&reply.translation) {
        // What it has seen was another connection's.
        holder.seen.set(0);
        return true;
    }
    let twin = twin_of::<F, T>(tables, key, holder);
    let spoke_first = reply.port_id != NO_PORT
        && holder.port_id == NO_PORT
        && holder.direction() == Direction::Original;
    if !spoke_first && !is_over(settings, key.protocol, holder, twin, now) {
        return false;
    }
    if twin.is_some() {
        tables.remove_flow(&holder.translation.twin(key));
    }
    tables.remove_flow(key);
    tables.insert_flow(key, reply).is_ok()
}
