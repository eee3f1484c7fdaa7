//! Which address a container has that is told by its name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Networks, Wanted, Ways};
use crate::docker::observed::Container;
use crate::spec::{NamedSpec, PublishSpec, SpecError};

/// A container's addresses in the networks that are its ways outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    /// A network of it that leads nowhere.
    internal: Option<String>,
}

/// Why a name is not an address now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no such container.
    #[error(
        "{spec}: Docker has no running container of this name: docker ps shows which there are, docker start starts one"
    )]
    Unknown {
        /// What is to be published.
        spec: String,
    },
    /// Docker has not said yet which there are.
    #[error("{spec}: Docker has not answered yet: see whether it runs (docker version)")]
    Silence {
        /// What is to be published.
        spec: String,
    },
    /// It is in no network of Docker's bridges.
    #[error(
        "{spec}: this container has no address in a network of Docker's driver bridge: docker network connect gives it one"
    )]
    NoAddress {
        /// What is to be published.
        spec: String,
    },
    /// It is in internal networks alone.
    #[error(
        "{spec}: network {network} of this container is --internal, so nothing of it is published: docker network connect takes it into one that is not"
    )]
    Internal {
        /// What is to be published.
        spec: String,
        /// One of them.
        network: String,
    },
    /// Its labels keep it from being published.
    #[error("{spec}: {why}")]
    Labels {
        /// What is to be published.
        spec: String,
        /// What is wrong about them.
        why: String,
    },
    /// It cannot be published there.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl Addresses {
    pub(super) fn of(container: &Container, networks: &Networks<'_>) -> Self {
        let ways = Ways::of(container, networks);
        let mut internal = container.endpoints.iter().filter(|endpoint| {
            let network = networks.get(endpoint.network.as_str());
            network.is_some_and(|network| network.internal)
        });
        Addresses {
            internal: internal.next().map(|endpoint| endpoint.name.clone()),
            v4: ways.v4.and_then(|(endpoint, _)| endpoint.v4),
            v6: ways.v6.and_then(|(endpoint, _)| endpoint.v6),
        }
    }
}

impl Wanted {
    /// What a spec comes to now: an address of the host leads to one of its family where the container has
    /// one.
    ///
    /// # Errors
    /// The container is not there, or cannot be reached so, or its labels make no sense.
    pub fn at(&self, spec: &NamedSpec) -> Result<PublishSpec, NameError> {
        let words = || spec.to_string();
        let Some(Addresses { v4, v6, internal }) = self.containers.get(&spec.name) else {
            let spec = words();
            return Err(match self.is_known {
                true => NameError::Unknown { spec },
                false => NameError::Silence { spec },
            });
        };
        let (v4, v6) = (v4.map(IpAddr::from), v6.map(IpAddr::from));
        let target = match spec.mapping.host_ip {
            Some(IpAddr::V6(_)) => v6.or(v4),
            _ => v4.or(v6),
        };
        let target = target.ok_or_else(|| match internal.clone() {
            Some(network) => NameError::Internal {
                spec: words(),
                network,
            },
            None => NameError::NoAddress { spec: words() },
        })?;
        let found = spec.at(target)?;
        match self.admission(&found) {
            Ok(_) => Ok(found),
            Err(why) => Err(NameError::Labels { spec: words(), why }),
        }
    }
}
