//! The lab itself: a client, a host with bridges, and containers behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::error::{LabError, Result};
use super::namespace::Namespace;

/// The subnet that Docker gives its bridge.
const BRIDGE_SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16);
const OUTSIDE_PREFIX: u8 = 24;
const OUTSIDE_PREFIX_V6: u8 = 64;
/// A container calls its only link the way Docker does.
const CONTAINER_LINK: &str = "eth0";

/// A client outside, a host, and containers that only the host can reach.
///
/// The host forwards nothing (`ip_forward` is 0) and the client has no route to the containers:
/// whatever gets through was published.
#[derive(Debug)]
pub struct Lab {
    /// Outside, at [`Lab::CLIENT`], with its end of the wire called [`Lab::UPLINK`] too.
    pub client: Namespace,
    /// At [`Lab::HOST`] to the outside, and at each bridge's gateway address to the containers.
    pub host: Namespace,
    /// In the order in which they were added.
    pub containers: Vec<Container>,
    /// [`Lab::BRIDGE`] first.
    pub bridges: Vec<Bridge>,
    ipv6: bool,
    /// Ports created so far, to name the next.
    ports: u32,
}

/// A bridge in the host.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// The link's name.
    pub name: String,
    /// Where its containers are.
    pub subnet: Ipv4Net,
    /// The same in IPv6; in use if the lab has it.
    pub subnet_v6: Ipv6Net,
    /// The host's address there: the first of the subnet.
    pub gateway: Ipv4Addr,
    /// The same in IPv6.
    pub gateway_v6: Ipv6Addr,
    /// Addresses in use, the gateway's included. They are given out in order and never again.
    taken: u32,
}

/// A container: a namespace on a bridge.
#[derive(Debug)]
pub struct Container {
    /// What is inside.
    pub namespace: Namespace,
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    /// The same in IPv6; assigned if the lab has it.
    pub address_v6: Ipv6Addr,
    /// The bridge's name.
    pub bridge: String,
    /// The host's end of its link, a port of the bridge.
    pub port: String,
}

impl Lab {
    /// The client's address (RFC 5737, for documentation).
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    /// The host's address towards the client.
    pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The client's IPv6 address (RFC 3849, for documentation).
    pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
    /// The host's IPv6 address towards the client.
    pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
    /// The host's link to the client.
    pub const UPLINK: &str = "eth0";
    /// The bridge that each lab has, at 172.17.0.1/16.
    pub const BRIDGE: &str = "docker0";

    /// A lab of one container, to be changed before it is built.
    pub fn builder() -> LabBuilder {
        LabBuilder {
            bridges: vec![(Self::BRIDGE.into(), BRIDGE_SUBNET, 1)],
            uplink_mtu: None,
            client_routes_via_host: false,
            ipv6: false,
        }
    }

    /// Adds a container to a bridge, and waits until packets can reach it.
    ///
    /// # Errors
    /// When there is no such bridge, its subnet is full, or the kernel refuses a step.
    pub fn add_container(&mut self, bridge: &str) -> Result<&Container> {
        let bridge = self
            .bridges
            .iter_mut()
            .find(|candidate| candidate.name == bridge)
            .ok_or_else(|| LabError::NoSuchBridge(bridge.into()))?;
        let (address, address_v6) = bridge.take_address()?;
        let port = format!("veth{}", self.ports);
        self.ports += 1;

        let namespace = Namespace::new()?;
        let (inside, host) = (namespace.links(), self.host.links());
        inside.add_veth(CONTAINER_LINK, &self.host, &port)?;
        host.set_master(&port, &bridge.name)?;
        inside.add_address(CONTAINER_LINK, network(address, bridge.subnet.prefix_len()))?;
        inside.add_default_route(bridge.gateway.into())?;
        if self.ipv6 {
            let prefix = bridge.subnet_v6.prefix_len();
            inside.add_address(CONTAINER_LINK, network(address_v6, prefix))?;
            inside.add_default_route(bridge.gateway_v6.into())?;
        }
        inside.wait_until_up(&[CONTAINER_LINK])?;
        host.wait_until_up(&[&port, &bridge.name])?;

        let bridge = bridge.name.clone();
        self.containers.push(Container {
            namespace,
            address,
            address_v6,
            bridge,
            port,
        });
        Ok(&self.containers[self.containers.len() - 1])
    }

    /// Connects the client and the host.
    fn connect_client(&self, mtu: Option<u32>, routes_via_host: bool) -> Result<()> {
        let (client, host) = (self.client.links(), self.host.links());
        client.add_veth(Self::UPLINK, &self.host, Self::UPLINK)?;
        if let Some(mtu) = mtu {
            client.set_mtu(Self::UPLINK, mtu)?;
            host.set_mtu(Self::UPLINK, mtu)?;
        }
        client.add_address(Self::UPLINK, network(Self::CLIENT, OUTSIDE_PREFIX))?;
        host.add_address(Self::UPLINK, network(Self::HOST, OUTSIDE_PREFIX))?;
        if self.ipv6 {
            client.add_address(Self::UPLINK, network(Self::CLIENT_V6, OUTSIDE_PREFIX_V6))?;
            host.add_address(Self::UPLINK, network(Self::HOST_V6, OUTSIDE_PREFIX_V6))?;
        }
        client.wait_until_up(&[Self::UPLINK])?;
        host.wait_until_up(&[Self::UPLINK])?;

        if routes_via_host {
            client.add_default_route(Self::HOST.into())?;
            if self.ipv6 {
                client.add_default_route(Self::HOST_V6.into())?;
            }
        }
        Ok(())
    }

    /// Creates a bridge in the host.
    fn add_bridge(&mut self, name: String, subnet: Ipv4Net) -> Result<()> {
        let bridge = Bridge::new(name, subnet, self.bridges.len())?;
        let host = self.host.links();
        host.add_bridge(&bridge.name, bridge.mac())?;
        host.add_address(&bridge.name, network(bridge.gateway, subnet.prefix_len()))?;
        if self.ipv6 {
            let prefix = bridge.subnet_v6.prefix_len();
            host.add_address(&bridge.name, network(bridge.gateway_v6, prefix))?;
        }
        self.bridges.push(bridge);
        Ok(())
    }
}

impl Bridge {
    /// Describes the lab's bridge number `ordinal`, which is `fd00:17:ORDINAL::/64` in IPv6.
    fn new(name: String, subnet: Ipv4Net, ordinal: usize) -> Result<Self> {
        let ordinal = u16::try_from(ordinal).expect("a lab has a handful of bridges");
        let mut bridge = Self {
            name,
            subnet,
            subnet_v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x17, ordinal, 0, 0, 0, 0, 0), 64),
            gateway: Ipv4Addr::UNSPECIFIED,
            gateway_v6: Ipv6Addr::UNSPECIFIED,
            taken: 0,
        };
        (bridge.gateway, bridge.gateway_v6) = bridge.take_address()?;
        Ok(bridge)
    }

    /// The next address, the same number in both subnets.
    fn take_address(&mut self) -> Result<(Ipv4Addr, Ipv6Addr)> {
        let number = self.taken + 1;
        let address = u32::from(self.subnet.network())
            .checked_add(number)
            .map(Ipv4Addr::from)
            .filter(|address| *address < self.subnet.broadcast())
            .ok_or_else(|| LabError::SubnetFull {
                bridge: self.name.clone(),
                subnet: self.subnet,
            })?;
        let address_v6 = u128::from(self.subnet_v6.network()) + u128::from(number);
        self.taken = number;
        Ok((address, address_v6.into()))
    }

    /// Docker's custom: locally administered, and the IPv4 address in the last four bytes.
    fn mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.gateway.octets();
        [0x02, 0x42, a, b, c, d]
    }
}

/// What a lab shall be like. Made by [`Lab::builder`].
#[derive(Clone, Debug)]
#[must_use = "a lab is there once it is built"]
pub struct LabBuilder {
    /// Each bridge's name, subnet and number of containers.
    bridges: Vec<(String, Ipv4Net, usize)>,
    uplink_mtu: Option<u32>,
    client_routes_via_host: bool,
    ipv6: bool,
}

impl LabBuilder {
    /// The number of containers on [`Lab::BRIDGE`], 1 if not set.
    pub fn containers(mut self, containers: usize) -> Self {
        self.bridges[0].2 = containers;
        self
    }

    /// One more bridge, with containers of its own. They follow the first bridge's in
    /// [`Lab::containers`].
    pub fn bridge(mut self, name: &str, subnet: Ipv4Net, containers: usize) -> Self {
        self.bridges.push((name.into(), subnet, containers));
        self
    }

    /// The MTU between client and host, in bytes; 1500 if not set.
    pub fn uplink_mtu(mut self, bytes: u32) -> Self {
        self.uplink_mtu = Some(bytes);
        self
    }

    /// Whether the host is the client's default gateway. If not, as by default, the client knows
    /// its own subnet only.
    pub fn client_routes_via_host(mut self, yes: bool) -> Self {
        self.client_routes_via_host = yes;
        self
    }

    /// Whether each place has an IPv6 address too. Not by default, for kernels without it.
    pub fn ipv6(mut self, yes: bool) -> Self {
        self.ipv6 = yes;
        self
    }

    /// Builds the lab, and waits until packets can pass everywhere.
    ///
    /// # Errors
    /// When a subnet is too small, or the kernel refuses a step: most often, for want of root.
    pub fn build(self) -> Result<Lab> {
        let mut lab = Lab {
            client: Namespace::new()?,
            host: Namespace::new()?,
            containers: Vec::new(),
            bridges: Vec::new(),
            ipv6: self.ipv6,
            ports: 0,
        };
        lab.connect_client(self.uplink_mtu, self.client_routes_via_host)?;
        for (name, subnet, containers) in self.bridges {
            lab.add_bridge(name.clone(), subnet)?;
            for _ in 0..containers {
                lab.add_container(&name)?;
            }
        }
        Ok(lab)
    }
}

/// An address together with the size of its subnet.
fn network(address: impl Into<IpAddr>, prefix: u8) -> IpNet {
    IpNet::new_assert(address.into(), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(subnet: &str, ordinal: usize) -> Bridge {
        Bridge::new("br0".into(), subnet.parse().unwrap(), ordinal).unwrap()
    }

    #[test]
    fn the_gateway_comes_first_and_containers_follow() {
        let mut docker0 = bridge("172.17.0.0/16", 0);
        assert_eq!(docker0.gateway, Ipv4Addr::new(172, 17, 0, 1));
        assert_eq!(
            docker0.gateway_v6,
            "fd00:17::1".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!(docker0.mac(), [0x02, 0x42, 172, 17, 0, 1]);

        let (address, address_v6) = docker0.take_address().unwrap();
        assert_eq!(address, Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(address_v6, "fd00:17::2".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn each_bridge_has_an_ipv6_subnet_of_its_own() {
        let second = bridge("172.18.0.0/16", 1);
        assert_eq!(
            second.subnet_v6,
            "fd00:17:1::/64".parse::<Ipv6Net>().unwrap()
        );
    }

    #[test]
    fn a_full_subnet_is_said_to_be_full() {
        let mut small = bridge("10.0.0.0/30", 0);
        small.take_address().unwrap();
        assert_eq!(
            small.take_address().unwrap_err().to_string(),
            "bridge br0 has no address left in 10.0.0.0/30"
        );
    }

    #[test]
    fn a_single_address_is_no_subnet() {
        let alone = "10.0.0.1/32".parse().unwrap();
        assert!(Bridge::new("br0".into(), alone, 0).is_err());
    }
}
