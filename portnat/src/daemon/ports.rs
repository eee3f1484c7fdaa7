//! Specs are given their ports of this host.

use tracing::info;

use crate::model::{Allocator, HostPorts, PublishedPort};
use crate::net::{Reservation, has_ipv6, local_reserved_ports, reserve_range};
use crate::spec::PublishSpec;

/// What is to be published for these specs, and what holds it. Ephemeral ports come from this range.
pub(super) fn allocate(
    specs: &[PublishSpec],
    ephemeral: (u16, u16),
) -> anyhow::Result<(Vec<PublishedPort>, Vec<Reservation>)> {
    let host = HostPorts {
        ephemeral,
        reserved: local_reserved_ports()?,
        ipv6: has_ipv6(),
    };
    let allocated = Allocator::default().allocate(specs, &[], &host, &mut reserve_range)?;
    let given = allocated.into_iter().map(|one| (one.port, one.held));
    let (published, reservations): (_, Vec<_>) = given.unzip();
    let reservations: Vec<_> = reservations.into_iter().flatten().collect();
    if reservations.iter().any(|port| !port.is_held()) {
        info!("this kernel has no SCTP sockets: published SCTP ports are not reserved");
    }
    Ok((published, reservations))
}
