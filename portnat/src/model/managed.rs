//! Networks that somebody else has made, who says what they are to be: Docker's.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use portnat_common::Subnet;

use super::{Intent, around};
use crate::net::{Link, LinkKind, Snapshot};

/// Networks that somebody else has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// Their bridges.
    pub bridges: BTreeSet<String>,
    /// Their subnets; a network may have none.
    pub subnets: BTreeMap<IpNet, ManagedSubnet>,
    /// The bridges whose ports are kept from each other.
    pub apart: BTreeSet<String>,
    /// Whether what looks like one of Docker's bridges, and is none of these, is one that Docker has not
    /// told of yet. Until then it leads nowhere, as it may be meant to.
    pub awaits: bool,
}

/// A subnet of such a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedSubnet {
    /// The name of the bridge that it is behind.
    pub bridge: String,
    /// What the datapath is told of it, unless the user has said a mode; see
    /// [`Subnet::flags`](portnat_common::Subnet::flags).
    pub flags: u32,
}

/// Whether Docker gives bridges names like this one: `docker0`, or `br-` and twelve digits.
fn is_dockers(bridge: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = bridge.strip_prefix("br-").map(str::as_bytes);
    bridge == "docker0"
        || digits.is_some_and(|digits| digits.len() == 12 && digits.iter().copied().all(is_digit))
}

impl Intent {
    /// Whether a bridge is one that Docker has yet to tell of, and nobody else has said a word about.
    pub(super) fn awaits(&self, bridge: &str) -> bool {
        self.managed.awaits
            && is_dockers(bridge)
            && !self.managed.has_bridge(bridge)
            && !self.bridges.iter().any(|named| named.contains(bridge))
    }

    /// Whether a bridge's network leads nowhere: so say those whose it is, whatever other addresses the
    /// bridge has, unless the user has given it a mode.
    pub(super) fn is_internal(&self, link: &Link) -> bool {
        let has_mode = self.networks.iter().any(|it| it.bridge == link.name);
        if link.kind != LinkKind::Bridge || has_mode {
            return false;
        }
        let subnets = self.managed.subnets.values();
        let mut flags = subnets
            .filter(|it| it.bridge == link.name)
            .map(|it| it.flags)
            .peekable();
        let is_internal = |flags| Subnet { bridge: 0, flags }.is_internal();
        flags.peek().is_some() && flags.all(is_internal) || self.awaits(&link.name)
    }

    /// What is published and leads to a network that leads nowhere, in words.
    pub fn out_of_reach(&self, snapshot: &Snapshot) -> impl Iterator<Item = String> {
        let subnets = self.subnets(&self.bridge_links(snapshot));
        self.published.iter().filter_map(move |port| {
            let (host, target) = (port.host(), port.target.ip());
            let inside = around(&subnets, target).filter(|subnet| subnet.is_internal())?;
            let bridge = snapshot.link_by_index(inside.bridge);
            let unknown = bridge.filter(|bridge| self.awaits(&bridge.name));
            let why = match unknown {
                Some(Link { name, .. }) => {
                    format!("until Docker tells of {name}, or --bridge or --network does")
                }
                None => "whose network is internal".to_owned(),
            };
            Some(format!("nobody comes by {host} to {target}, {why}"))
        })
    }
}

impl Managed {
    /// Whether a link of this name is the bridge of such a network.
    #[must_use]
    pub fn has_bridge(&self, name: &str) -> bool {
        self.bridges.contains(name)
    }
}

#[cfg(test)]
mod tests;
