//! The tables and attachments are made what the model wants, by difference: nothing that stays is
//! touched.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapError, PerCpuArray};
use ipnet::Ipv4Net;
use portnat_common::ports::bitmap_position;
use portnat_common::{DropReason, Ip4, Published, PublishedKey, Subnet};

use super::attach::Hook;
use super::error::DatapathError;
use super::load::Datapath;
use super::pod::Plain;
use crate::model::{Desired, Interface};

impl Datapath {
    /// Makes tables and attachments what `desired` says.
    ///
    /// Tables are filled before programs are attached, and a port's bit is set after its entry, so
    /// that traffic never meets half of a change. Returns the indices of interfaces that were
    /// detached and whose clsact queueing discipline was ours.
    ///
    /// # Errors
    /// The kernel refuses a change. What was done before it stays, and the next call does all of it
    /// again, which is harmless.
    pub fn apply(&mut self, desired: &Desired) -> Result<Vec<u32>, DatapathError> {
        let local = |address: &Ipv4Addr| (Ip4::from(*address), 1_u32);
        let applied = self.applied.clone();
        let old_local = applied.local.iter().map(local).collect();
        let new_local = desired.local.iter().map(local).collect();
        self.sync_hash("LOCAL4", &old_local, &new_local)?;

        let egress = |(index, address): (&u32, &Ipv4Addr)| (*index, Ip4::from(*address));
        let old_egress = applied.egress.iter().map(egress).collect();
        let new_egress = desired.egress.iter().map(egress).collect();
        self.sync_hash("EGRESS4", &old_egress, &new_egress)?;
        self.sync_subnets(&applied, desired)?;
        self.sync_published(&applied, desired)?;
        let qdiscs = self.sync_attachments(desired)?;
        self.applied = desired.clone();
        Ok(qdiscs)
    }

    /// Detaches everything from everywhere; what [`Datapath::apply`] returns.
    pub fn detach_all(&mut self) -> Vec<u32> {
        self.sync_attachments(&Desired::default())
            .unwrap_or_default()
    }

    /// Makes a hash table that holds `old` hold `new`.
    fn sync_hash<K: Copy + Ord + 'static, V: Copy + PartialEq + 'static>(
        &mut self,
        table: &'static str,
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
    ) -> Result<(), DatapathError> {
        let mut map = self.hash::<K, V>(table)?;
        for (key, value) in new {
            if old.get(key) != Some(value) {
                map.insert(Plain(*key), Plain(*value), 0)
                    .map_err(|error| DatapathError::table(table, error))?;
            }
        }
        for key in old.keys().filter(|key| !new.contains_key(key)) {
            ignore_absent(map.remove(&Plain(*key)))
                .map_err(|error| DatapathError::table(table, error))?;
        }
        Ok(())
    }

    fn sync_subnets(&mut self, old: &Desired, new: &Desired) -> Result<(), DatapathError> {
        const TABLE: &str = "SUBNETS4";
        let failed = |error| DatapathError::table(TABLE, error);
        let key =
            |net: &Ipv4Net| Key::new(u32::from(net.prefix_len()), Plain(Ip4::from(net.network())));
        let mut map: LpmTrie<_, Plain<Ip4>, Plain<Subnet>> =
            self.map(TABLE)?.try_into().map_err(failed)?;
        for (net, subnet) in &new.subnets {
            if old.subnets.get(net) != Some(subnet) {
                map.insert(&key(net), Plain(*subnet), 0).map_err(failed)?;
            }
        }
        for net in old
            .subnets
            .keys()
            .filter(|net| !new.subnets.contains_key(net))
        {
            ignore_absent(map.remove(&key(net))).map_err(failed)?;
        }
        Ok(())
    }

    fn sync_published(&mut self, old: &Desired, new: &Desired) -> Result<(), DatapathError> {
        let (before, after) = (bitmap(&old.published), bitmap(&new.published));
        let gone: BTreeMap<u32, u64> = before
            .iter()
            .filter_map(|(word, bits)| {
                let kept = bits & after.get(word).unwrap_or(&0);
                (kept != *bits).then_some((*word, kept))
            })
            .collect();
        let changed = after
            .iter()
            .filter(|(word, bits)| before.get(word) != Some(bits));
        self.set_bits(gone.iter())?;
        self.sync_hash("PUBLISHED4", &old.published, &new.published)?;
        self.set_bits(changed)
    }

    fn set_bits<'b>(
        &mut self,
        words: impl Iterator<Item = (&'b u32, &'b u64)>,
    ) -> Result<(), DatapathError> {
        let mut map = self.array::<u64>("PORTS")?;
        for (word, bits) in words {
            map.set(*word, Plain(*bits), 0)
                .map_err(|error| DatapathError::table("PORTS", error))?;
        }
        Ok(())
    }

    fn sync_attachments(&mut self, desired: &Desired) -> Result<Vec<u32>, DatapathError> {
        let wanted: BTreeMap<(u32, Hook), (&Interface, &'static str)> = desired
            .interfaces
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
        let mut qdiscs = Vec::new();
        for (index, hook) in gone {
            if self.detach(index, hook) {
                qdiscs.push(index);
            }
        }
        for ((index, hook), (interface, program)) in wanted {
            if !self.attachments.contains_key(&(index, hook)) {
                self.attach(index, &interface.name, hook, program)?;
            }
        }
        Ok(qdiscs)
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

/// The bitmap of published ports, words without a bit left out.
fn bitmap(published: &BTreeMap<PublishedKey<Ip4>, Published>) -> BTreeMap<u32, u64> {
    let mut words = BTreeMap::new();
    for key in published.keys() {
        if let Some((word, bit)) = bitmap_position(key.protocol, key.port) {
            *words.entry(word).or_default() |= bit;
        }
    }
    words
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
