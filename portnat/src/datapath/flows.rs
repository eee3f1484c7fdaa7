//! Flows are read, and those whose time is over swept out.

use std::collections::BTreeMap;

use aya::maps::PerCpuArray;
use portnat_common::flow::{HALF_OPEN, NO_PORT};
use portnat_common::settings::SWEPT_AT_ONCE;
use portnat_common::{Address, FlowRecord, Ip4, Ip6, Side, Total, Tuple};

use super::error::DatapathError;
use super::load::{Datapath, SWEEP_FLOWS};
use super::pod::Plain;

/// How often the program runs in one call into the kernel.
const RUNS_AT_ONCE: u32 = 1024;

/// One family's flow entries at one moment, by their keys.
pub type Flows<A> = BTreeMap<Tuple<A>, FlowRecord>;

/// A family's addresses, and the names of its flow tables.
pub trait FlowTable: Address {
    /// The names of the tables, that of the confirmed flows first.
    const TABLES: [&'static str; 3];
}

impl FlowTable for Ip4 {
    const TABLES: [&'static str; 3] = ["FLOWS4", "HALF_TCP4", "HALF_OTHER4"];
}

impl FlowTable for Ip6 {
    const TABLES: [&'static str; 3] = ["FLOWS6", "HALF_TCP6", "HALF_OTHER6"];
}

/// What came through a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortTotals {
    /// Flows that live.
    pub flows: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, network headers included.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl PortTotals {
    /// Adds one direction of a flow. Of a half-open one the packets are in the total already.
    fn add(&mut self, side: Side, flow: &FlowRecord) {
        let inbound = flow.is_inbound(side);
        self.flows += u64::from(inbound);
        if flow.flags & HALF_OPEN != 0 {
            return;
        }
        let (packets, bytes) = if inbound {
            (&mut self.packets_in, &mut self.bytes_in)
        } else {
            (&mut self.packets_out, &mut self.bytes_out)
        };
        *packets = packets.wrapping_add(flow.packets);
        *bytes = bytes.wrapping_add(flow.bytes);
    }
}

impl From<Total> for PortTotals {
    fn from(total: Total) -> Self {
        PortTotals {
            flows: 0,
            packets_in: total.packets_in,
            bytes_in: total.bytes_in,
            packets_out: total.packets_out,
            bytes_out: total.bytes_out,
        }
    }
}

impl Datapath {
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

    /// What came through each published port since the start, by the port's id.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn totals(&mut self) -> Result<BTreeMap<u32, PortTotals>, DatapathError> {
        const TABLE: &str = "TOTALS";
        let failed = |error| DatapathError::table(TABLE, error);
        let mut totals = BTreeMap::new();
        for entry in self.hash::<u32, Total>(TABLE)?.iter() {
            let (Plain(port_id), Plain(total)) = entry.map_err(failed)?;
            totals.insert(port_id, PortTotals::from(total));
        }
        let v4 = self.flows::<Ip4>()?.into_iter();
        let v6 = self.flows::<Ip6>()?.into_iter();
        let flows = v4
            .map(|(key, flow)| (key.side, flow))
            .chain(v6.map(|(key, flow)| (key.side, flow)));
        for (side, flow) in flows.filter(|(_, flow)| flow.port_id != NO_PORT) {
            totals.entry(flow.port_id).or_default().add(side, &flow);
        }
        Ok(totals)
    }

    /// All flow entries of a family. What comes and goes meanwhile may or may not be among them.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn flows<A: FlowTable>(&mut self) -> Result<Flows<A>, DatapathError> {
        let mut flows = Flows::new();
        for table in A::TABLES {
            // The kernel begins again where the key it was to go on from is gone: under heavy change
            // the walk would not end by itself.
            let bound = 2 * self.capacity;
            let map = self.hash::<Tuple<A>, FlowRecord>(table)?;
            for entry in map.iter().take(bound) {
                let (Plain(key), Plain(flow)) =
                    entry.map_err(|error| DatapathError::table(table, error))?;
                flows.entry(key).or_insert(flow);
            }
        }
        Ok(flows)
    }
}
