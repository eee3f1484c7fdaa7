//! Endpoint-independent mapping: what a container's UDP socket sends comes from one port of the
//! outside, whomever it talks to (RFC 4787 REQ-1).
//!
//! Two tables: the sockets' mappings, and the owners of the ports, which nobody shares. A mapping
//! lives as long as a flow that uses it could, and a second later its port may be another's; so
//! nobody takes a port from a flow that another CPU has just taken for live. Mappings are made
//! under a claim of the socket, ports taken over under a claim of the port.

use crate::address::Address;
use crate::family::Family;
use crate::flow::{Direction, Flow, NO_PORT};
use crate::mapping::{Endpoint, MappingKey, Owner, OwnerRecord};
use crate::settings::{Settings, Ticks};
use crate::tables::{Refusal, Tables};
use crate::tuple::Tuple;
use crate::verdict::{DropReason, Verdict};
use crate::wire::protocol;

use super::opening::{MAPPED, MAPS, Opening, THIS_PORT};
use super::reserve::{PROBES, STRIDE};

/// DNS. A resolver has a socket for each question and one remote, and would spend a port of its own
/// on each for as long as mappings live.
const DNS: u16 = 53;

/// Whether flows with this tuple get their port by a mapping.
#[inline(always)]
pub(super) fn maps<A>(settings: &Settings, tuple: &Tuple<A>) -> bool {
    settings.udp_mapping != 0 && tuple.protocol == protocol::UDP && tuple.dst_port != DNS
}

/// How long a mapping lives without use: as long as any flow of UDP.
#[inline(always)]
fn lifetime(settings: &Settings) -> Ticks {
    settings
        .lifetimes
        .udp_answered
        .max(settings.lifetimes.udp_unanswered)
}

/// Gives a flow that wants it the port that its sender has outside, for [`super::make`] to try
/// first. Where there is none to be had, the flow gets one towards its remote end only, as if there
/// were no mappings.
#[inline(always)]
pub fn map<F: Family, T: Tables<F>>(
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Option<Verdict> {
    let settings = tables.settings()?;
    if !opening.wishes(MAPS) {
        return None;
    }
    let now = tables.now();
    let tuple = &opening.tuple;
    let key = MappingKey {
        inside: Endpoint {
            address: tuple.src,
            port: tuple.src_port,
            protocol: tuple.protocol,
            padding: 0,
        },
        lent: F::Address::narrow(&opening.translation.src),
    };
    if let Some(port) = mapped::<F, T>(tables, settings, &key, now) {
        opening.translation.src_port = port;
        opening.wishes |= THIS_PORT | MAPPED;
        return None;
    }
    // Who has no flow to gain shall have no port.
    if tables.flows_of(&key.inside.address)? >= settings.flows_per_container {
        return None;
    }
    let claimed = identity(&key.inside.address, key.inside.port, 1);
    if !tables.claim(claimed) {
        return Some(Verdict::Drop(DropReason::FlowEnding));
    }
    // Only now nobody else makes one.
    let acquired = match mapped::<F, T>(tables, settings, &key, now) {
        Some(port) => Acquired::Port(port),
        None => acquire::<F, T>(tables, settings, &key, opening, now),
    };
    tables.release(claimed);
    match acquired {
        Acquired::Port(port) => {
            opening.translation.src_port = port;
            opening.wishes |= THIS_PORT | MAPPED;
            None
        }
        Acquired::Nothing => {
            opening.translation.src_port = key.inside.port;
            None
        }
        Acquired::Lost => Some(Verdict::Drop(DropReason::FlowEnding)),
    }
}

/// What became of an attempt to make a mapping.
enum Acquired {
    /// It leads to this port.
    Port(u16),
    /// There is no port for one.
    Nothing,
    /// Another CPU has just taken the port: the next packet finds another.
    Lost,
}

/// The port that a socket has, which it uses now.
#[inline(always)]
fn mapped<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    key: &MappingKey<F::Address>,
    now: Ticks,
) -> Option<u16> {
    let port = tables.mapping(key)?;
    let owner = tables.owner(&outside(key, port))?;
    if !owner.is(&key.inside.address, key.inside.port) || owner.idle(now) > lifetime(settings) {
        return None;
    }
    owner.last_used.set(now.0);
    Some(port)
}

/// A port of the address that is lent.
#[inline(always)]
fn outside<A: Copy>(key: &MappingKey<A>, port: u16) -> Endpoint<A> {
    Endpoint {
        address: key.lent,
        port,
        protocol: key.inside.protocol,
        padding: 0,
    }
}

/// Makes a mapping. The claim of the socket must be held.
#[inline(always)]
fn acquire<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    key: &MappingKey<F::Address>,
    opening: &mut Opening<F::Address>,
    now: Ticks,
) -> Acquired {
    let mut port = key.inside.port;
    let keeps = opening.wishes(THIS_PORT)
        && is_free::<F, T>(tables, settings, key, port, now)
        && !is_in_use::<F, T>(tables, opening, port);
    if !keeps {
        let Some(found) = find::<F, T>(tables, settings, key, opening, now) else {
            return Acquired::Nothing;
        };
        port = found;
        if is_in_use::<F, T>(tables, opening, port) {
            return Acquired::Nothing;
        }
    }
    match take::<F, T>(tables, settings, key, port, now) {
        Ok(()) => {
            tables.set_mapping(key, port);
            Acquired::Port(port)
        }
        Err(Refusal::Exists) => Acquired::Lost,
        Err(Refusal::Full) => Acquired::Nothing,
    }
}

/// Whether a port is nobody's, or this socket's own from earlier.
#[inline(always)]
fn is_free<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    key: &MappingKey<F::Address>,
    port: u16,
    now: Ticks,
) -> bool {
    tables
        .owner(&outside(key, port))
        .is_none_or(|owner| is_over::<F>(settings, key, owner, now))
}

/// Whether a port that has an owner may be this socket's: it is, or its time has been over for a
/// second.
#[inline(always)]
fn is_over<F: Family>(
    settings: &Settings,
    key: &MappingKey<F::Address>,
    owner: &Owner,
    now: Ticks,
) -> bool {
    owner.is(&key.inside.address, key.inside.port)
        || owner.idle(now).0 > lifetime(settings).0.wrapping_add(settings.hz.0)
}

/// Whether a socket of the host would get the flow's answers at this port.
#[inline(always)]
fn is_in_use<F: Family, T: Tables<F>>(
    tables: &T,
    opening: &mut Opening<F::Address>,
    port: u16,
) -> bool {
    opening.translation.src_port = port;
    opening.expect_answers();
    tables.is_in_use(&opening.answers)
}

/// Finds a port of the pool that is nobody's.
#[inline(always)]
fn find<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    key: &MappingKey<F::Address>,
    opening: &mut Opening<F::Address>,
    now: Ticks,
) -> Option<u16> {
    let first = tables.random();
    // As in `reserve` a round does next to nothing.
    for probe in 0..PROBES {
        let port = settings
            .pool
            .nth(first.wrapping_add(probe.wrapping_mul(STRIDE)));
        opening.probes = probe + 1;
        if tables.port_is_withheld(key.inside.protocol, port) {
            continue;
        }
        if is_free::<F, T>(tables, settings, key, port, now) {
            return Some(port);
        }
    }
    None
}

/// Makes a socket the owner of a port that looked free.
///
/// # Errors
/// Another was faster, or there is no room.
#[inline(always)]
fn take<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    key: &MappingKey<F::Address>,
    port: u16,
    now: Ticks,
) -> Result<(), Refusal> {
    let outside = outside(key, port);
    let record = OwnerRecord {
        inside: key.inside.address.widen(),
        port: u32::from(key.inside.port),
        padding: 0,
        last_used: now.0,
    };
    if tables.owner(&outside).is_none() {
        return tables.insert_owner(&outside, &record);
    }
    let claimed = identity(&outside.address, port, 2);
    if !tables.claim(claimed) {
        return Err(Refusal::Exists);
    }
    // Only now nobody else takes it over.
    let is_over = tables
        .owner(&outside)
        .is_some_and(|owner| is_over::<F>(settings, key, owner, now));
    let taken = if is_over {
        tables.remove_owner(&outside);
        tables.insert_owner(&outside, &record)
    } else {
        Err(Refusal::Exists)
    };
    tables.release(claimed);
    taken
}

/// What a socket, or a port, is claimed by. Others may have the same, which costs who comes second
/// a packet, if both are claimed at once.
#[inline(always)]
fn identity<A: Address>(address: &A, port: u16, kind: u64) -> u64 {
    let sum = address.words().iter().fold(kind, |sum, word| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*word))
    });
    sum | u64::from(port) << 48
}

/// A flow is used, and with it the mapping that it has its port by.
#[inline(always)]
pub(super) fn renew<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings,
    tuple: &Tuple<F::Address>,
    flow: &Flow,
    now: Ticks,
) {
    if settings.udp_mapping == 0 || tuple.protocol != protocol::UDP || flow.port_id != NO_PORT {
        return;
    }
    let translation = &flow.translation;
    let original = flow.direction() == Direction::Original;
    let (address, port, inside, inside_port) = if original {
        (
            F::Address::narrow(&translation.src),
            translation.src_port,
            tuple.src,
            tuple.src_port,
        )
    } else {
        (
            tuple.dst,
            tuple.dst_port,
            F::Address::narrow(&translation.dst),
            translation.dst_port,
        )
    };
    let outside = Endpoint {
        address,
        port,
        protocol: protocol::UDP,
        padding: 0,
    };
    if let Some(owner) = tables.owner(&outside)
        && owner.is(&inside, inside_port)
    {
        owner.last_used.set(now.0);
    }
}
