//! What the datapath's tables should hold, for one address family.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portnat_common::address::{is_mapped, role};
use portnat_common::admission;
use portnat_common::{Address, Ip4, Ip6, Published, PublishedKey, Subnet};

use super::{Admission, Desired, PublishedPort};
use std::net::IpAddr;

/// What the tables of one family should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables<A: Ord> {
    /// Published ports.
    pub published: BTreeMap<PublishedKey<A>, Published>,
    /// What addresses are to the datapath, see [`role`].
    pub local: BTreeMap<A, u32>,
    /// Inside subnets.
    pub subnets: BTreeMap<Prefix<A>, Subnet>,
    /// By interface index, the address that masqueraded packets take there.
    pub egress: BTreeMap<u32, A>,
    /// Containers' own ports that may be asked for directly.
    pub open: BTreeMap<PublishedKey<A>, Published>,
    /// By the ids of published ports, which prefixes are let in, and which are not.
    pub admissions: BTreeMap<(u32, Prefix<A>), bool>,
}

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
            local: BTreeMap::new(),
            subnets: BTreeMap::new(),
            egress: BTreeMap::new(),
            open: BTreeMap::new(),
            admissions: BTreeMap::new(),
        }
    }
}

impl<A: Address> Tables<A> {
    /// Published ports by their targets, and those that are open without; of several the first speaks for its target.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<PublishedKey<A>, Published> {
        let mut targets = self.open.clone();
        for (key, value) in &self.published {
            let (target, host) = value.back(key);
            targets.entry(target).or_insert(host);
        }
        targets
    }

    /// An address is this too.
    pub(super) fn add_role(&mut self, address: A, role: u32) {
        *self.local.entry(address).or_default() |= role;
    }

    fn open(&mut self, target: A, port: &PublishedPort) {
        let key = PublishedKey {
            address: target,
            port: port.target.port(),
            protocol: port.protocol.number(),
            padding: 0,
        };
        let itself = Published {
            target: target.widen(),
            port_id: port.id,
            target_port: port.target.port(),
            padding: 0,
            flags: 0,
        };
        self.open.insert(key, itself);
    }

    fn publish(&mut self, address: A, target: A, port: &PublishedPort, asks: (bool, bool)) {
        let flag = |asks, flag| if asks { flag } else { 0 };
        let flags = flag(asks.0, admission::LISTED) | flag(asks.1, admission::LIMITED);
        let key = PublishedKey {
            address,
            port: port.port.get(),
            protocol: port.protocol.number(),
            padding: 0,
        };
        let value = Published {
            target: target.widen(),
            port_id: port.id,
            target_port: port.target.port(),
            padding: 0,
            flags,
        };
        self.published.insert(key, value);
        if address != A::ANY {
            self.add_role(address, role::PUBLISHED);
        }
        self.add_role(target, role::TARGET);
    }
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
        let published = |port: &Published| !is_mapped(&port.target);
        self.v6.published.values().any(published)
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
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn publish(desired: &mut Desired, id: u32, port: u16, address: &str, target: &str) {
        desired.publish(&PublishedPort {
            id,
            address: address.parse().expect("an address"),
            port: std::num::NonZeroU16::new(port).expect("not 0"),
            protocol: crate::spec::Protocol::Tcp,
            target: target.parse().expect("an address and a port"),
        });
    }

    #[test]
    fn an_ipv4_target_of_an_ipv6_address_is_mapped_and_needs_no_forwarding() {
        let mut desired = Desired::default();
        publish(&mut desired, 1, 8080, "::", "172.17.0.2:80");
        let target = desired.v6.published.values().next().expect("one").target;
        let mapped = Ip6::from(Ipv4Addr::new(172, 17, 0, 2).to_ipv6_mapped());
        assert_eq!(Ip6::narrow(&target), mapped);
        assert!(!desired.uses_v6() && desired.v4.published.is_empty());
        publish(&mut desired, 2, 8443, "::", "[fd00::2]:443");
        assert!(desired.uses_v6());
    }

    #[test]
    fn a_target_leads_back_to_the_first_of_its_ports() {
        let mut desired = Desired::default();
        publish(&mut desired, 1, 8080, "0.0.0.0", "172.17.0.2:80");
        publish(&mut desired, 2, 8443, "::", "[fd00::2]:443");
        let targets = desired.v4.targets();
        let (target, host) = targets.first_key_value().expect("one");
        assert_eq!((target.port, host.target_port, host.port_id), (80, 8080, 1));
        assert_eq!(desired.v6.targets().len(), 1);
        // Whatever the order in which they come.
        for (id, port, first) in [(3, 8081, 1), (4, 8079, 4)] {
            publish(&mut desired, id, port, "0.0.0.0", "172.17.0.2:80");
            let targets = desired.v4.targets();
            let ids: Vec<_> = targets.values().map(|host| host.port_id).collect();
            assert_eq!(ids, [first]);
        }
        assert_eq!(desired.v4.published.len(), 3);
    }

    #[test]
    fn published_addresses_and_targets_are_known_by_what_they_are() {
        let mut desired = Desired::default();
        publish(&mut desired, 1, 8080, "0.0.0.0", "172.17.0.2:80");
        publish(&mut desired, 2, 8443, "203.0.113.7", "172.17.0.2:443");
        let address = |text: &str| Ip4::from(text.parse::<Ipv4Addr>().expect("an address"));
        let expected = [
            (address("172.17.0.2"), role::TARGET),
            (address("203.0.113.7"), role::PUBLISHED),
        ];
        assert_eq!(desired.v4.local, expected.into());
    }

    #[test]
    fn lists_are_of_the_ports_family_and_close_it_where_somebody_is_allowed() {
        let port = |id, address: &str| PublishedPort {
            id,
            address: address.parse().expect("an address"),
            port: std::num::NonZeroU16::new(8080).expect("not 0"),
            protocol: crate::spec::Protocol::Tcp,
            target: "172.17.0.2:80".parse().expect("an address and a port"),
        };
        let admission = |allow: &[&str], deny: &[&str]| Admission {
            allow: allow
                .iter()
                .map(|net| net.parse().expect("a prefix"))
                .collect(),
            deny: deny
                .iter()
                .map(|net| net.parse().expect("a prefix"))
                .collect(),
            limit: None,
        };
        let mut desired = Desired::default();
        desired.publish_for(&port(1, "0.0.0.0"), &admission(&["192.0.2.7/24"], &[]));
        desired.publish_for(&port(2, "::"), &admission(&["192.0.2.0/24"], &["fd00::/8"]));
        desired.publish_for(&port(3, "192.0.2.1"), &admission(&[], &["fd00::/8"]));
        let v4: Vec<_> = desired.v4.admissions.iter().collect();
        let shown: Vec<_> = v4
            .iter()
            .map(|((id, net), lets_in)| (*id, net.length, **lets_in))
            .collect();
        assert_eq!(shown, [(1, 0, false), (1, 24, true)]);
        let shown: Vec<_> = desired
            .v6
            .admissions
            .iter()
            .map(|((id, net), lets_in)| (*id, net.length, *lets_in))
            .collect();
        assert_eq!(shown, [(2, 0, false), (2, 8, false)]);
        let flags = |tables: Vec<&Published>| -> Vec<u32> {
            tables.iter().map(|port| port.flags).collect()
        };
        assert_eq!(
            flags(desired.v6.published.values().collect()),
            [admission::LISTED]
        );
        let mut v4 = flags(desired.v4.published.values().collect());
        v4.sort_unstable();
        assert_eq!(v4, [0, admission::LISTED]);
    }
}
