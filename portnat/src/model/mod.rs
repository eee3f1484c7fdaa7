//! What should be: pure functions from what the user asked for and what the host looks like to
//! what the datapath holds.

mod admission;
mod allocate;
mod fast_path;
mod held_uplinks;
mod interfaces;
mod ledger;
mod managed;
mod mark;
mod masquerade;
mod network;
mod port_set;
mod published;
mod sticky;
mod tables;
mod timeout;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use portnat_common::address::role;
use portnat_common::tables::gate;
use portnat_common::{Ip4, Ip6, Subnet};

use crate::net::{Link, LinkKind, LinkLayer, NetError, Snapshot};

pub(crate) use admission::prefix;
pub use admission::{Admission, AdmissionError, AdmissionRule, AdmissionRules, RateLimit};
pub use allocate::{Allocated, Allocator, HostPorts, PublishError};
pub use fast_path::FastPath;
pub use held_uplinks::HeldUplinks;
pub use interfaces::Interfaces;
pub use ledger::{Change, Kept, Ledger, Origin, Publication, Source};
pub use managed::{Managed, ManagedSubnet};
pub use mark::Mark;
pub use masquerade::Masquerade;
pub use network::{Network, NetworkMode};
pub use published::PublishedPort;
pub use sticky::Sticky;
pub use tables::{Blocks, Prefix, Range, Tables};
pub use timeout::Timeout;

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// The published ports.
    pub published: Vec<PublishedPort>,
    /// By their ids, who may come in by them, where that is not everybody.
    pub admissions: BTreeMap<u32, Admission>,
    /// The uplinks; none means those that the host's links suggest.
    pub uplinks: Vec<Interfaces>,
    /// The bridges; none means those that the host's links suggest.
    pub bridges: Vec<Interfaces>,
    /// The bridges' modes, where they are said; else a subnet that is masqueraded has mode `nat`, and one
    /// that is not is open to everybody.
    pub networks: Vec<Network>,
    /// Networks of somebody else's, whose bridges count beside those that are named.
    pub managed: Managed,
    /// The prefixes to masquerade; none means the bridges' subnets.
    pub masquerade: Vec<Masquerade>,
    /// The prefixes that are not masqueraded to.
    pub bypass: Vec<IpNet>,
    /// Whether there have been any: what has begun then is still answered.
    pub bypassed: bool,
    /// Whether packets may go past the host's stack.
    pub fast: bool,
}

/// What an interface is to portnat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads outside.
    Uplink,
    /// Containers are behind it.
    Bridge,
    /// It leads from a bridge to a container.
    Port,
    /// The bridge of a network that leads nowhere: nothing is translated there, and nobody but the host
    /// comes in or out.
    Internal,
    /// It leads from the host to itself.
    Loopback,
}

/// An interface that programs are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What its packets begin with.
    pub layer: LinkLayer,
    /// What it is.
    pub role: Role,
    /// Whether it has an `ingress` queueing discipline, beside which there is no clsact.
    pub ingress_qdisc: bool,
    /// Its Ethernet address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// Whether, as a bridge's port, it lets packets past the host's stack.
    pub fast: bool,
}

/// What the datapath should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The tables of IPv4.
    pub v4: Tables<Ip4>,
    /// The tables of IPv6.
    pub v6: Tables<Ip6>,
    /// By the ids of published ports, how many connections each source may open.
    pub limits: BTreeMap<u32, RateLimit>,
    /// The indices of uplinks and bridges, each with which of them it is ([`gate`]).
    pub gates: BTreeMap<u32, u32>,
    /// By interface index, where programs are attached.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The name of the loopback interface, if the host itself is to reach published ports by it.
    pub loopback: Option<String>,
    /// Ports that are not to be handed out, as ranges with both ends included.
    pub reserved: Vec<(u16, u16)>,
    /// The names of the interfaces that must forward: uplinks and bridges.
    pub forwarding: BTreeSet<String>,
}

impl Intent {
    /// Whether every interface that the user named exists and can be served; a pattern may also mean
    /// those that are still to come.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check(&self, snapshot: &Snapshot) -> Result<(), NetError> {
        for name in self.uplinks.iter().filter_map(Interfaces::name) {
            let link = snapshot.link_by_name(name)?;
            let why = match link.layer {
                _ if link.loopback => "it leads nowhere but to this host",
                LinkLayer::Other(_) => "its packets have a header other than Ethernet's",
                LinkLayer::Ethernet | LinkLayer::None => continue,
            };
            return Err(NetError::UnsupportedUplink {
                name: name.to_owned(),
                why,
            });
        }
        for name in self.bridges.iter().filter_map(Interfaces::name) {
            let why = if snapshot.link_by_name(name)?.loopback {
                "it leads to no container"
            } else if self
                .uplinks
                .iter()
                .any(|uplink| uplink.name() == Some(name))
            {
                "it is named as an uplink too"
            } else {
                continue;
            };
            return Err(NetError::UnsupportedBridge {
                name: name.to_owned(),
                why,
            });
        }
        self.check_networks(snapshot)?;
        self.check_masquerade(snapshot)?;
        self.check_targets(snapshot)
    }

    /// Whether every target is another machine than this one, and none that is asked directly has a list
    /// or limit for the host's address.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check_targets(&self, snapshot: &Snapshot) -> Result<(), NetError> {
        let bridges = self.bridge_links(snapshot);
        let subnets = self.subnets(&bridges);
        let asks = |port: &&PublishedPort| self.admissions.contains_key(&port.id);
        let mut asking = self.published.iter().filter(asks);
        if let Some(port) = asking.find(|port| is_routed(&subnets, port.target.ip())) {
            return Err(NetError::RoutedTarget {
                target: port.target.ip(),
            });
        }
        // Its answers would not be forwarded, and so not be translated back.
        let own = snapshot.local_addresses();
        match self
            .published
            .iter()
            .find(|port| own.contains(&port.target.ip()))
        {
            Some(port) => Err(NetError::OwnTarget {
                target: port.target.ip(),
            }),
            None => Ok(()),
        }
    }

    fn bridge_links<'s>(&self, snapshot: &'s Snapshot) -> Vec<&'s Link> {
        let mut bridges = named_or(snapshot, &self.bridges, Snapshot::default_bridges);
        let managed = snapshot.links.iter().filter(|link| {
            let known = bridges.iter().any(|bridge| bridge.index == link.index);
            !known && link.kind == LinkKind::Bridge && self.managed.has_bridge(&link.name)
        });
        let managed: Vec<_> = managed.collect();
        bridges.extend(managed);
        bridges
    }

    fn check_networks(&self, snapshot: &Snapshot) -> Result<(), NetError> {
        let bridges = self.bridge_links(snapshot);
        for (number, network) in self.networks.iter().enumerate() {
            let index = snapshot.link_by_name(&network.bridge)?.index;
            let why = if !bridges.iter().any(|bridge| bridge.index == index) {
                "it has a mode, and containers are not behind it"
            } else if self.networks[..number]
                .iter()
                .any(|other| other.bridge == network.bridge)
            {
                "it is given two modes"
            } else {
                continue;
            };
            return Err(NetError::UnsupportedBridge {
                name: network.bridge.clone(),
                why,
            });
        }
        Ok(())
    }

    /// What the datapath should hold on a host that looks like `snapshot`. An interface that is
    /// named and does not exist (any more) is left out until it comes.
    #[must_use]
    pub fn desired(&self, snapshot: &Snapshot) -> Desired {
        let bridges = self.bridge_links(snapshot);
        let inside: BTreeSet<u32> = bridges.iter().map(|link| link.index).collect();
        let mut uplinks = named_or(snapshot, &self.uplinks, Snapshot::default_uplinks);
        uplinks.retain(|link| !inside.contains(&link.index));
        let subnets = self.subnets(&bridges);
        let (internal, bridges): (Vec<_>, Vec<_>) =
            bridges.into_iter().partition(|link| self.is_internal(link));
        let translated: BTreeSet<u32> = bridges.iter().map(|link| link.index).collect();
        let ports = snapshot.links.iter().filter(|link| {
            link.master
                .is_some_and(|master| translated.contains(&master))
        });
        let loopback = snapshot.links.iter().find(|link| link.loopback);
        let loopback = loopback.filter(|_| !self.published.is_empty());
        // What waits at the bridge for its turn must not be overtaken either.
        let plain: BTreeSet<u32> = bridges
            .iter()
            .filter(|bridge| bridge.lets_through_at_once())
            .map(|bridge| bridge.index)
            .collect();
        let fast = |link: &Link| {
            let bridge = link.master.is_some_and(|master| plain.contains(&master));
            self.fast && bridge && link.is_open_ended()
        };
        let attach = |role| {
            move |link: &Link| {
                let fast = role == Role::Port && fast(link);
                (link.index, Interface::new(link, role, fast))
            }
        };
        let through = || uplinks.iter().chain(&bridges).copied();
        let mut desired = Desired {
            forwarding: through().map(|link| link.name.clone()).collect(),
            gates: uplinks
                .iter()
                .map(|link| (link.index, gate::UPLINK))
                .chain(bridges.iter().map(|link| (link.index, gate::BRIDGE)))
                .collect(),
            interfaces: ports
                .map(attach(Role::Port))
                .chain(bridges.iter().copied().map(attach(Role::Bridge)))
                .chain(internal.iter().copied().map(attach(Role::Internal)))
                .chain(uplinks.iter().copied().map(attach(Role::Uplink)))
                .chain(loopback.map(attach(Role::Loopback)))
                .collect(),
            // Only who has published ports has a reason to look at what the host says to itself.
            loopback: loopback.map(|link| link.name.clone()),
            ..Desired::default()
        };
        for port in &self.published {
            if is_routed(&subnets, port.target.ip()) {
                desired.open(port);
                continue;
            }
            match self.admissions.get(&port.id) {
                Some(admission) => desired.publish_for(port, admission),
                None => desired.publish(port),
            }
        }
        for address in snapshot.local_addresses() {
            match address {
                IpAddr::V4(address) => desired.v4.add_role(address.into(), role::HOST),
                IpAddr::V6(address) => desired.v6.add_role(address.into(), role::HOST),
            }
        }
        for link in through() {
            desired
                .v4
                .egress
                .extend(link.primary_v4().map(|ip| (link.index, ip.into())));
            desired
                .v6
                .egress
                .extend(link.primary_v6().map(|ip| (link.index, ip.into())));
        }
        self.lend(snapshot, &mut desired);
        for (net, subnet) in subnets {
            match net {
                IpNet::V4(net) => drop(desired.v4.subnets.insert(net.into(), subnet)),
                IpNet::V6(net) => drop(desired.v6.subnets.insert(net.into(), subnet)),
            }
        }
        desired
    }
}

/// Whether a target is behind a bridge of mode `routed`.
fn is_routed(subnets: &BTreeMap<IpNet, Subnet>, target: IpAddr) -> bool {
    around(subnets, target).is_some_and(Subnet::is_routed)
}

/// The subnet that a target is in.
fn around(subnets: &BTreeMap<IpNet, Subnet>, target: IpAddr) -> Option<&Subnet> {
    let around = subnets.iter().filter(|(net, _)| net.contains(&target));
    let closest = around.max_by_key(|(net, _)| net.prefix_len());
    closest.map(|(_, subnet)| subnet)
}

impl Interface {
    fn new(link: &Link, role: Role, fast: bool) -> Self {
        Interface {
            name: link.name.clone(),
            layer: link.layer,
            role,
            ingress_qdisc: link.ingress_qdisc,
            mac: link.mac,
            fast,
        }
    }
}

fn named_or<'s>(
    snapshot: &'s Snapshot,
    named: &[Interfaces],
    default: impl Fn(&'s Snapshot) -> Vec<&'s Link>,
) -> Vec<&'s Link> {
    if named.is_empty() {
        return default(snapshot);
    }
    snapshot
        .links
        .iter()
        .filter(|link| named.iter().any(|named| named.contains(&link.name)))
        .collect()
}

#[cfg(test)]
mod tests;
