//! The links of a network namespace at one moment, and what portnat concludes from them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Link, LinkKind, LinkLayer, NetError};

/// The links of a network namespace at one moment. Two that are equal call for the same dataplane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The links, in the order of their index.
    pub links: Vec<Link>,
}

impl Snapshot {
    /// The link of that name.
    ///
    /// # Errors
    ///
    /// [`NetError::UnknownInterface`] if there is none.
    pub fn link_by_name(&self, name: &str) -> Result<&Link, NetError> {
        self.links
            .iter()
            .find(|link| link.name == name)
            .ok_or_else(|| NetError::UnknownInterface {
                name: name.to_owned(),
            })
    }

    /// The link of that index.
    #[must_use]
    pub fn link_by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// Every address that a packet to this host can carry: those of all links, `lo` and links that
    /// are down included, for Linux answers to any of its addresses on any link.
    ///
    /// Of `lo`'s 127.0.0.1/8 only 127.0.0.1 is meant, though the kernel takes all of 127/8 for
    /// local: the rest is no address of a link, and a port published on all addresses is not
    /// published on it.
    #[must_use]
    pub fn local_addresses(&self) -> BTreeSet<IpAddr> {
        self.links
            .iter()
            .flat_map(|link| &link.addresses)
            .map(|address| address.ip)
            .collect()
    }

    /// The links by which packets come and go from outside, unless the user says otherwise: all
    /// that are up but `lo`, inside bridges, and what is enslaved.
    ///
    /// No default route is asked for: a LAN or a VPN has none. The slaves of a bridge, bond or team
    /// are left out because its packets pass the master too, where they would be seen twice; those
    /// of a VRF pass only the slave. A link with a header portnat cannot skip carries nothing that
    /// it could translate.
    ///
    /// A veth must have an address as well. A container's end on the host is no port of its bridge
    /// for some milliseconds, and an uplink for that time would be attached to and left again. What has been
    /// an uplink needs neither to be up nor an address.
    #[must_use]
    pub fn default_uplinks(&self) -> Vec<&Link> {
        self.links
            .iter()
            .filter(|link| link.was_uplink || link.up && may_begin(link))
            .filter(|link| !link.loopback && !is_inside_bridge(link) && !self.is_port(link))
            .filter(|link| !matches!(link.layer, LinkLayer::Other(_)))
            .collect()
    }

    /// The bridges that containers are taken to be behind, unless the user says otherwise: those
    /// without a default route. A bridge with one is the host's own way out.
    #[must_use]
    pub fn default_bridges(&self) -> Vec<&Link> {
        self.links
            .iter()
            .filter(|link| is_inside_bridge(link))
            .collect()
    }

    /// Whether the link's packets pass a master of it. A master that is not (or no longer) listed
    /// is taken for such a one.
    fn is_port(&self, link: &Link) -> bool {
        link.master.is_some_and(|master| {
            self.link_by_index(master)
                .is_none_or(|master| master.kind != LinkKind::Vrf)
        })
    }
}

/// Whether the link may become an uplink, if it is up.
fn may_begin(link: &Link) -> bool {
    link.kind != LinkKind::Veth || has_own_address(link)
}

/// Whether somebody gave the link an address; an IPv6 link-local one it has of itself.
fn has_own_address(link: &Link) -> bool {
    link.addresses.iter().any(|address| match address.ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    })
}

fn is_inside_bridge(link: &Link) -> bool {
    link.kind == LinkKind::Bridge && !link.has_default_route()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Address, Scope};

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            up: true,
            ..Link::default()
        }
    }

    fn address(ip: &str, scope: Scope) -> Address {
        Address {
            ip: ip.parse().expect("an address"),
            prefix_len: 8,
            peer: None,
            scope,
            secondary: false,
            deprecated: false,
            tentative: false,
            permanent: true,
        }
    }

    fn of_kind(index: u32, name: &str, kind: LinkKind) -> Link {
        Link {
            kind,
            ..link(index, name)
        }
    }

    fn port_of(master: u32, port: Link) -> Link {
        Link {
            master: Some(master),
            ..port
        }
    }

    fn snapshot(links: impl Into<Vec<Link>>) -> Snapshot {
        Snapshot {
            links: links.into(),
        }
    }

    fn names(links: Vec<&Link>) -> Vec<&str> {
        links.into_iter().map(|link| link.name.as_str()).collect()
    }

    /// A host with one network card and one container, as Docker sets it up.
    fn docker_host() -> Snapshot {
        snapshot([
            Link {
                loopback: true,
                ..link(1, "lo")
            },
            Link {
                default_v4: true,
                ..link(2, "eth0")
            },
            of_kind(3, "docker0", LinkKind::Bridge),
            port_of(3, of_kind(5, "veth1", LinkKind::Veth)),
        ])
    }

    #[test]
    fn a_docker_host_has_one_uplink_and_one_bridge() {
        let host = docker_host();
        assert_eq!(names(host.default_uplinks()), ["eth0"]);
        assert_eq!(names(host.default_bridges()), ["docker0"]);
    }

    #[test]
    fn a_lan_and_a_vpn_without_a_default_route_are_uplinks() {
        let mut host = docker_host();
        let wireguard = of_kind(7, "wg0", LinkKind::Other("wireguard".to_owned()));
        host.links.push(link(6, "eth1"));
        host.links.push(Link {
            layer: LinkLayer::None,
            ..wireguard
        });
        assert_eq!(names(host.default_uplinks()), ["eth0", "eth1", "wg0"]);
    }

    #[test]
    fn a_bridge_with_a_default_route_of_either_family_is_an_uplink_and_its_ports_are_not() {
        let bridge = of_kind(2, "br0", LinkKind::Bridge);
        for bridge in [
            Link {
                default_v4: true,
                ..bridge.clone()
            },
            Link {
                default_v6: true,
                ..bridge.clone()
            },
        ] {
            let host = snapshot([bridge, port_of(2, link(3, "eth0"))]);
            assert_eq!(names(host.default_uplinks()), ["br0"]);
            assert!(host.default_bridges().is_empty());
        }
    }

    #[test]
    fn a_bond_or_team_is_an_uplink_and_its_slaves_are_not() {
        let ovs = LinkKind::Other("openvswitch".to_owned());
        for kind in [LinkKind::Bond, LinkKind::Team, ovs] {
            let host = snapshot([
                of_kind(2, "master", kind),
                port_of(2, link(3, "eth0")),
                port_of(2, link(4, "eth1")),
            ]);
            assert_eq!(names(host.default_uplinks()), ["master"]);
        }
    }

    #[test]
    fn a_slave_of_a_vrf_is_an_uplink() {
        let host = snapshot([
            of_kind(2, "red", LinkKind::Vrf),
            port_of(2, link(3, "eth0")),
        ]);
        assert_eq!(names(host.default_uplinks()), ["red", "eth0"]);
    }

    #[test]
    fn an_inside_bridge_of_a_vrf_stays_inside() {
        let host = snapshot([
            of_kind(2, "red", LinkKind::Vrf),
            port_of(2, of_kind(3, "br-red", LinkKind::Bridge)),
        ]);
        assert_eq!(names(host.default_uplinks()), ["red"]);
        assert_eq!(names(host.default_bridges()), ["br-red"]);
    }

    #[test]
    fn a_port_of_an_unknown_master_is_no_uplink() {
        assert!(
            snapshot([port_of(99, link(3, "eth0"))])
                .default_uplinks()
                .is_empty()
        );
    }

    #[test]
    fn a_link_that_is_down_is_no_uplink() {
        let mut host = docker_host();
        host.links[1].up = false;
        assert!(host.default_uplinks().is_empty());
    }

    #[test]
    fn a_veth_is_an_uplink_once_somebody_gave_it_an_address() {
        let mut host = snapshot([of_kind(4, "veth1", LinkKind::Veth)]);
        assert!(host.default_uplinks().is_empty());
        let by_itself = address("fe80::1", Scope::Link);
        host.links[0].addresses.push(by_itself);
        assert!(host.default_uplinks().is_empty());
        for given in ["10.0.0.1", "fd00::1"] {
            host.links[0].addresses = vec![by_itself, address(given, Scope::Global)];
            assert_eq!(names(host.default_uplinks()), ["veth1"], "{given}");
        }
    }

    #[test]
    fn a_link_with_a_foreign_header_is_no_uplink() {
        let infiniband = Link {
            layer: LinkLayer::Other(32),
            ..link(2, "ib0")
        };
        assert!(snapshot([infiniband]).default_uplinks().is_empty());
    }

    #[test]
    fn local_addresses_are_those_of_all_links_and_of_lo_just_the_one() {
        let lo = Link {
            addresses: vec![address("127.0.0.1", Scope::Host)],
            ..link(1, "lo")
        };
        let addresses = vec![
            address("10.0.0.1", Scope::Global),
            address("fe80::1", Scope::Link),
        ];
        let eth0 = Link {
            addresses,
            ..link(2, "eth0")
        };
        let local: Vec<String> = snapshot([lo, eth0])
            .local_addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(local, ["10.0.0.1", "127.0.0.1", "fe80::1"]);
    }

    #[test]
    fn links_are_found_by_name_and_index() {
        let host = docker_host();
        assert_eq!(host.link_by_name("eth0").expect("there").index, 2);
        assert_eq!(host.link_by_index(3).expect("there").name, "docker0");
        assert_eq!(host.link_by_index(4), None);
        assert_eq!(
            host.link_by_name("eth9")
                .expect_err("not there")
                .to_string(),
            "no interface eth9 in this network namespace: `ip link` lists those there are"
        );
    }
}
