//! Published ports: ports of this host that lead to a target.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::spec::{Ports, Protocol};

/// A port of the host that leads to a target, or a range of them that lead to as many of its ports
/// in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// Its id in the datapath, by which its flows are counted; not 0.
    pub id: u32,
    /// The host's address; the unspecified one stands for all.
    pub address: IpAddr,
    /// The host's ports.
    pub ports: Ports,
    /// The transport protocol of both sides' ports.
    pub protocol: Protocol,
    /// Who answers, and on which port; of a range, where the first one leads.
    pub target: SocketAddr,
}

impl PublishedPort {
    /// The host's side, as `0.0.0.0:8080/tcp` or `0.0.0.0:8000-8010/tcp`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}/{}", Side(self.address, self.ports), self.protocol)
    }

    /// One port of the host's side, as `0.0.0.0:8080/tcp`.
    #[must_use]
    pub fn host_at(&self, port: u16) -> String {
        let host = SocketAddr::new(self.address, port);
        format!("{host}/{}", self.protocol)
    }

    /// The target's side, as `172.17.0.2:80` or `172.17.0.2:80-90`.
    #[must_use]
    pub fn target_side(&self) -> String {
        match self.ports.single() {
            Some(_) => self.target.to_string(),
            None => format!("{}-{}", self.target, self.target_end()),
        }
    }

    /// The last of the target's ports.
    #[must_use]
    pub fn target_end(&self) -> u16 {
        self.target.port() + (self.ports.last().get() - self.ports.first().get())
    }

    /// The first port that would be both this one's and one of `ports` at `address`.
    #[must_use]
    pub fn overlap(&self, address: IpAddr, ports: Ports, protocol: Protocol) -> Option<u16> {
        if !self.is_met_at(address, protocol) {
            return None;
        }
        let shared = self.ports.intersection(ports)?;
        Some(shared.first().get())
    }

    /// Whether a port of `protocol` at `address` would be met at an address of this one too.
    pub(super) fn is_met_at(&self, address: IpAddr, protocol: Protocol) -> bool {
        self.protocol == protocol
            && self.address.is_ipv4() == address.is_ipv4()
            && (self.address == address
                || self.address.is_unspecified()
                || address.is_unspecified())
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.host(), self.target_side())
    }
}

/// An address with ports.
struct Side(IpAddr, Ports);

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.1),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.1),
        }
    }
}
