//! What Docker has, as far as it concerns portnat.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::spec::Protocol;

/// The networks that are bridges, and the containers that run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// Networks of the driver `bridge`.
    pub networks: Vec<Network>,
    /// Containers that run, paused ones too.
    pub containers: Vec<Container>,
}

/// A network of the driver `bridge`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name of its bridge.
    pub bridge: String,
    /// Where its containers have their addresses from.
    pub subnets: Vec<IpNet>,
    /// Whether it leads nowhere outside.
    pub internal: bool,
    /// Its driver's options.
    pub options: BTreeMap<String, String>,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, without the slash that Docker writes before it.
    pub name: String,
    /// Its ports that Docker publishes.
    pub ports: Vec<Port>,
    /// Its labels that are for us.
    pub labels: BTreeMap<String, String>,
    /// Which of its ports are to be published without any address of the host being named.
    pub everywhere: BTreeSet<(NonZeroU16, Protocol)>,
    /// Where it is.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a container that Docker publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The host's address.
    pub address: IpAddr,
    /// The host's port, which Docker has chosen if the user has not; none in mode `routed`.
    pub host: Option<NonZeroU16>,
    /// The container's port.
    pub container: NonZeroU16,
    /// The transport protocol of both.
    pub protocol: Protocol,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The network's id.
    pub network: String,
    /// The network's name.
    pub name: String,
    /// The container's address there.
    pub v4: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub v6: Option<Ipv6Addr>,
    /// Which of several networks is the way outside: that of the highest priority.
    pub priority: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed() -> Observed {
        let port = NonZeroU16::new(80).expect("not 0");
        Observed {
            networks: vec![Network {
                id: "1".to_owned(),
                subnets: vec!["172.17.0.0/16".parse().expect("a prefix")],
                options: [(
                    "com.docker.network.bridge.name".to_owned(),
                    "docker0".to_owned(),
                )]
                .into(),
                ..Network::default()
            }],
            containers: vec![Container {
                name: "web".to_owned(),
                ports: vec![Port {
                    address: [0; 4].into(),
                    host: None,
                    container: port,
                    protocol: Protocol::Udp,
                }],
                everywhere: [(port, Protocol::Udp)].into(),
                endpoints: vec![Endpoint {
                    v6: Some("fd00::2".parse().expect("an address")),
                    ..Endpoint::default()
                }],
                ..Container::default()
            }],
        }
    }

    #[test]
    fn what_is_written_down_is_read_also_by_who_knows_more() {
        let text = serde_json::to_string(&observed()).expect("it can be written");
        assert_eq!(
            serde_json::from_str::<Observed>(&text).expect(&text),
            observed()
        );
        // One that was written before there were subnets.
        let older = text.replace("subnets", "ranges");
        let read = serde_json::from_str::<Observed>(&older).expect(&older);
        assert_eq!(read.networks[0].subnets, []);
        assert_eq!(read.containers, observed().containers);
    }
}
