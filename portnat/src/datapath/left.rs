//! What a portnat before this one has left: which of its maps go on, and what they hold.

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use aya::maps::{Map, MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya_obj::Object;
use aya_obj::generated::bpf_map_type;
use portnat_common::address::Wide;
use portnat_common::address::{is_mapped, unmap};
use portnat_common::{Address, Ip4, Ip6, Published, Subnet, Total};
use tracing::warn;

use super::error::DatapathError;
use super::fill::{Held, V4, V6};
use super::load::{LoadOptions, OBJECT};
use super::pins::{Pins, Spot, remove_file};
use super::tables::Applied;
use crate::spec::Ports;
use read::{entries, family, words};

/// The tables whose sizes are the user's to choose, and what is to be made anew along with the flows:
/// it says the same of all of them in another way.
pub(super) const RESIZED: [&str; 16] = [
    "FLOWS4",
    "FLOWS6",
    "HALF_TCP4",
    "HALF_TCP6",
    "HALF_OTHER4",
    "HALF_OTHER6",
    "MAPPINGS4",
    "MAPPINGS6",
    "OWNERS4",
    "OWNERS6",
    "QUEUE4",
    "QUEUE6",
    "QUEUED",
    "CONTAINERS4",
    "CONTAINERS6",
    "FULL",
];

/// The programs' messages on their way to this process.
const MESSAGES: &str = "AYA_LOGS";

/// What a map is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    kind: u32,
    key: u32,
    value: u32,
    flags: u32,
    entries: u32,
}

/// What becomes of the maps that are there.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// These go on; what else there is to be is new.
    GoOn(BTreeSet<String>),
    /// The same, but for [`RESIZED`], whose content goes over to new ones.
    GoOver(BTreeSet<String>),
    /// They are not what this portnat reads, and why.
    Unknown(String),
}

/// A link that is attached.
#[derive(Debug)]
pub(super) struct FoundLink {
    pub(super) link: FdLink,
    /// The program's number.
    pub(super) program: u32,
}

/// A port that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftPort {
    /// Its id, by which its flows are counted.
    pub id: u32,
    /// The host's address; the unspecified one stands for all.
    pub address: IpAddr,
    /// The host's ports.
    pub ports: Ports,
    /// The protocol's number.
    pub protocol: u8,
    /// Who answers; of a range the first.
    pub target: SocketAddr,
}

/// What a portnat before this one has left.
pub(super) struct Left {
    /// The maps that go on.
    pub(super) maps: BTreeSet<String>,
    /// Whether that is all there are to be.
    pub(super) complete: bool,
    /// The maps whose content goes over to others.
    pub(super) old: BTreeMap<&'static str, Map>,
    pub(super) links: BTreeMap<Spot, FoundLink>,
    /// What the tables hold.
    pub(super) applied: Applied,
    /// The greatest id that a port has had.
    pub(super) last_id: u32,
}

/// Whether a map is pinned: not what belongs to a set of programs alone.
pub(super) fn is_kept(name: &str) -> bool {
    !name.starts_with('.') && name != MESSAGES
}

/// The maps that there are to be.
pub(super) fn definitions(
    options: &LoadOptions,
) -> Result<BTreeMap<String, Definition>, DatapathError> {
    let object = Object::parse(OBJECT).map_err(aya::EbpfError::ParseError)?;
    let sizes: BTreeMap<&str, u32> = options.sizes().into();
    let maps = object.maps.into_iter().filter(|(name, _)| is_kept(name));
    Ok(maps
        .map(|(name, map)| {
            let entries = sizes.get(&*name).copied();
            let definition = Definition {
                kind: map.map_type(),
                key: map.key_size(),
                value: map.value_size(),
                flags: map.map_flags(),
                entries: entries.unwrap_or(map.max_entries()),
            };
            (name, definition)
        })
        .collect())
}

/// What becomes of the maps that were `found`, by names, where there are to be those of `wanted`.
fn fate(wanted: &BTreeMap<String, Definition>, found: &BTreeMap<String, Definition>) -> Fate {
    let mut same = BTreeSet::new();
    let mut over = false;
    for (name, definition) in wanted {
        let Some(old) = found.get(name) else {
            continue;
        };
        let sized = Definition {
            entries: definition.entries,
            ..*old
        };
        if old == definition {
            same.insert(name.clone());
        } else if sized == *definition && RESIZED.contains(&&**name) {
            over = true;
        } else if definition.kind != bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY as u32 {
            return Fate::Unknown(format!("their {name} is another"));
        }
    }
    if !over {
        return Fate::GoOn(same);
    }
    same.retain(|name| !RESIZED.contains(&&**name));
    Fate::GoOver(same)
}

impl Left {
    /// Nothing.
    pub(super) fn nothing() -> Self {
        Left {
            maps: BTreeSet::new(),
            complete: false,
            old: BTreeMap::new(),
            links: BTreeMap::new(),
            applied: Applied::default(),
            last_id: 0,
        }
    }

    /// Looks at what is pinned. What cannot be read is said, and does not go on.
    pub(super) fn find(pins: &Pins, options: &LoadOptions) -> Result<Self, DatapathError> {
        let mut left = Self::nothing();
        left.links = links(pins);
        let wanted = definitions(options)?;
        let found: BTreeMap<String, Definition> = wanted
            .keys()
            .filter_map(|name| Some((name.clone(), definition(pins, name)?)))
            .collect();
        let fate = if found.is_empty() && !pins.pinned_maps().is_empty() {
            Fate::Unknown("they have another number".to_owned())
        } else {
            fate(&wanted, &found)
        };
        let open = |name: &str| MapData::from_pin(pins.map(name)).and_then(Map::from_map_data);
        match fate {
            Fate::Unknown(why) => {
                warn!(
                    "an earlier portnat has left tables of a layout that this one does not know \
                     ({why}): its flows and counters are not taken over"
                );
                return Ok(left);
            }
            Fate::GoOn(maps) => left.maps = maps,
            Fate::GoOver(maps) => {
                left.maps = maps;
                for name in RESIZED {
                    left.old.extend(open(name).ok().map(|map| (name, map)));
                }
            }
        }
        left.complete = left.maps.len() == wanted.len();
        left.applied = Applied {
            v4: family(&V4, open)?,
            v6: family(&V6, open)?,
            bits: words("PORTS", open)?,
            withheld: words("WITHHELD", open)?,
            inside: words("INSIDE", open)?,
            limits: entries("LIMITS", open)?,
            gates: entries("GATES", open)?,
        };
        let counted = entries::<u32, Total>("TOTALS", open)?;
        let counted = counted.into_keys().max().unwrap_or(0);
        let ids = left.ports().into_iter().map(|port| port.id);
        left.last_id = ids.max().unwrap_or(0).max(counted);
        Ok(left)
    }

    /// Whether a subnet has sent something as itself, or may have.
    pub(super) fn bypassed(&self) -> bool {
        let (v4, v6) = (&self.applied.v4.subnets, &self.applied.v6.subnets);
        v4.values().chain(v6.values()).any(Subnet::bypasses)
    }

    /// The ports that were published.
    pub(super) fn ports(&self) -> Vec<LeftPort> {
        let v4 = left_ports(&self.applied.v4, |address| {
            IpAddr::V4(Ip4::narrow(&address).into())
        });
        let v6 = left_ports(&self.applied.v6, |address| match is_mapped(&address) {
            true => IpAddr::V4(unmap(&address).into()),
            false => IpAddr::V6(Ip6::narrow(&address).into()),
        });
        v4.chain(v6).collect()
    }
}

/// One family's ports and ranges, by a way to read addresses.
fn left_ports<A: Address>(
    held: &Held<A>,
    read: impl Fn(Wide) -> IpAddr,
) -> impl Iterator<Item = LeftPort> {
    let alone = held.published.iter();
    let alone = alone.map(|(key, value)| (key.address, key.protocol, key.port, *value));
    let blocks = held
        .ranges
        .iter()
        .map(|((address, protocol, block), value)| {
            let last = u32::from(block.first) + (1 << block.bits) - 1;
            (*address, *protocol, last as u16, *value)
        });
    // A range is as long as its blocks.
    let mut all: BTreeMap<u32, (A, u8, u16, Published)> = BTreeMap::new();
    for (address, protocol, last, value) in alone.chain(blocks) {
        let known = all
            .entry(value.port_id)
            .or_insert((address, protocol, last, value));
        known.2 = known.2.max(last);
    }
    let ports = all
        .into_iter()
        .filter_map(move |(id, (address, protocol, last, value))| {
            let target = SocketAddr::new(read(value.target), value.target_port);
            Some(LeftPort {
                id,
                address: read(address.widen()),
                ports: Ports::new(NonZeroU16::new(value.port)?, NonZeroU16::new(last)?)?,
                protocol,
                target,
            })
        });
    ports.collect::<Vec<_>>().into_iter()
}

/// What a pinned map is; `None` where there is none.
fn definition(pins: &Pins, name: &str) -> Option<Definition> {
    let info = MapInfo::from_pin(pins.map(name)).ok()?;
    Some(Definition {
        kind: info.map_type().ok()? as u32,
        key: info.key_size(),
        value: info.value_size(),
        flags: info.map_flags(),
        entries: info.max_entries(),
    })
}

/// The links that are pinned and attached. Pins of those whose interface is gone are removed.
pub(super) fn links(pins: &Pins) -> BTreeMap<Spot, FoundLink> {
    let mut links = BTreeMap::new();
    for spot in pins.pinned_links() {
        let path = pins.link(spot);
        let link = PinnedLink::from_pin(&path).map(FdLink::from);
        if let Ok((link, info)) = link.and_then(|link| link.info().map(|info| (link, info))) {
            links.insert(info.id(), (spot, info.program_id(), link));
        }
    }
    let interfaces = interfaces_of_links();
    let (there, gone): (Vec<_>, Vec<_>) = links
        .into_iter()
        .partition(|(id, (spot, _, _))| interfaces.get(id) == Some(&spot.0));
    for (_, (spot, _, _)) in gone {
        let _ = remove_file(&pins.link(spot));
    }
    there
        .into_iter()
        .map(|(_, (spot, program, link))| (spot, FoundLink { link, program }))
        .collect()
}

/// By the links' numbers, the interfaces of the links that this process holds; 0 is one that is gone.
/// aya does not pass it on, and the kernel writes it beside the descriptor.
fn interfaces_of_links() -> BTreeMap<u32, u32> {
    let mut interfaces = BTreeMap::new();
    for file in fs::read_dir("/proc/self/fdinfo")
        .into_iter()
        .flatten()
        .flatten()
    {
        // It is closed by now, if it was the listing's own.
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        let number = |key| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines.find(|(name, _)| *name == key)?;
            value.trim().parse::<u32>().ok()
        };
        if let (Some(link), Some(interface)) = (number("link_id"), number("ifindex")) {
            interfaces.insert(link, interface);
        }
    }
    interfaces
}

#[cfg(test)]
mod tests;
