//! A packet meets its confirmed flow.

use crate::address::Address;
use crate::conntrack::{self, DEAD};
use crate::family::Family;
use crate::flow::{ASKED, Direction, Flow, NAMED, NO_PORT, PLAIN};
use crate::headers::Transport;
use crate::settings::{Settings, Ticks};
use crate::tables::{Table, Tables};
use crate::tuple::Tuple;

use super::life::{Life, kill, life, state, twin_of};
use super::map::renew;

/// Counts a packet in its flow's entry, renews the flow and follows its state. `false` if the flow is
/// over: the packet finds nothing here, and what comes may begin it anew.
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
) -> bool {
    let now = tables.now();
    if flow.seen.get() & DEAD != 0 {
        return false;
    }
    let opens = transport.signals.opens();
    if flow.idle(now) >= settings.hz || opens {
        let twin = twin_of::<F, T>(tables, Table::Confirmed, tuple, flow);
        if life(settings, tuple.protocol, flow, twin, now) != Life::Live {
            return false;
        }
        let original = flow.direction() == Direction::Original;
        if original && (twin.is_none() || has_moved::<F, T>(tables, flow)) {
            // Without its twin, or with an address that this interface has no more, it leads
            // nowhere.
            kill(flow, twin, now);
            return false;
        }
        if original && opens && state(tuple.protocol, flow, twin).is_closing() {
            if flow.flags & ASKED != 0 {
                kill(flow, twin, now);
                return false;
            }
            flow.seen.set(0);
            flow.way.forget();
            if let Some(twin) = twin {
                twin.seen.set(0);
                twin.way.forget();
            }
        }
        // The first reset begins the time that a closing flow has; further ones do not keep it
        // alive (RFC 7857 section 2.2).
        if !transport.signals.resets() || flow.seen.get() & conntrack::RST == 0 {
            flow.last_seen.set(now.0);
            renew::<F, T>(tables, settings, tuple, flow, now);
        }
    }
    let seen = flow.seen.get();
    let observed = transport.signals.observed();
    if seen | observed != seen {
        flow.seen.set(seen | observed);
    }
    flow.count(bytes);
    true
}

/// As [`track`] with a packet of which there is nothing to do but to count it. `false` if there is more;
/// nothing is counted then.
#[inline(always)]
pub(super) fn count_only(
    settings: &Settings,
    transport: &Transport,
    flow: &Flow,
    bytes: u64,
    now: Ticks,
) -> bool {
    let seen = flow.seen.get();
    let observed = transport.signals.observed();
    if seen & DEAD != 0
        || seen | observed != seen
        || transport.signals.opens()
        || flow.idle(now) >= settings.hz
    {
        return false;
    }
    flow.count(bytes);
    true
}

/// Whether a masqueraded flow has an address that its interface does not lend any more, or one that was
/// named for its subnet and that the host has no more.
#[inline(always)]
fn has_moved<F: Family, T: Tables<F>>(tables: &T, flow: &Flow) -> bool {
    if flow.port_id != NO_PORT || flow.flags & PLAIN != 0 {
        return false;
    }
    let lent = F::Address::narrow(&flow.translation.src);
    if flow.flags & NAMED != 0 {
        return !tables.is_local(&lent);
    }
    tables.egress_address(tables.interface()) != Some(lent)
}
