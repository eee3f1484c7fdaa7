//! Why a spec is refused: in Docker's words where Docker has them.

use std::net::Ipv6Addr;

use thiserror::Error;

/// Why a [`PublishSpec`](super::PublishSpec) could not be read or cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// There is no container port.
    #[error("no port specified: {spec}<empty>")]
    NoPort {
        /// Docker's part of the spec.
        spec: String,
    },
    /// The protocol is none that Docker knows.
    #[error("invalid proto: {proto}")]
    InvalidProto {
        /// The protocol, in lower case.
        proto: String,
    },
    /// The host part is not an address; a name such as `localhost` is none either.
    #[error("invalid IP address: {address}")]
    InvalidAddress {
        /// The address as written, without its brackets.
        address: String,
    },
    /// The container port is not a port.
    #[error("invalid containerPort: {port}")]
    InvalidContainerPort {
        /// The port as written.
        port: String,
        /// What is wrong with it, which Docker does not say here.
        source: PortError,
    },
    /// The host port is not a port.
    #[error("invalid hostPort: {port}")]
    InvalidHostPort {
        /// The port as written.
        port: String,
        /// What is wrong with it, which Docker does not say here.
        source: PortError,
    },
    /// Two ranges of different length.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    UnequalRanges {
        /// The container ports as written.
        container: String,
        /// The host ports as written.
        host: String,
    },
    /// What `--expose` takes has a container's side only.
    #[error("invalid port format for --expose: {ports}")]
    ExposedOnHost {
        /// The ports as written.
        ports: String,
    },
    /// What `--expose` is told is not a port or range of ports.
    #[error("invalid range format for --expose: {ports}")]
    InvalidExposed {
        /// The ports as written.
        ports: String,
        /// What is wrong with them.
        source: PortError,
    },
    /// An IPv4 host address and an IPv6 target.
    #[error("{spec}: an IPv6 target cannot be published on an IPv4 address")]
    V6TargetOnV4 {
        /// The whole spec.
        spec: String,
    },
    /// Docker knows the container; portnat must be told.
    #[error("missing target: {spec}: add @ADDRESS, for example {spec}@172.17.0.2")]
    MissingTarget {
        /// The whole spec, which is valid but for that.
        spec: String,
    },
    /// The target is not an address, or not one that a container can have.
    #[error("invalid target: {target}: give the container's own address, for example 172.17.0.2")]
    InvalidTarget {
        /// The target as written.
        target: String,
    },
    /// The target is a container's name, and nobody is there who knows it.
    #[error(
        "invalid target: {name}: in '{spec}' it is a container's name, which only portnat run --docker knows: give its own address, for example 172.17.0.2"
    )]
    NameWithoutDocker {
        /// The name.
        name: String,
        /// The whole spec.
        spec: String,
    },
    /// The target is `fe80::/10`, an address that each link can have again.
    #[error(
        "invalid target: {target}: a link-local address does not say on which link: give another address of the container, for example fd00::2"
    )]
    LinkLocalTarget {
        /// The target.
        target: Ipv6Addr,
    },
}

/// Why a piece of text is no port or range of ports.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortError {
    /// Nothing was written.
    #[error("value is empty")]
    Empty,
    /// Not a decimal number.
    #[error("invalid port '{0}': invalid syntax")]
    Syntax(String),
    /// A number that no port has.
    #[error("invalid port '{0}': value out of range (0-65535)")]
    OutOfRange(String),
    /// A range that ends before it starts.
    #[error("invalid port range: {0}")]
    Reversed(String),
    /// Port 0, which means "any" on the host, and nothing in a container or in a range.
    #[error("invalid port '0': here a port is from 1 to 65535")]
    Zero,
}
