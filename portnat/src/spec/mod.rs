//! What to publish: Docker's `-p` grammar and one suffix of portnat's own.
//!
//! ```text
//! [[ip:][hostPort]:]containerPort[/proto]@TARGET
//! └────────────── Docker's ─────────────┘└ ours ┘
//! ```
//!
//! Everything before `@` is read as Docker reads it and refused in Docker's words; `grammar` does
//! that. This file then judges what portnat can serve.

mod error;
mod grammar;
mod protocol;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

pub use error::{PortError, SpecError};
pub use protocol::Protocol;

use grammar::{Mapping, Ports};

/// One port to publish: where it is reached on the host, and which container answers.
///
/// ```
/// use portnat::spec::{Protocol, PublishSpec};
///
/// let spec: PublishSpec = "127.0.0.1:5353:53/udp@172.17.0.2".parse()?;
/// assert_eq!(spec.protocol, Protocol::Udp);
/// assert_eq!(spec.to_string(), "127.0.0.1:5353:53/udp@172.17.0.2");
/// # Ok::<(), portnat::spec::SpecError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublishSpec {
    /// The host address the port is published on, of IPv6 if the target is; `None` is every
    /// address of the host of the target's family.
    pub host_ip: Option<IpAddr>,
    /// The host port; `None` is an ephemeral one, which Docker also writes as port 0.
    pub host_port: Option<NonZeroU16>,
    /// The port the container listens on.
    pub container_port: NonZeroU16,
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

        // No host port is port 0, and both are ephemeral.
        let ports = mapping
            .host_ports
            .map_or(Some(0), Ports::single)
            .zip(mapping.container_ports.single());
        let Some((host_port, container_port)) = ports else {
            return Err(SpecError::RangeUnsupported {
                spec: text.to_owned(),
            });
        };
        let Some(container_port) = NonZeroU16::new(container_port) else {
            return Err(SpecError::InvalidContainerPort {
                port: container_port.to_string(),
                source: PortError::Zero,
            });
        };
        let Some(target) = target else {
            return Err(SpecError::MissingTarget {
                spec: text.to_owned(),
            });
        };
        let target = grammar::address(target)
            .filter(|target| is_host(*target))
            .ok_or_else(|| SpecError::InvalidTarget {
                target: target.to_owned(),
            })?;

        Ok(Self {
            host_ip: mapping.host_ip,
            host_port: NonZeroU16::new(host_port),
            container_port,
            protocol: mapping.protocol,
            target,
        })
    }

    /// Refuses what the grammar allows and the dataplane does not know yet.
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

/// Whether one machine other than this one can have `address`.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// The canonical spelling: parsing it gives the same spec again.
impl fmt::Display for PublishSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        match self.host_port {
            Some(port) => write!(f, "{port}:")?,
            // `ip::80`; without an address an ephemeral port is written as no port at all.
            None if self.host_ip.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(
            f,
            "{}/{}@{}",
            self.container_port, self.protocol, self.target
        )
    }
}
