//! Containers of a network that is so do not reach each other directly.

use std::collections::BTreeSet;
use std::mem::take;

use tracing::warn;

use super::Daemon;
use crate::net::{Snapshot, keep_apart};

impl Daemon {
    /// Keeps ports of such networks' bridges apart. Returns what cannot be done.
    pub(super) async fn keep_ports_apart(&mut self, host: &Snapshot) -> Vec<String> {
        let bridges = host.links.iter().filter(|link| {
            let apart = &self.intent.managed.apart;
            apart.contains(&link.name)
        });
        let bridges: BTreeSet<_> = bridges.map(|bridge| bridge.index).collect();
        let ports = host.links.iter().filter(|link| {
            let bridge = link.master.as_ref();
            bridge.is_some_and(|bridge| bridges.contains(bridge))
        });
        let ports: BTreeSet<_> = ports.map(|port| port.index).collect();
        self.apart.retain(|port| ports.contains(port));
        let mut complaints = Vec::new();
        for port in ports {
            if self.apart.contains(&port) {
                continue;
            }
            match keep_apart(&self.handle, port, true).await {
                Ok(()) => drop(self.apart.insert(port)),
                Err(error) => complaints.push(error.to_string()),
            }
        }
        complaints
    }

    /// Lets them reach each other again.
    pub(super) async fn keep_no_ports_apart(&mut self) {
        for port in take(&mut self.apart) {
            if let Err(error) = keep_apart(&self.handle, port, false).await {
                warn!("{error}");
            }
        }
    }
}
