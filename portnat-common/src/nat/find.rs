//! Published ports are found by what asks for them.

use crate::address::Address;
use crate::family::Family;
use crate::published::{Published, PublishedKey};
use crate::tables::Tables;
use crate::tuple::Tuple;

use super::Hook;

/// Whether an address is the host's own way to itself.
#[inline(always)]
pub(super) fn is_loopback<F: Family>(address: F::Address) -> bool {
    F::stays_on_link(address) && !F::is_link_local(address)
}

/// The published port that a tuple asks for: on its very address, else on every local one. The
/// host's loopback addresses are there for itself only.
#[inline(always)]
pub(super) fn find_published<'t, F: Family, T: Tables<F>>(
    tables: &'t T,
    hook: Hook,
    tuple: &Tuple<F::Address>,
) -> Option<&'t Published> {
    let is_local = hook == Hook::Local;
    if !is_local && is_loopback::<F>(tuple.src) {
        return None;
    }
    // Containers ask for much that is not published, and four tables would be looked into.
    if !tables.port_is_published(tuple.protocol, tuple.dst_port) {
        return None;
    }
    let here = PublishedKey {
        address: tuple.dst,
        port: tuple.dst_port,
        protocol: tuple.protocol,
        padding: 0,
    };
    if let Some(published) = tables.published(&here) {
        return Some(published);
    }
    let everywhere = PublishedKey {
        address: F::Address::ANY,
        ..here
    };
    let is_here = is_local || tables.is_local(&tuple.dst);
    if is_here && let Some(published) = tables.published(&everywhere) {
        return Some(published);
    }
    match tables.published_range(&here) {
        None if is_here => tables.published_range(&everywhere),
        range => range,
    }
}
