//! One link and its addresses, as plain values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::FarEnd;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// The kernel's number for it, unique in the namespace and never 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What kind of device it is.
    pub kind: LinkKind,
    /// What its packets start with.
    pub layer: LinkLayer,
    /// Its Ethernet address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// Whether it was set up (`IFF_UP`).
    pub up: bool,
    /// Whether it has been an uplink while portnat looked; the kernel does not tell.
    pub was_uplink: bool,
    /// Whether it has a carrier (`IFF_LOWER_UP`).
    pub lower_up: bool,
    /// Whether it is `lo`.
    pub loopback: bool,
    /// The index of the bridge, bond, team or VRF it belongs to.
    pub master: Option<u32>,
    /// The largest packet it sends, in bytes, without the link-layer header.
    pub mtu: u32,
    /// Its addresses in the kernel's order, which decides which one is the primary.
    pub addresses: Vec<Address>,
    /// Whether an IPv4 default route of the main table leaves by it.
    pub default_v4: bool,
    /// Whether an IPv6 default route of the main table leaves by it.
    pub default_v6: bool,
    /// Whether it has an ingress queueing discipline, beside which there is no room for clsact:
    /// the two are attached at the same place.
    pub ingress_qdisc: bool,
    /// Its queueing discipline, by the kernel's name for it; empty where the kernel says none.
    pub qdisc: String,
    /// Whether the device that it is paired with or lies on is in another network namespace.
    pub leads_elsewhere: bool,
    /// That device, if this one is a veth.
    pub far_end: Option<FarEnd>,
}

/// What kind of device a link is (`IFLA_INFO_KIND`), as far as portnat tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkKind {
    /// A device without a kind: a driver's for hardware, or `lo`.
    #[default]
    Device,
    /// A bridge.
    Bridge,
    /// A bond.
    Bond,
    /// A team.
    Team,
    /// One end of a veth pair.
    Veth,
    /// A routing domain, not a wire: its slaves keep their own addresses and packets.
    Vrf,
    /// A tun or tap device.
    Tun,
    /// Any other kind, by the kernel's name for it, such as `wireguard`.
    Other(String),
}

/// What the packets of a link start with, where TC sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkLayer {
    /// An Ethernet header; also on `lo`, where its addresses are zero.
    #[default]
    Ethernet,
    /// The IP header: tun, wireguard, PPP and point-to-point IP tunnels.
    None,
    /// Something portnat cannot skip, by its `ARPHRD_*` number.
    Other(u16),
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The host's own address.
    pub ip: IpAddr,
    /// How many bits of it, or of the peer's, name the network.
    pub prefix_len: u8,
    /// The address at the other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// How far the address is valid.
    pub scope: Scope,
    /// IPv4: another address of the same network came before it. IPv6: a temporary address.
    pub secondary: bool,
    /// No longer to be chosen for new flows; packets to it are still received.
    pub deprecated: bool,
    /// IPv6: not yet known to be unique, and not answered until then.
    pub tentative: bool,
    /// Set for good, and not for a limited time as by DHCP or a router advertisement.
    pub permanent: bool,
}

/// How far an address is valid (`RT_SCOPE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// Within the site; an IPv6 notion that is no longer used.
    Site,
    /// On this link only.
    Link,
    /// Within this host only.
    Host,
    /// A scope the administrator made up.
    Other(u8),
}

impl Link {
    /// Whether a default route of the main table leaves by this link.
    #[must_use]
    pub fn has_default_route(&self) -> bool {
        self.default_v4 || self.default_v6
    }

    /// Whether what goes to its other end may be put there at once: that end receives what is sent
    /// here (veth), in another namespace (the kernel does nothing of the kind within one), and nothing
    /// waits here for its turn, as it does for a limit of bandwidth.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        self.kind == LinkKind::Veth && self.leads_elsewhere && self.lets_through_at_once()
    }

    /// Whether nothing waits at this link for its turn, on its way out or in.
    #[must_use]
    pub fn lets_through_at_once(&self) -> bool {
        !self.ingress_qdisc && matches!(self.qdisc.as_str(), "" | "noqueue")
    }

    /// The networks that this link is in, each once, IPv4's first. On a point-to-point link it is
    /// the network of the peer, as for the kernel's own routes.
    ///
    /// Of IPv6 they are the global ones: every link is in `fe80::/64`, which tells none apart.
    #[must_use]
    pub fn subnets(&self) -> Vec<IpNet> {
        let mut subnets: Vec<IpNet> = self
            .addresses
            .iter()
            .filter(|address| match address.peer.unwrap_or(address.ip) {
                IpAddr::V4(_) => true,
                IpAddr::V6(ip) => address.scope == Scope::Global && !ip.is_unicast_link_local(),
            })
            .filter_map(|address| {
                let ip = address.peer.unwrap_or(address.ip);
                IpNet::new(ip, address.prefix_len).ok()
            })
            .map(|subnet| subnet.trunc())
            .collect();
        subnets.sort();
        subnets.dedup();
        subnets
    }

    /// The IPv4 address that `MASQUERADE` would take: the first that is neither secondary nor of
    /// less than global scope.
    ///
    /// The kernel (`inet_select_addr`) first tries the networks of the next hop, which a link alone
    /// cannot know: it matters where one link is in several networks. Where this is `None` it would
    /// borrow an address of another link; portnat does not.
    #[must_use]
    pub fn primary_v4(&self) -> Option<Ipv4Addr> {
        self.addresses
            .iter()
            .filter(|address| !address.secondary)
            .find_map(|address| match (address.ip, address.scope) {
                (IpAddr::V4(ip), Scope::Global) => Some(ip),
                _ => None,
            })
    }

    /// The IPv6 address to send from: the first global one that is neither deprecated nor
    /// tentative.
    ///
    /// The kernel chooses by the destination (RFC 6724), which a link alone cannot know. So those
    /// that reach most, and last longest, go first: global unicast before unique local, which the
    /// internet does not answer; stable before temporary, which is gone in the midst of a flow; set
    /// by hand before learnt from a router.
    #[must_use]
    pub fn primary_v6(&self) -> Option<Ipv6Addr> {
        self.addresses
            .iter()
            .filter(|address| !address.deprecated && !address.tentative)
            .filter_map(|address| match (address.ip, address.scope) {
                (IpAddr::V6(ip), Scope::Global) => Some((ip, address)),
                _ => None,
            })
            .min_by_key(|(ip, address)| {
                let temporary = address.secondary;
                (ip.is_unique_local(), temporary, !address.permanent)
            })
            .map(|(ip, _)| ip)
    }
}

#[cfg(test)]
impl Link {
    /// A link that is up and has these addresses, as tests want it.
    pub(crate) fn made(index: u32, name: &str, kind: LinkKind, addresses: &[&str]) -> Self {
        let nets = addresses.iter().map(|text| text.parse().expect("a prefix"));
        Link {
            index,
            name: name.to_owned(),
            kind,
            addresses: nets.map(Address::made).collect(),
            up: true,
            ..Link::default()
        }
    }
}

#[cfg(test)]
impl Address {
    /// A global one that stays.
    pub(crate) fn made(net: IpNet) -> Self {
        Address {
            ip: net.addr(),
            prefix_len: net.prefix_len(),
            peer: None,
            scope: Scope::Global,
            secondary: false,
            deprecated: false,
            tentative: false,
            permanent: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(ip: &str, prefix_len: u8) -> Address {
        let ip = ip.parse().expect("an address");
        Address::made(IpNet::new_assert(ip, prefix_len))
    }

    fn link(addresses: impl Into<Vec<Address>>) -> Link {
        Link {
            addresses: addresses.into(),
            ..Link::default()
        }
    }

    fn subnets(link: &Link) -> Vec<String> {
        link.subnets().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn subnets_are_networks_and_each_is_named_once() {
        let link = link([
            global("172.17.0.1", 16),
            global("172.17.3.1", 16),
            global("10.1.2.3", 24),
        ]);
        assert_eq!(subnets(&link), ["10.1.2.0/24", "172.17.0.0/16"]);
    }

    #[test]
    fn subnets_are_of_both_families_and_no_link_local_one() {
        let link = link([
            Address {
                scope: Scope::Host,
                ..global("::1", 128)
            },
            Address {
                scope: Scope::Link,
                ..global("fe80::1", 64)
            },
            global("2001:db8:1::5", 48),
            global("fd00::1", 64),
            global("fd00::2", 64),
            global("10.1.2.3", 24),
        ]);
        assert_eq!(
            subnets(&link),
            ["10.1.2.0/24", "2001:db8:1::/48", "fd00::/64"]
        );
    }

    #[test]
    fn a_point_to_point_link_is_in_its_peers_network() {
        let peer = Some("10.9.0.1".parse().expect("an address"));
        let link = link([Address {
            peer,
            ..global("192.0.2.7", 32)
        }]);
        assert_eq!(subnets(&link), ["10.9.0.1/32"]);
    }

    #[test]
    fn a_point_to_point_link_is_in_its_ipv6_peers_network() {
        let to = |peer: &str| {
            let peer = Some(peer.parse().expect("an address"));
            subnets(&link([Address {
                peer,
                ..global("2001:db8::7", 128)
            }]))
        };
        assert_eq!(to("fd00::2"), ["fd00::2/128"]);
        assert!(to("fe80::2").is_empty());
    }

    #[test]
    fn the_primary_address_is_the_first_that_is_global_and_not_secondary() {
        let link = link([
            global("fd00::1", 64),
            Address {
                scope: Scope::Link,
                ..global("169.254.0.9", 16)
            },
            Address {
                secondary: true,
                ..global("192.0.2.8", 24)
            },
            global("192.0.2.9", 24),
            global("198.51.100.1", 24),
        ]);
        assert_eq!(link.primary_v4(), Some(Ipv4Addr::new(192, 0, 2, 9)));
    }

    #[test]
    fn a_deprecated_ipv4_address_is_still_what_masquerade_takes() {
        let link = link([Address {
            deprecated: true,
            ..global("192.0.2.9", 24)
        }]);
        assert_eq!(link.primary_v4(), Some(Ipv4Addr::new(192, 0, 2, 9)));
    }

    #[test]
    fn a_link_without_a_global_address_has_no_primary() {
        assert_eq!(link([]).primary_v4(), None);
        assert_eq!(link([]).primary_v6(), None);
        let host = Address {
            scope: Scope::Host,
            ..global("127.0.0.1", 8)
        };
        assert_eq!(link([host]).primary_v4(), None);
        let of_the_link = Address {
            scope: Scope::Link,
            ..global("fe80::1", 64)
        };
        assert_eq!(link([of_the_link]).primary_v6(), None);
    }

    /// The primary IPv6 address, after every step the next best one is left.
    #[test]
    fn the_primary_ipv6_address_is_the_one_that_reaches_most_and_lasts_longest() {
        let learnt = |ip| Address {
            permanent: false,
            ..global(ip, 64)
        };
        let mut link = link([
            global("192.0.2.9", 24),
            Address {
                tentative: true,
                ..global("2001:db8::1", 64)
            },
            Address {
                deprecated: true,
                ..global("2001:db8::2", 64)
            },
            global("fd00::1", 64),
            Address {
                secondary: true,
                ..learnt("2001:db8::3")
            },
            learnt("2001:db8::4"),
            global("2001:db8::5", 64),
            global("2001:db8::6", 64),
        ]);
        let mut order = Vec::new();
        while let Some(primary) = link.primary_v6() {
            order.push(primary.to_string());
            link.addresses.retain(|address| address.ip != primary);
        }
        let expected = [5, 6, 4, 3].map(|last| format!("2001:db8::{last}"));
        assert_eq!(order[..4], expected);
        assert_eq!(order[4..], ["fd00::1"]);
    }
}
