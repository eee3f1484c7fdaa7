//! Whether we may do what we are about to do: one clear line instead of the kernel's EPERM.

use std::fs;

use anyhow::{bail, ensure};
use nix::sys::utsname::uname;

/// The oldest kernel whose verifier and helpers the programs fit.
pub(crate) const OLDEST: (u32, u32) = (5, 10);

/// CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF as numbers of capabilities(7).
pub(crate) const NET_ADMIN: u32 = 12;
pub(crate) const SYS_ADMIN: u32 = 21;
pub(crate) const PERFMON: u32 = 38;
pub(crate) const BPF: u32 = 39;

/// Checks privileges and kernel.
///
/// # Errors
/// Says what is missing and how to get it.
pub(super) fn check() -> anyhow::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let has = |capability: u32| mask(&status, "CapEff:") & (1 << capability) != 0;
    ensure!(
        has(NET_ADMIN) && ((has(BPF) && has(PERFMON)) || has(SYS_ADMIN)),
        "this needs root (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN): run it with sudo"
    );
    let release = uname()?.release().to_string_lossy().into_owned();
    let Some(version) = version(&release) else {
        bail!("the kernel calls itself {release}, from which no version can be read");
    };
    ensure!(
        version >= OLDEST,
        "this kernel is {release}, and portnat needs {}.{} or later: boot a newer one",
        OLDEST.0,
        OLDEST.1
    );
    Ok(())
}

/// The mask of that name in a `/proc/PID/status`.
pub(crate) fn mask(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// Major and minor version in a kernel's release.
pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("5.10.0-30-cloud-amd64"), Some((5, 10)));
        assert!(version("5.4.0") < Some(OLDEST));
        assert_eq!(version("mainline"), None);
    }

    #[test]
    fn capabilities_are_hexadecimal() {
        assert_eq!(
            mask("Name:\tx\nCapEff:\t0000008000001000\n", "CapEff:"),
            1 << 39 | 1 << 12
        );
        assert_eq!(mask("", "CapEff:"), 0);
    }
}
