//! The flow tables read beside whoever holds the datapath.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use aya::maps::{HashMap, Map, MapData, MapError};
use portnat_common::{FlowRecord, Ip4, Ip6, Tuple};

use super::error::DatapathError;
use super::flows::{FlowTable, Flows};
use super::load::Datapath;
use super::pod::Plain;

/// How many entries are read between two questions whether to go on.
const SLICE: usize = 1024;

/// A handle of its own to the flow tables, for another thread: a large table takes a while to read,
/// in which the daemon has other things to do.
#[derive(Debug)]
pub struct FlowReader {
    tables: BTreeMap<&'static str, Map>,
    bound: usize,
}

impl FlowReader {
    /// All flow entries of a family, as [`Datapath::flows`]; `None` if `go_on` says no, which is
    /// asked now and then.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn read<A: FlowTable>(
        &self,
        go_on: impl Fn() -> bool,
    ) -> Result<Option<Flows<A>>, DatapathError> {
        let mut flows = Flows::new();
        for table in A::TABLES {
            let failed = |error| DatapathError::table(table, error);
            let map: HashMap<&MapData, Plain<Tuple<A>>, Plain<FlowRecord>> =
                (&self.tables[table]).try_into().map_err(failed)?;
            if !entries(&map, self.bound, &go_on, &mut flows).map_err(failed)? {
                return Ok(None);
            }
        }
        Ok(Some(flows))
    }
}

impl Datapath {
    /// A reader of the flow tables, which outlives the programs if need be.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn flow_reader(&mut self) -> Result<FlowReader, DatapathError> {
        let mut tables = BTreeMap::new();
        for name in Ip4::TABLES.into_iter().chain(Ip6::TABLES) {
            let failed = |error| DatapathError::table(name, error);
            let (Map::HashMap(data) | Map::LruHashMap(data)) = self.map(name)? else {
                return Err(failed(MapError::InvalidMapType { map_type: 0 }));
            };
            let fd = data.fd().as_fd().try_clone_to_owned();
            let fd = fd.map_err(|error| DatapathError::table(name, error))?;
            let map = MapData::from_fd(fd).and_then(Map::from_map_data);
            tables.insert(name, map.map_err(failed)?);
        }
        Ok(FlowReader {
            tables,
            bound: self.bound(),
        })
    }

    /// How many steps a walk over a flow table takes at most. The kernel begins again where the key
    /// it was to go on from is gone: under heavy change the walk would not end by itself.
    pub(super) const fn bound(&self) -> usize {
        2 * self.capacity
    }
}

/// Adds all entries of a table whose keys are not there yet. `false` if `go_on` says no.
pub(super) fn entries<T: Borrow<MapData>, A: FlowTable>(
    map: &HashMap<T, Plain<Tuple<A>>, Plain<FlowRecord>>,
    bound: usize,
    go_on: impl Fn() -> bool,
    flows: &mut Flows<A>,
) -> Result<bool, MapError> {
    for (number, entry) in map.iter().take(bound).enumerate() {
        if number % SLICE == 0 && !go_on() {
            return Ok(false);
        }
        let (Plain(key), Plain(flow)) = entry?;
        flows.entry(key).or_insert(flow);
    }
    // An empty table has asked nobody.
    Ok(go_on())
}
