//! Which address a container has that is told by its name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Wanted, Ways};
use crate::spec::{NamedSpec, PublishSpec, SpecError};

/// A container's addresses in the networks that are its ways outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
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
    /// It is in no network of Docker's bridges.
    #[error(
        "{spec}: this container has no address in a network of Docker's driver bridge: docker network connect gives it one"
    )]
    NoAddress {
        /// What is to be published.
        spec: String,
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
    pub(super) fn of(ways: &Ways<'_>) -> Self {
        Addresses {
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
        let Some(Addresses { v4, v6 }) = self.containers.get(&spec.name) else {
            return Err(NameError::Unknown { spec: words() });
        };
        let (v4, v6) = (v4.map(IpAddr::from), v6.map(IpAddr::from));
        let target = match spec.mapping.host_ip {
            Some(IpAddr::V6(_)) => v6.or(v4),
            _ => v4.or(v6),
        };
        let target = target.ok_or_else(|| NameError::NoAddress { spec: words() })?;
        let found = spec.at(target)?;
        match self.admission(&found) {
            Ok(_) => Ok(found),
            Err(why) => Err(NameError::Labels { spec: words(), why }),
        }
    }
}
