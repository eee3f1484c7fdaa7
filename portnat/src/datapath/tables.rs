//! The tables and attachments are made what the model wants, by difference: nothing that stays is
//! touched.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapError, PerCpuArray};
use portnat_common::ports::bitmap_position;
use portnat_common::subnet::octet_positions;
use portnat_common::wire::protocol;
use portnat_common::{Address, DropReason, Published, PublishedKey, Subnet};

use super::attach::Hook;
use super::error::DatapathError;
use super::load::Datapath;
use super::pod::Plain;
use crate::model::{Desired, Interface, Prefix, RateLimit, Tables};

/// What the tables hold.
#[derive(Default)]
pub(super) struct Applied {
    v4: Held<portnat_common::Ip4>,
    v6: Held<portnat_common::Ip6>,
    bits: Bits,
    withheld: Bits,
    inside: Bits,
    limits: BTreeMap<u32, RateLimit>,
}

/// Words of a bitmap, see [`bitmap_position`] and [`octet_positions`].
type Bits = BTreeMap<u32, u64>;

/// What the tables of one family hold.
struct Held<A: Ord> {
    tables: Tables<A>,
    targets: BTreeMap<PublishedKey<A>, Published>,
}

impl<A: Ord> Default for Held<A> {
    fn default() -> Self {
        Held {
            tables: Tables::default(),
            targets: BTreeMap::new(),
        }
    }
}

/// The names of one family's tables.
struct Names {
    published: &'static str,
    targets: &'static str,
    local: &'static str,
    subnets: &'static str,
    egress: &'static str,
    admissions: &'static str,
}

const V4: Names = Names {
    published: "PUBLISHED4",
    targets: "TARGETS4",
    local: "LOCAL4",
    subnets: "SUBNETS4",
    egress: "EGRESS4",
    admissions: "ADMISSIONS4",
};

const V6: Names = Names {
    published: "PUBLISHED6",
    targets: "TARGETS6",
    local: "LOCAL6",
    subnets: "SUBNETS6",
    egress: "EGRESS6",
    admissions: "ADMISSIONS6",
};

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
    /// Tables are filled before programs are attached, and a port's bit is set after its entry and
    /// cleared before it, so that traffic never meets half of a change. An interface to which
    /// nothing can be attached does not keep the others from it.
    ///
    /// # Errors
    /// The kernel refuses a table's change; the next call does the rest.
    pub fn apply(&mut self, desired: &Desired) -> Result<Attached, DatapathError> {
        let mut applied = std::mem::take(&mut self.applied);
        let filled = self.fill(&mut applied, desired);
        self.applied = applied;
        filled?;
        Ok(self.sync_attachments(&desired.interfaces))
    }

    /// Detaches everything from everywhere.
    pub fn detach_all(&mut self) -> Attached {
        self.sync_attachments(&BTreeMap::new())
    }

    fn fill(&mut self, applied: &mut Applied, desired: &Desired) -> Result<(), DatapathError> {
        let wanted = bitmap(published_ports(desired));
        let inside = bits(first_octets(&desired.v4).chain(first_octets(&desired.v6)));
        let all = join(&applied.inside, &inside, |held, wanted| held | wanted);
        self.set_bits("INSIDE", &mut applied.inside, &all)?;
        let withheld = bitmap(published_ports(desired).chain(reserved_ports(desired)));
        // What is withheld is so before it is used, and until it is not any more.
        let both = join(&applied.withheld, &withheld, |held, wanted| held | wanted);
        self.set_bits("WITHHELD", &mut applied.withheld, &both)?;
        let kept = join(&applied.bits, &wanted, |held, wanted| held & wanted);
        self.set_bits("PORTS", &mut applied.bits, &kept)?;
        // Who may come in is known before a port is published, and until it is not any more.
        let limits = union(&applied.limits, &desired.limits);
        self.sync_limits(&mut applied.limits, &limits)?;
        self.fill_family(&V4, &mut applied.v4, &desired.v4)?;
        self.fill_family(&V6, &mut applied.v6, &desired.v6)?;
        self.sync_limits(&mut applied.limits, &desired.limits)?;
        self.set_bits("PORTS", &mut applied.bits, &wanted)?;
        let withheld = join(&applied.withheld, &withheld, |_, wanted| wanted);
        self.set_bits("WITHHELD", &mut applied.withheld, &withheld)?;
        let inside = join(&applied.inside, &inside, |_, wanted| wanted);
        self.set_bits("INSIDE", &mut applied.inside, &inside)
    }

    fn fill_family<A: Address>(
        &mut self,
        names: &Names,
        held: &mut Held<A>,
        desired: &Tables<A>,
    ) -> Result<(), DatapathError> {
        self.sync_hash(names.local, &mut held.tables.local, &desired.local)?;
        self.sync_hash(names.egress, &mut held.tables.egress, &desired.egress)?;
        self.sync_subnets(names.subnets, &mut held.tables.subnets, &desired.subnets)?;
        self.sync_hash(names.targets, &mut held.targets, &desired.targets())?;
        let admissions = &mut held.tables.admissions;
        let both = union(admissions, &desired.admissions);
        self.sync_admissions(names.admissions, admissions, &both)?;
        self.sync_hash(
            names.published,
            &mut held.tables.published,
            &desired.published,
        )?;
        let admissions = &mut held.tables.admissions;
        self.sync_admissions(names.admissions, admissions, &desired.admissions)
    }

    /// Makes a hash table that holds `held` hold `wanted`; where that fails half-way, `held` says
    /// how far it came.
    fn sync_hash<K: Copy + Ord + 'static, V: Copy + PartialEq + 'static>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<K, V>,
        wanted: &BTreeMap<K, V>,
    ) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::table(table, error);
        let mut map = self.hash::<K, V>(table)?;
        sync(held, wanted, |key, value| {
            map.insert(Plain(*key), Plain(*value), 0).map_err(failed)
        })?;
        retain(held, wanted, |key| {
            ignore_absent(map.remove(&Plain(*key))).map_err(failed)
        })
    }

    fn sync_subnets<A: Address>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<Prefix<A>, Subnet>,
        wanted: &BTreeMap<Prefix<A>, Subnet>,
    ) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::table(table, error);
        let key = |net: &Prefix<A>| Key::new(u32::from(net.length), Plain(net.network));
        let mut map: LpmTrie<_, Plain<A>, Plain<Subnet>> =
            self.map(table)?.try_into().map_err(failed)?;
        sync(held, wanted, |net, subnet| {
            map.insert(&key(net), Plain(*subnet), 0).map_err(failed)
        })?;
        retain(held, wanted, |net| {
            ignore_absent(map.remove(&key(net))).map_err(failed)
        })
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
            self.detach(index, hook);
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

/// What is held or wanted; of what is both, as it is wanted.
fn union<K: Copy + Ord, V: Copy>(held: &BTreeMap<K, V>, wanted: &BTreeMap<K, V>) -> BTreeMap<K, V> {
    let mut both = held.clone();
    both.extend(wanted);
    both
}

/// The published ports of both families, with their protocols.
fn published_ports(desired: &Desired) -> impl Iterator<Item = (u8, u16)> {
    let v4 = desired.v4.published.keys();
    let v6 = desired.v6.published.keys();
    v4.map(|key| (key.protocol, key.port))
        .chain(v6.map(|key| (key.protocol, key.port)))
}

/// The ports that are not to be handed out, of each protocol that has ports.
fn reserved_ports(desired: &Desired) -> impl Iterator<Item = (u8, u16)> {
    let ports = desired
        .reserved
        .iter()
        .flat_map(|(first, last)| *first..=*last);
    ports.flat_map(|port| {
        [protocol::TCP, protocol::UDP, protocol::SCTP].map(|protocol| (protocol, port))
    })
}

/// The bitmap of some ports, words without a bit left out.
fn bitmap(ports: impl Iterator<Item = (u8, u16)>) -> Bits {
    bits(ports.map(|(protocol, port)| bitmap_position(protocol, port)))
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

/// Adds to `held` what is missing or other than `wanted`, by `set`.
pub(super) fn sync<K: Copy + Ord, V: Copy + PartialEq>(
    held: &mut BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    mut set: impl FnMut(&K, &V) -> Result<(), DatapathError>,
) -> Result<(), DatapathError> {
    for (key, value) in wanted {
        if held.get(key) != Some(value) {
            set(key, value)?;
            held.insert(*key, *value);
        }
    }
    Ok(())
}

/// Removes from `held` what is not in `wanted`, by `remove`.
pub(super) fn retain<K: Copy + Ord, V>(
    held: &mut BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    mut remove: impl FnMut(&K) -> Result<(), DatapathError>,
) -> Result<(), DatapathError> {
    let gone: Vec<K> = held
        .keys()
        .filter(|key| !wanted.contains_key(key))
        .copied()
        .collect();
    for key in gone {
        remove(&key)?;
        held.remove(&key);
    }
    Ok(())
}

/// What is removed and not there is as removed.
pub(super) fn ignore_absent(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        result => result,
    }
}
