//! Two CPUs: in the middle of what one does to the tables, the other has its turn.

use std::cell::{Cell, RefCell};

use portnat_common::{
    AdmissionKey, Admissions, Datagram, DatagramKey, Endpoint, Flow, FlowRecord, Fragments, Ip4,
    Limit, LimitKey, MappingKey, Owner, OwnerRecord, Packet, Published, PublishedKey, Queued,
    Refusal, Settings, Subnet, Table, Tables, Ticks, Tuple, V4, WaitingKey,
};

use super::world::World;

/// Tables of which another CPU makes use just before the access with a number, or before any.
pub(crate) struct Racing<'w> {
    world: &'w World,
    accesses_before: Cell<usize>,
    other_cpu: RefCell<Option<Box<dyn FnOnce() + 'w>>>,
    /// What gives way to others.
    give_way: Option<Box<dyn Fn() + 'w>>,
}

impl<'w> Racing<'w> {
    /// `other_cpu` has its turn before the access with this number, counted from 0.
    pub(crate) fn new(world: &'w World, access: usize, other_cpu: impl FnOnce() + 'w) -> Self {
        Racing {
            world,
            accesses_before: Cell::new(access),
            other_cpu: RefCell::new(Some(Box::new(other_cpu))),
            give_way: None,
        }
    }

    /// `give_way` is called before each access, and others may have their turn in it.
    pub(crate) fn scheduled(world: &'w World, give_way: impl Fn() + 'w) -> Self {
        Racing {
            world,
            accesses_before: Cell::default(),
            other_cpu: RefCell::default(),
            give_way: Some(Box::new(give_way)),
        }
    }

    /// Whether there were so many accesses.
    pub(crate) fn took_place(&self) -> bool {
        self.other_cpu.borrow().is_none()
    }

    fn world(&self) -> &World {
        if let Some(give_way) = &self.give_way {
            give_way();
        }
        match self.accesses_before.get() {
            0 => {
                let turn = self.other_cpu.borrow_mut().take();
                if let Some(turn) = turn {
                    turn();
                }
            }
            accesses => self.accesses_before.set(accesses - 1),
        }
        self.world
    }
}

impl Tables<V4> for Racing<'_> {
    fn settings(&self) -> Option<&Settings> {
        self.world().settings()
    }

    fn flow(&self, table: Table, key: &Tuple<Ip4>) -> Option<&Flow> {
        self.world().flow(table, key)
    }

    fn insert_flow(
        &self,
        table: Table,
        key: &Tuple<Ip4>,
        flow: &FlowRecord,
    ) -> Result<(), Refusal> {
        self.world().insert_flow(table, key, flow)
    }

    fn remove_flow(&self, table: Table, key: &Tuple<Ip4>) {
        self.world().remove_flow(table, key);
    }

    fn full_since(&self) -> Ticks {
        self.world().full_since()
    }

    fn set_full(&self, now: Ticks) {
        self.world().set_full(now);
    }

    fn claim(&self, identity: u64) -> bool {
        self.world().claim(identity)
    }

    fn release(&self, identity: u64) {
        self.world().release(identity);
    }

    fn queue(&self, entry: &Queued<Ip4>) {
        self.world().queue(entry);
    }

    fn next_queued(&self) -> Option<Queued<Ip4>> {
        self.world().next_queued()
    }

    fn flows_of(&self, container: &Ip4) -> Option<u64> {
        self.world().flows_of(container)
    }

    fn count_flow(&self, container: &Ip4, change: i64) {
        self.world().count_flow(container, change);
    }

    fn mapping(&self, key: &MappingKey<Ip4>) -> Option<u16> {
        self.world().mapping(key)
    }

    fn set_mapping(&self, key: &MappingKey<Ip4>, port: u16) {
        self.world().set_mapping(key, port);
    }

    fn owner(&self, outside: &Endpoint<Ip4>) -> Option<&Owner> {
        self.world().owner(outside)
    }

    fn insert_owner(&self, outside: &Endpoint<Ip4>, owner: &OwnerRecord) -> Result<(), Refusal> {
        self.world().insert_owner(outside, owner)
    }

    fn remove_owner(&self, outside: &Endpoint<Ip4>) {
        self.world().remove_owner(outside);
    }

    fn add_to_total(&self, port_id: u32, inbound: bool, packets: u64, bytes: u64) {
        self.world().add_to_total(port_id, inbound, packets, bytes);
    }

    fn published(&self, key: &PublishedKey<Ip4>) -> Option<&Published> {
        self.world().published(key)
    }

    fn published_range(&self, key: &PublishedKey<Ip4>) -> Option<&Published> {
        self.world().published_range(key)
    }

    fn published_back(&self, key: &PublishedKey<Ip4>) -> Option<&Published> {
        self.world().published_back(key)
    }

    fn is_in_use(&self, tuple: &Tuple<Ip4>) -> bool {
        self.world().is_in_use(tuple)
    }

    fn is_across(&self, tuple: &Tuple<Ip4>) -> bool {
        self.world().is_across(tuple)
    }

    fn bridge_v4(&self, target: Ip4) -> Option<(u32, Ip4)> {
        self.world().bridge_v4(target)
    }

    fn port_is_published(&self, protocol: u8, port: u16) -> bool {
        self.world().port_is_published(protocol, port)
    }

    fn port_is_withheld(&self, protocol: u8, port: u16) -> bool {
        self.world().port_is_withheld(protocol, port)
    }

    fn came_in(&self) -> u32 {
        self.world().came_in()
    }

    fn is_tagged(&self) -> bool {
        self.world().is_tagged()
    }

    fn number(&self, port: u32) {
        self.world().number(port);
    }

    fn numbered(&self) -> u32 {
        self.world().numbered()
    }

    fn is_for_us(&self) -> bool {
        self.world().is_for_us()
    }

    fn takes_frames_until(&self, interface: u32) -> Ticks {
        self.world().takes_frames_until(interface)
    }

    fn count_probes(&self, probes: u32) {
        self.world().count_probes(probes);
    }

    fn roles(&self, address: &Ip4) -> u32 {
        self.world().roles(address)
    }

    fn subnet(&self, address: &Ip4) -> Option<&Subnet> {
        self.world().subnet(address)
    }

    fn is_bypassed(&self, address: &Ip4) -> bool {
        self.world().is_bypassed(address)
    }

    fn interface(&self) -> u32 {
        self.world().interface()
    }

    fn gate(&self, interface: u32) -> Option<u32> {
        self.world().gate(interface)
    }

    fn egress_address(&self, interface: u32) -> Option<Ip4> {
        self.world().egress_address(interface)
    }

    fn now(&self) -> Ticks {
        self.world().now()
    }

    fn random(&self) -> u32 {
        self.world().random()
    }
}

impl Admissions<V4> for Racing<'_> {
    fn admits(&self, key: &AdmissionKey<Ip4>) -> Option<bool> {
        self.world().admits(key)
    }

    fn limit(&self, port_id: u32) -> Option<&Limit> {
        self.world().limit(port_id)
    }

    fn bucket(&self, key: &LimitKey<Ip4>) -> Option<u64> {
        self.world().bucket(key)
    }

    fn set_bucket(&self, key: &LimitKey<Ip4>, full_at: u64) {
        self.world().set_bucket(key, full_at);
    }
}

impl Fragments for Racing<'_> {
    fn datagram(&self, key: &DatagramKey) -> Option<&Datagram> {
        self.world().datagram(key)
    }

    fn insert_datagram(&self, key: &DatagramKey, datagram: &Datagram) -> Result<(), Refusal> {
        self.world().insert_datagram(key, datagram)
    }

    fn remove_datagram(&self, key: &DatagramKey) {
        self.world().remove_datagram(key);
    }

    fn hold<P: Packet>(&self, place: &WaitingKey, packet: &P) -> Result<(), Refusal> {
        self.world().hold(place, packet)
    }

    fn take_back(&self, place: &WaitingKey) -> bool {
        self.world().take_back(place)
    }

    fn release_waiting<P: Packet>(
        &self,
        place: &WaitingKey,
        places: u32,
        packet: &mut P,
    ) -> Option<()> {
        self.world().release_waiting(place, places, packet)
    }
}
