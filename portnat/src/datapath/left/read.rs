//! What pinned maps hold.

use std::collections::BTreeMap;

use crate::datapath::admission::ID_BITS;
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use portnat_common::range::Block;
use portnat_common::{Address, AdmissionKey, RangeKey};

use crate::datapath::error::DatapathError;
use crate::datapath::fill::{Held, Names};
use crate::datapath::pod::Plain;
use crate::datapath::tables::Bits;
use crate::model::{Blocks, Prefix};

/// What one family's tables hold.
pub(super) fn family<A: Address>(
    names: &Names,
    open: impl Fn(&str) -> Result<Map, MapError> + Copy,
) -> Result<Held<A>, DatapathError> {
    Ok(Held {
        published: entries(names.published, open)?,
        targets: entries(names.targets, open)?,
        ranges: blocks(names.ranges, open)?,
        target_ranges: blocks(names.target_ranges, open)?,
        local: entries(names.local, open)?,
        subnets: prefixes(names.subnets, open)?,
        bypass: prefixes(names.bypass, open)?,
        egress: entries(names.egress, open)?,
        admissions: admissions(names.admissions, open)?,
    })
}

/// The entries of a hash table; none, where there is no such table.
pub(super) fn entries<K: Copy + Ord + 'static, V: Copy + 'static>(
    table: &'static str,
    open: impl Fn(&str) -> Result<Map, MapError>,
) -> Result<BTreeMap<K, V>, DatapathError> {
    let failed = |error| DatapathError::table(table, error);
    let Ok(map) = open(table) else {
        return Ok(BTreeMap::new());
    };
    let map: HashMap<MapData, Plain<K>, Plain<V>> = map.try_into().map_err(failed)?;
    let entry = |entry: Result<(Plain<K>, Plain<V>), _>| entry.map(|(key, value)| (key.0, value.0));
    map.iter()
        .map(entry)
        .collect::<Result<_, _>>()
        .map_err(failed)
}

fn prefixes<A: Address, V: Copy + 'static>(
    table: &'static str,
    open: impl Fn(&str) -> Result<Map, MapError>,
) -> Result<BTreeMap<Prefix<A>, V>, DatapathError> {
    let prefixes = trie(table, open)?.into_iter();
    Ok(prefixes
        .map(|(length, network, value)| {
            // The kernel's prefixes are no longer than the address.
            let length = length as u8;
            (Prefix { length, network }, value)
        })
        .collect())
}

fn admissions<A: Address>(
    table: &'static str,
    open: impl Fn(&str) -> Result<Map, MapError>,
) -> Result<BTreeMap<(u32, Prefix<A>), bool>, DatapathError> {
    let prefixes = trie::<AdmissionKey<A>, u32>(table, open)?.into_iter();
    Ok(prefixes
        .map(|(length, key, lets_in)| {
            // No longer than the key, of which the id is always said.
            let length = length.saturating_sub(ID_BITS) as u8;
            let network = key.source;
            ((key.port_id, Prefix { length, network }), lets_in != 0)
        })
        .collect())
}

fn blocks<A: Address>(
    table: &'static str,
    open: impl Fn(&str) -> Result<Map, MapError>,
) -> Result<Blocks<A>, DatapathError> {
    let prefixes = trie::<RangeKey<A>, _>(table, open)?.into_iter();
    Ok(prefixes
        .map(|(length, key, value)| {
            let (protocol, first) = key.protocol_and_port();
            let bits = RangeKey::<A>::BITS.saturating_sub(length) as u8;
            ((key.address, protocol, Block { first, bits }), value)
        })
        .collect())
}

/// The entries of a trie, with the lengths of their prefixes; none, where there is no such table.
fn trie<K: Copy + 'static, V: Copy + 'static>(
    table: &'static str,
    open: impl Fn(&str) -> Result<Map, MapError>,
) -> Result<Vec<(u32, K, V)>, DatapathError> {
    let failed = |error| DatapathError::table(table, error);
    let Ok(map) = open(table) else {
        return Ok(Vec::new());
    };
    let map: LpmTrie<MapData, Plain<K>, Plain<V>> = map.try_into().map_err(failed)?;
    let mut entries = Vec::new();
    for entry in map.iter() {
        let (key, Plain(value)) = entry.map_err(failed)?;
        let Plain(data) = key.data();
        entries.push((key.prefix_len(), data, value));
    }
    Ok(entries)
}

/// The words of a bitmap that are not 0.
pub(super) fn words(
    table: &'static str,
    open: impl Fn(&str) -> Result<Map, MapError>,
) -> Result<Bits, DatapathError> {
    let failed = |error| DatapathError::table(table, error);
    let Ok(map) = open(table) else {
        return Ok(Bits::new());
    };
    let map: Array<MapData, u64> = map.try_into().map_err(failed)?;
    let mut bits = Bits::new();
    for (at, word) in (0..).zip(map.iter()) {
        let word = word.map_err(failed)?;
        if word != 0 {
            bits.insert(at, word);
        }
    }
    Ok(bits)
}
