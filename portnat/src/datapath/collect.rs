//! Flows are read, and collected when their time is over.

use std::collections::BTreeMap;

use aya::maps::MapError;
use portnat_common::conntrack::State;
use portnat_common::flow::{Direction, NO_PORT, Translation};
use portnat_common::{Address, FlowRecord, Ip4, Ip6, Lifetimes, Side, Ticks, Tuple};

use super::error::DatapathError;
use super::load::Datapath;
use super::pod::Plain;
use super::tables::ignore_absent;

/// One family's flow entries at one moment, by their keys.
pub type Flows<A> = BTreeMap<Tuple<A>, FlowRecord>;

/// A family's addresses, and the name of its flow table.
pub trait FlowTable: Address {
    /// The name of the table.
    const TABLE: &'static str;
}

impl FlowTable for Ip4 {
    const TABLE: &'static str = "FLOWS4";
}

impl FlowTable for Ip6 {
    const TABLE: &'static str = "FLOWS6";
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
    /// Adds one direction of a flow: what is rewritten where it comes in is from a client, whoever
    /// spoke first.
    fn add(&mut self, side: Side, flow: &FlowRecord) {
        match side {
            Side::Ingress => {
                self.flows += 1;
                self.packets_in += flow.packets;
                self.bytes_in += flow.bytes;
            }
            Side::Egress => {
                self.packets_out += flow.packets;
                self.bytes_out += flow.bytes;
            }
        }
    }
}

/// Removes flows whose time is over and remembers what they have carried.
///
/// The datapath takes an expired entry for none, so this only makes room. A flow that comes back to
/// life in the instant between the last look and its removal begins anew with its next packet.
#[derive(Debug)]
pub struct Collector {
    lifetimes: Lifetimes,
    ended: BTreeMap<u32, PortTotals>,
}

impl Collector {
    /// A collector that has not seen any flow end.
    #[must_use]
    pub const fn new(lifetimes: Lifetimes) -> Self {
        Collector {
            lifetimes,
            ended: BTreeMap::new(),
        }
    }

    /// Removes the flows that are over. Returns how many there were.
    ///
    /// # Errors
    /// The table cannot be read or written.
    pub fn collect(&mut self, datapath: &mut Datapath) -> Result<usize, DatapathError> {
        Ok(self.collect_family::<Ip4>(datapath)? + self.collect_family::<Ip6>(datapath)?)
    }

    fn collect_family<A: FlowTable>(
        &mut self,
        datapath: &mut Datapath,
    ) -> Result<usize, DatapathError> {
        let now = datapath.now()?;
        let flows = datapath.flows::<A>()?;
        let mut collected = 0;
        for (key, flow) in &flows {
            let twin_key = flow.translation.twin(key);
            // Under the twin's key may lie another flow's: only one that leads back is this flow's.
            let back = Translation::to(&key.reverse());
            let leads_back = |twin: &FlowRecord| twin.translation.is(&back);
            let twin = flows.get(&twin_key).filter(|twin| leads_back(twin));
            // One direction speaks for both; a reply without its original speaks for itself.
            if flow.direction() == Direction::Reply && twin.is_some() {
                continue;
            }
            if !self.is_over(key, flow, twin, now) {
                continue;
            }
            let twin = datapath.flow(&twin_key)?.filter(leads_back);
            let again = datapath.flow(key)?.zip(Some(twin));
            if let Some((flow, twin)) = again
                && self.is_over(key, &flow, twin.as_ref(), now)
            {
                // The reservation goes last: until then nobody else gets the port.
                datapath.remove_flow(key)?;
                if twin.is_some() {
                    datapath.remove_flow(&twin_key)?;
                }
                collected += 1;
                self.remember(key.side, &flow);
                twin.iter()
                    .for_each(|twin| self.remember(twin_key.side, twin));
            }
        }
        Ok(collected)
    }

    /// What came through each published port since the start, by the port's id.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn totals(
        &self,
        datapath: &mut Datapath,
    ) -> Result<BTreeMap<u32, PortTotals>, DatapathError> {
        let mut totals = self.ended.clone();
        let v4 = datapath
            .flows::<Ip4>()?
            .into_iter()
            .map(|(key, flow)| (key.side, flow));
        let v6 = datapath
            .flows::<Ip6>()?
            .into_iter()
            .map(|(key, flow)| (key.side, flow));
        for (side, flow) in v4.chain(v6).filter(|(_, flow)| flow.port_id != NO_PORT) {
            totals.entry(flow.port_id).or_default().add(side, &flow);
        }
        Ok(totals)
    }

    fn remember(&mut self, side: Side, flow: &FlowRecord) {
        if flow.port_id != NO_PORT {
            let totals = self.ended.entry(flow.port_id).or_default();
            totals.add(side, flow);
            totals.flows = 0;
        }
    }

    fn is_over<A>(
        &self,
        key: &Tuple<A>,
        flow: &FlowRecord,
        twin: Option<&FlowRecord>,
        now: Ticks,
    ) -> bool {
        let last_seen = twin.map_or(0, |twin| twin.last_seen).max(flow.last_seen);
        let other = twin.map_or(0, |twin| twin.seen);
        let (original, reply) = match flow.direction() {
            Direction::Original => (flow.seen, other),
            Direction::Reply => (other, flow.seen),
        };
        let lifetime = State::of(key.protocol, original, reply).lifetime(&self.lifetimes);
        now.since(Ticks(last_seen)) > lifetime
    }
}

impl Datapath {
    /// All flow entries of a family. What comes and goes meanwhile may or may not be among them.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn flows<A: FlowTable>(&mut self) -> Result<Flows<A>, DatapathError> {
        // The kernel begins again where the key it was to go on from is gone: under heavy change
        // the walk would not end by itself.
        let bound = 2 * self.capacity;
        let map = self.hash::<Tuple<A>, FlowRecord>(A::TABLE)?;
        let mut flows = Flows::new();
        for entry in map.iter().take(bound) {
            let (Plain(key), Plain(flow)) =
                entry.map_err(|error| DatapathError::table(A::TABLE, error))?;
            flows.insert(key, flow);
        }
        Ok(flows)
    }

    fn flow<A: FlowTable>(&mut self, key: &Tuple<A>) -> Result<Option<FlowRecord>, DatapathError> {
        match self
            .hash::<Tuple<A>, FlowRecord>(A::TABLE)?
            .get(&Plain(*key), 0)
        {
            Ok(Plain(flow)) => Ok(Some(flow)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DatapathError::table(A::TABLE, error)),
        }
    }

    fn remove_flow<A: FlowTable>(&mut self, key: &Tuple<A>) -> Result<(), DatapathError> {
        ignore_absent(
            self.hash::<Tuple<A>, FlowRecord>(A::TABLE)?
                .remove(&Plain(*key)),
        )
        .map_err(|error| DatapathError::table(A::TABLE, error))
    }
}
