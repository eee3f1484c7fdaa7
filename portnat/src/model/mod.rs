//! What should be: pure functions from what the user asked for and what the host looks like to
//! what the datapath holds.

mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use portnat_common::{Ip4, Published, PublishedKey};

use crate::net::{Link, LinkLayer, NetError, Snapshot};

pub use published::{PublishError, PublishedPort, allocate};

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// The published ports.
    pub published: Vec<PublishedPort>,
    /// The uplinks by name; none means those that the host's links suggest.
    pub uplinks: Vec<String>,
    /// The bridges by name; none means those that the host's links suggest.
    pub bridges: Vec<String>,
    /// The prefixes to masquerade; none means the bridges' subnets.
    pub masquerade: Vec<Ipv4Net>,
}

/// An interface to the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// What its packets begin with.
    pub layer: LinkLayer,
}

/// What the datapath should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Published ports.
    pub published: BTreeMap<PublishedKey<Ip4>, Published>,
    /// The host's own addresses.
    pub local: BTreeSet<Ipv4Addr>,
    /// Masqueraded prefixes.
    pub subnets: BTreeSet<Ipv4Net>,
    /// By interface index, the address that masqueraded packets take there.
    pub egress: BTreeMap<u32, Ipv4Addr>,
    /// By interface index, where programs are attached.
    pub uplinks: BTreeMap<u32, Uplink>,
    /// The names of the interfaces that must forward: uplinks and bridges.
    pub forwarding: BTreeSet<String>,
}

impl Intent {
    /// Whether every interface that the user named exists and can be served.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check(&self, snapshot: &Snapshot) -> Result<(), NetError> {
        for name in &self.uplinks {
            let link = snapshot.link_by_name(name)?;
            let why = match link.layer {
                _ if link.loopback => "it leads nowhere but to this host",
                LinkLayer::Other(_) => "its packets have a header other than Ethernet's",
                LinkLayer::Ethernet | LinkLayer::None => continue,
            };
            return Err(NetError::UnsupportedUplink {
                name: name.clone(),
                why,
            });
        }
        for name in &self.bridges {
            snapshot.link_by_name(name)?;
        }
        Ok(())
    }

    /// What the datapath should hold on a host that looks like `snapshot`. An interface that is
    /// named and does not exist (any more) is left out until it comes.
    #[must_use]
    pub fn desired(&self, snapshot: &Snapshot) -> Desired {
        let bridges = named_or(snapshot, &self.bridges, Snapshot::default_bridges);
        let inside: BTreeSet<u32> = bridges.iter().map(|link| link.index).collect();
        let mut uplinks = named_or(snapshot, &self.uplinks, Snapshot::default_uplinks);
        if self.uplinks.is_empty() {
            uplinks.retain(|link| !inside.contains(&link.index));
        }
        let subnets = if self.masquerade.is_empty() {
            bridges.iter().flat_map(|link| link.subnets()).collect()
        } else {
            self.masquerade.iter().map(Ipv4Net::trunc).collect()
        };
        Desired {
            published: self.published.iter().map(PublishedPort::entry).collect(),
            local: snapshot
                .local_addresses()
                .into_iter()
                .filter_map(ipv4)
                .collect(),
            subnets,
            egress: uplinks
                .iter()
                .filter_map(|link| Some((link.index, link.primary_address()?)))
                .collect(),
            forwarding: uplinks
                .iter()
                .chain(&bridges)
                .map(|link| link.name.clone())
                .collect(),
            uplinks: uplinks.into_iter().map(uplink).collect(),
        }
    }
}

fn named_or<'s>(
    snapshot: &'s Snapshot,
    names: &[String],
    default: impl Fn(&'s Snapshot) -> Vec<&'s Link>,
) -> Vec<&'s Link> {
    if names.is_empty() {
        return default(snapshot);
    }
    snapshot
        .links
        .iter()
        .filter(|link| names.contains(&link.name))
        .collect()
}

fn uplink(link: &Link) -> (u32, Uplink) {
    (
        link.index,
        Uplink {
            name: link.name.clone(),
            layer: link.layer,
        },
    )
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Address, LinkKind, Scope};

    fn link(index: u32, name: &str, kind: LinkKind, address: &str) -> Link {
        let net: Ipv4Net = address.parse().expect("a prefix");
        let address = Address {
            ip: net.addr().into(),
            prefix_len: net.prefix_len(),
            peer: None,
            scope: Scope::Global,
            secondary: false,
            deprecated: false,
            tentative: false,
        };
        Link {
            index,
            name: name.to_owned(),
            kind,
            addresses: vec![address],
            ..Link::default()
        }
    }

    fn host() -> Snapshot {
        Snapshot {
            links: vec![
                link(2, "eth0", LinkKind::Device, "192.0.2.1/24"),
                link(3, "docker0", LinkKind::Bridge, "172.17.0.1/16"),
                link(4, "br-1", LinkKind::Bridge, "172.18.0.1/16"),
            ],
        }
    }

    fn names(uplinks: &BTreeMap<u32, Uplink>) -> Vec<&str> {
        uplinks
            .values()
            .map(|uplink| uplink.name.as_str())
            .collect()
    }

    #[test]
    fn a_docker_host_needs_no_options() {
        let desired = Intent::default().desired(&host());
        assert_eq!(names(&desired.uplinks), ["eth0"]);
        assert_eq!(desired.egress, [(2, Ipv4Addr::new(192, 0, 2, 1))].into());
        let subnets: Vec<_> = desired.subnets.iter().map(ToString::to_string).collect();
        assert_eq!(subnets, ["172.17.0.0/16", "172.18.0.0/16"]);
        assert_eq!(desired.forwarding.len(), 3);
        assert_eq!(desired.local.len(), 3);
    }

    #[test]
    fn a_named_bridge_alone_is_masqueraded_and_the_others_stay_inside() {
        let intent = Intent {
            bridges: vec!["br-1".into()],
            ..Intent::default()
        };
        let desired = intent.desired(&host());
        assert_eq!(names(&desired.uplinks), ["eth0"]);
        let subnets: Vec<_> = desired.subnets.iter().map(ToString::to_string).collect();
        assert_eq!(subnets, ["172.18.0.0/16"]);
    }

    #[test]
    fn a_veth_that_is_named_as_a_bridge_is_no_uplink() {
        let mut host = host();
        host.links
            .push(link(5, "veth0", LinkKind::Veth, "10.0.0.1/30"));
        let intent = Intent {
            bridges: vec!["veth0".into()],
            ..Intent::default()
        };
        assert_eq!(names(&intent.desired(&host).uplinks), ["eth0"]);
    }

    #[test]
    fn prefixes_to_masquerade_replace_the_bridges_and_are_networks() {
        let intent = Intent {
            masquerade: vec!["10.1.2.3/8".parse().expect("a prefix")],
            ..Intent::default()
        };
        let subnets = intent.desired(&host()).subnets;
        assert_eq!(
            subnets.first().map(ToString::to_string),
            Some("10.0.0.0/8".to_owned())
        );
        assert_eq!(subnets.len(), 1);
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let intent = Intent {
            uplinks: vec!["eth7".into()],
            ..Intent::default()
        };
        let error = intent
            .check(&host())
            .expect_err("there is none")
            .to_string();
        assert!(error.contains("eth7"), "{error}");
    }
}
