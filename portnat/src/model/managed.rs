//! Networks that somebody else has made, who says what they are to be: Docker's.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use portnat_common::Subnet;
use portnat_common::subnet::{BYPASSES, CLOSED, MASQUERADED, ROUTED};

use super::{Intent, around};
use crate::net::{Link, LinkKind, Snapshot};

/// Networks that somebody else has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// Their subnets.
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
    pub fn out_of_reach(&self, snapshot: &Snapshot) -> impl Iterator<Item = String> + use<'_> {
        let subnets = self.subnets(&self.bridge_links(snapshot));
        let is_inside = move |target| around(&subnets, target).is_some_and(Subnet::is_internal);
        let inside = self.published.iter();
        let inside = inside.filter(move |port| is_inside(port.target.ip()));
        inside.map(|port| {
            let (host, target) = (port.host(), port.target.ip());
            format!("nobody comes by {host} to {target}, whose network is internal")
        })
    }
}

impl Managed {
    /// Whether a link of this name is the bridge of such a network.
    #[must_use]
    pub fn has_bridge(&self, name: &str) -> bool {
        self.subnets.values().any(|subnet| subnet.bridge == name)
    }

    /// What is left in the datapath's tables of such networks: by their prefixes, their bridges' names and
    /// flags.
    #[must_use]
    pub fn left(subnets: impl Iterator<Item = (IpNet, String, u32)>) -> Self {
        let subnets = subnets.filter(|(_, bridge, _)| is_dockers(bridge));
        let subnet = |(net, bridge, flags): (_, _, u32)| {
            let modes = MASQUERADED | CLOSED | ROUTED;
            let plain = match flags & MASQUERADED {
                0 => flags & BYPASSES,
                _ => 0,
            };
            let flags = flags & modes | plain;
            (net, ManagedSubnet { bridge, flags })
        };
        Managed {
            subnets: subnets.map(subnet).collect(),
            ..Managed::default()
        }
    }
}

#[cfg(test)]
mod tests;
