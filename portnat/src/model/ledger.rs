//! The ledger of publications: which ports are published, on whose word, and what holds them.
//!
//! A change is made to a copy, which takes the ledger's place once the datapath has it: until then
//! nothing was given away, and what fails leaves no trace. Copies share what holds the ports, which
//! are free again when the last of them is gone, and the ids that were given.

mod kept;

use std::collections::BTreeMap;
use std::iter::from_fn;
use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::allocate::{Allocator, HostPorts, PublishError};
use super::published::PublishedPort;
use crate::net::{Choice, PortRange, Reservation, ReserveError};
use crate::spec::{Ports, Protocol, PublishSpec};

pub use kept::Kept;

/// On whose word a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The command line of `portnat run`.
    Run,
    /// The config file.
    Config,
    /// `portnat publish`, or whoever asked at the socket.
    Command,
    /// Docker, for one of its containers.
    Docker,
}

/// What a spec has come to.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The ports that it was given.
    pub ports: Vec<PublishedPort>,
    /// What was asked for.
    pub spec: PublishSpec,
    /// On whose word.
    pub origin: Origin,
    held: Arc<[Reservation]>,
}

/// Where ports come from.
pub struct Source<'a> {
    /// What there is to choose from.
    pub ports: HostPorts,
    /// Holds ports of the host.
    pub reserve: Box<dyn Fn(PortRange, Choice) -> Result<Reservation, ReserveError> + 'a>,
}

/// Both sides of a published port.
type Sides = (IpAddr, Ports, Protocol, SocketAddr);

fn sides(port: &PublishedPort) -> Sides {
    (port.address, port.ports, port.protocol, port.target)
}

/// What is published. No id is ever given twice, so that what the datapath still knows of a port
/// that was is never taken for another's.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    publications: Vec<Publication>,
    allocator: Allocator,
    /// The ids of ports that were published before this process began, for who is the same.
    left: BTreeMap<Sides, u32>,
    last_id: Arc<AtomicU32>,
}

/// What a change comes to.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What was asked for, in that order; whether it is new, or was published before.
    pub asked: Vec<(Publication, bool)>,
    /// What is published no more.
    pub removed: Vec<Publication>,
}

impl Publication {
    /// Whether this is just what `spec` asks for: it was asked for in the same words, or the port
    /// that was chosen for it is now named.
    fn is(&self, spec: &PublishSpec) -> bool {
        self.spec == *spec || self.named() == *spec
    }

    /// Whether `spec` speaks of this one: all it says is so. A range is spoken of as a whole.
    #[must_use]
    pub fn is_meant_by(&self, spec: &PublishSpec) -> bool {
        self.spec.target == spec.target
            && self.spec.container_ports == spec.container_ports
            && self.spec.protocol == spec.protocol
            && spec
                .host_ip
                .is_none_or(|ip| self.ports.iter().any(|port| port.address == ip))
            && spec.host_ports.is_none_or(|ports| {
                Some(ports) == self.spec.host_ports || Some(ports) == self.row()
            })
    }

    /// Whether this is the very port of the host that `spec` wants, if for another target.
    fn is_at(&self, spec: &PublishSpec) -> bool {
        let same_target = PublishSpec {
            target: self.spec.target,
            container_ports: self.spec.container_ports,
            ..*spec
        };
        self.named() == same_target
            && self.row().is_some()
            && spec.container_ports.count() == self.spec.container_ports.count()
            && spec.target.is_ipv4() == self.spec.target.is_ipv4()
    }

    /// The spec with the host's ports that were chosen for it.
    fn named(&self) -> PublishSpec {
        PublishSpec {
            host_ports: self.row().or(self.spec.host_ports),
            ..self.spec
        }
    }

    /// The host's ports, if they are the same at each address and in a row.
    fn row(&self) -> Option<Ports> {
        let ports = self.ports.first()?.ports;
        let same = self.ports.iter().all(|port| port.ports == ports);
        same.then_some(ports)
    }

    /// Each of its ports, and on whose word it is published.
    pub fn listed(&self) -> impl Iterator<Item = (&PublishedPort, Origin)> {
        self.ports.iter().map(|port| (port, self.origin))
    }

    /// Whether sockets hold all of it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.iter().all(Reservation::is_held)
    }
}

impl Ledger {
    /// An empty one that knows which ephemeral ports specs had before, and which are left to names.
    #[must_use]
    pub fn remembering(
        given: impl IntoIterator<Item = (PublishSpec, Vec<Ports>)>,
        names: impl IntoIterator<Item = Ports>,
    ) -> Self {
        let mut allocator = Allocator::remembering(given);
        allocator.leave(names);
        Ledger {
            allocator,
            ..Self::default()
        }
    }

    /// Has a spec be given these ports of the host, if it leaves the choice and they are free.
    pub fn prefer(&mut self, spec: &PublishSpec, rows: Vec<Ports>) {
        self.allocator.prefer(spec, rows);
    }

    /// Leaves the ports that a spec had to the name that had them: the spec is somebody else's by now.
    pub fn set_aside(&mut self, spec: &PublishSpec) {
        self.allocator.set_aside(spec);
    }

    /// Ports that a process before this one has published, and the greatest id that any had: who is
    /// the same gets the same id, and others get greater ones.
    pub fn take_over(&mut self, left: impl IntoIterator<Item = PublishedPort>, last_id: u32) {
        self.left = left
            .into_iter()
            .map(|port| (sides(&port), port.id))
            .collect();
        self.last_id = Arc::new(last_id.into());
    }

    /// Ends the taking over; returns the ids of ports that nobody was the same as.
    pub fn end_taking_over(&mut self) -> Vec<u32> {
        take(&mut self.left).into_values().collect()
    }

    /// The ephemeral ports that these specs have.
    #[must_use]
    pub fn ephemeral(&self, specs: &[PublishSpec]) -> Vec<(PublishSpec, Vec<Ports>)> {
        self.allocator.ephemeral(specs)
    }

    /// What is published, in the order in which it came.
    pub fn iter(&self) -> impl Iterator<Item = &Publication> + Clone {
        self.publications.iter()
    }

    /// The published ports.
    #[must_use]
    pub fn ports(&self) -> Vec<PublishedPort> {
        self.iter().flat_map(|one| one.ports.clone()).collect()
    }

    /// The published ports, and on whose word each is.
    #[must_use]
    pub fn listed(&self) -> Vec<(PublishedPort, Origin)> {
        let listed = self.iter().flat_map(Publication::listed);
        listed
            .map(|(port, origin)| (port.clone(), origin))
            .collect()
    }

    /// Publishes all of `specs`, those that are published already excepted.
    ///
    /// # Errors
    /// One of them cannot be published. Nothing is changed then.
    pub fn publish(
        &mut self,
        specs: &[PublishSpec],
        origin: Origin,
        source: &Source<'_>,
    ) -> Result<Change, PublishError> {
        self.settle(specs, origin, None, source)
    }

    /// Makes `specs` all that is published on the word of `origin`. What stays keeps its id; a port
    /// that leads to another target gets another, and stays held meanwhile. What of it was
    /// published by a command is `origin`'s from now on.
    ///
    /// # Errors
    /// One of them cannot be published. Nothing is changed then.
    pub fn replace(
        &mut self,
        specs: &[PublishSpec],
        origin: Origin,
        source: &Source<'_>,
    ) -> Result<Change, PublishError> {
        self.settle(specs, origin, Some(origin), source)
    }

    /// Takes out what is meant.
    pub fn unpublish(&mut self, meant: impl Fn(&Publication) -> bool) -> Change {
        let removed = self.publications.extract_if(.., |one| meant(one)).collect();
        Change {
            asked: Vec::new(),
            removed,
        }
    }

    /// Has what was published for `old` lead to where `new` says, on the same ports of the host, which stay
    /// held meanwhile. The targets are of one family. `None` where there is no such thing.
    pub fn lead_elsewhere(
        &mut self,
        old: &PublishSpec,
        origin: Origin,
        new: &PublishSpec,
    ) -> Option<Change> {
        let mut all = self.publications.iter();
        let at = all.position(|one| (one.spec, one.origin) == (*old, origin))?;
        let before = self.publications[at].clone();
        let mut after = Publication {
            spec: *new,
            ..before.clone()
        };
        for port in &mut after.ports {
            port.target.set_ip(new.target);
        }
        self.give_ids(&mut after);
        self.publications[at] = after.clone();
        self.allocator.hand_over(old, new);
        Some(Change {
            asked: vec![(after, true)],
            removed: vec![before],
        })
    }

    /// `replaced` is of whom all goes that is not asked for.
    fn settle(
        &mut self,
        specs: &[PublishSpec],
        origin: Origin,
        replaced: Option<Origin>,
        source: &Source<'_>,
    ) -> Result<Change, PublishError> {
        let goes = |one: &Publication| Some(one.origin) == replaced;
        let found = self.find(specs, goes);
        let new = specs.iter().zip(&found);
        let new = new.filter(|(_, found)| **found == Found::Nothing);
        let new: Vec<_> = new.map(|(spec, _)| *spec).collect();
        let mut allocator = self.allocator.clone();
        let mut reserve = |ports, choice| (source.reserve)(ports, choice);
        let given = allocator.allocate(&new, &self.ports(), &source.ports, &mut reserve)?;
        let mut given = given.into_iter().peekable();
        let mut news = 0..;

        let mut change = Change::default();
        for (spec, found) in specs.iter().zip(&found) {
            let (ports, held) = match *found {
                Found::Same(at) => {
                    let same = &mut self.publications[at];
                    if same.origin == Origin::Command {
                        same.origin = replaced.unwrap_or(same.origin);
                    }
                    change.asked.push((same.clone(), false));
                    continue;
                }
                Found::Place(at) => {
                    let old = &self.publications[at];
                    let leads_elsewhere = |port: &PublishedPort| PublishedPort {
                        target: target(spec),
                        ..port.clone()
                    };
                    let ports = old.ports.iter().map(leads_elsewhere).collect();
                    (ports, Arc::clone(&old.held))
                }
                Found::Nothing => {
                    let number = news.next().unwrap_or_default();
                    let own = from_fn(|| given.next_if(|one| one.spec == number));
                    let (ports, held): (_, Vec<_>) = own.map(|one| (one.port, one.held)).unzip();
                    (ports, held.into())
                }
            };
            let mut publication = Publication {
                ports,
                spec: *spec,
                origin,
                held,
            };
            self.give_ids(&mut publication);
            change.asked.push((publication, true));
        }

        let mut at = 0..;
        let mut stays = || at.next().is_some_and(|at| found.contains(&Found::Same(at)));
        let gone = |one: &mut Publication| !stays() && goes(one);
        change.removed = self.publications.extract_if(.., gone).collect();
        let added = change.asked.iter().filter(|(_, new)| *new);
        self.publications.extend(added.map(|(one, _)| one.clone()));
        self.allocator = allocator;
        Ok(change)
    }

    /// Finds for each spec what is there already. Each publication answers one spec: who asks for two
    /// ephemeral ports gets two.
    fn find(&self, specs: &[PublishSpec], goes: impl Fn(&Publication) -> bool) -> Vec<Found> {
        let mut free: Vec<usize> = (0..self.publications.len()).collect();
        let mut take = |fits: &dyn Fn(&Publication) -> bool| {
            let at = free.iter().position(|at| fits(&self.publications[*at]));
            at.map(|at| free.remove(at))
        };
        let mut found: Vec<_> = specs
            .iter()
            .map(|spec| take(&|one| one.is(spec)).map_or(Found::Nothing, Found::Same))
            .collect();
        // Only when it is known what stays.
        for (spec, found) in specs.iter().zip(&mut found) {
            if *found == Found::Nothing
                && let Some(at) = take(&|one| goes(one) && one.is_at(spec))
            {
                *found = Found::Place(at);
            }
        }
        found
    }

    fn give_ids(&mut self, publication: &mut Publication) {
        for port in &mut publication.ports {
            let left = self.left.remove(&sides(port));
            port.id = left.unwrap_or_else(|| self.next_id());
        }
    }

    fn next_id(&self) -> u32 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What there is for a spec before it is published, by its number among the publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Just what it asks for.
    Same(usize),
    /// Its place on the host, which leads elsewhere and would go.
    Place(usize),
    /// Nothing.
    Nothing,
}

/// Where the first of a spec's ports leads.
fn target(spec: &PublishSpec) -> SocketAddr {
    SocketAddr::new(spec.target, spec.container_ports.first().get())
}

#[cfg(test)]
mod tests;
