//! Which flows somebody means.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use ipnet::IpNet;

use super::listed::ListedFlow;
use super::transport::Transport;
use crate::model::PublishedPort;
use crate::spec::{Mapping, Ports};

/// Which flows are meant: those that meet all that is said; without a word, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct FlowFilter {
    /// Only flows through this published port of the host, or these: [IP:]PORT[-LAST][/PROTO]. IP is
    /// the address that the port is published on, or the one that the client asked for.
    #[arg(long, value_name = "PORT")]
    pub port: Option<PortFilter>,

    /// Only flows to this target, the one that answers after translation: IP|CIDR[:PORT], with an
    /// IPv6 address in brackets before a port.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<EndFilter>,

    /// Only flows of this client, the one that asks: IP|CIDR[:PORT]. For what a container sends
    /// outside it is the container.
    #[arg(long, value_name = "CLIENT")]
    pub client: Option<EndFilter>,

    /// Only flows of this protocol: tcp, udp, sctp, icmp, icmpv6 or a number.
    #[arg(long, value_name = "PROTO")]
    pub proto: Option<Transport>,
}

impl FlowFilter {
    /// Whether every flow is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `flow`, which came through `port`, is meant.
    #[must_use]
    pub fn matches(&self, flow: &ListedFlow, port: Option<&PublishedPort>) -> bool {
        let (original, translated) = (&flow.original, &flow.translated);
        let asked = (original.destination, original.destination_port);
        self.port
            .as_ref()
            .is_none_or(|filter| port.is_some_and(|port| filter.matches(port, asked)))
            && self.target.as_ref().is_none_or(|filter| {
                filter.matches(translated.destination, translated.destination_port)
            })
            && self
                .client
                .as_ref()
                .is_none_or(|filter| filter.matches(original.source, original.source_port))
            && self.proto.is_none_or(|proto| proto == flow.protocol)
    }
}

/// Some published ports: `[IP:]PORT[-LAST][/PROTO]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFilter {
    address: Option<IpAddr>,
    ports: Ports,
    protocol: Option<Transport>,
}

/// Some addresses, with a port or without: `IP|CIDR[:PORT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndFilter {
    net: IpNet,
    port: Option<u16>,
}

/// What makes no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not a published port.
    #[error("no port of the host: {0:?}: say for example 8080, 8080/udp or 192.0.2.1:8080")]
    Port(String),
    /// Not an address.
    #[error(
        "no address: {0:?}: say for example 172.17.0.2, 172.17.0.2:80, 172.17.0.0/16 or [fd00::2]:80"
    )]
    End(String),
}

impl PortFilter {
    /// Whether a flow through `port`, of which `asked` is the address and port that the client asked
    /// for, is meant.
    #[must_use]
    pub fn matches(&self, port: &PublishedPort, asked: (IpAddr, u16)) -> bool {
        let (asked, at) = asked;
        self.ports.contains(at) && self.is_beside(port, asked)
    }

    /// Whether this published port is meant as a whole, of a range all of it or its first.
    #[must_use]
    pub fn names(&self, port: &PublishedPort) -> bool {
        let first = self.ports.single() == Some(port.ports.first());
        (first || self.ports == port.ports) && self.is_beside(port, port.address)
    }

    /// Whether some of the ports of a published range are meant.
    #[must_use]
    pub fn is_in(&self, range: &PublishedPort) -> bool {
        self.ports.intersection(range.ports).is_some() && self.is_beside(range, range.address)
    }

    /// Whether all of a published port is meant, or of a range.
    #[must_use]
    pub fn covers(&self, port: &PublishedPort) -> bool {
        self.ports.intersection(port.ports) == Some(port.ports)
            && self.is_beside(port, port.address)
    }

    /// Whether all that a mapping asks for is meant, which may not be published now. Who leaves the choice of
    /// the host's ports to us has none then.
    #[must_use]
    pub fn covers_wanted(&self, mapping: &Mapping) -> bool {
        let mut numbers = self.protocol.iter().map(|protocol| protocol.0);
        mapping
            .host_ports
            .is_some_and(|ports| self.ports.intersection(ports) == Some(ports))
            && self.address.is_none_or(|address| mapping.is_on(address))
            && numbers.all(|number| number == mapping.protocol.number())
    }

    /// Whether address and protocol are right.
    fn is_beside(&self, port: &PublishedPort, asked: IpAddr) -> bool {
        self.address
            .is_none_or(|address| address == port.address || address == asked)
            && self
                .protocol
                .is_none_or(|protocol| protocol.0 == port.protocol.number())
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, protocol) = match text.split_once('/') {
            Some((host, protocol)) => (host, Some(protocol.parse().ok()?)),
            None => (text, None),
        };
        let (address, port) = match host.rsplit_once(':') {
            Some((address, port)) => (Some(bare_address(address)?), port),
            None => (None, host),
        };
        Some(PortFilter {
            address,
            ports: ports(port)?,
            protocol,
        })
    }
}

impl EndFilter {
    fn matches(&self, address: IpAddr, port: u16) -> bool {
        self.net.contains(&address) && self.port.is_none_or(|wanted| wanted == port)
    }

    fn parse(text: &str) -> Option<Self> {
        // First as a whole: an IPv6 address without brackets ends like one with a port.
        if let Some(net) = net(text) {
            return Some(EndFilter { net, port: None });
        }
        let (address, port) = text.rsplit_once(':')?;
        let address = match address.strip_prefix('[') {
            Some(rest) => net(rest.strip_suffix(']')?)?,
            None => net(address).filter(|net| net.addr().is_ipv4())?,
        };
        Some(EndFilter {
            net: address,
            port: Some(port_number(port)?),
        })
    }
}

/// An address or a prefix, without a port.
fn net(text: &str) -> Option<IpNet> {
    match text.parse() {
        Ok(net) => Some(net),
        Err(_) => bare_address(text).map(IpNet::from),
    }
}

/// An address, in brackets or not. `::ffff:192.0.2.1` is 192.0.2.1.
fn bare_address(text: &str) -> Option<IpAddr> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address: IpAddr = inner.parse().ok()?;
    Some(address.to_canonical())
}

/// A port, or some in a row.
fn ports(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text| NonZeroU16::new(port_number(text)?);
    Ports::new(port(first)?, port(last)?)
}

/// A port in digits: `parse` alone would take a sign.
fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl FromStr for PortFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text).ok_or_else(|| FilterError::Port(text.to_owned()))
    }
}

impl FromStr for EndFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text).ok_or_else(|| FilterError::End(text.to_owned()))
    }
}

impl fmt::Display for PortFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        self.ports.fmt(f)?;
        match self.protocol {
            Some(protocol) => write!(f, "/{protocol}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for EndFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = &self.net;
        match self.port {
            Some(port) if net.addr().is_ipv6() => write!(f, "[{net}]:{port}"),
            Some(port) => write!(f, "{net}:{port}"),
            None => net.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
