//! The tables of one address family are made what the model wants, by difference: nothing that stays
//! is touched.

use std::collections::BTreeMap;

use aya::maps::MapError;
use aya::maps::lpm_trie::{Key, LpmTrie};
use portnat_common::range::Block;
use portnat_common::{Address, Published, PublishedKey, RangeKey, Subnet};

use super::error::DatapathError;
use super::load::Datapath;
use super::pod::Plain;
use crate::model::{Blocks, Prefix, Tables};

/// What the tables of one family hold.
pub(super) struct Held<A: Ord> {
    pub(super) published: BTreeMap<PublishedKey<A>, Published>,
    pub(super) targets: BTreeMap<PublishedKey<A>, Published>,
    pub(super) ranges: Blocks<A>,
    pub(super) target_ranges: Blocks<A>,
    pub(super) local: BTreeMap<A, u32>,
    pub(super) subnets: BTreeMap<Prefix<A>, Subnet>,
    pub(super) bypass: BTreeMap<Prefix<A>, u32>,
    pub(super) egress: BTreeMap<u32, A>,
    pub(super) admissions: BTreeMap<(u32, Prefix<A>), bool>,
}

impl<A: Ord> Default for Held<A> {
    fn default() -> Self {
        Held {
            published: BTreeMap::new(),
            targets: BTreeMap::new(),
            ranges: BTreeMap::new(),
            target_ranges: BTreeMap::new(),
            local: BTreeMap::new(),
            subnets: BTreeMap::new(),
            bypass: BTreeMap::new(),
            egress: BTreeMap::new(),
            admissions: BTreeMap::new(),
        }
    }
}

/// What they are to hold.
pub(super) struct Wanted<'t, A: Ord> {
    tables: &'t Tables<A>,
    targets: BTreeMap<PublishedKey<A>, Published>,
    ranges: Blocks<A>,
    target_ranges: Blocks<A>,
}

impl<'t, A: Address> Wanted<'t, A> {
    pub(super) fn of(tables: &'t Tables<A>) -> Self {
        Wanted {
            tables,
            targets: tables.targets(),
            ranges: tables.blocks(),
            target_ranges: tables.target_blocks(),
        }
    }
}

/// The names of one family's tables.
pub(super) struct Names {
    pub(super) published: &'static str,
    pub(super) targets: &'static str,
    pub(super) ranges: &'static str,
    pub(super) target_ranges: &'static str,
    pub(super) local: &'static str,
    pub(super) subnets: &'static str,
    pub(super) bypass: &'static str,
    pub(super) egress: &'static str,
    pub(super) admissions: &'static str,
}

/// Those of IPv4.
pub(super) const V4: Names = Names {
    published: "PUBLISHED4",
    targets: "TARGETS4",
    ranges: "RANGES4",
    target_ranges: "TARGET_RANGES4",
    local: "LOCAL4",
    subnets: "SUBNETS4",
    bypass: "BYPASS4",
    egress: "EGRESS4",
    admissions: "ADMISSIONS4",
};

/// Those of IPv6.
pub(super) const V6: Names = Names {
    published: "PUBLISHED6",
    targets: "TARGETS6",
    ranges: "RANGES6",
    target_ranges: "TARGET_RANGES6",
    local: "LOCAL6",
    subnets: "SUBNETS6",
    bypass: "BYPASS6",
    egress: "EGRESS6",
    admissions: "ADMISSIONS6",
};

/// A block of a range as the trie wants it.
fn range_key<A: Address>((address, protocol, block): &(A, u8, Block)) -> Key<Plain<RangeKey<A>>> {
    let key = PublishedKey {
        address: *address,
        port: block.first,
        protocol: *protocol,
        padding: 0,
    };
    Key::new(block.prefix_len::<A>(), Plain(RangeKey::of(&key)))
}

/// A prefix as the trie wants it.
fn prefix_key<A: Address>(net: &Prefix<A>) -> Key<Plain<A>> {
    Key::new(u32::from(net.length), Plain(net.network))
}

impl Datapath {
    /// Adds what is missing in a family's tables, and changes what is other.
    pub(super) fn add<A: Address>(
        &mut self,
        names: &Names,
        held: &mut Held<A>,
        wanted: &Wanted<'_, A>,
    ) -> Result<(), DatapathError> {
        let tables = wanted.tables;
        self.add_hash(names.local, &mut held.local, &tables.local)?;
        self.add_hash(names.egress, &mut held.egress, &tables.egress)?;
        let key = prefix_key;
        // Answers are let in before anybody can be asked for them, and as long as anybody can.
        self.prune_trie(names.bypass, &mut held.bypass, &tables.bypass, key)?;
        self.add_trie(names.subnets, &mut held.subnets, &tables.subnets, key)?;
        self.add_trie(names.bypass, &mut held.bypass, &tables.bypass, key)?;
        self.add_hash(names.targets, &mut held.targets, &wanted.targets)?;
        let (blocks, key) = (&wanted.target_ranges, range_key);
        self.add_trie(names.target_ranges, &mut held.target_ranges, blocks, key)?;
        // Who may come in is known before a port is published, and until it is not any more.
        self.add_admissions(names.admissions, &mut held.admissions, &tables.admissions)?;
        self.add_trie(names.ranges, &mut held.ranges, &wanted.ranges, key)?;
        self.add_hash(names.published, &mut held.published, &tables.published)
    }

    /// Removes from a family's tables what is not wanted.
    pub(super) fn prune<A: Address>(
        &mut self,
        names: &Names,
        held: &mut Held<A>,
        wanted: &Wanted<'_, A>,
    ) -> Result<(), DatapathError> {
        let tables = wanted.tables;
        self.prune_hash(names.published, &mut held.published, &tables.published)?;
        let (blocks, key) = (&wanted.target_ranges, range_key);
        self.prune_trie(names.ranges, &mut held.ranges, &wanted.ranges, key)?;
        self.prune_admissions(names.admissions, &mut held.admissions, &tables.admissions)?;
        self.prune_trie(names.target_ranges, &mut held.target_ranges, blocks, key)?;
        self.prune_hash(names.targets, &mut held.targets, &wanted.targets)?;
        let key = prefix_key;
        self.prune_trie(names.subnets, &mut held.subnets, &tables.subnets, key)?;
        self.prune_hash(names.egress, &mut held.egress, &tables.egress)?;
        self.prune_hash(names.local, &mut held.local, &tables.local)
    }

    /// Makes a hash table that holds `held` hold `wanted`; where that fails half-way, `held` says
    /// how far it came.
    pub(super) fn sync_hash<K: Copy + Ord + 'static, V: Copy + PartialEq + 'static>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<K, V>,
        wanted: &BTreeMap<K, V>,
    ) -> Result<(), DatapathError> {
        self.add_hash(table, held, wanted)?;
        self.prune_hash(table, held, wanted)
    }

    pub(super) fn add_hash<K: Copy + Ord + 'static, V: Copy + PartialEq + 'static>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<K, V>,
        wanted: &BTreeMap<K, V>,
    ) -> Result<(), DatapathError> {
        let mut map = self.hash::<K, V>(table)?;
        sync(held, wanted, |key, value| {
            map.insert(Plain(*key), Plain(*value), 0)
                .map_err(|error| DatapathError::table(table, error))
        })
    }

    pub(super) fn prune_hash<K: Copy + Ord + 'static, V: Copy + 'static>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<K, V>,
        wanted: &BTreeMap<K, V>,
    ) -> Result<(), DatapathError> {
        let mut map = self.hash::<K, V>(table)?;
        retain(held, wanted, |key| {
            ignore_absent(map.remove(&Plain(*key)))
                .map_err(|error| DatapathError::table(table, error))
        })
    }

    fn add_trie<K: Copy + Ord, D: Copy + 'static, V: Copy + PartialEq + 'static>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<K, V>,
        wanted: &BTreeMap<K, V>,
        trie_key: impl Fn(&K) -> Key<Plain<D>>,
    ) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::table(table, error);
        let mut map: LpmTrie<_, Plain<D>, Plain<V>> =
            self.map(table)?.try_into().map_err(failed)?;
        sync(held, wanted, |key, value| {
            map.insert(&trie_key(key), Plain(*value), 0).map_err(failed)
        })
    }

    fn prune_trie<K: Copy + Ord, D: Copy + 'static, V: Copy + 'static>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<K, V>,
        wanted: &BTreeMap<K, V>,
        trie_key: impl Fn(&K) -> Key<Plain<D>>,
    ) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::table(table, error);
        let mut map: LpmTrie<_, Plain<D>, Plain<V>> =
            self.map(table)?.try_into().map_err(failed)?;
        retain(held, wanted, |key| {
            ignore_absent(map.remove(&trie_key(key))).map_err(failed)
        })
    }
}

/// Adds to `held` what is missing or other than `wanted`, by `set`; where that fails half-way, `held`
/// says how far it came.
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
