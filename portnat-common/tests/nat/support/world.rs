//! A world in plain memory: tables, a clock that the test moves and dice that it can repeat.

mod checks;
mod families;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use portnat_common::address::role;
use portnat_common::ports::bitmap_position;
use portnat_common::wire::protocol;
use portnat_common::{
    Endpoint, Family, Flow, FlowRecord, Ip4, MappingKey, Owner, OwnerRecord, Published,
    PublishedKey, Queued, Refusal, Settings, Subnet, Table, Tables, Ticks, Total, Tuple, V4, V6,
};

use super::fragments::FragmentTables;
pub(crate) use families::TestFamily;

/// Ticks a second.
pub(crate) const HZ: u64 = 100;

/// The entries of a table.
type Entries<F> = BTreeMap<Tuple<<F as Family>::Address>, &'static Flow>;

/// A host at 192.0.2.1 whose containers are in 172.17.0.0/16 and 172.18.0.0/16, or the like in
/// IPv6.
pub(crate) struct Hosts<F: TestFamily> {
    pub(crate) settings: Settings,
    // Entries are leaked, so that a reference outlives the removal of its entry, as in the kernel.
    flows: RefCell<Entries<F>>,
    half_open: RefCell<Entries<F>>,
    /// Confirmed entries that were removed, and as what. The kernel uses such a one again at once.
    removed: RefCell<Vec<(&'static Flow, FlowRecord)>>,
    full_since: Cell<Ticks>,
    claims: RefCell<BTreeSet<u64>>,
    queue: RefCell<VecDeque<Queued<F::Address>>>,
    totals: RefCell<BTreeMap<u32, Total>>,
    pub(super) published: BTreeMap<PublishedKey<F::Address>, Published>,
    pub(super) published_back: BTreeMap<PublishedKey<F::Address>, Published>,
    pub(super) bitmap: BTreeMap<u32, u64>,
    /// Protocols and ports that the host has sockets on.
    pub(crate) sockets: BTreeSet<(u8, u16)>,
    pub(super) roles: BTreeMap<F::Address, u32>,
    mappings: RefCell<BTreeMap<MappingKey<F::Address>, u16>>,
    owners: RefCell<BTreeMap<Endpoint<F::Address>, &'static Owner>>,
    /// How many ports there is room to know the owners of.
    pub(crate) owners_capacity: usize,
    containers: RefCell<BTreeMap<F::Address, u64>>,
    /// How many containers there is room to count the flows of.
    pub(crate) containers_capacity: usize,
    /// Ports that the administrator keeps.
    pub(crate) reserved: BTreeSet<u16>,
    /// How many probes each port took.
    pub(crate) probes: RefCell<Vec<u32>>,
    /// Keys that the other family's tables have.
    pub(crate) across: RefCell<BTreeSet<Tuple<F::Address>>>,
    /// The address that the uplink lends.
    pub(crate) egress: Option<F::Address>,
    /// The most entries that there can be of confirmed flows.
    pub(crate) capacity: usize,
    /// The most entries of half-open flows; then old ones go, one for each that comes.
    pub(crate) half_open_capacity: usize,
    /// The interface at which packets are seen.
    pub(crate) interface: Cell<u32>,
    now: Cell<u64>,
    /// Datagrams in fragments, and fragments that wait.
    pub(crate) fragments: FragmentTables,
    dice: Cell<u32>,
    rolls: Cell<u32>,
}

/// A host of IPv4.
pub(crate) type World = Hosts<V4>;
/// A host of IPv6, at 2001:db8:1::1, with containers in fd00:17::/64 and fd00:18::/64.
pub(crate) type World6 = Hosts<V6>;

impl World {
    pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The host's address on the bridge.
    pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
    /// Indices of interfaces.
    pub(crate) const UPLINK: u32 = 2;
    pub(crate) const BRIDGE: u32 = 3;
    pub(crate) const OTHER_BRIDGE: u32 = 4;
    /// A bridge's port, which has no address.
    pub(crate) const PORT: u32 = 9;
}

/// What the bridges are to the NAT.
const SUBNETS: [Subnet; 2] = [
    Subnet {
        bridge: World::BRIDGE,
        masquerade: 1,
    },
    Subnet {
        bridge: World::OTHER_BRIDGE,
        masquerade: 1,
    },
];

impl<F: TestFamily> Hosts<F> {
    pub(crate) fn new() -> Self {
        Hosts {
            settings: Settings::new(HZ, (32768, 60999)),
            flows: RefCell::default(),
            half_open: RefCell::default(),
            removed: RefCell::default(),
            full_since: Cell::default(),
            claims: RefCell::default(),
            queue: RefCell::default(),
            totals: RefCell::default(),
            mappings: RefCell::default(),
            owners: RefCell::default(),
            owners_capacity: 1 << 20,
            containers: RefCell::default(),
            containers_capacity: 1 << 20,
            published: BTreeMap::new(),
            published_back: BTreeMap::new(),
            bitmap: BTreeMap::new(),
            sockets: BTreeSet::new(),
            roles: F::OWN.map(|own| (F::address(own), role::HOST)).into(),
            reserved: BTreeSet::new(),
            probes: RefCell::default(),
            across: RefCell::default(),
            egress: Some(F::address(F::OWN[0])),
            capacity: 1 << 20,
            half_open_capacity: 1 << 20,
            interface: Cell::new(World::UPLINK),
            now: Cell::new(HZ * 1000),
            fragments: FragmentTables::default(),
            dice: Cell::new(0x9e37_79b9),
            rolls: Cell::new(0),
        }
    }

    /// Gives the host another address.
    pub(crate) fn with_address(mut self, address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        *self.roles.entry(F::address(address)).or_default() |= role::HOST;
        self
    }

    /// UDP is masqueraded as TCP is: a socket's port may be another one towards another remote end.
    pub(crate) fn without_mappings(mut self) -> Self {
        self.settings.udp_mapping = 0;
        self
    }

    /// Takes the uplink its address.
    pub(crate) fn without_egress_address(mut self) -> Self {
        self.egress = None;
        self
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.now.set(self.now.get() + seconds * HZ);
    }

    /// Lets so many ticks pass.
    pub(crate) fn pass_ticks(&self, ticks: u64) {
        self.now.set(self.now.get() + ticks);
    }

    /// Whether chance has had a say so far.
    pub(crate) fn has_rolled_dice(&self) -> bool {
        self.rolls.get() > 0
    }

    /// Copies of all entries of both tables.
    pub(crate) fn records(&self) -> BTreeMap<Tuple<F::Address>, FlowRecord> {
        let mut records = self.records_in(Table::HalfOpen);
        records.extend(self.records_in(Table::Confirmed));
        records
    }

    /// Copies of all entries of a table.
    pub(crate) fn records_in(&self, table: Table) -> BTreeMap<Tuple<F::Address>, FlowRecord> {
        self.entries(table)
            .borrow()
            .iter()
            .map(|(key, flow)| (*key, flow.record()))
            .collect()
    }

    fn entries(&self, table: Table) -> &RefCell<Entries<F>> {
        match table {
            Table::Confirmed => &self.flows,
            Table::HalfOpen => &self.half_open,
        }
    }
}

impl<F: TestFamily> Tables<F> for Hosts<F> {
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn flow(&self, table: Table, key: &Tuple<F::Address>) -> Option<&Flow> {
        self.entries(table).borrow().get(key).copied()
    }

    fn insert_flow(
        &self,
        table: Table,
        key: &Tuple<F::Address>,
        flow: &FlowRecord,
    ) -> Result<(), Refusal> {
        let mut flows = self.entries(table).borrow_mut();
        if flows.contains_key(key) {
            return Err(Refusal::Exists);
        }
        match table {
            Table::Confirmed if flows.len() >= self.capacity => return Err(Refusal::Full),
            Table::HalfOpen if flows.len() >= self.half_open_capacity => {
                let oldest = flows.iter().min_by_key(|(_, flow)| flow.last_seen.get());
                let oldest = oldest.map(|(key, _)| *key);
                oldest.map(|key| flows.remove(&key));
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
        };
        flows.insert(*key, Box::leak(Box::new(shared)));
        Ok(())
    }

    fn remove_flow(&self, table: Table, key: &Tuple<F::Address>) {
        let removed = self.entries(table).borrow_mut().remove(key);
        if let (Some(flow), Table::Confirmed) = (removed, table) {
            self.removed.borrow_mut().push((flow, flow.record()));
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
        self.owners.borrow().get(outside).copied()
    }

    fn insert_owner(
        &self,
        outside: &Endpoint<F::Address>,
        owner: &OwnerRecord,
    ) -> Result<(), Refusal> {
        let mut owners = self.owners.borrow_mut();
        if owners.contains_key(outside) {
            return Err(Refusal::Exists);
        }
        if owners.len() >= self.owners_capacity {
            return Err(Refusal::Full);
        }
        let shared = Owner {
            inside: owner.inside,
            port: owner.port,
            padding: owner.padding,
            last_used: Cell::new(owner.last_used),
        };
        owners.insert(*outside, Box::leak(Box::new(shared)));
        Ok(())
    }

    fn remove_owner(&self, outside: &Endpoint<F::Address>) {
        self.owners.borrow_mut().remove(outside);
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

    fn published_back(&self, key: &PublishedKey<F::Address>) -> Option<&Published> {
        self.published_back.get(key)
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

    fn count_probes(&self, probes: u32) {
        self.probes.borrow_mut().push(probes);
    }

    fn roles(&self, address: &F::Address) -> u32 {
        self.roles.get(address).copied().unwrap_or_default()
    }

    fn subnet(&self, address: &F::Address) -> Option<&Subnet> {
        F::bridge(*address).map(|number| &SUBNETS[number])
    }

    fn interface(&self) -> u32 {
        self.interface.get()
    }

    fn egress_address(&self, interface: u32) -> Option<F::Address> {
        match interface {
            World::BRIDGE => Some(F::address(F::OWN[1])),
            World::UPLINK | World::OTHER_BRIDGE => self.egress,
            _ => None,
        }
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
