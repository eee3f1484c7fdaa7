//! The tables and attachments are made what the model wants, by difference: nothing that stays is
//! touched.

use std::collections::BTreeMap;

use aya::maps::PerCpuArray;
use portnat_common::ports::bitmap_positions;
use portnat_common::subnet::octet_positions;
use portnat_common::wire::protocol;
use portnat_common::{Address, DropReason, Limit};

use super::attach::Hook;
use super::error::DatapathError;
use super::fill::{Held, V4, V6, Wanted, sync};
use super::load::Datapath;
use super::pod::Plain;
use crate::model::{Desired, Interface, Tables};

/// What the tables hold.
#[derive(Default)]
pub(super) struct Applied {
    pub(super) v4: Held<portnat_common::Ip4>,
    pub(super) v6: Held<portnat_common::Ip6>,
    pub(super) bits: Bits,
    pub(super) withheld: Bits,
    pub(super) inside: Bits,
    pub(super) limits: BTreeMap<u32, Limit>,
    pub(super) gates: BTreeMap<u32, u32>,
}

/// Words of a bitmap, see [`bitmap_positions`] and [`octet_positions`].
pub(super) type Bits = BTreeMap<u32, u64>;

/// What a change of the attachments came to.
#[derive(Debug, Default)]
#[must_use]
pub struct Attached {
    /// The indices of interfaces that were detached and whose clsact queueing discipline was ours:
    /// it is to be removed.
    pub qdiscs: Vec<u32>,
    /// What could not be attached.
    pub failed: Vec<DatapathError>,
}

impl Datapath {
    /// Makes tables and attachments what `desired` says.
    ///
    /// Tables are filled before programs are attached, a port's bit is set after its entry and
    /// cleared before it, and nothing is removed from any table before all that is new is there: a
    /// port that is published by itself and then in a range is published throughout. So traffic never
    /// meets half of a change. An interface to which nothing can be attached does not keep the others
    /// from it.
    ///
    /// # Errors
    /// The kernel refuses a table's change; the next call does the rest.
    pub fn apply(&mut self, desired: &Desired) -> Result<Attached, DatapathError> {
        let mut applied = std::mem::take(&mut self.applied);
        let filled = self.fill(&mut applied, desired);
        self.applied = applied;
        filled?;
        let refused = self.sync_frames(&desired.interfaces)?;
        let mut attached = self.sync_attachments(&desired.interfaces);
        attached.failed.extend(refused);
        Ok(attached)
    }

    /// Detaches everything from everywhere.
    pub fn detach_all(&mut self) -> Attached {
        self.detach_frames();
        self.sync_attachments(&BTreeMap::new())
    }

    fn fill(&mut self, applied: &mut Applied, desired: &Desired) -> Result<(), DatapathError> {
        let wanted = bits(published_ports(desired));
        let inside = bits(first_octets(&desired.v4).chain(first_octets(&desired.v6)));
        let all = join(&applied.inside, &inside, |held, wanted| held | wanted);
        self.set_bits("INSIDE", &mut applied.inside, &all)?;
        let withheld = bits(published_ports(desired).chain(reserved_ports(desired)));
        // What is withheld is so before it is used, and until it is not any more.
        let both = join(&applied.withheld, &withheld, |held, wanted| held | wanted);
        self.set_bits("WITHHELD", &mut applied.withheld, &both)?;
        let kept = join(&applied.bits, &wanted, |held, wanted| held & wanted);
        self.set_bits("PORTS", &mut applied.bits, &kept)?;
        self.fill_families(applied, desired)?;
        self.set_bits("PORTS", &mut applied.bits, &wanted)?;
        let withheld = join(&applied.withheld, &withheld, |_, wanted| wanted);
        self.set_bits("WITHHELD", &mut applied.withheld, &withheld)?;
        let inside = join(&applied.inside, &inside, |_, wanted| wanted);
        self.set_bits("INSIDE", &mut applied.inside, &inside)
    }

    fn fill_families(
        &mut self,
        applied: &mut Applied,
        desired: &Desired,
    ) -> Result<(), DatapathError> {
        let (v4, v6) = (Wanted::of(&desired.v4), Wanted::of(&desired.v6));
        let limits = self.limits(desired);
        self.add_hash("LIMITS", &mut applied.limits, &limits)?;
        self.add_hash("GATES", &mut applied.gates, &desired.gates)?;
        self.add(&V4, &mut applied.v4, &v4)?;
        self.add(&V6, &mut applied.v6, &v6)?;
        self.prune(&V4, &mut applied.v4, &v4)?;
        self.prune(&V6, &mut applied.v6, &v6)?;
        self.prune_hash("GATES", &mut applied.gates, &desired.gates)?;
        self.prune_hash("LIMITS", &mut applied.limits, &limits)
    }

    fn set_bits(
        &mut self,
        table: &'static str,
        held: &mut Bits,
        wanted: &Bits,
    ) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::table(table, error);
        let mut map = self.array::<u64>(table)?;
        sync(held, wanted, |word, bits| {
            map.set(*word, Plain(*bits), 0).map_err(failed)
        })
    }

    fn sync_attachments(&mut self, desired: &BTreeMap<u32, Interface>) -> Attached {
        let wanted: BTreeMap<(u32, Hook), (&Interface, &'static str)> = desired
            .iter()
            .flat_map(|(index, interface)| Hook::ALL.map(|hook| (*index, hook, interface)))
            .filter_map(|(index, hook, interface)| {
                Some(((index, hook), (interface, hook.program(interface)?)))
            })
            .collect();
        let gone: Vec<_> = self
            .attachments
            .iter()
            .filter(|(place, attached)| {
                wanted
                    .get(place)
                    .is_none_or(|(_, program)| *program != attached.program)
            })
            .map(|(place, _)| *place)
            .collect();
        for (index, hook) in gone {
            match wanted.get(&(index, hook)) {
                Some((_, program)) => self.swap(index, hook, program),
                None => self.detach(index, hook),
            }
        }
        let mut failed = Vec::new();
        for ((index, hook), (interface, program)) in wanted {
            if !self.attachments.contains_key(&(index, hook))
                && let Err(error) = self.attach(index, interface, hook, program)
            {
                failed.push(error);
            }
        }
        let in_use = |index: &u32| self.attachments.keys().any(|(used, _)| used == index);
        let qdiscs = self.qdiscs.extract_if(.., |index| !in_use(index)).collect();
        Attached { qdiscs, failed }
    }

    /// How many source ports were tried before one was lent: how many took no further than the
    /// sender's own, one from the pool, two, and so on.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn probes(&mut self) -> Result<Vec<u64>, DatapathError> {
        const TABLE: &str = "PROBES";
        let failed = |error| DatapathError::table(TABLE, error);
        let map: PerCpuArray<_, u64> = self.map(TABLE)?.try_into().map_err(failed)?;
        let counts = map.iter().map(|counts| Ok(counts?.iter().sum()));
        counts.collect::<Result<_, _>>().map_err(failed)
    }

    /// How many packets were dropped, by reason; reasons that never occurred are left out.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn drops(&mut self) -> Result<Vec<(DropReason, u64)>, DatapathError> {
        const TABLE: &str = "DROPS";
        let failed = |error| DatapathError::table(TABLE, error);
        let map: PerCpuArray<_, u64> = self.map(TABLE)?.try_into().map_err(failed)?;
        let mut drops = Vec::new();
        for reason in DropReason::ALL {
            let count: u64 = map.get(&(*reason as u32), 0).map_err(failed)?.iter().sum();
            if count > 0 {
                drops.push((*reason, count));
            }
        }
        Ok(drops)
    }
}

/// Where the bits of the published ports of both families are.
fn published_ports(desired: &Desired) -> impl Iterator<Item = (u32, u64)> {
    let ports = desired.v4.ports().chain(desired.v6.ports());
    ports.flat_map(|(protocol, first, last)| bitmap_positions(protocol, first, last))
}

/// Where the bits of the ports are that are not to be handed out, of each protocol that has ports.
fn reserved_ports(desired: &Desired) -> impl Iterator<Item = (u32, u64)> {
    let protocols = [protocol::TCP, protocol::UDP, protocol::SCTP];
    let all = move |(first, last): &(u16, u16)| {
        let range = (*first, *last);
        protocols.map(move |protocol| bitmap_positions(protocol, range.0, range.1))
    };
    desired.reserved.iter().flat_map(all).flatten()
}

/// Where the bits of a family's inside subnets are.
fn first_octets<A: Address>(tables: &Tables<A>) -> impl Iterator<Item = (u32, u64)> {
    let prefixes = tables.subnets.keys();
    prefixes.flat_map(|prefix| octet_positions(&prefix.network, prefix.length))
}

/// The bitmap with these words' bits.
fn bits(positions: impl Iterator<Item = (u32, u64)>) -> Bits {
    let mut words = Bits::new();
    for (word, bit) in positions {
        *words.entry(word).or_default() |= bit;
    }
    words
}

/// Each word that is held or wanted.
fn join(held: &Bits, wanted: &Bits, both: impl Fn(u64, u64) -> u64) -> Bits {
    let word = |bits: &Bits, word| bits.get(word).copied().unwrap_or(0);
    held.keys()
        .chain(wanted.keys())
        .map(|at| (*at, both(word(held, at), word(wanted, at))))
        .collect()
}
