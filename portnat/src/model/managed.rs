//! Networks that somebody else has made, who says what they are to be: Docker's.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use portnat_common::Subnet;

use super::{Intent, around};
use crate::net::Snapshot;

/// Networks that somebody else has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// Their subnets.
    pub subnets: BTreeMap<IpNet, ManagedSubnet>,
    /// The bridges whose ports are kept from each other.
    pub apart: BTreeSet<String>,
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

impl Intent {
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
}
