//! The sysctls that matter.

use std::collections::BTreeMap;

use crate::net::{Snapshot, sysctl};

/// Those that are no link's.
const GLOBAL: [&str; 6] = [
    "net/core/bpf_jit_enable",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv6/conf/all/forwarding",
];

/// Those of each link.
const LINKS: [(&str, &str); 5] = [
    ("ipv4", "forwarding"),
    ("ipv4", "rp_filter"),
    ("ipv4", "route_localnet"),
    ("ipv4", "accept_local"),
    ("ipv6", "force_forwarding"),
];

/// Sysctls by their paths below `/proc/sys`; what is not there cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::doctor) struct Values(BTreeMap<String, String>);

impl Values {
    pub(super) fn gather(host: &Snapshot) -> Self {
        let of_links = host
            .links
            .iter()
            .flat_map(|link| LINKS.map(|(family, name)| path(family, &link.name, name)));
        GLOBAL
            .map(str::to_owned)
            .into_iter()
            .chain(of_links)
            .filter_map(|path| sysctl(&path).map(|value| (path, value)))
            .collect()
    }

    /// A value that is a number.
    pub(in crate::doctor) fn number(&self, path: &str) -> Option<i64> {
        self.0.get(path)?.parse().ok()
    }

    /// The same, of a link.
    pub(in crate::doctor) fn of_link(&self, family: &str, link: &str, name: &str) -> Option<i64> {
        self.number(&path(family, link, name))
    }
}

impl FromIterator<(String, String)> for Values {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(values: T) -> Self {
        Values(values.into_iter().collect())
    }
}

fn path(family: &str, link: &str, name: &str) -> String {
    format!("net/{family}/conf/{link}/{name}")
}
