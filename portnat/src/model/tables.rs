//! What the datapath's tables should hold, for one address family.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portnat_common::address::{is_mapped, role};
use portnat_common::admission;
use portnat_common::range::{Block, blocks};
use portnat_common::{Address, Ip4, Ip6, Published, PublishedKey, Subnet};

use super::{Admission, Desired, PublishedPort};

/// What the tables of one family should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables<A: Ord> {
    /// Ports that are published by themselves.
    pub published: BTreeMap<PublishedKey<A>, Published>,
    /// Ranges of ports, by the first of them.
    pub ranges: BTreeMap<PublishedKey<A>, Range>,
    /// What addresses are to the datapath, see [`role`].
    pub local: BTreeMap<A, u32>,
    /// Inside subnets.
    pub subnets: BTreeMap<Prefix<A>, Subnet>,
    /// Prefixes that are not masqueraded to.
    pub bypass: BTreeMap<Prefix<A>, u32>,
    /// By interface index, the address that masqueraded packets take there; and those that subnets name,
    /// by [`Subnet::named_address`].
    pub egress: BTreeMap<u32, A>,
    /// Containers' own ports that may be asked for directly, by the first of each range.
    pub open: BTreeMap<PublishedKey<A>, Range>,
    /// By the ids of published ports, which prefixes are let in, and which are not.
    pub admissions: BTreeMap<(u32, Prefix<A>), bool>,
}

/// A range of published ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its last port.
    pub last: u16,
    /// What it leads to.
    pub value: Published,
}

/// What tries of ranges hold: by address, protocol and block of ports.
pub type Blocks<A> = BTreeMap<(A, u8, Block), Published>;

/// A network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix<A> {
    /// Its length in bits.
    pub length: u8,
    /// Its first address.
    pub network: A,
}

impl<A: Ord> Default for Tables<A> {
    fn default() -> Self {
        Tables {
            published: BTreeMap::new(),
            ranges: BTreeMap::new(),
            local: BTreeMap::new(),
            subnets: BTreeMap::new(),
            bypass: BTreeMap::new(),
            egress: BTreeMap::new(),
            open: BTreeMap::new(),
            admissions: BTreeMap::new(),
        }
    }
}

impl<A: Address> Tables<A> {
    /// Ports that are published by themselves, by their targets, and those that are open without; of
    /// several the first speaks for its target.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<PublishedKey<A>, Published> {
        let alone = |(key, range): (&PublishedKey<A>, &Range)| {
            (range.last == key.port).then_some((*key, range.value))
        };
        let mut targets: BTreeMap<_, _> = self.open.iter().filter_map(alone).collect();
        for (key, value) in &self.published {
            let (target, host) = value.back(key);
            targets.entry(target).or_insert(host);
        }
        targets
    }

    /// The ranges as a trie holds them.
    #[must_use]
    pub fn blocks(&self) -> Blocks<A> {
        let ranges = self.ranges.iter();
        ranges
            .flat_map(|(key, range)| cut(key, range.last, range.value))
            .collect()
    }

    /// The ranges by their targets, and those that are open without; of several that lead to a port of a
    /// target the first speaks for it.
    #[must_use]
    pub fn target_blocks(&self) -> Blocks<A> {
        // By target, which of its ports have their range already.
        let mut spoken_for: BTreeMap<(A, u8), BTreeMap<u16, u16>> = BTreeMap::new();
        let mut all = Blocks::new();
        let open = self.open.iter().filter(|(key, it)| it.last != key.port);
        let open = open.map(|(key, it)| (*key, it.value, it.last));
        let published = self.ranges.iter().map(|(key, it)| {
            let (target, host) = it.value.back(key);
            (target, host, it.value.target_port_of(it.last))
        });
        for (target, host, last) in open.chain(published) {
            let known = spoken_for
                .entry((target.address, target.protocol))
                .or_default();
            for (first, last) in take_rest(known, target.port, last) {
                let part = PublishedKey {
                    port: first,
                    ..target
                };
                all.extend(cut(&part, last, host));
            }
        }
        all
    }

    /// The ports of all that is published, as protocols with ranges of which both ends are included.
    pub fn ports(&self) -> impl Iterator<Item = (u8, u16, u16)> {
        let alone = self.published.keys();
        let ranges = self.ranges.iter();
        alone
            .map(|key| (key.protocol, key.port, key.port))
            .chain(ranges.map(|(key, range)| (key.protocol, key.port, range.last)))
    }

    /// An address is this too.
    pub(super) fn add_role(&mut self, address: A, role: u32) {
        *self.local.entry(address).or_default() |= role;
    }

    fn open(&mut self, target: A, port: &PublishedPort) {
        let first = port.target.port();
        let key = PublishedKey {
            address: target,
            port: first,
            protocol: port.protocol.number(),
            padding: 0,
        };
        let value = Published {
            target: target.widen(),
            port_id: port.id,
            target_port: first,
            port: first,
            flags: 0,
        };
        let last = port.target_end();
        let range = self.open.entry(key).or_insert(Range { last, value });
        range.last = range.last.max(last);
    }

    fn publish(&mut self, address: A, target: A, port: &PublishedPort, asks: (bool, bool)) {
        let flag = |asks, flag| if asks { flag } else { 0 };
        let flags = flag(asks.0, admission::LISTED) | flag(asks.1, admission::LIMITED);
        let first = port.ports.first().get();
        let key = PublishedKey {
            address,
            port: first,
            protocol: port.protocol.number(),
            padding: 0,
        };
        let value = Published {
            target: target.widen(),
            port_id: port.id,
            target_port: port.target.port(),
            port: first,
            flags,
        };
        let last = port.ports.last().get();
        if port.ports.single().is_some() {
            self.published.insert(key, value);
        } else {
            self.ranges.insert(key, Range { last, value });
        }
        if address != A::ANY {
            self.add_role(address, role::PUBLISHED);
        }
        self.add_role(target, role::TARGET);
    }
}

/// The blocks of a range from the port of `key` to `last`.
fn cut<A: Address>(
    key: &PublishedKey<A>,
    last: u16,
    value: Published,
) -> impl Iterator<Item = ((A, u8, Block), Published)> {
    let (address, protocol) = (key.address, key.protocol);
    blocks(key.port, last).map(move |block| ((address, protocol, block), value))
}

/// The parts of `first..=last` that are not `known` yet; they are now. Known are ranges without a
/// common port, by their first one.
fn take_rest(known: &mut BTreeMap<u16, u16>, first: u16, last: u16) -> Vec<(u16, u16)> {
    let mut rest = Vec::new();
    let mut next = Some(first);
    // One may have begun before and reach into this.
    let before = known.range(..first).next_back();
    let met: Vec<_> = before
        .into_iter()
        .chain(known.range(first..=last))
        .map(|(first, last)| (*first, *last))
        .collect();
    for (begin, end) in met {
        let Some(from) = next.filter(|from| end >= *from) else {
            continue;
        };
        if begin > from {
            rest.push((from, begin - 1));
        }
        next = end.checked_add(1);
    }
    rest.extend(next.filter(|from| *from <= last).map(|from| (from, last)));
    known.extend(rest.iter().copied());
    rest
}

impl Desired {
    /// Adds a published port. An IPv4 target of an IPv6 address is held as the datapath wants it, as
    /// an IPv4-mapped address.
    pub fn publish(&mut self, port: &PublishedPort) {
        self.publish_for(port, &Admission::default());
    }

    /// The same, for those that may come in.
    pub fn publish_for(&mut self, port: &PublishedPort, admission: &Admission) {
        let asks = self.admit(port, admission);
        match (port.address, port.target.ip()) {
            (IpAddr::V4(address), IpAddr::V4(target)) => {
                self.v4.publish(address.into(), target.into(), port, asks);
            }
            (IpAddr::V6(address), IpAddr::V6(target)) => {
                self.v6.publish(address.into(), target.into(), port, asks);
            }
            (IpAddr::V6(address), IpAddr::V4(target)) => {
                let target = target.to_ipv6_mapped();
                self.v6.publish(address.into(), target.into(), port, asks);
            }
            // Refused when the spec was read.
            (IpAddr::V4(_), IpAddr::V6(_)) => {}
        }
    }

    /// Adds a published port whose target is reached by its own address, and not by the host's.
    pub fn open(&mut self, port: &PublishedPort) {
        match port.target.ip() {
            IpAddr::V4(target) => self.v4.open(target.into(), port),
            IpAddr::V6(target) => self.v6.open(target.into(), port),
        }
    }

    /// Adds who may come in by a port; says whether lists and whether a limit are to be asked. Clients
    /// are of the family of the port's address.
    fn admit(&mut self, port: &PublishedPort, admission: &Admission) -> (bool, bool) {
        if let Some(limit) = admission.limit {
            self.limits.insert(port.id, limit);
        }
        let everybody = (!admission.allow.is_empty()).then(|| match port.address {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        });
        let denied = everybody.iter().chain(&admission.deny);
        let nets = denied
            .map(|net| (net, false))
            .chain(admission.allow.iter().map(|net| (net, true)));
        let mut listed = false;
        for (net, lets_in) in nets {
            match (net.trunc(), port.address) {
                (IpNet::V4(net), IpAddr::V4(_)) => {
                    self.v4.admissions.insert((port.id, net.into()), lets_in);
                }
                (IpNet::V6(net), IpAddr::V6(_)) => {
                    self.v6.admissions.insert((port.id, net.into()), lets_in);
                }
                _ => continue,
            }
            listed = true;
        }
        (listed, admission.limit.is_some())
    }

    /// Whether IPv6 has anything to forward.
    #[must_use]
    pub fn uses_v6(&self) -> bool {
        // What goes to IPv4 targets goes past the stack.
        let ranges = self.v6.ranges.values().map(|range| &range.value);
        let mut published = self.v6.published.values().chain(ranges);
        published.any(|port| !is_mapped(&port.target))
            || self
                .v6
                .subnets
                .values()
                .any(|subnet| subnet.is_masqueraded() || subnet.is_routed())
    }
}

impl From<Ipv4Net> for Prefix<Ip4> {
    fn from(net: Ipv4Net) -> Self {
        Prefix {
            length: net.prefix_len(),
            network: net.network().into(),
        }
    }
}

impl From<Ipv6Net> for Prefix<Ip6> {
    fn from(net: Ipv6Net) -> Self {
        Prefix {
            length: net.prefix_len(),
            network: net.network().into(),
        }
    }
}

#[cfg(test)]
mod tests;
