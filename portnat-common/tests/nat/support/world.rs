//! A world in plain memory: tables, a clock that the test moves and dice that it can repeat.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portnat_common::address::Address as _;
use portnat_common::ports::bitmap_position;
use portnat_common::{
    Family, Flow, FlowRecord, Ip4, Ip6, Published, PublishedKey, Queued, Refusal, Settings, Subnet,
    Table, Tables, Ticks, Total, Tuple, V4, V6,
};

/// Ticks a second.
pub(crate) const HZ: u64 = 100;

/// The entries of a table.
type Entries<F> = BTreeMap<Tuple<<F as Family>::Address>, &'static Flow>;

/// A host at 192.0.2.1 whose containers are in 172.17.0.0/16 and 172.18.0.0/16, or the like in
/// IPv6.
pub(crate) struct Hosts<F: TestFamily> {
    settings: Settings,
    // Entries are leaked, so that a reference outlives the removal of its entry, as in the kernel.
    flows: RefCell<Entries<F>>,
    half_open: RefCell<Entries<F>>,
    /// Confirmed entries that were removed, and as what. The kernel uses such a one again at once.
    removed: RefCell<Vec<(&'static Flow, FlowRecord)>>,
    full_since: Cell<Ticks>,
    claims: RefCell<BTreeSet<u64>>,
    queue: RefCell<VecDeque<Queued<F::Address>>>,
    totals: RefCell<BTreeMap<u32, Total>>,
    published: BTreeMap<PublishedKey<F::Address>, Published>,
    published_back: BTreeMap<PublishedKey<F::Address>, Published>,
    bitmap: BTreeMap<u32, u64>,
    /// Protocols and ports that the host has sockets on.
    pub(crate) sockets: BTreeSet<(u8, u16)>,
    /// Keys that the other family's tables have.
    pub(crate) across: RefCell<BTreeSet<Tuple<F::Address>>>,
    local: BTreeSet<F::Address>,
    /// The address that the uplink lends.
    pub(crate) egress: Option<F::Address>,
    /// The most entries that there can be of confirmed flows.
    pub(crate) capacity: usize,
    /// The most entries of half-open flows; then old ones go, one for each that comes.
    pub(crate) half_open_capacity: usize,
    /// The interface at which packets are seen.
    pub(crate) interface: Cell<u32>,
    now: Cell<u64>,
    dice: Cell<u32>,
    rolls: Cell<u32>,
}

/// A host of IPv4.
pub(crate) type World = Hosts<V4>;
/// A host of IPv6, at 2001:db8:1::1, with containers in fd00:17::/64 and fd00:18::/64.
pub(crate) type World6 = Hosts<V6>;

/// What the tests want to know of a family.
pub(crate) trait TestFamily: Family {
    /// The host's addresses: to the outside, on the bridge, on the loopback interface.
    const OWN: [IpAddr; 3];

    /// An address of this family.
    fn address(ip: IpAddr) -> Self::Address;

    /// Whether an address is in the first or second bridge's subnet.
    fn bridge(address: Self::Address) -> Option<usize>;
}

impl TestFamily for V4 {
    const OWN: [IpAddr; 3] = [
        IpAddr::V4(World::HOST),
        IpAddr::V4(World::GATEWAY),
        IpAddr::V4(Ipv4Addr::LOCALHOST),
    ];

    fn address(ip: IpAddr) -> Ip4 {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => panic!("{ip} is not of IPv4"),
        }
    }

    fn bridge(address: Ip4) -> Option<usize> {
        match Ipv4Addr::from(address).octets() {
            [172, 17, ..] => Some(0),
            [172, 18, ..] => Some(1),
            _ => None,
        }
    }
}

impl TestFamily for V6 {
    const OWN: [IpAddr; 3] = [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x17, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];

    fn address(ip: IpAddr) -> Ip6 {
        match ip {
            IpAddr::V6(ip) => ip.into(),
            // As IPv6's tables hold it.
            IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        }
    }

    fn bridge(address: Ip6) -> Option<usize> {
        match Ipv6Addr::from(address).segments() {
            [0xfd00, 0x17, ..] => Some(0),
            [0xfd00, 0x18, ..] => Some(1),
            _ => None,
        }
    }
}

impl World {
    pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The host's address on the bridge.
    pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
    /// Indices of interfaces.
    pub(crate) const UPLINK: u32 = 2;
    pub(crate) const BRIDGE: u32 = 3;
    pub(crate) const OTHER_BRIDGE: u32 = 4;
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
            published: BTreeMap::new(),
            published_back: BTreeMap::new(),
            bitmap: BTreeMap::new(),
            sockets: BTreeSet::new(),
            across: RefCell::default(),
            local: F::OWN.map(F::address).into(),
            egress: Some(F::address(F::OWN[0])),
            capacity: 1 << 20,
            half_open_capacity: 1 << 20,
            interface: Cell::new(World::UPLINK),
            now: Cell::new(HZ * 1000),
            dice: Cell::new(0x9e37_79b9),
            rolls: Cell::new(0),
        }
    }

    /// Publishes `port` of `protocol` at `address` for `target`.
    pub(crate) fn publish(mut self, protocol: u8, address: &str, port: u16, target: &str) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        let target: SocketAddr = target.parse().expect("an address and a port");
        let key = PublishedKey {
            address: F::address(address),
            port,
            protocol,
            padding: 0,
        };
        let value = Published {
            target: F::address(target.ip()).widen(),
            port_id: self.published.len() as u32 + 1,
            target_port: target.port(),
            padding: 0,
        };
        let (back_key, back) = value.back(&key);
        // Of several ports none is *the* one.
        if self.published_back.remove(&back_key).is_none() {
            self.published_back.insert(back_key, back);
        }
        self.published.insert(key, value);
        let (word, bit) = bitmap_position(protocol, port);
        *self.bitmap.entry(word).or_default() |= bit;
        self
    }

    /// Gives the host another address.
    pub(crate) fn with_address(mut self, address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        self.local.insert(F::address(address));
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

    /// Examines every confirmed flow once.
    pub(crate) fn sweep(&self) {
        let queued = self.queued();
        for _ in 0..queued {
            assert!(portnat_common::nat::sweep::<F, _>(self));
        }
    }

    /// How many flows are in the queue.
    pub(crate) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// What came through a port in flows that have ended or are half-open.
    pub(crate) fn total(&self, port_id: u32) -> Total {
        self.totals
            .borrow()
            .get(&port_id)
            .copied()
            .unwrap_or_default()
    }

    /// Nobody has left a claim behind or written to an entry after its removal, which would have
    /// been another flow's by then.
    #[track_caller]
    pub(crate) fn assert_tidy(&self, what: &str) {
        assert!(self.claims.borrow().is_empty(), "{what}: a claim is left");
        for (flow, record) in self.removed.borrow().iter() {
            assert_eq!(
                flow.record(),
                *record,
                "{what}: written to after its removal"
            );
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

    fn is_local(&self, address: &F::Address) -> bool {
        self.local.contains(address)
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
