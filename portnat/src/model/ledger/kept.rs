//! What commands have published goes on with the next process, though nothing else tells it of that.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Ledger, Origin, Publication, Source};
use crate::model::allocate::{PublishError, choice};
use crate::model::published::PublishedPort;
use crate::net::PortRange;
use crate::spec::{Ports, PublishSpec};

/// What a command has published: what it asked for, and which ports it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Kept {
    /// What was asked for.
    pub spec: PublishSpec,
    /// At which addresses of the host, on which ports, and where the first of these leads.
    pub ports: Vec<(IpAddr, Ports, SocketAddr)>,
}

/// The same in writing.
#[derive(Serialize, Deserialize)]
struct Written {
    spec: String,
    ports: Vec<(IpAddr, String, SocketAddr)>,
}

impl From<Kept> for Written {
    fn from(kept: Kept) -> Self {
        let ports = kept.ports.into_iter();
        Written {
            spec: kept.spec.to_string(),
            ports: ports
                .map(|(address, ports, target)| (address, ports.to_string(), target))
                .collect(),
        }
    }
}

impl TryFrom<Written> for Kept {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let ports = written.ports.into_iter();
        let ports = ports.map(|(address, ports, target)| {
            let ports = ports.parse().map_err(|_| format!("{ports} are no ports"))?;
            Ok((address, ports, target))
        });
        Ok(Kept {
            spec: written
                .spec
                .parse()
                .map_err(|error| format!("{}: {error}", written.spec))?,
            ports: ports.collect::<Result<_, String>>()?,
        })
    }
}

impl From<&Publication> for Kept {
    fn from(publication: &Publication) -> Self {
        let ports = publication.ports.iter();
        Kept {
            spec: publication.spec,
            ports: ports
                .map(|port| (port.address, port.ports, port.target))
                .collect(),
        }
    }
}

impl Ledger {
    /// What commands have published.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        let commands = self.iter().filter(|one| one.origin == Origin::Command);
        commands.map(Kept::from).collect()
    }

    /// Publishes what commands had published with a process before this one, on the same ports. What
    /// is there already in the same words stays who published it. `judge` says whether a port can be
    /// served.
    ///
    /// Returns what is not published, and why: others have its place, or it cannot be served any more.
    pub fn restore<E>(
        &mut self,
        kept: Vec<Kept>,
        source: &Source<'_>,
        mut judge: impl FnMut(&[PublishedPort]) -> Result<(), E>,
    ) -> Vec<(Kept, E)>
    where
        E: From<PublishError>,
    {
        let mut others: Vec<usize> = (0..self.publications.len()).collect();
        let mut refused = Vec::new();
        for kept in kept {
            let same = |at: &usize| self.publications[*at].is(&kept.spec);
            if let Some(at) = others.iter().position(same) {
                others.remove(at);
                continue;
            }
            let restored = self.restored(&kept, source).map_err(E::from);
            let judged = restored.and_then(|one| judge(&one.ports).map(|()| one));
            match judged {
                Ok(one) => self.publications.push(one),
                Err(error) => refused.push((kept, error)),
            }
        }
        refused
    }

    fn restored(&mut self, kept: &Kept, source: &Source<'_>) -> Result<Publication, PublishError> {
        let spec = kept.spec;
        let mut ports = Vec::new();
        let mut held = Vec::new();
        for (address, row, target) in kept.ports.iter().copied() {
            let mut published = self.publications.iter().flat_map(|one| &one.ports);
            let other =
                published.find_map(|port| Some((port, port.overlap(address, row, spec.protocol)?)));
            if let Some((other, port)) = other {
                return Err(PublishError::Allocated {
                    address,
                    port,
                    spec: spec.to_string(),
                    other: other.to_string(),
                });
            }
            let range = PortRange {
                address,
                first: row.first(),
                last: row.last(),
                protocol: spec.protocol,
            };
            let reserved = (source.reserve)(range, choice(&spec));
            held.push(reserved.map_err(|source| PublishError::Reserve {
                spec: spec.to_string(),
                source,
            })?);
            ports.push(PublishedPort {
                id: 0,
                address,
                ports: row,
                protocol: spec.protocol,
                target,
            });
        }
        let mut publication = Publication {
            ports,
            spec,
            origin: Origin::Command,
            held: Arc::from(held),
        };
        self.give_ids(&mut publication);
        Ok(publication)
    }
}

#[cfg(test)]
mod tests;
