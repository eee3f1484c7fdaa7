//! What the tests want to know of the address families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portnat_common::{Family, Ip4, Ip6, V4, V6};

use super::World;

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
