//! Who may come in by published ports.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::{Key, LpmTrie};
use portnat_common::{Address, AdmissionKey};

use super::error::DatapathError;
use super::load::Datapath;
use super::pod::Plain;
use super::tables::{ignore_absent, retain, sync};
use crate::model::{Prefix, RateLimit};

/// Bits of a port's id, which stand before a prefix's own.
const ID_BITS: u32 = u32::BITS;

impl Datapath {
    /// Makes a table of lists that holds `held` hold `wanted`. On the way nobody is let in who is not
    /// before and not afterwards: what keeps out comes first and goes last.
    pub(super) fn sync_admissions<A: Address>(
        &mut self,
        table: &'static str,
        held: &mut BTreeMap<(u32, Prefix<A>), bool>,
        wanted: &BTreeMap<(u32, Prefix<A>), bool>,
    ) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::table(table, error);
        let key = |(port_id, net): &(u32, Prefix<A>)| {
            let data = AdmissionKey {
                port_id: *port_id,
                source: net.network,
            };
            Key::new(ID_BITS + u32::from(net.length), Plain(data))
        };
        let mut map: LpmTrie<_, Plain<AdmissionKey<A>>, u32> =
            self.map(table)?.try_into().map_err(failed)?;
        for lets_in in [false, true] {
            let some = wanted.iter().filter(|(_, it)| **it == lets_in);
            let some = some.map(|(net, it)| (*net, *it)).collect();
            sync(held, &some, |net, lets_in| {
                map.insert(&key(net), u32::from(*lets_in), 0)
                    .map_err(failed)
            })?;
        }
        for lets_in in [true, false] {
            let mut kept = wanted.clone();
            kept.extend(held.iter().filter(|(_, it)| **it != lets_in));
            retain(held, &kept, |net| {
                ignore_absent(map.remove(&key(net))).map_err(failed)
            })?;
        }
        Ok(())
    }

    /// Makes the table of limits that holds `held` hold `wanted`.
    pub(super) fn sync_limits(
        &mut self,
        held: &mut BTreeMap<u32, RateLimit>,
        wanted: &BTreeMap<u32, RateLimit>,
    ) -> Result<(), DatapathError> {
        const TABLE: &str = "LIMITS";
        let failed = |error| DatapathError::table(TABLE, error);
        let hz = self.ticks_per_second();
        let mut map = self.hash(TABLE)?;
        sync(held, wanted, |id, limit| {
            map.insert(Plain(*id), Plain(limit.in_ticks(hz)), 0)
                .map_err(failed)
        })?;
        retain(held, wanted, |id| {
            ignore_absent(map.remove(&Plain(*id))).map_err(failed)
        })
    }
}
