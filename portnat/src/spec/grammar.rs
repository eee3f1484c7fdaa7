//! Docker's part of a spec, read by the rules of go-connections' `nat.ParsePortSpec` and judged in
//! the same order, so that a spec with two faults is refused for the one Docker would name.

use std::fmt;
use std::net::IpAddr;
use std::num::{IntErrorKind, NonZeroU16};

use super::{PortError, Ports, Protocol, SpecError};

/// What `[[ip:][hostPort]:]containerPort[/proto]` says: a spec, of whatever target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The host's address; none is every one.
    pub host_ip: Option<IpAddr>,
    /// The host's ports. None are ephemeral ones, which are also written as port 0.
    pub host_ports: Option<Ports>,
    /// The container's.
    pub container_ports: Ports,
    /// The transport protocol of both.
    pub protocol: Protocol,
}

impl Mapping {
    /// Whether it is for this address of the host; who names none is on all, which the unspecified ones are.
    #[must_use]
    pub fn is_on(&self, address: IpAddr) -> bool {
        match self.host_ip {
            Some(host) => host == address,
            None => address.is_unspecified(),
        }
    }

    /// Whether all that this says is so of `other`.
    #[must_use]
    pub fn speaks_of(&self, other: &Mapping) -> bool {
        (self.container_ports, self.protocol) == (other.container_ports, other.protocol)
            && self.host_ip.is_none_or(|address| other.is_on(address))
            && (self.host_ports.is_none() || self.host_ports == other.host_ports)
    }
}

/// The ports from `first` to `last`, both included and possibly 0.
#[derive(Debug, Clone, Copy)]
struct Written {
    first: u16,
    last: u16,
}

/// The canonical spelling: parsing it gives the same again.
impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        match self.host_ports {
            Some(ports) => write!(f, "{ports}:")?,
            // `ip::80`; without an address an ephemeral port is written as no port at all.
            None if self.host_ip.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(f, "{}/{}", self.container_ports, self.protocol)
    }
}

impl Mapping {
    /// The host ports, if they are a pool of which one is taken.
    #[must_use]
    pub fn pool(&self) -> Option<Ports> {
        let is_single = self.container_ports.single().is_some();
        self.host_ports
            .filter(|ports| is_single && ports.single().is_none())
    }

    /// Reads it as Docker does.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let (ip, host, container) = split(text);
        let (container, proto) = container.split_once('/').unwrap_or((container, ""));
        if container.is_empty() {
            return Err(SpecError::NoPort {
                spec: text.to_owned(),
            });
        }

        let protocol = protocol(proto)?;
        let host_ip = host_address(ip)?;
        let invalid_container = |source| SpecError::InvalidContainerPort {
            port: container.to_owned(),
            source,
        };
        let invalid_host = |source| SpecError::InvalidHostPort {
            port: host.to_owned(),
            source,
        };
        let container_ports = Written::parse(container).map_err(invalid_container)?;
        let host_ports = (!host.is_empty())
            .then(|| Written::parse(host))
            .transpose()
            .map_err(invalid_host)?;

        // Several host ports for one container port are a pool to choose from, not a mismatch.
        let unequal = host_ports.is_some_and(|host| host.span() != container_ports.span());
        if unequal && container_ports.span() > 0 {
            return Err(SpecError::UnequalRanges {
                container: container.to_owned(),
                host: host.to_owned(),
            });
        }
        let container_ports = container_ports.ports().map_err(invalid_container)?;
        let host_ports = host_ports
            .filter(|ports| !ports.is_ephemeral())
            .map(Written::ports)
            .transpose()
            .map_err(invalid_host)?;
        Ok(Self {
            host_ip,
            host_ports,
            container_ports,
            protocol,
        })
    }
}

/// Splits into address, host port and container port: the last two parts are ports, and all before
/// them, colons included, is the address. So `::1:80:80` needs no brackets.
fn split(text: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = text.rsplit_once(':') else {
        return ("", "", text);
    };
    match rest.rsplit_once(':') {
        Some((ip, host)) => (ip, host, container),
        None => ("", rest, container),
    }
}

pub(super) fn protocol(proto: &str) -> Result<Protocol, SpecError> {
    let proto = proto.to_lowercase();
    match proto.as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _ => Err(SpecError::InvalidProto { proto }),
    }
}

/// The host address; none is written as nothing, or, by a quirk of Docker's, as `[]`.
fn host_address(text: &str) -> Result<Option<IpAddr>, SpecError> {
    match unbracketed(text) {
        "" => Ok(None),
        bare => match address(bare) {
            Some(ip) => Ok(Some(ip)),
            None => Err(SpecError::InvalidAddress {
                address: bare.to_owned(),
            }),
        },
    }
}

/// An address, in brackets or not. `::ffff:192.0.2.1` is 192.0.2.1, as it is to Go.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = unbracketed(text).parse().ok()?;
    Some(address.to_canonical())
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text)
}

impl Written {
    /// Reads `80` or `80-90`; `80-80` is one port, as it is to Docker.
    fn parse(text: &str) -> Result<Self, PortError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if last < first {
            return Err(PortError::Reversed(text.to_owned()));
        }
        Ok(Self { first, last })
    }

    /// How many ports follow the first.
    fn span(self) -> u16 {
        self.last - self.first
    }

    /// Whether this is how any port is written.
    fn is_ephemeral(self) -> bool {
        self.last == 0
    }

    fn ports(self) -> Result<Ports, PortError> {
        let ends = NonZeroU16::new(self.first).zip(NonZeroU16::new(self.last));
        ends.and_then(|(first, last)| Ports::new(first, last))
            .ok_or(PortError::Zero)
    }
}

/// Reads `80` or `80-90`.
pub(super) fn ports(text: &str) -> Result<Ports, PortError> {
    Written::parse(text)?.ports()
}

/// Reads one port, always in decimal: `0123` is 123.
fn port(text: &str) -> Result<u16, PortError> {
    if text.is_empty() {
        return Err(PortError::Empty);
    }
    let out_of_range = || PortError::OutOfRange(text.to_owned());
    match text.parse::<u64>() {
        Ok(number) => u16::try_from(number).map_err(|_| out_of_range()),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(out_of_range()),
        Err(_) => Err(PortError::Syntax(text.to_owned())),
    }
}
