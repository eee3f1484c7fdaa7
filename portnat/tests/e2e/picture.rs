//! What a namespace looks like to somebody who wonders whether portnat was here, and what a process
//! holds in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};
use futures_util::TryStreamExt;
use nix::net::if_::if_nameindex;
use nix::unistd::Pid;
use portnat::datapath::{Hook, programs_at};
use portnat::lab::Namespace;
use rtnetlink::packet_route::tc::{TcAttribute, TcMessage};

use crate::support::eventually;

/// All that portnat may change in a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// How many TCX programs there are at an interface's ingress and egress.
    pub(crate) tcx: BTreeMap<String, [usize; 2]>,
    /// Queueing disciplines: interface, handle, parent, kind.
    pub(crate) qdiscs: Vec<String>,
    /// Filters: the same and priority.
    pub(crate) filters: Vec<String>,
    /// Every setting of IPv4, and of IPv6 those of interfaces.
    pub(crate) sysctls: BTreeMap<PathBuf, String>,
    /// The paths in the BPF file system, which is the machine's.
    pub(crate) pins: BTreeSet<PathBuf>,
}

impl Picture {
    /// Takes a picture of a namespace.
    pub(crate) fn of(namespace: &Namespace) -> Self {
        namespace.run(|| {
            let interfaces: Vec<_> = if_nameindex()
                .expect("a list of interfaces")
                .iter()
                .map(|interface| {
                    let name = interface.name().to_str().expect("a plain name");
                    (interface.index(), name.to_owned())
                })
                .collect();
            let (qdiscs, filters) = traffic_control(&interfaces);
            Self {
                tcx: interfaces.iter().map(|(_, name)| tcx(name)).collect(),
                qdiscs,
                filters,
                sysctls: ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6/conf"]
                    .into_iter()
                    .flat_map(|folder| settings(Path::new(folder)))
                    .collect(),
                pins: paths(Path::new("/sys/fs/bpf")),
            }
        })
    }

    /// How many TCX programs there are.
    pub(crate) fn tcx_programs(&self) -> usize {
        self.tcx.values().flatten().sum()
    }

    /// The settings that differ.
    pub(crate) fn changed_sysctls(&self, other: &Self) -> Vec<String> {
        self.sysctls
            .iter()
            .filter(|(path, value)| other.sysctls.get(*path) != Some(value))
            .map(|(path, _)| path.display().to_string())
            .collect()
    }
}

/// None on a kernel that has no TCX (before 6.6).
fn tcx(interface: &str) -> (String, [usize; 2]) {
    let programs = Hook::ALL.map(|hook| {
        let programs = programs_at(interface, hook)
            .unwrap_or_else(|error| panic!("asking for TCX programs of {interface}: {error}"));
        programs.map_or(0, |programs| programs.len())
    });
    (interface.to_owned(), programs)
}

/// Queueing disciplines and filters, as text without their counters.
fn traffic_control(interfaces: &[(u32, String)]) -> (Vec<String>, Vec<String>) {
    let list = async || {
        let (connection, netlink, _) = rtnetlink::new_connection().expect("a netlink socket");
        tokio::spawn(connection);
        let qdiscs: Vec<_> = netlink.qdisc().get().execute().try_collect().await?;
        let mut filters = Vec::new();
        for (index, _) in interfaces {
            let request = || {
                let index = (*index).try_into().expect("an interface's number");
                netlink.traffic_filter(index).get()
            };
            for request in [request().ingress(), request().egress()] {
                let listed: Vec<_> = request.execute().try_collect().await?;
                filters.extend(listed);
            }
        }
        Ok((qdiscs, filters))
    };
    let (qdiscs, filters): (Vec<_>, Vec<_>) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(list())
        .unwrap_or_else(|error: rtnetlink::Error| panic!("asking for traffic control: {error}"));
    let text = |messages: Vec<TcMessage>| messages.iter().map(describe).collect();
    (text(qdiscs), text(filters))
}

fn describe(message: &TcMessage) -> String {
    let kind = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.as_str()),
            _ => None,
        });
    let header = &message.header;
    format!(
        "interface {} parent {:?} handle {:?} info {:#x} {}",
        header.index,
        header.parent,
        header.handle,
        header.info,
        kind.unwrap_or("?")
    )
}

/// Every setting below a folder that can be read.
fn settings(folder: &Path) -> BTreeMap<PathBuf, String> {
    paths(folder)
        .into_iter()
        .filter_map(|path| {
            let value = fs::read_to_string(&path).ok()?;
            Some((path, value))
        })
        .collect()
}

/// Everything below a folder; nothing if it is not there.
fn paths(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(paths(&path));
        }
        found.insert(path);
    }
    found
}

/// The programs, maps and links that a process holds, by the kernel's numbers for them. The kernel
/// gives a number again only after all others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) programs: BTreeSet<u32>,
    pub(crate) maps: BTreeSet<u32>,
    pub(crate) links: BTreeSet<u32>,
}

impl Holdings {
    /// What a process holds now; nothing, if it has ended.
    pub(crate) fn of(process: Pid) -> Self {
        let mut holdings = Self::default();
        let folder = format!("/proc/{process}/fdinfo");
        for file in fs::read_dir(folder).into_iter().flatten().flatten() {
            // A file can be closed meanwhile.
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
                let held = match key {
                    "prog_id" => &mut holdings.programs,
                    "map_id" => &mut holdings.maps,
                    "link_id" => &mut holdings.links,
                    _ => continue,
                };
                held.insert(value.trim().parse().expect("a number"));
            }
        }
        holdings
    }

    /// Waits until all of it has left the kernel: no pin, filter or anything else holds it. The
    /// kernel takes its time to free things.
    #[track_caller]
    pub(crate) fn wait_until_gone(&self) {
        eventually("freeing what the process held", || match self.left() {
            left if left == Self::default() => Ok(()),
            left => Err(left),
        });
    }

    /// What is still there. A list that is cut short by something that vanishes is asked for again.
    fn left(&self) -> Self {
        let programs = loaded_programs().flatten().map(|info| info.id());
        let maps = loaded_maps().flatten().map(|info| info.id());
        let links = loaded_links().flatten().map(|info| info.id());
        Self {
            programs: programs.filter(|id| self.programs.contains(id)).collect(),
            maps: maps.filter(|id| self.maps.contains(id)).collect(),
            links: links.filter(|id| self.links.contains(id)).collect(),
        }
    }
}
