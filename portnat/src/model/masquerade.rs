//! Whose packets are masqueraded, as whom, and to whom they are not.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use portnat_common::Subnet;
use portnat_common::subnet::{ALONE, APART, BYPASSES, CLOSED, masqueraded_as};

use super::{Desired, Intent, NetworkMode};
use crate::net::{Link, LinkKind, NetError, Snapshot};

/// A prefix to masquerade: `172.17.0.0/16`, or `172.17.0.0/16,to=192.0.2.7` as an address of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// Whose packets.
    pub net: IpNet,
    /// As which address; `None` is that of the interface by which a packet goes out.
    pub to: Option<IpAddr>,
}

impl FromStr for Masquerade {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (net, to) = match text.split_once(',') {
            Some((net, option)) => (net, Some(option)),
            None => (text, None),
        };
        let net: IpNet = net
            .parse()
            .map_err(|error| format!("{net:?}: {error}: say for example 172.17.0.0/16"))?;
        let to = to.map(|option| address(&net, option)).transpose()?;
        Ok(Masquerade { net, to })
    }
}

/// Reads `to=ADDRESS` behind a prefix.
fn address(net: &IpNet, option: &str) -> Result<IpAddr, String> {
    let to = option.strip_prefix("to=").ok_or_else(|| {
        format!("{option:?} is no option of a prefix: say for example {net},to=192.0.2.7")
    })?;
    let to: IpAddr = to.parse().map_err(|error| format!("{to:?}: {error}"))?;
    if to.is_ipv4() != net.addr().is_ipv4() {
        return Err(format!("{net} and {to} are not of one family"));
    }
    let stays = match to {
        IpAddr::V4(to) => to.is_link_local() || to.is_broadcast(),
        IpAddr::V6(to) => to.is_unicast_link_local(),
    };
    if stays || to.is_loopback() || to.is_multicast() || to.is_unspecified() {
        return Err(format!("{to} is no address that others could answer"));
    }
    Ok(to)
}

impl fmt::Display for Masquerade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net.fmt(f)?;
        match self.to {
            Some(to) => write!(f, ",to={to}"),
            None => Ok(()),
        }
    }
}

impl Masquerade {
    /// What the subnet's flags say of it.
    fn flags(&self) -> u32 {
        self.to.map_or(0, |to| masqueraded_as(number(to)))
    }
}

/// The number by which the datapath finds an address that subnets name. It is made from the address, so
/// that no other address ever gets it while packets flow.
fn number(address: IpAddr) -> u32 {
    // FNV-1a, folded to 24 bits; 0 means that none is named.
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    ((hash >> 24) ^ (hash & 0x00ff_ffff)).max(1)
}

impl Intent {
    /// Whether all that is to be masqueraded as an address of the host's can be, and it is said once of
    /// each prefix.
    pub(super) fn check_masquerade(&self, snapshot: &Snapshot) -> Result<(), NetError> {
        if let Some((one, to)) = self.nameless(snapshot).next() {
            return Err(NetError::ForeignEgress { net: one.net, to });
        }
        let mut seen: BTreeMap<IpNet, Option<IpAddr>> = BTreeMap::new();
        let mut numbers: BTreeMap<u32, IpAddr> = BTreeMap::new();
        for one in &self.masquerade {
            let same_number = one.to.and_then(|to| numbers.insert(number(to), to));
            if seen
                .insert(one.net.trunc(), one.to)
                .is_some_and(|to| to != one.to)
                || same_number.is_some_and(|to| Some(to) != one.to)
            {
                return Err(NetError::TwoEgresses { net: one.net });
            }
        }
        Ok(())
    }

    /// What is to be masqueraded as an address that the host has not.
    fn nameless<'s>(
        &'s self,
        snapshot: &Snapshot,
    ) -> impl Iterator<Item = (&'s Masquerade, IpAddr)> + use<'s> {
        let own = snapshot.local_addresses();
        let named = self
            .masquerade
            .iter()
            .filter_map(|one| Some((one, one.to?)));
        named.filter(move |(_, to)| !own.contains(to))
    }

    /// What is not sent outside for want of the address that is named for it, in words.
    pub fn missing_egress<'s>(
        &'s self,
        snapshot: &Snapshot,
    ) -> impl Iterator<Item = String> + use<'s> {
        self.nameless(snapshot).map(|(one, to)| {
            format!(
                "what {} sends outside is dropped until this host has the address {to}",
                one.net
            )
        })
    }

    /// Adds the addresses that subnets name, and the prefixes that are not masqueraded to.
    pub(super) fn lend(&self, snapshot: &Snapshot, desired: &mut Desired) {
        let own = snapshot.local_addresses();
        for to in self.masquerade.iter().filter_map(|one| one.to) {
            let key = Subnet {
                bridge: 0,
                flags: masqueraded_as(number(to)),
            };
            let Some(key) = key.named_address().filter(|_| own.contains(&to)) else {
                continue;
            };
            match to {
                IpAddr::V4(to) => drop(desired.v4.egress.insert(key, to.into())),
                IpAddr::V6(to) => drop(desired.v6.egress.insert(key, to.into())),
            }
        }
        for net in self.bypass.iter().map(IpNet::trunc) {
            match net {
                IpNet::V4(net) => drop(desired.v4.bypass.insert(net.into(), 1)),
                IpNet::V6(net) => drop(desired.v6.bypass.insert(net.into(), 1)),
            }
        }
    }

    /// The bridges' subnets and the prefixes to masquerade, each with the bridge that it is behind.
    pub(super) fn subnets(&self, bridges: &[&Link]) -> BTreeMap<IpNet, Subnet> {
        let managed = |net: &IpNet| Some(self.managed.subnets.get(net)?.flags);
        let unsaid = |net: &IpNet| match self.masquerade.is_empty() && is_private(net) {
            true => NetworkMode::Nat.flags(),
            false => 0,
        };
        let internal = bridges.iter().filter(|link| self.is_internal(link));
        let internal: Vec<_> = internal.map(|link| link.index).collect();
        // An address that somebody has given such a bridge besides makes nothing else of it.
        let default = |net: &IpNet, bridge: u32| match internal.contains(&bridge) {
            true => CLOSED,
            false => managed(net).unwrap_or_else(|| unsaid(net)),
        };
        let mode = |bridge: u32| {
            let name = &bridges.iter().find(|link| link.index == bridge)?.name;
            let network = self.networks.iter().find(|it| it.bridge == *name)?;
            Some(network.mode.flags())
        };
        let mut behind: BTreeMap<IpNet, u32> = bridges
            .iter()
            .flat_map(|link| link.subnets().into_iter().map(|net| (net, link.index)))
            .collect();
        // A bridge need not have an address.
        for (net, managed) in &self.managed.subnets {
            let link = bridges.iter().find(|link| link.name == managed.bridge);
            behind.extend(link.map(|link| (*net, link.index)));
        }
        // Whatever its mode.
        let besides = |bridge: u32| {
            let link = bridges.iter().find(|link| link.index == bridge);
            match link {
                Some(link) if link.kind != LinkKind::Bridge => ALONE,
                Some(link) if self.managed.apart.contains(&link.name) => APART,
                _ => 0,
            }
        };
        let subnet = |net: &IpNet, bridge| Subnet {
            bridge,
            flags: mode(bridge).unwrap_or_else(|| default(net, bridge)) | besides(bridge),
        };
        let mut subnets: BTreeMap<_, _> = behind
            .iter()
            .map(|(net, bridge)| (*net, subnet(net, *bridge)))
            .collect();
        let mut masquerade = self.masquerade.clone();
        // What is said of a part goes before what is said of the whole.
        masquerade.sort_by_key(|one| one.net.prefix_len());
        for one in masquerade {
            let net = one.net.trunc();
            let bridge = behind.iter().find(|(bridge, _)| bridge.contains(&net));
            let bridge = bridge.map_or(0, |(_, index)| *index);
            let flags = |bridge| {
                let mode = mode(bridge).unwrap_or(NetworkMode::Nat.flags());
                mode | besides(bridge) | one.flags()
            };
            let subnet = Subnet {
                bridge,
                flags: flags(bridge),
            };
            // Who leads nowhere is not meant.
            if !subnets.get(&net).is_some_and(Subnet::is_internal) {
                subnets.insert(net, subnet);
            }
            // A bridge inside the prefix is masqueraded too, though its own subnet is the more
            // specific one.
            for (inner, subnet) in &mut subnets {
                if net.contains(inner) && !subnet.is_internal() {
                    subnet.flags = flags(subnet.bridge);
                }
            }
        }
        if self.bypassed || !self.bypass.is_empty() {
            for subnet in subnets
                .values_mut()
                .filter(|subnet| subnet.is_masqueraded())
            {
                subnet.flags |= BYPASSES;
            }
        }
        subnets
    }
}

/// Whether a bridge's subnet is masqueraded without being asked for: in IPv6 only unique local
/// addresses are (RFC 4193), for others are valid outside.
fn is_private(net: &IpNet) -> bool {
    match net {
        IpNet::V4(_) => true,
        IpNet::V6(net) => net.network().is_unique_local(),
    }
}

#[cfg(test)]
mod tests;
