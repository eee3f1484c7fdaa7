//! A world in plain memory: tables, a clock that the test moves and dice that it can repeat.

mod admissions;
mod checks;
mod families;
mod tables;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use elsa::FrozenVec;
use portnat_common::address::role;
use portnat_common::subnet::{CLOSED, MASQUERADED};
use portnat_common::{
    Endpoint, Family, Flow, FlowRecord, MappingKey, Owner, Published, PublishedKey, Queued,
    Settings, Subnet, Table, Ticks, Total, Tuple, V4, V6,
};

use super::fragments::FragmentTables;
use super::kept::Kept;
use admissions::AdmissionTables;
pub(crate) use families::TestFamily;

/// Ticks a second.
pub(crate) const HZ: u64 = 100;

/// After so many ticks a way is old enough that a packet goes through the stack again.
pub(crate) const DUE: u64 = HZ * 3 / 2;

/// A table of flows.
type Flows<F> = Kept<Tuple<<F as Family>::Address>, Flow>;

/// A host at 192.0.2.1 whose containers are in 172.17.0.0/16 and 172.18.0.0/16, or the like in
/// IPv6.
pub(crate) struct Hosts<F: TestFamily> {
    pub(crate) settings: Settings,
    flows: Flows<F>,
    half_open: Flows<F>,
    /// The places of confirmed entries that were removed, and as what. The kernel uses such a one again
    /// at once.
    removed: RefCell<Vec<(usize, FlowRecord)>>,
    full_since: Cell<Ticks>,
    claims: RefCell<BTreeSet<u64>>,
    queue: RefCell<VecDeque<Queued<F::Address>>>,
    totals: RefCell<BTreeMap<u32, Total>>,
    pub(super) published: BTreeMap<PublishedKey<F::Address>, Published>,
    pub(super) published_back: BTreeMap<PublishedKey<F::Address>, Published>,
    /// Ranges by their first port, each with its last.
    pub(super) ranges: BTreeMap<PublishedKey<F::Address>, (u16, Published)>,
    /// What was made of ranges where somebody asked for a port of one.
    pub(super) of_ranges: FrozenVec<Box<Published>>,
    pub(super) bitmap: BTreeMap<u32, u64>,
    /// Protocols and ports that the host has sockets on.
    pub(crate) sockets: BTreeSet<(u8, u16)>,
    pub(super) roles: BTreeMap<F::Address, u32>,
    mappings: RefCell<BTreeMap<MappingKey<F::Address>, u16>>,
    owners: Kept<Endpoint<F::Address>, Owner>,
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
    /// What the bridges are.
    subnets: [Subnet; 2],
    /// Who may come in.
    pub(crate) admissions: AdmissionTables<F>,
    /// Addresses outside that are not masqueraded to.
    pub(crate) bypass: BTreeSet<F::Address>,
    /// The addresses that subnets name, by their numbers.
    pub(crate) named: BTreeMap<u32, F::Address>,
    /// The address that the uplink lends.
    pub(crate) egress: Option<F::Address>,
    /// The most entries that there can be of confirmed flows.
    pub(crate) capacity: usize,
    /// The most entries of half-open flows; then old ones go, one for each that comes.
    pub(crate) half_open_capacity: usize,
    /// The interface at which packets are seen.
    pub(crate) interface: Cell<u32>,
    /// The interface that they came in by.
    pub(crate) came_in: Cell<u32>,
    /// The number that the packet has been given.
    pub(crate) number: Cell<u32>,
    /// Until when [`World::PORT`] takes frames.
    pub(crate) frames_until: Cell<Ticks>,
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
const SUBNETS: [Subnet; 2] = [nat(World::BRIDGE), nat(World::OTHER_BRIDGE)];

const fn nat(bridge: u32) -> Subnet {
    Subnet {
        bridge,
        flags: MASQUERADED | CLOSED,
    }
}

impl<F: TestFamily> Hosts<F> {
    pub(crate) fn new() -> Self {
        Hosts {
            settings: Settings::new(HZ, (32768, 60999)),
            flows: Kept::default(),
            half_open: Kept::default(),
            removed: RefCell::default(),
            full_since: Cell::default(),
            claims: RefCell::default(),
            queue: RefCell::default(),
            totals: RefCell::default(),
            mappings: RefCell::default(),
            owners: Kept::default(),
            owners_capacity: 1 << 20,
            containers: RefCell::default(),
            containers_capacity: 1 << 20,
            published: BTreeMap::new(),
            published_back: BTreeMap::new(),
            ranges: BTreeMap::new(),
            of_ranges: FrozenVec::default(),
            bitmap: BTreeMap::new(),
            sockets: BTreeSet::new(),
            roles: F::OWN.map(|own| (F::address(own), role::HOST)).into(),
            reserved: BTreeSet::new(),
            probes: RefCell::default(),
            across: RefCell::default(),
            subnets: SUBNETS,
            admissions: AdmissionTables::default(),
            bypass: BTreeSet::new(),
            named: BTreeMap::new(),
            egress: Some(F::address(F::OWN[0])),
            capacity: 1 << 20,
            half_open_capacity: 1 << 20,
            interface: Cell::new(World::UPLINK),
            came_in: Cell::default(),
            number: Cell::default(),
            frames_until: Cell::default(),
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

    /// Takes the host an address that subnets name.
    pub(crate) fn without_address(mut self, address: F::Address) -> Self {
        self.roles.remove(&address);
        self.named.retain(|_, named| *named != address);
        self
    }

    /// Makes the first or second bridge's network one of another mode.
    pub(crate) fn with_mode(mut self, bridge: usize, flags: u32) -> Self {
        self.subnets[bridge].flags = flags;
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
        let entries = self.flows_in(table).entries().into_iter();
        entries.map(|(key, flow)| (key, flow.record())).collect()
    }

    fn flows_in(&self, table: Table) -> &Flows<F> {
        match table {
            Table::Confirmed => &self.flows,
            Table::HalfOpen => &self.half_open,
        }
    }
}
