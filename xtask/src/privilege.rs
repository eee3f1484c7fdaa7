//! Root: being it, or having sudo.

use std::{fs, process::Command};

use anyhow::{Result, bail};

use crate::exec;

/// How something is done as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// This process is root.
    Already,
    /// With `sudo`, which may ask for a password.
    Sudo,
}

impl Root {
    /// For what the user asked for and that only root may do; `what` ends up in the remedy.
    pub(crate) fn required(what: &str) -> Result<Self> {
        if is_root() {
            Ok(Self::Already)
        } else if exec::find("sudo").is_some() {
            Ok(Self::Sudo)
        } else {
            bail!("no root for {what}: run `cargo xtask` as root, or install sudo");
        }
    }

    /// For what the user did not ask for by name: never a password prompt.
    pub(crate) fn unasked() -> Option<Self> {
        if is_root() {
            Some(Self::Already)
        } else if exec::succeeds(Command::new("sudo").args(["-n", "true"])) {
            Some(Self::Sudo)
        } else {
            None
        }
    }
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| effective_uid(&status) == Some(0))
}

/// The second number of `Uid:` in /proc/PID/status: real, *effective*, saved, filesystem.
fn effective_uid(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_uid_counts() {
        let status = "Name:\tx\nUid:\t1000\t0\t1000\t1000\nGid:\t5\t6\t7\t8\n";
        assert_eq!(effective_uid(status), Some(0));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }
}
