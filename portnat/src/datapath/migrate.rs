//! Flows go over from tables of one size to those of another, while packets go by.
//!
//! First all are copied, then the programs that use the new tables take the place of the others, then
//! what has begun in between is copied too. What has changed in between in flows that were copied, some
//! milliseconds' packets and bytes, is not.

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, Queue};
use portnat_common::flow::{COUNTED, Direction};
use portnat_common::{
    Endpoint, FlowRecord, Ip4, Ip6, MappingKey, OwnerRecord, Queued, Ticks, Tuple,
};
use tracing::warn;

use super::error::DatapathError;
use super::flows::{FlowTable, Flows};
use super::load::Datapath;
use super::pod::Plain;
use super::reader::entries;

/// `BPF_NOEXIST`: an entry is inserted only where there is none.
const NEW: u64 = 1;

/// The tables that flows come from.
pub(super) struct Old {
    tables: BTreeMap<&'static str, Map>,
    /// When the first copy was begun.
    since: Ticks,
}

/// The names of a family's tables beside its flows.
struct Beside {
    queue: &'static str,
    containers: &'static str,
    mappings: &'static str,
    owners: &'static str,
    /// Which of the counters in `QUEUED` is its own.
    number: u32,
}

const BESIDE4: Beside = Beside {
    queue: "QUEUE4",
    containers: "CONTAINERS4",
    mappings: "MAPPINGS4",
    owners: "OWNERS4",
    number: 0,
};

const BESIDE6: Beside = Beside {
    queue: "QUEUE6",
    containers: "CONTAINERS6",
    mappings: "MAPPINGS6",
    owners: "OWNERS6",
    number: 1,
};

/// How a copy went.
#[derive(Default)]
struct Copied {
    /// How many flows of each family are in the new table of confirmed ones.
    confirmed: [i64; 2],
    /// How many found no room.
    lost: u64,
}

impl Datapath {
    /// Copies all flows from the tables of others. To be called before any program uses the new ones.
    pub(super) fn migrate(
        &mut self,
        tables: BTreeMap<&'static str, Map>,
    ) -> Result<(), DatapathError> {
        const QUEUED: &str = "QUEUED";
        let old = Old {
            tables,
            since: self.now()?,
        };
        let mut copied = Copied::default();
        self.copy_family::<Ip4>(&BESIDE4, &old, None, &mut copied)?;
        self.copy_family::<Ip6>(&BESIDE6, &old, None, &mut copied)?;
        let failed = |error| DatapathError::table(QUEUED, error);
        let mut lengths: PerCpuArray<_, i64> = self.map(QUEUED)?.try_into().map_err(failed)?;
        for (family, count) in (0..).zip(copied.confirmed) {
            let mut of_cpus = lengths.get(&family, 0).map_err(failed)?.to_vec();
            of_cpus[0] = count;
            let of_cpus = PerCpuValues::try_from(of_cpus).map_err(|error| failed(error.into()))?;
            lengths.set(family, of_cpus, 0).map_err(failed)?;
        }
        if copied.lost > 0 {
            warn!(
                "{} flows have no room in the smaller tables, and end: a larger --max-flows takes \
                 them",
                copied.lost
            );
        }
        self.old = Some(old);
        Ok(())
    }

    /// Copies what has begun since, after the programs that use the new tables are attached everywhere.
    pub(super) fn migrate_rest(&mut self) -> Result<(), DatapathError> {
        let Some(old) = self.old.take() else {
            return Ok(());
        };
        let mut copied = Copied::default();
        self.copy_family::<Ip4>(&BESIDE4, &old, Some(old.since), &mut copied)?;
        self.copy_family::<Ip6>(&BESIDE6, &old, Some(old.since), &mut copied)
    }

    fn copy_family<A: FlowTable>(
        &mut self,
        beside: &Beside,
        old: &Old,
        since: Option<Ticks>,
        copied: &mut Copied,
    ) -> Result<(), DatapathError> {
        let mut counts: BTreeMap<A, u64> = BTreeMap::new();
        for (number, table) in A::TABLES.into_iter().enumerate() {
            let failed = |error| DatapathError::table(table, error);
            let Some(map) = old.tables.get(table) else {
                continue;
            };
            let bound = 2 * capacity(map);
            let map: HashMap<&MapData, Plain<Tuple<A>>, Plain<FlowRecord>> =
                map.try_into().map_err(failed)?;
            let mut flows = Flows::new();
            entries(&map, bound, || true, &mut flows).map_err(failed)?;
            for (key, flow) in &flows {
                let is_original = flow.direction() == Direction::Original;
                if !is_original || since.is_some_and(|since| Ticks(flow.opened) < since) {
                    continue;
                }
                let twin_key = flow.twin(key);
                let Some(twin) = flows.get(&twin_key) else {
                    continue;
                };
                let mut flow = *flow;
                if since.is_some() {
                    // Other CPUs count at the same time, and a count must not be one too low.
                    flow.flags &= !COUNTED;
                }
                let mut map = self.hash::<Tuple<A>, FlowRecord>(table)?;
                match insert_pair(&mut map, (&twin_key, twin), (key, &flow)) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(_) => {
                        copied.lost += 1;
                        continue;
                    }
                }
                if number > 0 {
                    continue;
                }
                copied.confirmed[beside.number as usize] += 1;
                if flow.flags & COUNTED != 0 {
                    *counts.entry(key.src).or_default() += 1;
                }
                let entry = Queued {
                    opened: Ticks(flow.opened),
                    original: *key,
                };
                let failed = |error| DatapathError::table(beside.queue, error);
                let mut queue: Queue<_, Plain<Queued<A>>> =
                    self.map(beside.queue)?.try_into().map_err(failed)?;
                queue.push(Plain(entry), 0).map_err(failed)?;
            }
        }
        let mut containers = self.hash::<A, u64>(beside.containers)?;
        for (container, count) in counts {
            containers
                .insert(Plain(container), Plain(count), 0)
                .map_err(|error| DatapathError::table(beside.containers, error))?;
        }
        self.copy::<MappingKey<A>, u32>(beside.mappings, old)?;
        self.copy::<Endpoint<A>, OwnerRecord>(beside.owners, old)
    }

    /// Copies the entries of a table that is there to lose entries.
    fn copy<K: Copy + 'static, V: Copy + 'static>(
        &mut self,
        table: &'static str,
        old: &Old,
    ) -> Result<(), DatapathError> {
        let failed = |error| DatapathError::table(table, error);
        let Some(map) = old.tables.get(table) else {
            return Ok(());
        };
        let bound = 2 * capacity(map);
        let from: HashMap<&MapData, Plain<K>, Plain<V>> = map.try_into().map_err(failed)?;
        let mut to = self.hash::<K, V>(table)?;
        for entry in from.iter().take(bound) {
            let (key, value) = entry.map_err(failed)?;
            // There is one, or there is no room.
            let _ = to.insert(key, value, NEW);
        }
        Ok(())
    }
}

/// How many entries a table can have.
fn capacity(map: &Map) -> usize {
    match map {
        Map::HashMap(data) | Map::LruHashMap(data) => {
            data.info().map_or(0, |info| info.max_entries()) as usize
        }
        _ => 0,
    }
}

/// Inserts both entries of a flow, the reply's first, as the datapath does. `false` if there is one of
/// them already.
fn insert_pair<A: FlowTable>(
    map: &mut HashMap<&mut MapData, Plain<Tuple<A>>, Plain<FlowRecord>>,
    reply: (&Tuple<A>, &FlowRecord),
    original: (&Tuple<A>, &FlowRecord),
) -> Result<bool, MapError> {
    let mut insert =
        |(key, flow): (&Tuple<A>, &FlowRecord)| map.insert(Plain(*key), Plain(*flow), NEW);
    let inserted = insert(reply);
    let inserted = match inserted {
        Ok(()) => insert(original).map_err(|error| (error, true)),
        Err(error) => Err((error, false)),
    };
    let Err((error, is_half)) = inserted else {
        return Ok(true);
    };
    if is_half {
        map.remove(&Plain(*reply.0))?;
    }
    match &error {
        MapError::SyscallError(call)
            if call.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        _ => Err(error),
    }
}
