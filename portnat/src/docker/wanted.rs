//! What Docker's containers and networks come to.

mod called;
mod labelled;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use portnat_common::subnet::{BYPASSES, CLOSED, ISOLATED, MASQUERADED, ROUTED};

use super::labels::Labels;
use super::observed::{Container, Endpoint, Network, Observed, Port};
use crate::model::{Managed, ManagedSubnet};
use crate::spec::{Ports, Protocol, PublishSpec};
use called::Addresses;
pub use called::NameError;
use labelled::Labelled;

/// From how many ports on a row is published as one range, which is a few entries of a table instead of one
/// for each; fewer are counted one by one.
const ROW: u16 = 16;

/// What portnat is to do for Docker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether Docker has said anything.
    pub is_known: bool,
    /// What is to be published.
    pub specs: Vec<PublishSpec>,
    /// Those of it that Docker itself does not publish: it has not looked whether somebody has them.
    pub unlisted: BTreeSet<PublishSpec>,
    /// What cannot be published, and why.
    pub refused: Vec<String>,
    /// Its networks.
    pub managed: Managed,
    /// Whose each container's address is.
    pub names: Arc<BTreeMap<IpAddr, Named>>,
    /// By containers' names, their addresses.
    containers: BTreeMap<String, Addresses>,
    /// By containers' addresses, what their labels say.
    labelled: BTreeMap<IpAddr, Labelled>,
}

/// A container in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The container's name.
    pub container: String,
    /// The network's name.
    pub network: String,
}

impl Wanted {
    /// What comes of what Docker has, on a host with IPv6 or without.
    #[must_use]
    pub fn of(observed: &Observed, ipv6: bool) -> Self {
        let networks = observed.networks.iter();
        let networks: BTreeMap<_, _> = networks.map(|it| (it.id.as_str(), it)).collect();
        let mut wanted = Wanted {
            is_known: true,
            ..Wanted::default()
        };
        let mut names = BTreeMap::new();
        for network in &observed.networks {
            wanted.managed.bridges.insert(network.bridge.clone());
            if option(network, "enable_icc").is_some_and(is_false) {
                wanted.managed.apart.insert(network.bridge.clone());
            }
            for subnet in &network.subnets {
                let managed = ManagedSubnet {
                    bridge: network.bridge.clone(),
                    flags: flags(network, subnet.network().is_ipv6()),
                };
                wanted.managed.subnets.insert(subnet.trunc(), managed);
            }
        }
        for container in &observed.containers {
            let labelled = Labelled::of(container);
            for endpoint in &container.endpoints {
                for address in addresses(endpoint) {
                    let own = labelled.clone().map(|own| (address, own));
                    wanted.labelled.extend(own);
                    let named = Named {
                        container: container.name.clone(),
                        network: endpoint.name.clone(),
                    };
                    names.insert(address, named);
                }
            }
            let own = Addresses::of(container, &networks);
            wanted.containers.insert(container.name.clone(), own);
            wanted.publish(container, labelled.as_ref(), &networks, ipv6);
        }
        wanted.names = names.into();
        wanted
    }

    fn publish(
        &mut self,
        container: &Container,
        labelled: Option<&Labelled>,
        networks: &Networks<'_>,
        ipv6: bool,
    ) {
        let labels = match Labelled::says(labelled) {
            Ok(labels) => labels,
            Err(why) => {
                let name = &container.name;
                self.refused
                    .push(format!("container {name} is not published: {why}"));
                return;
            }
        };
        let ways = Ways::of(container, networks);
        let listed = container.ports.iter().filter_map(|port| ways.single(port));
        let listed: BTreeSet<_> = listed.filter(|one| ipv6 || one.address.is_ipv4()).collect();
        let unlisted = container.ports.iter().filter_map(|port| {
            let everywhere = container
                .everywhere
                .contains(&(port.container, port.protocol));
            let of_both = |other: &Port| {
                (other.container, other.protocol) == (port.container, port.protocol)
                    && other.address.is_ipv6()
            };
            let both = container.ports.iter().any(of_both);
            if !(ipv6 && everywhere && port.address.is_unspecified()) || both {
                return None;
            }
            ways.single(&Port {
                address: Ipv6Addr::UNSPECIFIED.into(),
                ..*port
            })
        });
        let unlisted: BTreeSet<_> = unlisted.filter(|one| !listed.contains(one)).collect();
        let (listed, unlisted) = (rows(&listed, &labels), rows(&unlisted, &labels));
        self.specs.extend(listed);
        self.specs.extend(&unlisted);
        self.unlisted.extend(unlisted);
    }
}

type Networks<'o> = BTreeMap<&'o str, &'o Network>;

/// By which networks a container is reached from outside, in each family.
struct Ways<'o> {
    v4: Option<(&'o Endpoint, &'o Network)>,
    v6: Option<(&'o Endpoint, &'o Network)>,
}

impl<'o> Ways<'o> {
    /// Docker takes the network of the highest priority, of several one with both families, and of those
    /// the first by name (tried with 20.10 and 28.5).
    fn of(container: &'o Container, networks: &Networks<'o>) -> Self {
        let known = container.endpoints.iter().filter_map(|endpoint| {
            let network = networks.get(endpoint.network.as_str())?;
            (!network.internal).then_some((endpoint, *network))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_by(|(one, _), (other, _)| {
            let by_priority = other.priority.cmp(&one.priority);
            by_priority
                .then(other.v6.is_some().cmp(&one.v6.is_some()))
                .then_with(|| one.name.cmp(&other.name))
        });
        let first = |has: fn(&Endpoint) -> bool| known.iter().copied().find(|(one, _)| has(one));
        Ways {
            v4: first(|endpoint| endpoint.v4.is_some()),
            v6: first(|endpoint| endpoint.v6.is_some()),
        }
    }

    /// What a port comes to: an IPv4 address leads to the container's own of IPv4, one of IPv6 to that of
    /// IPv6 or, where it has none, of IPv4.
    fn single(&self, port: &Port) -> Option<Single> {
        let v4 = self
            .v4
            .and_then(|(it, network)| Some((it.v4?.into(), network)));
        let v6 = self
            .v6
            .and_then(|(it, network)| Some((it.v6?.into(), network)));
        let (target, network): (IpAddr, _) = match port.address {
            IpAddr::V4(_) => v4?,
            IpAddr::V6(_) => v6.or(v4)?,
        };
        let (address, host) = match flags(network, target.is_ipv6()) & ROUTED != 0 {
            // There is no way by the host's address.
            true => (target, port.container),
            false => (port.address, port.host?),
        };
        Some(Single {
            address,
            protocol: port.protocol,
            target,
            host,
            container: port.container,
        })
    }
}

/// A port that is to be published, in the order in which rows are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Single {
    address: IpAddr,
    protocol: Protocol,
    target: IpAddr,
    host: NonZeroU16,
    container: NonZeroU16,
}

impl Single {
    /// Whether this one comes behind `before` in a row.
    fn follows(&self, before: &Self) -> bool {
        let next = |port: NonZeroU16| port.checked_add(1);
        (self.address, self.protocol, self.target)
            == (before.address, before.protocol, before.target)
            && next(before.host) == Some(self.host)
            && next(before.container) == Some(self.container)
    }
}

/// Long rows as ranges, and the others one by one. All of a range has the same labels.
fn rows(singles: &BTreeSet<Single>, labels: &Labels) -> Vec<PublishSpec> {
    let of = |single: &Single| labels.of(single.container, single.protocol);
    let singles: Vec<_> = singles.iter().copied().collect();
    let rows =
        singles.chunk_by(|before, single| single.follows(before) && of(single) == of(before));
    rows.flat_map(|row| match row {
        [first, .., last] if row.len() >= ROW.into() => vec![spec(first, last)],
        short => short.iter().map(|one| spec(one, one)).collect(),
    })
    .collect()
}

fn spec(first: &Single, last: &Single) -> PublishSpec {
    let ports = |first: NonZeroU16, last| Ports::new(first, last).unwrap_or(first.into());
    PublishSpec {
        host_ip: Some(first.address),
        host_ports: Some(ports(first.host, last.host)),
        container_ports: ports(first.container, last.container),
        protocol: first.protocol,
        target: first.target,
    }
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    let v4 = endpoint.v4.map(IpAddr::from);
    v4.into_iter().chain(endpoint.v6.map(IpAddr::from))
}

/// What the datapath is told of a network's subnets of one family.
fn flags(network: &Network, v6: bool) -> u32 {
    let option = |name| option(network, name);
    if network.internal {
        return CLOSED;
    }
    // Without iptables Docker says no for its default network, whatever the user has said.
    let default = option("default_bridge").is_some_and(is_true);
    let masqueraded = default || option("enable_ip_masquerade").is_none_or(|it| !is_false(it));
    let mode = if v6 {
        "gateway_mode_ipv6"
    } else {
        "gateway_mode_ipv4"
    };
    match option(mode) {
        Some("routed") => ROUTED,
        Some("isolated") => CLOSED,
        Some("nat-unprotected") if masqueraded => ISOLATED | MASQUERADED,
        Some("nat-unprotected") => ISOLATED,
        _ if masqueraded => CLOSED | MASQUERADED,
        // It asks as itself.
        _ => CLOSED | BYPASSES,
    }
}

/// An option of a network's driver.
fn option<'o>(network: &'o Network, name: &str) -> Option<&'o str> {
    let name = format!("com.docker.network.bridge.{name}");
    network.options.get(&name).map(String::as_str)
}

/// As Go's `strconv.ParseBool` has it, which is what Docker reads its options by.
fn is_true(text: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&text)
}

/// Alike.
fn is_false(text: &str) -> bool {
    ["0", "f", "F", "false", "FALSE", "False"].contains(&text)
}

#[cfg(test)]
mod tests;
