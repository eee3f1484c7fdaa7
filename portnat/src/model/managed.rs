//! Networks that somebody else has made, who says what they are to be: Docker's.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

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

impl Managed {
    /// Whether a link of this name is the bridge of such a network.
    #[must_use]
    pub fn has_bridge(&self, name: &str) -> bool {
        self.subnets.values().any(|subnet| subnet.bridge == name)
    }
}
