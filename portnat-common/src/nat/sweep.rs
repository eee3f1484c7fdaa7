//! Flows end: those whose time is over are removed, and any other on request. The packets that open
//! flows do it, so that it needs no daemon: each examines two others.

use crate::family::Family;
use crate::flow::Flow;
use crate::settings::Settings;
use crate::tables::{Queued, Table, Tables};
use crate::tuple::Tuple;

use super::life::{Life, identity, kill, life, remove, twin_of};

/// Examines the flow that has not been for the longest time. `false` if there is none.
#[inline(always)]
pub fn sweep<F: Family, T: Tables<F>>(tables: &T) -> bool {
    let (Some(settings), Some(entry)) = (tables.settings(), tables.next_queued()) else {
        return false;
    };
    let key = &entry.original;
    // Where there is another flow by now, that one is in the queue itself.
    let Some((flow, _, gone)) = find::<F, T>(tables, settings, &entry) else {
        return true;
    };
    let claimed = identity(key, flow);
    if gone && tables.claim(claimed) {
        // Only now it stays what it is.
        let mut keep = false;
        if let Some((flow, twin, gone)) = find::<F, T>(tables, settings, &entry) {
            keep = !gone;
            if gone {
                remove::<F, T>(tables, Table::Confirmed, key, flow, twin);
            }
        }
        tables.release(claimed);
        if !keep {
            return true;
        }
    }
    tables.queue(&entry);
    true
}

/// The flow that was put into the queue, if it still is the same, its twin and whether it can be
/// removed.
#[inline(always)]
fn find<'t, F: Family, T: Tables<F>>(
    tables: &'t T,
    settings: &Settings,
    entry: &Queued<F::Address>,
) -> Option<(&'t Flow, Option<&'t Flow>, bool)> {
    let key = &entry.original;
    let flow = tables
        .flow(Table::Confirmed, key)
        .filter(|flow| flow.opened == entry.opened.0)?;
    let twin = twin_of::<F, T>(tables, Table::Confirmed, key, flow);
    let gone = life(settings, key.protocol, flow, twin, tables.now()) == Life::Gone;
    Some((flow, twin, gone))
}

/// Ends the flow of which one direction has this key. `false` if there is none that lives.
///
/// Another CPU that follows the flow at this very moment can undo it: who must be sure asks again.
#[inline(always)]
pub fn end<F: Family, T: Tables<F>>(tables: &T, key: &Tuple<F::Address>) -> bool {
    let Some(settings) = tables.settings() else {
        return false;
    };
    let now = tables.now();
    if let Some(flow) = tables.flow(Table::Confirmed, key) {
        let twin = twin_of::<F, T>(tables, Table::Confirmed, key, flow);
        let lives = life(settings, key.protocol, flow, twin, now) == Life::Live;
        if lives {
            kill(flow, twin, now);
        }
        return lives;
    }
    let Some(flow) = tables.flow(Table::HalfOpen, key) else {
        return false;
    };
    let twin = twin_of::<F, T>(tables, Table::HalfOpen, key, flow);
    let lives = life(settings, key.protocol, flow, twin, now) == Life::Live;
    remove::<F, T>(tables, Table::HalfOpen, key, flow, twin);
    lives
}
