//! A world is what the NAT asks.

use std::cell::Cell;

use portnat_common::ports::bitmap_position;
use portnat_common::tables::gate;
use portnat_common::wire::protocol;
use portnat_common::{
    Endpoint, Flow, FlowRecord, Ip4, MappingKey, Owner, OwnerRecord, Published, PublishedKey,
    Queued, Refusal, Settings, Subnet, Table, Tables, Ticks, Tuple, V4,
};

use super::{Hosts, SUBNETS, TestFamily, World};

impl<F: TestFamily> Tables<F> for Hosts<F> {
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn flow(&self, table: Table, key: &Tuple<F::Address>) -> Option<&Flow> {
        self.flows_in(table).get(key)
    }

    fn insert_flow(
        &self,
        table: Table,
        key: &Tuple<F::Address>,
        flow: &FlowRecord,
    ) -> Result<(), Refusal> {
        let flows = self.flows_in(table);
        if flows.contains(key) {
            return Err(Refusal::Exists);
        }
        match table {
            Table::Confirmed if flows.len() >= self.capacity => return Err(Refusal::Full),
            Table::HalfOpen if flows.len() >= self.half_open_capacity => {
                let entries = flows.entries().into_iter();
                let oldest = entries.min_by_key(|(_, flow)| flow.last_seen.get());
                oldest.map(|(key, _)| flows.remove(&key));
            }
            _ => {}
        }
        let shared = Flow {
            translation: flow.translation,
            port_id: flow.port_id,
            flags: flow.flags,
            interface: flow.interface,
            opened: flow.opened,
            seen: Cell::new(flow.seen),
            last_seen: Cell::new(flow.last_seen),
            packets: Cell::new(flow.packets),
            bytes: Cell::new(flow.bytes),
            way: flow.way.shared(),
        };
        flows.insert(*key, shared);
        Ok(())
    }

    fn remove_flow(&self, table: Table, key: &Tuple<F::Address>) {
        let removed = self.flows_in(table).remove(key);
        if let (Some(place), Table::Confirmed) = (removed, table) {
            let record = self.flows.at(place).record();
            self.removed.borrow_mut().push((place, record));
        }
    }

    fn full_since(&self) -> Ticks {
        self.full_since.get()
    }

    fn set_full(&self, now: Ticks) {
        self.full_since.set(now);
    }

    fn claim(&self, identity: u64) -> bool {
        self.claims.borrow_mut().insert(identity)
    }

    fn release(&self, identity: u64) {
        assert!(self.claims.borrow_mut().remove(&identity), "nobody had it");
    }

    fn queue(&self, entry: &Queued<F::Address>) {
        self.queue.borrow_mut().push_back(*entry);
    }

    fn next_queued(&self) -> Option<Queued<F::Address>> {
        self.queue.borrow_mut().pop_front()
    }

    fn flows_of(&self, container: &F::Address) -> Option<u64> {
        let mut containers = self.containers.borrow_mut();
        if containers.len() < self.containers_capacity {
            containers.entry(*container).or_default();
        }
        containers.get(container).copied()
    }

    fn count_flow(&self, container: &F::Address, change: i64) {
        let mut containers = self.containers.borrow_mut();
        let flows = containers.get_mut(container).expect("it was asked about");
        *flows = flows.checked_add_signed(change).expect("not below 0");
    }

    fn mapping(&self, key: &MappingKey<F::Address>) -> Option<u16> {
        self.mappings.borrow().get(key).copied()
    }

    fn set_mapping(&self, key: &MappingKey<F::Address>, port: u16) {
        self.mappings.borrow_mut().insert(*key, port);
    }

    fn owner(&self, outside: &Endpoint<F::Address>) -> Option<&Owner> {
        self.owners.get(outside)
    }

    fn insert_owner(
        &self,
        outside: &Endpoint<F::Address>,
        owner: &OwnerRecord,
    ) -> Result<(), Refusal> {
        if self.owners.contains(outside) {
            return Err(Refusal::Exists);
        }
        if self.owners.len() >= self.owners_capacity {
            return Err(Refusal::Full);
        }
        let shared = Owner {
            inside: owner.inside,
            port: owner.port,
            padding: owner.padding,
            last_used: Cell::new(owner.last_used),
        };
        self.owners.insert(*outside, shared);
        Ok(())
    }

    fn remove_owner(&self, outside: &Endpoint<F::Address>) {
        self.owners.remove(outside);
    }

    fn add_to_total(&self, port_id: u32, inbound: bool, packets: u64, bytes: u64) {
        let mut totals = self.totals.borrow_mut();
        let total = totals.entry(port_id).or_default();
        let (packet_sum, byte_sum) = if inbound {
            (&mut total.packets_in, &mut total.bytes_in)
        } else {
            (&mut total.packets_out, &mut total.bytes_out)
        };
        *packet_sum = packet_sum.wrapping_add(packets);
        *byte_sum = byte_sum.wrapping_add(bytes);
    }

    fn published(&self, key: &PublishedKey<F::Address>) -> Option<&Published> {
        self.published.get(key)
    }

    fn published_range(&self, key: &PublishedKey<F::Address>) -> Option<&Published> {
        self.range_at(key)
    }

    fn published_back(&self, key: &PublishedKey<F::Address>) -> Option<&Published> {
        let alone = self.published_back.get(key);
        alone.or_else(|| self.range_back(key))
    }

    fn is_in_use(&self, tuple: &Tuple<F::Address>) -> bool {
        self.sockets.contains(&(tuple.protocol, tuple.dst_port)) || self.is_across(tuple)
    }

    fn is_across(&self, tuple: &Tuple<F::Address>) -> bool {
        self.across.borrow().contains(tuple)
    }

    fn bridge_v4(&self, target: Ip4) -> Option<(u32, Ip4)> {
        V4::bridge(target).map(|number| (SUBNETS[number].bridge, World::GATEWAY.into()))
    }

    fn port_is_published(&self, protocol: u8, port: u16) -> bool {
        let (word, bit) = bitmap_position(protocol, port);
        self.bitmap.get(&word).is_some_and(|bits| bits & bit != 0)
    }

    fn port_is_withheld(&self, protocol: u8, port: u16) -> bool {
        let has_ports = [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&protocol);
        let reserved = has_ports && self.reserved.contains(&port);
        reserved || self.port_is_published(protocol, port)
    }

    fn came_in(&self) -> u32 {
        self.came_in.get()
    }

    fn is_tagged(&self) -> bool {
        false
    }

    fn number(&self, port: u32) {
        self.number.set(port);
    }

    fn numbered(&self) -> u32 {
        self.number.get()
    }

    fn is_for_us(&self) -> bool {
        true
    }

    fn takes_frames_until(&self, interface: u32) -> Ticks {
        match interface {
            World::PORT => self.frames_until.get(),
            _ => Ticks(0),
        }
    }

    fn count_probes(&self, probes: u32) {
        self.probes.borrow_mut().push(probes);
    }

    fn roles(&self, address: &F::Address) -> u32 {
        self.roles.get(address).copied().unwrap_or_default()
    }

    fn subnet(&self, address: &F::Address) -> Option<&Subnet> {
        F::bridge(*address).map(|number| &self.subnets[number])
    }

    fn interface(&self) -> u32 {
        self.interface.get()
    }

    fn gate(&self, interface: u32) -> Option<u32> {
        match interface {
            World::UPLINK => Some(gate::UPLINK),
            World::BRIDGE | World::OTHER_BRIDGE => Some(gate::BRIDGE),
            _ => None,
        }
    }

    fn egress_address(&self, interface: u32) -> Option<F::Address> {
        match interface {
            World::BRIDGE => Some(F::address(F::OWN[1])),
            World::UPLINK | World::OTHER_BRIDGE => self.egress,
            key => self.named.get(&(key & !(1 << 31))).copied(),
        }
    }

    fn is_bypassed(&self, address: &F::Address) -> bool {
        self.bypass.contains(address)
    }

    fn now(&self) -> Ticks {
        Ticks(self.now.get())
    }

    fn random(&self) -> u32 {
        // xorshift: anything that is not constant will do.
        let mut dice = self.dice.get();
        dice ^= dice << 13;
        dice ^= dice >> 17;
        dice ^= dice << 5;
        self.dice.set(dice);
        self.rolls.set(self.rolls.get() + 1);
        dice
    }
}
