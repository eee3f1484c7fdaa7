//! The host's ports are given and held.

use std::path::PathBuf;
use std::sync::Arc;

use crate::datapath::BindHook;
use crate::model::{HostPorts, Ledger, Source, Sticky};
use crate::net::{Guard, NetError, Reserver, has_ipv6, local_reserved_ports};
use crate::privileges::Aide;
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
        aide: Option<Arc<Aide>>,
    ) -> (Self, Ledger) {
        let sticky = state.map_or_else(Sticky::forgetful, Sticky::within);
        let ledger = Ledger::remembering(sticky.given());
        let mut reserver = Reserver::new(|| Ok(Box::new(BindHook::of_all()?) as Box<dyn Guard>));
        if let Some(aide) = aide {
            reserver = reserver.with_owners(Box::new(move |inodes| aide.owners(inodes)));
        }
        let holder = PortHolder {
            ephemeral,
            reserver,
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

    /// Keeps in mind which ephemeral ports these specs have.
    pub(super) fn remember(&mut self, ledger: &Ledger, specs: &[PublishSpec]) {
        self.sticky.remember(&ledger.ephemeral(specs));
    }
}
