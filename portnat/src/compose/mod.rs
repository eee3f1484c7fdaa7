//! What a compose file publishes: its services' `ports:`, in the short form and in the long one
//! (Compose specification, "ports").
//!
//! A file is read as it stands: `extends`, `include` and further files, which compose would merge into it,
//! are not followed.

mod file;
mod interpolate;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

pub use file::read;

use crate::spec::Mapping;

/// A port that a service publishes.
#[derive(Debug, Serialize)]
pub struct Declared {
    /// The service's name.
    pub service: String,
    /// The line, counted from 1.
    pub line: usize,
    /// Where it is published, and what is.
    #[serde(flatten, serialize_with = "sides")]
    pub mapping: Mapping,
    /// What the long form calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the long form says is spoken there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// Something in a file that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The line, counted from 1.
    pub line: usize,
    /// The field, as `services.web.ports[1]`; empty where it is not even that.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

/// What a file says.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What would be published.
    pub ports: Vec<Declared>,
    /// What is wrong.
    pub complaints: Vec<Complaint>,
    /// What was not looked at.
    pub left_out: Vec<Complaint>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.is_empty() {
            true => write!(f, "{}: {}", self.line, self.what),
            false => write!(f, "{}: {}: {}", self.line, self.field, self.what),
        }
    }
}

impl Declared {
    /// Where it is published, in the words of `docker port`: an address and its ports each.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let addresses = match self.mapping.host_ip {
            Some(address) => vec![address],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        };
        let ports = match self.mapping.host_ports {
            Some(ports) if self.mapping.pool().is_some() => format!("(one of {ports})"),
            Some(ports) => ports.to_string(),
            None => "(free)".to_owned(),
        };
        let host = |address: &IpAddr| match address {
            IpAddr::V4(address) => format!("{address}:{ports}"),
            IpAddr::V6(address) => format!("[{address}]:{ports}"),
        };
        addresses.iter().map(host).collect()
    }

    /// Whether nobody could publish both.
    fn conflicts(&self, other: &Self) -> bool {
        let (own, others) = (&self.mapping, &other.mapping);
        let (Some(ports), Some(there)) = (own.host_ports, others.host_ports) else {
            return false;
        };
        // Of a pool another one is taken.
        let fixed = own.pool().or(others.pool()).is_none();
        fixed
            && own.protocol == others.protocol
            && ports.first() <= there.last()
            && there.first() <= ports.last()
            && meet(own.host_ip, others.host_ip)
    }
}

/// Whether a packet can come for both addresses; none is every address.
fn meet(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one == other
                || (one.is_ipv4() == other.is_ipv4()
                    && (one.is_unspecified() || other.is_unspecified()))
        }
        _ => true,
    }
}

impl Outcome {
    /// Notes what is published twice.
    fn compare(&mut self) {
        for (number, port) in self.ports.iter().enumerate() {
            let earlier = self.ports[..number].iter();
            let Some(first) = earlier.into_iter().find(|first| first.conflicts(port)) else {
                continue;
            };
            self.complaints.push(Complaint {
                line: port.line,
                field: format!("services.{}", port.service),
                what: format!(
                    "{} is published in line {} already, by {}",
                    port.mapping, first.line, first.service
                ),
            });
        }
    }
}

fn sides<S: Serializer>(mapping: &Mapping, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Sides {
        host_ip: Option<IpAddr>,
        published: Option<String>,
        target: String,
        protocol: String,
    }
    let sides = Sides {
        host_ip: mapping.host_ip,
        published: mapping.host_ports.map(|ports| ports.to_string()),
        target: mapping.container_ports.to_string(),
        protocol: mapping.protocol.to_string(),
    };
    sides.serialize(serializer)
}
