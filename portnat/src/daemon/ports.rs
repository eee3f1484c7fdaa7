//! The host's ports are given and held.

use std::path::PathBuf;

use crate::datapath::BindHook;
use crate::model::{HostPorts, Kept, Ledger, Source, Sticky};
use crate::net::{Guard, NetError, Reserver, has_ipv6, local_reserved_ports};
use crate::spec::PublishSpec;

/// Gives ports of the host and holds them, and keeps in mind which ephemeral ones it gave.
pub(super) struct PortHolder {
    ephemeral: (u16, u16),
    reserver: Reserver,
    sticky: Sticky,
    force: bool,
}

impl PortHolder {
    /// One that knows what is kept in the directory `state`, and a ledger that does. With `force` it
    /// gives also ports that a process of the host has.
    pub(super) fn new(
        ephemeral: (u16, u16),
        state: Option<PathBuf>,
        force: bool,
    ) -> (Self, Ledger) {
        let sticky = state.map_or_else(Sticky::forgetful, Sticky::within);
        let ledger = Ledger::remembering(sticky.given());
        let holder = PortHolder {
            ephemeral,
            reserver: Reserver::new(|| Ok(Box::new(BindHook::of_all()?) as Box<dyn Guard>)),
            sticky,
            force,
        };
        (holder, ledger)
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

    /// Keeps in mind which ephemeral ports these specs have.
    pub(super) fn remember(&mut self, ledger: &Ledger, specs: &[PublishSpec]) {
        self.sticky.remember(&ledger.ephemeral(specs));
    }
}
