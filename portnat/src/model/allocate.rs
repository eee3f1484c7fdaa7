//! From specs to ports of this host, by Docker's rules.

mod error;
mod given;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use super::PublishedPort;
use super::port_set::PortSet;
use crate::net::{Choice, PortRange, ReserveError};
use crate::spec::{Ports, Protocol, PublishSpec};

pub use error::PublishError;

/// How often it may turn out that a process has the port that was chosen, before a spec that leaves
/// the choice to us is given up; as with Docker.
const ATTEMPTS: u32 = 10;

/// What there is to choose from.
#[derive(Clone, Debug)]
pub struct HostPorts {
    /// The range of ephemeral ports (`net.ipv4.ip_local_port_range`), both ends included.
    pub ephemeral: (u16, u16),
    /// Of these, those that are not to be handed out (`net.ipv4.ip_local_reserved_ports`), as ranges.
    pub reserved: Vec<(u16, u16)>,
    /// Whether the host has IPv6.
    pub ipv6: bool,
}

/// Gives specs their ports of the host, and remembers what it has given.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    /// The last ephemeral port that was given, by address and protocol: the next is searched behind it,
    /// so that a port that has become free rests for a while.
    last: BTreeMap<(IpAddr, Protocol), u16>,
    /// Which ephemeral ports a spec had the last time.
    remembered: BTreeMap<PublishSpec, Vec<Ports>>,
    /// Which ephemeral ports are somebody's who has no spec now: others are given them last.
    aside: Vec<Ports>,
}

/// A port or range that a spec was given.
#[derive(Debug)]
pub struct Allocated<R> {
    /// The spec's place among those that were asked for.
    pub spec: usize,
    /// What is to be published; its id is still to be given.
    pub port: PublishedPort,
    /// What keeps others from binding it.
    pub held: R,
}

impl Allocator {
    /// Gives each spec its ports of the host, none of which is among those that are `taken`, and has
    /// them held by `reserve`. First come specs that name their ports, then pools, then ephemeral ones;
    /// of each by container port, protocol and host port. The result is in the order of the specs. A
    /// spec without an address has the same ports in both families; an ephemeral range is given in as
    /// few rows as are free.
    ///
    /// # Errors
    /// Two specs want the same port, or a process has it. No port is held then.
    pub fn allocate<R>(
        &mut self,
        specs: &[PublishSpec],
        taken: &[PublishedPort],
        host: &HostPorts,
        reserve: &mut dyn FnMut(PortRange, Choice) -> Result<R, ReserveError>,
    ) -> Result<Vec<Allocated<R>>, PublishError> {
        let mut order: Vec<_> = (0..specs.len()).collect();
        order.sort_by_key(|number| rank(&specs[*number]));
        let mut round = Round {
            specs,
            taken,
            host,
            reserve,
            given: Vec::new(),
            allocator: self.clone(),
        };
        for number in order {
            round.publish(number)?;
        }
        // Only now: what fails leaves no trace.
        let mut given = round.given;
        *self = round.allocator;
        given.sort_by_key(|allocated| allocated.spec);
        Ok(given)
    }
}

/// Who has chosen a spec's ports of the host.
pub(super) fn choice(spec: &PublishSpec) -> Choice {
    match spec.host_ports {
        Some(_) if spec.pool().is_none() => Choice::Theirs,
        _ => Choice::Ours,
    }
}

/// What comes first when ports are given. An IPv4 target leaves IPv6 to others that name the port.
fn rank(spec: &PublishSpec) -> (u8, bool, Ports, Protocol, Option<Ports>) {
    let (choice, yields) = match spec.host_ports {
        Some(_) if spec.pool().is_none() => (0, spec.target.is_ipv4()),
        Some(_) => (1, false),
        None => (2, false),
    };
    (
        choice,
        yields,
        spec.container_ports,
        spec.protocol,
        spec.host_ports,
    )
}

/// Specs that are given their ports together.
struct Round<'a, R> {
    specs: &'a [PublishSpec],
    taken: &'a [PublishedPort],
    host: &'a HostPorts,
    reserve: &'a mut dyn FnMut(PortRange, Choice) -> Result<R, ReserveError>,
    given: Vec<Allocated<R>>,
    allocator: Allocator,
}

impl<R> Round<'_, R> {
    fn publish(&mut self, number: usize) -> Result<(), PublishError> {
        let spec = &self.specs[number];
        let found = match (spec.pool(), spec.host_ports) {
            (Some(pool), _) => self.pool(number, pool),
            (None, Some(ports)) => {
                let mut addresses = self.addresses(spec);
                if self.leaves_ipv6(spec, ports) {
                    addresses.retain(IpAddr::is_ipv4);
                }
                self.check(number, ports, &addresses)?;
                let first = spec.container_ports.first();
                self.hold(number, &addresses, ports, first)
            }
            (None, None) => self.ephemeral(number),
        };
        found.map_err(|source| PublishError::Reserve {
            spec: spec.to_string(),
            source,
        })
    }

    /// Whether nobody else publishes a port that a spec names.
    fn check(&self, number: usize, ports: Ports, addresses: &[IpAddr]) -> Result<(), PublishError> {
        let spec = &self.specs[number];
        for address in addresses.iter().copied() {
            let overlap = |other: &PublishedPort| other.overlap(address, ports, spec.protocol);
            let taken = self.taken.iter().find_map(|other| {
                let port = overlap(other)?;
                Some((port, other.to_string()))
            });
            let other = taken.or_else(|| {
                self.given.iter().find_map(|other| {
                    let port = overlap(&other.port)?;
                    Some((port, self.specs[other.spec].to_string()))
                })
            });
            if let Some((port, other)) = other {
                return Err(PublishError::Allocated {
                    address,
                    port,
                    spec: spec.to_string(),
                    other,
                });
            }
        }
        Ok(())
    }

    /// Whether a spec for an IPv4 target that names no address is for IPv4 only, because the same ports
    /// lead to an IPv6 target already: both are the two addresses of one container, most likely.
    fn leaves_ipv6(&self, spec: &PublishSpec, ports: Ports) -> bool {
        let everywhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let given = self.given.iter().map(|allocated| &allocated.port);
        spec.host_ip.is_none()
            && spec.target.is_ipv4()
            && self.taken.iter().chain(given).any(|other| {
                other.address == everywhere
                    && other.target.is_ipv6()
                    && other.protocol == spec.protocol
                    && other.ports.intersection(ports) == Some(ports)
            })
    }

    /// The first free port of a pool.
    fn pool(&mut self, number: usize, pool: Ports) -> Result<(), ReserveError> {
        let unavailable = self.unavailable(&self.specs[number]);
        let addresses = self.addresses(&self.specs[number]);
        let first = self.specs[number].container_ports.first();
        let mut failures = 0;
        let mut refused = ReserveError::Exhausted;
        let free = pool.iter().filter(|port| !unavailable.contains(port.get()));
        for port in free {
            match self.hold(number, &addresses, port.into(), first) {
                Err(refusal) if refusal.is_in_use() && failures + 1 < ATTEMPTS => {
                    failures += 1;
                    refused = refusal;
                }
                held => return held,
            }
        }
        Err(refused)
    }

    /// As many ephemeral ports as a spec has container ports, in as few rows as the others leave.
    fn ephemeral(&mut self, number: usize) -> Result<(), ReserveError> {
        let spec = self.specs[number];
        let mut unavailable = self.unavailable(&spec);
        if self.again(number, &unavailable) {
            return Ok(());
        }
        // Those that nobody shall be given; and port 0 is none.
        unavailable.insert(0, 0);
        for (first, last) in &self.host.reserved {
            unavailable.insert(*first, *last);
        }
        let mut anothers = unavailable.clone();
        let remembered = self.allocator.remembered.values().flatten();
        for row in remembered.chain(&self.allocator.aside) {
            anothers.insert(row.first().get(), row.last().get());
        }
        let range = self.host.ephemeral;
        let addresses = self.addresses(&spec);
        let whose = (addresses[0], spec.protocol);
        let mut next = spec.container_ports.first().get();
        let mut wanted = spec.container_ports.count().get();
        let mut rows = Vec::new();
        let mut failures = 0;
        while let (Some(count), Some(container)) = (NonZeroU16::new(wanted), NonZeroU16::new(next))
        {
            let last = self.allocator.last.get(&whose).copied();
            // What another had is left to it, while there is more.
            let row = free_row(&anothers, range, last, count)
                .or_else(|| free_row(&unavailable, range, last, count))
                .ok_or(ReserveError::Exhausted)?;
            match self.hold(number, &addresses, row, container) {
                Ok(()) => {
                    let (first, last) = (row.first().get(), row.last().get());
                    unavailable.insert(first, last);
                    anothers.insert(first, last);
                    self.allocator.last.insert(whose, last);
                    rows.push(row);
                    wanted -= row.count().get();
                    next = next.saturating_add(row.count().get());
                    failures = 0;
                }
                Err(refusal) if refusal.is_in_use() && failures + 1 < ATTEMPTS => {
                    failures += 1;
                    let port = refusal.port().filter(|port| row.contains(*port));
                    let port = port.unwrap_or(row.first().get());
                    unavailable.insert(port, port);
                    anothers.insert(port, port);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        self.allocator.remembered.insert(spec, rows);
        Ok(())
    }

    /// Gives a spec the ephemeral ports that it had the last time; returns whether that was possible.
    fn again(&mut self, number: usize, unavailable: &PortSet) -> bool {
        let Some(rows) = self.allocator.remembered.get(&self.specs[number]).cloned() else {
            return false;
        };
        let container = self.specs[number].container_ports;
        let counts = rows.iter().map(|row| u32::from(row.count().get()));
        let is_free = |row: &Ports| row.iter().all(|port| !unavailable.contains(port.get()));
        if counts.sum::<u32>() != u32::from(container.count().get()) || !rows.iter().all(is_free) {
            return false;
        }
        let addresses = self.addresses(&self.specs[number]);
        let before = self.given.len();
        let mut next = container.first();
        for row in rows {
            if self.hold(number, &addresses, row, next).is_err() {
                self.given.truncate(before);
                return false;
            }
            next = next.saturating_add(row.count().get());
        }
        true
    }

    /// Holds ports at each of these addresses, the first for this container port.
    fn hold(
        &mut self,
        number: usize,
        addresses: &[IpAddr],
        ports: Ports,
        container: NonZeroU16,
    ) -> Result<(), ReserveError> {
        let spec = &self.specs[number];
        let target = SocketAddr::new(spec.target, container.get());
        let choice = choice(spec);
        let mut given = Vec::new();
        for address in addresses.iter().copied() {
            let wanted = PortRange {
                address,
                first: ports.first(),
                last: ports.last(),
                protocol: spec.protocol,
            };
            let held = (self.reserve)(wanted, choice)?;
            let port = PublishedPort {
                id: 0,
                address,
                ports,
                protocol: spec.protocol,
                target,
            };
            given.push(Allocated {
                spec: number,
                port,
                held,
            });
        }
        self.given.append(&mut given);
        Ok(())
    }

    /// The host's addresses of a spec: by default all those from which the target can be reached.
    fn addresses(&self, spec: &PublishSpec) -> Vec<IpAddr> {
        let (v4, v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
        match (spec.host_ip, spec.target) {
            (Some(address), _) => vec![address],
            (None, IpAddr::V6(_)) => vec![v6],
            (None, IpAddr::V4(_)) if self.host.ipv6 => vec![v4, v6],
            (None, IpAddr::V4(_)) => vec![v4],
        }
    }

    /// The ports that others publish at a spec's addresses.
    fn unavailable(&self, spec: &PublishSpec) -> PortSet {
        let addresses = self.addresses(spec);
        let given = self.given.iter().map(|allocated| &allocated.port);
        let mut unavailable = PortSet::new();
        for port in self.taken.iter().chain(given) {
            let is_met = |address: &IpAddr| port.is_met_at(*address, spec.protocol);
            if addresses.iter().any(is_met) {
                unavailable.insert(port.ports.first().get(), port.ports.last().get());
            }
        }
        unavailable
    }
}

/// The next ports of a range that are available behind the `last` one, round and round: so many, or as
/// many as there are in a row.
fn free_row(
    unavailable: &PortSet,
    (first, end): (u16, u16),
    last: Option<u16>,
    count: NonZeroU16,
) -> Option<Ports> {
    let is_free = |port: &u16| !unavailable.contains(*port);
    let behind = last.filter(|last| (first..end).contains(last));
    let begin = behind.map_or(first, |last| last + 1);
    let start = (begin..=end).chain(first..begin).find(is_free)?;
    let most = start.saturating_add(count.get() - 1).min(end);
    let stop = (start..=most).take_while(is_free).last()?;
    Ports::new(NonZeroU16::new(start)?, NonZeroU16::new(stop)?)
}

#[cfg(test)]
mod tests;
