//! Published ports: from specs to ports of this host.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use crate::net::{Reservation, ReserveError, reserve, reserve_ephemeral};
use crate::spec::{Protocol, PublishSpec};

/// A port of the host that leads to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// Its id in the datapath, by which its flows are counted; not 0.
    pub id: u32,
    /// The host's address; the unspecified one stands for all.
    pub address: IpAddr,
    /// The host's port.
    pub port: NonZeroU16,
    /// The transport protocol of both ports.
    pub protocol: Protocol,
    /// Who answers.
    pub target: SocketAddr,
}

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Two specs want the same port.
    #[error(
        "Bind for {} failed: port is already allocated: {spec} and {other} both publish it",
        SocketAddr::new(*.address, .port.get())
    )]
    Allocated {
        /// The address of the later one.
        address: IpAddr,
        /// The port.
        port: NonZeroU16,
        /// The later spec.
        spec: String,
        /// The earlier spec.
        other: String,
    },
    /// A process of the host holds the port, or there is none left.
    #[error("publishing {spec}: {source}")]
    Reserve {
        /// The spec.
        spec: String,
        /// Why.
        #[source]
        source: ReserveError,
    },
}

impl PublishedPort {
    /// The host's side, as `0.0.0.0:8080/tcp`.
    #[must_use]
    pub fn host(&self) -> String {
        let host = SocketAddr::new(self.address, self.port.get());
        format!("{host}/{}", self.protocol)
    }

    /// Whether both would answer at some address.
    fn overlaps(&self, address: IpAddr, port: NonZeroU16, protocol: Protocol) -> bool {
        self.port == port
            && self.protocol == protocol
            && self.address.is_ipv4() == address.is_ipv4()
            && (self.address == address
                || self.address.is_unspecified()
                || address.is_unspecified())
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.host(), self.target)
    }
}

/// Gives each spec its port of the host and holds it, so that no process of the host can bind it
/// meanwhile. Exact ports come before ephemeral ones, as with Docker; the result is in the order of
/// the specs.
///
/// # Errors
/// Two specs want the same port, or a process has it. No port is held then.
pub fn allocate(
    specs: &[PublishSpec],
    ephemeral: (u16, u16),
) -> Result<(Vec<PublishedPort>, Vec<Reservation>), PublishError> {
    let mut ports: BTreeMap<usize, PublishedPort> = BTreeMap::new();
    let mut held = Vec::new();
    let mut order: Vec<_> = specs.iter().enumerate().collect();
    order.sort_by_key(|(_, spec)| spec.host_port.is_none());
    for (number, spec) in order {
        let address = host_address(spec);
        let protocol = spec.protocol;
        let failed = |source| PublishError::Reserve {
            spec: spec.to_string(),
            source,
        };
        let port = match spec.host_port {
            Some(port) => {
                if let Some((other, _)) = ports
                    .iter()
                    .find(|(_, other)| other.overlaps(address, port, protocol))
                {
                    return Err(PublishError::Allocated {
                        address,
                        port,
                        spec: spec.to_string(),
                        other: specs[*other].to_string(),
                    });
                }
                held.push(reserve(address, port, protocol).map_err(failed)?);
                port
            }
            None => {
                let taken = |port| {
                    NonZeroU16::new(port).is_none_or(|port| {
                        ports
                            .values()
                            .any(|other| other.overlaps(address, port, protocol))
                    })
                };
                let (port, reservation) =
                    reserve_ephemeral(address, protocol, ephemeral, &taken).map_err(failed)?;
                held.push(reservation);
                port
            }
        };
        let target = SocketAddr::new(spec.target, spec.container_port.get());
        let id = number as u32 + 1;
        ports.insert(
            number,
            PublishedPort {
                id,
                address,
                port,
                protocol,
                target,
            },
        );
    }
    Ok((ports.into_values().collect(), held))
}

/// The host's address of a spec: by default every one of the target's family.
#[must_use]
pub fn host_address(spec: &PublishSpec) -> IpAddr {
    match (spec.host_ip, spec.target) {
        (Some(address), _) => address,
        (None, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (None, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(texts: &[&str]) -> Vec<PublishSpec> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    // Addresses that no test host has: reserving them disturbs nobody.
    #[test]
    fn the_same_port_on_two_addresses_is_two_ports() {
        let specs = specs(&[
            "198.51.100.1:8080:80@172.17.0.2",
            "198.51.100.2:8080:81@172.17.0.2",
        ]);
        let (ports, held) = allocate(&specs, (50_000, 50_100)).expect("both are free");
        assert_eq!(
            ports[0].to_string(),
            "198.51.100.1:8080/tcp -> 172.17.0.2:80"
        );
        assert_eq!((ports[1].id, ports.len(), held.len()), (2, 2, 2));
    }

    #[test]
    fn a_port_published_twice_is_refused_and_both_specs_are_named() {
        for second in [
            "198.51.100.3:8081:81/tcp@172.17.0.3",
            "0.0.0.0:8081:81/tcp@172.17.0.3",
        ] {
            let first = "198.51.100.3:8081:80/tcp@172.17.0.2";
            let error = allocate(&specs(&[first, second]), (50_000, 50_100));
            let error = error.expect_err("twice").to_string();
            let both = format!("{second} and {first} both publish it");
            assert!(error.ends_with(&both), "{error}");
            assert!(
                error.contains("failed: port is already allocated"),
                "{error}"
            );
        }
    }

    #[test]
    fn tcp_and_udp_may_share_a_number() {
        let specs = specs(&[
            "198.51.100.4:53:53@172.17.0.2",
            "198.51.100.4:53:53/udp@172.17.0.2",
        ]);
        assert_eq!(
            allocate(&specs, (50_000, 50_100))
                .expect("both are free")
                .0
                .len(),
            2
        );
    }

    #[test]
    fn an_ephemeral_port_leaves_the_exact_ones_alone() {
        let specs = specs(&[
            "198.51.100.5::80@172.17.0.2",
            "198.51.100.5:50000:81@172.17.0.2",
        ]);
        let (ports, _) = allocate(&specs, (50_000, 50_100)).expect("there are free ones");
        assert_eq!((ports[0].port.get(), ports[1].port.get()), (50_001, 50_000));
    }
}
