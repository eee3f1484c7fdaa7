//! The host's ports are given and held.

use std::path::PathBuf;

use tracing::info;

use crate::datapath::BindHook;
use crate::model::{Allocator, HostPorts, PublishedPort, Sticky};
use crate::net::{Guard, Reservation, Reserver, has_ipv6, local_reserved_ports};
use crate::spec::PublishSpec;

/// Gives specs their ports of this host and holds them; which ephemeral ones is kept in `state`.
pub(super) fn allocate(
    specs: &[PublishSpec],
    ephemeral: (u16, u16),
    state: Option<PathBuf>,
    force: bool,
) -> anyhow::Result<(Vec<PublishedPort>, Vec<Reservation>)> {
    let host = HostPorts {
        ephemeral,
        reserved: local_reserved_ports()?,
        ipv6: has_ipv6(),
    };
    let reserver = Reserver::new(|| Ok(Box::new(BindHook::of_all()?) as Box<dyn Guard>));
    let mut sticky = state.map_or_else(Sticky::forgetful, Sticky::within);
    let mut allocator = Allocator::remembering(sticky.given());
    let mut reserve = |ports, choice| reserver.reserve(ports, choice, force);
    let allocated = allocator.allocate(specs, &[], &host, &mut reserve)?;
    sticky.remember(&allocator.ephemeral(specs));
    let (ports, reservations): (_, Vec<_>) = allocated
        .into_iter()
        .map(|allocated| (allocated.port, allocated.held))
        .unzip();
    if reservations.iter().any(|ports| !ports.is_held()) {
        info!("this kernel has no SCTP sockets: published SCTP ports are not reserved");
    }
    Ok((ports, reservations))
}
