//! Interfaces and addresses that vanish and come again, for tests and the benchmark.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use portnat::lab::{Lab, LabError};

/// Docker's custom, as the lab has it.
const BRIDGE_MAC: [u8; 6] = [2, 0x42, 172, 17, 0, 1];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
/// The uplink's address afterwards, where it gets another one.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// What happens to a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Its bridge is deleted, and comes again with the same ports.
    Bridge,
    /// A container's link is, which has another hardware address then.
    Veth,
    /// Its uplink gets another address.
    Address,
}

impl Event {
    /// Has it happen to the lab's host and its first container, whose address is the first.
    pub(crate) fn happen(self, lab: &Lab) -> Result<(), LabError> {
        let container = &lab.containers[0];
        let (inside, host) = (container.namespace.links(), lab.host.links());
        match self {
            Event::Bridge => host
                .delete(Lab::BRIDGE)
                .and_then(|()| host.add_bridge(Lab::BRIDGE, BRIDGE_MAC))
                .and_then(|()| host.add_address(Lab::BRIDGE, net(GATEWAY, 16)))
                .and_then(|()| host.set_master(&container.port, Lab::BRIDGE)),
            Event::Veth => host
                .delete(&container.port)
                .and_then(|()| inside.add_veth("eth0", &lab.host, &container.port))
                .and_then(|()| host.set_master(&container.port, Lab::BRIDGE))
                .and_then(|()| inside.add_address("eth0", net(CONTAINER, 16)))
                .and_then(|()| inside.wait_until_up(&["eth0"]))
                .and_then(|()| inside.add_default_route(GATEWAY.into())),
            Event::Address => host
                .delete_address(Lab::UPLINK, net(Lab::HOST, 24))
                .and_then(|()| host.add_address(Lab::UPLINK, net(OTHER, 24))),
        }
    }

    /// Where the host is asked afterwards.
    pub(crate) fn host(self) -> IpAddr {
        match self {
            Event::Address => OTHER.into(),
            Event::Bridge | Event::Veth => Lab::HOST.into(),
        }
    }
}

fn net(address: Ipv4Addr, prefix: u8) -> IpNet {
    Ipv4Net::new_assert(address, prefix).into()
}
