//! Flows are read, ended, and swept out when their time is over.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::PerCpuArray;
use portnat_common::flow::{HALF_OPEN, NO_PORT};
use portnat_common::settings::SWEPT_AT_ONCE;
use portnat_common::wire::ethernet;
use portnat_common::{Address, FlowRecord, Ip4, Ip6, Total, Tuple};
use serde::{Deserialize, Serialize};

use super::error::DatapathError;
use super::fill::ignore_absent;
use super::load::{Datapath, END_FLOW, SWEEP_FLOWS};
use super::pod::Plain;
use super::reader::entries;
use super::run::SHORTEST;
use crate::flows::{JoinedFlow, Traffic};

/// How often the program runs in one call into the kernel.
const RUNS_AT_ONCE: u32 = 1024;

/// How often a flow is ended that another CPU goes on with at the same moment.
const ATTEMPTS_TO_END: usize = 8;

/// One family's flow entries at one moment, by their keys.
pub type Flows<A> = BTreeMap<Tuple<A>, FlowRecord>;

/// A family's addresses, and the names of its flow tables.
pub trait FlowTable: Address {
    /// The names of the tables, that of the confirmed flows first.
    const TABLES: [&'static str; 3];
    /// The family's EtherType.
    const ETHERTYPE: u16;
}

impl FlowTable for Ip4 {
    const TABLES: [&'static str; 3] = ["FLOWS4", "HALF_TCP4", "HALF_OTHER4"];
    const ETHERTYPE: u16 = ethernet::ETHERTYPE_IPV4;
}

impl FlowTable for Ip6 {
    const TABLES: [&'static str; 3] = ["FLOWS6", "HALF_TCP6", "HALF_OTHER6"];
    const ETHERTYPE: u16 = ethernet::ETHERTYPE_IPV6;
}

/// What came through a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortTotals {
    /// Flows that live.
    pub flows: u64,
    /// What they and those before them have carried.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Adds the flows that live to what others have carried, by the published port's id. The others'
/// include the half-open ones', whose packets are counted as they come.
pub fn add_living<A: Address>(totals: &mut BTreeMap<u32, PortTotals>, flows: &Flows<A>) {
    for flow in JoinedFlow::all(flows).filter(|flow| flow.port_id() != NO_PORT) {
        let totals = totals.entry(flow.port_id()).or_default();
        totals.flows += 1;
        if flow.lead.record.flags & HALF_OPEN == 0 {
            totals.traffic += flow.traffic();
        }
    }
}

impl Datapath {
    /// All flow entries of a family. What comes and goes meanwhile may or may not be among them.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn flows<A: FlowTable>(&mut self) -> Result<Flows<A>, DatapathError> {
        let bound = self.bound();
        let mut flows = Flows::new();
        for table in A::TABLES {
            let map = self.hash::<Tuple<A>, FlowRecord>(table)?;
            entries(&map, bound, || true, &mut flows)
                .map_err(|error| DatapathError::table(table, error))?;
        }
        Ok(flows)
    }

    /// Puts a direction of a confirmed flow into the table, in place of what is there under its key.
    /// What packets write there at the same moment is lost.
    ///
    /// # Errors
    /// There is no room.
    pub fn put_flow<A: FlowTable>(
        &mut self,
        key: &Tuple<A>,
        flow: &FlowRecord,
    ) -> Result<(), DatapathError> {
        let table = A::TABLES[0];
        self.hash(table)?
            .insert(Plain(*key), Plain(*flow), 0)
            .map_err(|error| DatapathError::table(table, error))
    }

    /// What came through each published port in flows that have ended or are half-open, by the
    /// port's id.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn ended(&mut self) -> Result<BTreeMap<u32, PortTotals>, DatapathError> {
        const TABLE: &str = "TOTALS";
        let failed = |error| DatapathError::table(TABLE, error);
        let mut totals = BTreeMap::new();
        for entry in self.hash::<u32, Total>(TABLE)?.iter() {
            let (Plain(port_id), Plain(total)) = entry.map_err(failed)?;
            let traffic = Traffic {
                packets_in: total.packets_in,
                bytes_in: total.bytes_in,
                packets_out: total.packets_out,
                bytes_out: total.bytes_out,
            };
            totals.insert(port_id, PortTotals { flows: 0, traffic });
        }
        Ok(totals)
    }

    /// Forgets what has come through the ports with these ids.
    ///
    /// # Errors
    /// The kernel refuses the table's change.
    pub fn forget_totals(&mut self, ports: &BTreeSet<u32>) -> Result<(), DatapathError> {
        const TABLE: &str = "TOTALS";
        let mut totals = self.hash::<u32, Total>(TABLE)?;
        for port in ports {
            ignore_absent(totals.remove(&Plain(*port)))
                .map_err(|error| DatapathError::table(TABLE, error))?;
        }
        Ok(())
    }

    /// What came through each published port since the start, by the port's id.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn totals(&mut self) -> Result<BTreeMap<u32, PortTotals>, DatapathError> {
        let mut totals = self.ended()?;
        add_living(&mut totals, &self.flows::<Ip4>()?);
        add_living(&mut totals, &self.flows::<Ip6>()?);
        Ok(totals)
    }

    /// Ends the flow of which the entry under `key` is a direction. Its next packet finds nothing,
    /// and may begin another. Returns whether there was one that lived.
    ///
    /// # Errors
    /// The kernel does not run the program.
    pub fn end<A: FlowTable>(&mut self, key: &Tuple<A>) -> Result<bool, DatapathError> {
        let mut frame = [0; SHORTEST];
        frame[ethernet::ETHERTYPE..ethernet::HEADER_LEN]
            .copy_from_slice(&A::ETHERTYPE.to_be_bytes());
        let key = [
            bytemuck::bytes_of(&key.src),
            bytemuck::bytes_of(&key.dst),
            &key.pack().to_ne_bytes(),
        ]
        .concat();
        frame[ethernet::HEADER_LEN..][..key.len()].copy_from_slice(&key);
        let mut ended = false;
        for _ in 0..ATTEMPTS_TO_END {
            // A packet that was in the middle of it can have undone it: asked once more, there is
            // no flow to end.
            if self.test_run(END_FLOW, &frame, 0)?.0 == 0 {
                break;
            }
            ended = true;
        }
        Ok(ended)
    }

    /// Has the datapath examine every flow once, and remove those whose time is over. Flows that
    /// begin do the same to two others each; this is for when none do.
    ///
    /// # Errors
    /// The kernel does not run the program.
    pub fn sweep(&mut self) -> Result<(), DatapathError> {
        const TABLE: &str = "QUEUED";
        let failed = |error| DatapathError::table(TABLE, error);
        let map: PerCpuArray<_, i64> = self.map(TABLE)?.try_into().map_err(failed)?;
        let mut longest = 0;
        for family in 0..map.len() {
            let length: i64 = map.get(&family, 0).map_err(failed)?.iter().sum();
            longest = longest.max(u32::try_from(length).unwrap_or_default());
        }
        let mut runs = longest.div_ceil(SWEPT_AT_ONCE);
        while runs > 0 {
            let slice = runs.min(RUNS_AT_ONCE);
            self.run(SWEEP_FLOWS, slice)?;
            runs -= slice;
        }
        Ok(())
    }
}
