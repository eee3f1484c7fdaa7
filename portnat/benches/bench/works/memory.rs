//! What a flow takes of the kernel's memory.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::Pid;

use crate::ground::Needs;
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};
use crate::road::{Direction, Road};

/// Enough that what is allocated once does not count.
const FLOWS: u32 = 200_000;

/// portnat has room for so many by default, and takes it at once.
const ROOM: u32 = 262_144;

const RESIDENT: &str = "resident memory of the daemon";

/// (j)
pub(crate) fn per_flow(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(j)";
    let peers = options.peers(&[Peer::IptablesLegacy, Peer::Nftables, Peer::Portnat]);
    // Kept to the end: what goes in the background would be missing from what is there.
    let mut grounds = Vec::new();
    for _ in 0..options.rounds.min(3) {
        let roads = super::prepare(WHAT, &peers, FLOWS, results, |peer| {
            Road::new(peer, Needs::default(), Direction::In)
        });
        for (peer, mut road) in roads {
            let subject = |metric: &'static str, flows: u32| Subject {
                work: 'j',
                metric,
                case: format!("{flows} flows"),
                unit: Unit::Bytes,
            };
            let daemon = road.ground.daemon.as_ref().map(|daemon| daemon.pid());
            if let Some(pid) = daemon {
                results.add(&subject(RESIDENT, 0), peer, resident(pid)? as f64);
            } else {
                // Or else flows of one round would go while those of the next come.
                for timeout in [
                    "nf_conntrack_udp_timeout",
                    "nf_conntrack_udp_timeout_stream",
                ] {
                    let name = format!("net/netfilter/{timeout}");
                    road.ground.lab.host.sysctl(&name, "3600")?;
                }
            }
            let before = settled_slab()?;
            let flow = road.published(FLOWS);
            road.open(&flow)?;
            let a_flow = subject("kernel memory of a flow", FLOWS);
            match daemon {
                None => {
                    let bytes = settled_slab()?.saturating_sub(before);
                    results.add(&a_flow, peer, bytes as f64 / f64::from(FLOWS));
                }
                Some(pid) => {
                    results.add(&a_flow, peer, maps(pid)? as f64 / f64::from(ROOM));
                    results.add(&subject(RESIDENT, FLOWS), peer, resident(pid)? as f64);
                }
            }
            grounds.push(road);
        }
    }
    Ok(())
}

/// What conntrack has of the kernel's allocator, in bytes, when what goes in the background is gone;
/// on a machine that does something else, after a while.
fn settled_slab() -> Result<u64> {
    const MUCH: u64 = 256 * 1024;
    const LOOKS: u32 = 25;
    let mut last = slab()?;
    for _ in 0..LOOKS {
        thread::sleep(Duration::from_millis(200));
        let now = slab()?;
        let settled = now.abs_diff(last) < MUCH;
        last = now;
        if settled {
            break;
        }
    }
    Ok(last)
}

/// What is given out of the caches that conntrack takes from: its own for flows, and those of its
/// size for their extensions (NAT's among them). Not `SUnreclaim`: that has what the allocator keeps
/// of objects that are gone.
fn slab() -> Result<u64> {
    let caches = fs::read_to_string("/proc/slabinfo")?;
    let bytes = caches.lines().filter_map(|cache| {
        let mut fields = cache.split_whitespace();
        let name = fields.next()?;
        // Active objects, objects, size of an object.
        let active: u64 = fields.next()?.parse().ok()?;
        let size: u64 = fields.nth(1)?.parse().ok()?;
        let extension = name.starts_with("kmalloc-") && (96..=256).contains(&size);
        let of_others = ["-cg-", "-rcl-", "-dma-"]
            .iter()
            .any(|kind| name.contains(kind));
        let counts = name == "nf_conntrack" || extension && !of_others;
        counts.then_some(active * size)
    });
    Ok(bytes.sum())
}

/// What a process's own memory takes, in bytes.
pub(super) fn resident(pid: Pid) -> Result<u64> {
    kib_in(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS")
}

fn kib_in(text: &str, name: &str) -> Result<u64> {
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .with_context(|| format!("no {name}"))?;
    let kib = line.split_whitespace().nth(1).context("no number")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// What the maps of a process take, in bytes, as the kernel tells it. Before Linux 6.4 that is an
/// estimate.
pub(super) fn maps(pid: Pid) -> Result<u64> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // One that is closed meanwhile was no map.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<u64>().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    ensure!(!maps.is_empty(), "process {pid} has no maps");
    Ok(maps.values().sum())
}
