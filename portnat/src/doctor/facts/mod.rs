//! What is so on this host: gathered once, judged elsewhere.

mod daemon;
mod firewall;
mod hooks;
mod kernel;
mod sysctls;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::net::{
    Holder, NetError, PortRange, Snapshot, Tenure, frame_takers, holders, local_port_range,
    local_reserved_ports, owners, snapshot,
};
use crate::report::Report;
use crate::spec::Protocol;
#[cfg(test)]
pub(super) use daemon::Answers;
pub(super) use daemon::Daemon;
pub(super) use firewall::Firewall;
#[cfg(test)]
pub(super) use firewall::Unread;
pub(super) use hooks::HookFacts;
pub(super) use kernel::{Kernel, RUN};
pub(super) use sysctls::Values;

/// Where to look for what is the daemon's.
#[derive(Clone, Debug)]
pub struct Where {
    /// The control socket.
    pub socket: PathBuf,
    /// The directory of pins.
    pub pin_dir: PathBuf,
}

/// What is so on this host, in the calling thread's network namespace.
#[derive(Clone, Debug)]
pub struct Facts {
    pub(super) kernel: Kernel,
    pub(super) host: Snapshot,
    pub(super) uplinks: Vec<String>,
    pub(super) bridges: Vec<String>,
    pub(super) sysctls: Values,
    /// `net.ipv4.ip_local_port_range`.
    pub(super) local_ports: Option<(u16, u16)>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub(super) reserved: Vec<(u16, u16)>,
    pub(super) firewall: Firewall,
    pub(super) daemon: Daemon,
    pub(super) hooks: Vec<HookFacts>,
    /// Who serves at ports near the published ones; or why that is not known.
    pub(super) holders: Result<Vec<Held>, String>,
    /// The devices that take frames by XDP; or why that is not known.
    pub(super) takers: Result<BTreeSet<u32>, String>,
}

/// A socket that is bound to what is perhaps a published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The host's address that a port is published on.
    pub(super) address: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) holder: Holder,
}

impl Facts {
    /// Looks at everything.
    ///
    /// # Errors
    /// The kernel does not list its interfaces, which leaves nothing to be looked at.
    pub async fn gather(at: &Where, handle: &rtnetlink::Handle) -> anyhow::Result<Self> {
        let host = snapshot(handle)
            .await
            .context("looking at the host's interfaces")?;
        let daemon = daemon::gather(at).await;
        let names = |links: Vec<&crate::net::Link>| {
            let links = links.into_iter();
            links.map(|link| link.name.clone()).collect::<Vec<_>>()
        };
        let (uplinks, bridges) = match daemon.status() {
            Some(status) => (status.uplinks.clone(), status.bridges.clone()),
            None => (names(host.default_uplinks()), names(host.default_bridges())),
        };
        let hooks = match daemon.status() {
            Some(status) => hooks::gather(handle, &status.attached).await,
            None => Vec::new(),
        };
        let asks_frames = daemon
            .status()
            .is_some_and(|status| !status.frame_ports.is_empty());
        let takers = match asks_frames {
            true => frame_takers(),
            false => Ok(BTreeSet::new()),
        };
        let said = |error: NetError| error.to_string();
        let bound = daemon.report().map_or(Ok(Vec::new()), bound);
        Ok(Facts {
            kernel: kernel::gather(),
            sysctls: Values::gather(&host),
            local_ports: local_port_range().ok(),
            reserved: local_reserved_ports().unwrap_or_default(),
            firewall: firewall::gather(),
            holders: bound.map_err(|error| error.to_string()),
            takers: takers.map_err(said),
            host,
            uplinks,
            bridges,
            daemon,
            hooks,
        })
    }

    /// The interfaces as they were found.
    #[must_use]
    pub fn host(&self) -> &Snapshot {
        &self.host
    }

    /// The uplinks and bridges.
    pub(super) fn through(&self) -> impl Iterator<Item = &String> {
        self.uplinks.iter().chain(&self.bridges)
    }
}

/// Who is bound to ports from the first published one of an address and protocol to the last: a look at
/// each port alone would be a list of all sockets each time.
fn bound(report: &Report) -> io::Result<Vec<Held>> {
    let mut spans: Vec<PortRange> = Vec::new();
    for port in &report.ports {
        let sides = &port.sides;
        let (Some(first), Some(last), Some(protocol)) = (
            NonZeroU16::new(sides.port),
            NonZeroU16::new(sides.port_end),
            Protocol::from_number(sides.protocol.0),
        ) else {
            continue;
        };
        let known = spans
            .iter_mut()
            .find(|span| (span.address, span.protocol) == (sides.address, protocol));
        match known {
            Some(span) => {
                span.first = span.first.min(first);
                span.last = span.last.max(last);
            }
            None => spans.push(PortRange {
                address: sides.address,
                first,
                last,
                protocol,
            }),
        }
    }
    let mut held = Vec::new();
    for span in &spans {
        let found = holders(span, &owners)?;
        let bound = found.into_iter().filter(|one| one.tenure == Tenure::Bound);
        held.extend(bound.map(|holder| Held {
            address: span.address,
            protocol: span.protocol,
            holder,
        }));
    }
    Ok(held)
}
