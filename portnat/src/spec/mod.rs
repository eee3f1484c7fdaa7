//! What to publish: Docker's `-p` grammar and one suffix of portnat's own.
//!
//! ```text
//! [[ip:][hostPort[-hostEnd]]:]containerPort[-containerEnd][/proto]@TARGET
//! └───────────────────────── Docker's ─────────────────────────┘└ ours ┘
//! ```
//!
//! `TARGET` is an address; where Docker is, a container's name too ([`Wish`]).
//! Everything before `@` is read as Docker reads it and refused in Docker's words; `grammar` does
//! that. This file then judges what portnat can serve.

mod error;
mod expose;
mod grammar;
mod ports;
mod protocol;
#[cfg(test)]
mod tests;
mod wish;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

pub use error::{PortError, SpecError};
pub use expose::{ExposeSpec, publish_all};
pub use grammar::Mapping;
pub use ports::Ports;
pub use protocol::Protocol;
pub use wish::{NamedSpec, Target, Wish, refuse_names};

/// What to publish: where it is reached on the host, and which container answers.
///
/// ```
/// use portnat::spec::{Protocol, PublishSpec};
///
/// let spec: PublishSpec = "127.0.0.1:5353:53/udp@172.17.0.2".parse()?;
/// assert_eq!(spec.protocol, Protocol::Udp);
/// assert_eq!(spec.to_string(), "127.0.0.1:5353:53/udp@172.17.0.2");
/// let range: PublishSpec = "8000-8099:80-179@172.17.0.2".parse()?;
/// assert_eq!(range.container_ports.count().get(), 100);
/// # Ok::<(), portnat::spec::SpecError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishSpec {
    /// The host address the ports are published on, of IPv6 if the target is; `None` is every
    /// address of the host from which the target can be reached: an IPv6 target only from those of
    /// IPv6.
    pub host_ip: Option<IpAddr>,
    /// The host ports: as many as there are container ports, or several for one container port, of
    /// which the first free one is taken. `None` are ephemeral ones, which Docker also writes as
    /// port 0.
    pub host_ports: Option<Ports>,
    /// The ports the container listens on.
    pub container_ports: Ports,
    /// The transport protocol of both ports.
    pub protocol: Protocol,
    /// The container's address.
    pub target: IpAddr,
}

impl FromStr for PublishSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let spec = Self::parse(text)?;
        spec.validate(text)?;
        Ok(spec)
    }
}

impl PublishSpec {
    /// Reads a spec that the grammar allows, whether or not portnat can serve its addresses.
    fn parse(text: &str) -> Result<Self, SpecError> {
        let (docker, target) = match text.split_once('@') {
            Some((docker, target)) => (docker, Some(target)),
            None => (text, None),
        };
        let mapping = Mapping::parse(docker)?;

        let Some(target) = target else {
            return Err(SpecError::MissingTarget {
                spec: text.to_owned(),
            });
        };
        Ok(Self::with(mapping, container(target)?))
    }

    fn with(mapping: Mapping, target: IpAddr) -> Self {
        Self {
            host_ip: mapping.host_ip,
            host_ports: mapping.host_ports,
            container_ports: mapping.container_ports,
            protocol: mapping.protocol,
            target,
        }
    }

    /// What Docker's part says, of this target; `text` is how that was told.
    fn of(mapping: Mapping, target: IpAddr, text: &str) -> Result<Self, SpecError> {
        let spec = Self::with(mapping, target);
        spec.validate(text)?;
        Ok(spec)
    }

    /// The same on this address, unless the spec names one itself.
    ///
    /// # Errors
    /// The target cannot be reached from there.
    pub fn or_on(mut self, address: IpAddr) -> Result<Self, SpecError> {
        self.host_ip.get_or_insert(address);
        self.validate(&self.to_string())?;
        Ok(self)
    }

    /// The host ports, if they are a pool of which one is taken.
    #[must_use]
    pub fn pool(&self) -> Option<Ports> {
        self.mapping().pool()
    }

    /// What Docker's part says.
    fn mapping(&self) -> Mapping {
        Mapping {
            host_ip: self.host_ip,
            host_ports: self.host_ports,
            container_ports: self.container_ports,
            protocol: self.protocol,
        }
    }

    /// Refuses what the grammar allows and the dataplane cannot serve.
    fn validate(&self, text: &str) -> Result<(), SpecError> {
        let spec = || text.to_owned();
        match (self.host_ip, self.target) {
            (_, IpAddr::V6(target)) if target.is_unicast_link_local() => {
                Err(SpecError::LinkLocalTarget { target })
            }
            (Some(IpAddr::V4(_)), IpAddr::V6(_)) => Err(SpecError::V6TargetOnV4 { spec: spec() }),
            _ => Ok(()),
        }
    }
}

/// Reads the target's address.
fn container(text: &str) -> Result<IpAddr, SpecError> {
    grammar::address(text)
        .filter(|target| is_host(*target))
        .ok_or_else(|| SpecError::InvalidTarget {
            target: text.to_owned(),
        })
}

/// Whether one machine other than this one can have `address`.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// The canonical spelling: parsing it gives the same spec again.
impl fmt::Display for PublishSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.mapping(), self.target)
    }
}
