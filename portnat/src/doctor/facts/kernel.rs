//! The kernel, and what we may do there.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::utsname::uname;

use crate::cli::privileges::{BPF, NET_ADMIN, PERFMON, SYS_ADMIN, mask, version};

/// What `portnat run` needs, as numbers of capabilities(7), with their names.
pub(in crate::doctor) const RUN: [(u32, &str); 3] = [
    (BPF, "CAP_BPF"),
    (PERFMON, "CAP_PERFMON"),
    (NET_ADMIN, "CAP_NET_ADMIN"),
];

/// The kernel, and what we may do there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::doctor) struct Kernel {
    /// What it calls itself.
    pub(in crate::doctor) release: String,
    /// Major and minor, as far as that can be told.
    pub(in crate::doctor) version: Option<(u32, u32)>,
    /// Whether it describes its own types.
    pub(in crate::doctor) btf: bool,
    /// Whether a BPF file system is where one is expected.
    pub(in crate::doctor) bpf_fs: bool,
    /// Our effective capabilities, a bit each.
    pub(in crate::doctor) capabilities: u64,
}

impl Kernel {
    /// Whether we have a capability, or the one that was all of them before Linux 5.8.
    pub(in crate::doctor) fn may(&self, capability: u32) -> bool {
        let has = |number: u32| self.capabilities & 1 << number != 0;
        has(capability) || (capability != NET_ADMIN && has(SYS_ADMIN))
    }

    /// Whether we may look at everything: other processes' files, and programs by their numbers.
    pub(in crate::doctor) fn sees_all(&self) -> bool {
        self.may(SYS_ADMIN) && self.may(NET_ADMIN)
    }
}

pub(super) fn gather() -> Kernel {
    let release = uname().map(|names| names.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kind = statfs("/sys/fs/bpf").map(|found| found.filesystem_type());
    Kernel {
        version: version(&release),
        release,
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        bpf_fs: kind == Ok(BPF_FS_MAGIC),
        capabilities: mask(&status, "CapEff:"),
    }
}
