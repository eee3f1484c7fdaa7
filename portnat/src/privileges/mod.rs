//! What the daemon may do is little: the rest a helper does for it, which does little else
//! ([ADR 22](../../../docs/adr/0022-privileges.md)).

mod aide;
mod helper;
mod protocol;

use std::path::Path;

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::sys::prctl::set_no_new_privs;

pub use aide::{Aide, AideError};
pub use helper::help;

/// What the daemon keeps: to attach programs and write the namespace's sysctls, to hold ports below
/// 1024, and to use maps and links.
const DAEMON: [Capability; 3] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_BPF,
];

/// What it needs beside that until its programs are loaded. Who has it can load programs that read the
/// kernel's memory.
const LOADER: Capability = Capability::CAP_PERFMON;

/// What the helper has: to look at other users' processes and files, and to change a device in another
/// network namespace.
const HELPER: [Capability; 4] = [
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_NET_ADMIN,
];

/// Starts the helper, and gives up all else that this process may do but what the daemon needs. To be
/// called before there is a second thread: capabilities are a thread's own.
///
/// `config` is the file that the helper reads for us.
///
/// # Errors
/// The helper cannot be started, or the kernel refuses to take capabilities away.
pub fn separate(config: Option<&Path>) -> anyhow::Result<Aide> {
    // What follows is ours and our children's for good.
    set_no_new_privs().context("giving up new privileges")?;
    let held = caps::read(None, CapSet::Permitted).context("reading capabilities")?;
    let mut daemon = CapsHashSet::from(DAEMON);
    // One who was given CAP_SYS_ADMIN in the place of the two needs it.
    let instead = match held.contains(&Capability::CAP_BPF) && held.contains(&LOADER) {
        true => None,
        false => Some(Capability::CAP_SYS_ADMIN),
    };
    daemon.extend(instead);
    let helper = CapsHashSet::from(HELPER);
    let mut all: CapsHashSet = daemon.union(&helper).copied().collect();
    all.insert(LOADER);
    // The helper's bounds are ours as they are when it starts.
    bound(&all)?;
    let aide = Aide::start(config)?;
    bound(&daemon)?;
    daemon.insert(LOADER);
    keep(&daemon)?;
    Ok(aide)
}

/// Gives up what only loading programs takes.
///
/// # Errors
/// The kernel refuses.
pub fn loaded() -> anyhow::Result<()> {
    give_up(CapSet::Effective, LOADER)?;
    give_up(CapSet::Permitted, LOADER)
}

fn give_up(set: CapSet, capability: Capability) -> anyhow::Result<()> {
    caps::drop(None, set, capability).context("giving up capabilities")
}

/// Has no program that is started from here on get more than these.
fn bound(to: &CapsHashSet) -> anyhow::Result<()> {
    let narrow = || {
        // Who may not do this gets no more by a program either: there are no new privileges.
        if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
            return Ok(());
        }
        for capability in caps::read(None, CapSet::Bounding)?.difference(to) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
        Ok::<_, CapsError>(())
    };
    narrow().context("narrowing the bounding set of capabilities")
}

/// Gives up all capabilities but these.
fn keep(only: &CapsHashSet) -> anyhow::Result<()> {
    let narrow = || {
        let held = caps::read(None, CapSet::Permitted)?;
        let kept = held.intersection(only).copied().collect();
        caps::clear(None, CapSet::Ambient)?;
        caps::clear(None, CapSet::Inheritable)?;
        caps::set(None, CapSet::Effective, &kept)?;
        caps::set(None, CapSet::Permitted, &kept)
    };
    narrow().context("giving up capabilities")
}
