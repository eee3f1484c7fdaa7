//! The host's ports are given and held.

use std::collections::BTreeSet;

use super::Config;
use super::adopt::written_beside;
use super::called::Called;
use crate::datapath::BindHook;
use crate::model::{HostPorts, Kept, Ledger, Source, Sticky};
use crate::net::{
    Guard, NetError, PortRange, Reservation, Reserver, has_ipv6, local_reserved_ports,
};
use crate::spec::{NamedSpec, Ports, PublishSpec};

/// What the record of reserved ports is called, behind the network namespace's name.
pub(super) const FILE: &str = "reserved";

/// Gives ports of the host and holds them, and keeps in mind which ephemeral ones it gave.
pub(super) struct PortHolder {
    ephemeral: (u16, u16),
    reserver: Reserver,
    sticky: Sticky,
    force: bool,
}

impl PortHolder {
    /// One that knows what is kept in the directory for that, and a ledger that does.
    pub(super) fn new(ephemeral: (u16, u16), config: &Config) -> Result<(Self, Ledger), NetError> {
        let recruit = || Ok(Box::new(BindHook::of_all()?) as Box<dyn Guard>);
        let mut reserver = match &config.socket {
            Some(socket) => Reserver::recorded(recruit, &written_beside(socket, FILE)?)?,
            None => Reserver::new(recruit),
        };
        let state = config.state.clone();
        let sticky = state.map_or_else(Sticky::forgetful, Sticky::within);
        let ledger = Ledger::remembering(sticky.given(), sticky.given_to_names());
        if let Some(aide) = config.aide.clone() {
            reserver = reserver.with_owners(Box::new(move |inodes| aide.owners(inodes)));
        }
        let holder = PortHolder {
            ephemeral,
            reserver,
            sticky,
            force: config.force,
        };
        Ok((holder, ledger))
    }

    /// All that is to be held is held: what a portnat before this one has kept beyond that is given up.
    pub(super) fn settle(&self) -> Result<(), NetError> {
        self.reserver.settle()
    }

    /// Keeps ports from being chosen by the kernel until the next portnat is there.
    pub(super) fn leave(&self) {
        self.reserver.leave();
    }

    /// Where ports come from as the host is now.
    pub(super) fn source(&self) -> Result<Source<'_>, NetError> {
        Ok(Source {
            ports: HostPorts {
                ephemeral: self.ephemeral,
                reserved: local_reserved_ports()?,
                ipv6: has_ipv6(),
            },
            reserve: Box::new(|ports, choice| self.reserver.reserve(ports, choice, self.force)),
        })
    }

    /// The same, where ephemeral ports are none of these.
    pub(super) fn source_but(&self, kept: &[Kept]) -> Result<Source<'_>, NetError> {
        let mut source = self.source()?;
        let rows = kept.iter().flat_map(|kept| &kept.ports);
        let rows = rows.map(|(_, row, _)| (row.first().get(), row.last().get()));
        source.ports.reserved.extend(rows);
        Ok(source)
    }

    /// The same for Docker, which holds its containers' ports itself; what of them it does not hold must be
    /// free, and stays so: Docker may want it later.
    pub(super) fn beside_docker<'a>(
        &'a self,
        unlisted: &'a BTreeSet<PublishSpec>,
    ) -> Result<Source<'a>, NetError> {
        let is_unlisted = |ports: &PortRange| {
            unlisted.iter().any(|spec| {
                let first = spec.host_ports.map(Ports::first);
                (spec.host_ip, first, spec.protocol)
                    == (Some(ports.address), Some(ports.first), ports.protocol)
            })
        };
        Ok(Source {
            reserve: Box::new(move |ports, choice| {
                if is_unlisted(&ports) {
                    drop(self.reserver.reserve(ports, choice, self.force)?);
                }
                Ok(Reservation::by_another(ports))
            }),
            ..self.source()?
        })
    }

    /// Keeps in mind which ephemeral ports these specs have.
    pub(super) fn remember(&mut self, ledger: &Ledger, specs: &[PublishSpec]) {
        self.sticky.remember(&ledger.ephemeral(specs));
    }

    /// Keeps in mind which those have that are told by names, wherever they are.
    pub(super) fn remember_called(&mut self, ledger: &Ledger, called: &[Called]) {
        let given = called.iter().filter_map(|one| {
            let (_, rows) = ledger.ephemeral(&[one.now?]).pop()?;
            Some((&one.spec, rows))
        });
        self.sticky.remember(&given.collect::<Vec<_>>());
    }

    /// Has what is told by a name be given what it had, now that this is its spec.
    pub(super) fn prefer(&self, ledger: &mut Ledger, named: &NamedSpec, now: &PublishSpec) {
        if now.host_ports.is_none()
            && let Some(rows) = self.sticky.given_to(named)
        {
            ledger.prefer(now, rows);
        }
    }
}
