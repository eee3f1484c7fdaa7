//! Who may come in by published ports.

use std::collections::BTreeMap;

use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use portnat_common::{Address, AdmissionKey, Limit};

use super::error::DatapathError;
use super::fill::{ignore_absent, retain, sync};
use super::load::Datapath;
use super::pod::Plain;
use crate::model::{Desired, Prefix};

/// Bits of a port's id, which stand before a prefix's own.
pub(super) const ID_BITS: u32 = u32::BITS;

/// The lists of one family's ports: by a port's id and a prefix, whether it is let in.
type Lists<A> = BTreeMap<(u32, Prefix<A>), bool>;

/// A prefix of a port's list as the trie wants it.
fn list_key<A: Address>((port_id, net): &(u32, Prefix<A>)) -> Key<Plain<AdmissionKey<A>>> {
    let data = AdmissionKey {
        port_id: *port_id,
        source: net.network,
    };
    Key::new(ID_BITS + u32::from(net.length), Plain(data))
}

impl Datapath {
    /// Adds what is missing in a table of lists. On the way nobody is let in who is not before and not
    /// afterwards: what keeps out comes first, and goes last.
    pub(super) fn add_admissions<A: Address>(
        &mut self,
        table: &'static str,
        held: &mut Lists<A>,
        wanted: &Lists<A>,
    ) -> Result<(), DatapathError> {
        let mut map = self.lists::<A>(table)?;
        for lets_in in [false, true] {
            let some = wanted.iter().filter(|(_, it)| **it == lets_in);
            let some = some.map(|(net, it)| (*net, *it)).collect();
            sync(held, &some, |net, lets_in| {
                map.insert(&list_key(net), u32::from(*lets_in), 0)
                    .map_err(|error| DatapathError::table(table, error))
            })?;
        }
        Ok(())
    }

    /// Removes from a table of lists what is not wanted.
    pub(super) fn prune_admissions<A: Address>(
        &mut self,
        table: &'static str,
        held: &mut Lists<A>,
        wanted: &Lists<A>,
    ) -> Result<(), DatapathError> {
        let mut map = self.lists::<A>(table)?;
        for lets_in in [true, false] {
            let mut kept = wanted.clone();
            kept.extend(held.iter().filter(|(_, it)| **it != lets_in));
            retain(held, &kept, |net| {
                ignore_absent(map.remove(&list_key(net)))
                    .map_err(|error| DatapathError::table(table, error))
            })?;
        }
        Ok(())
    }

    /// The limits of all ports, for the datapath.
    pub(super) fn limits(&self, desired: &Desired) -> BTreeMap<u32, Limit> {
        let hz = self.ticks_per_second();
        let limits = desired.limits.iter();
        limits
            .map(|(id, limit)| (*id, limit.in_ticks(hz)))
            .collect()
    }

    fn lists<A: Address>(
        &mut self,
        table: &'static str,
    ) -> Result<LpmTrie<&mut MapData, Plain<AdmissionKey<A>>, u32>, DatapathError> {
        self.map(table)?
            .try_into()
            .map_err(|error| DatapathError::table(table, error))
    }
}
