//! Why specs are not given their ports.

use std::net::{IpAddr, SocketAddr};

use crate::net::ReserveError;

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Two want the same port.
    #[error(
        "Bind for {} failed: port is already allocated: {spec} and {other} both publish it",
        SocketAddr::new(*.address, *.port)
    )]
    Allocated {
        /// The address of the later one.
        address: IpAddr,
        /// The first port that both want.
        port: u16,
        /// The later spec.
        spec: String,
        /// The earlier spec, or the port that was published before.
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

impl PublishError {
    /// The spec that cannot be published.
    #[must_use]
    pub fn spec(&self) -> &str {
        match self {
            Self::Allocated { spec, .. } | Self::Reserve { spec, .. } => spec,
        }
    }
}
