//! A compiler for eBPF: one that is there, or one that can be had.

use std::{env, process::Command};

use anyhow::{Result, bail};

use crate::{
    apt::Apt,
    exec::{self, say},
    probe,
    toolchain::{self, Candidate, DEBIAN_PACKAGES, PINNED_NIGHTLY, Toolchain},
};

/// Names the one rustup toolchain to use.
const OVERRIDE: &str = "PORTNAT_BPF_TOOLCHAIN";

/// The compiler for eBPF.
///
/// Debian's packages come before a nightly, because they are there for as long as that Debian is,
/// and because a nightly's source often cannot be had where apt can.
pub(crate) fn toolchain() -> Result<Toolchain> {
    if let Ok(name) = env::var(OVERRIDE) {
        return toolchain::choose(vec![probe::rustup(&name)]).or_else(|lack| {
            bail!(
                "{lack} ({OVERRIDE} names it): run `rustup {}`, or unset {OVERRIDE}",
                nightly(&name).join(" ")
            )
        });
    }
    let lacks = match toolchain::choose(candidates()) {
        Ok(toolchain) => return Ok(toolchain),
        Err(lacks) => lacks,
    };
    say(&format!("no compiler for eBPF yet: {lacks}"));
    if let Some(apt) = Apt::here() {
        if let Err(error) = apt.install(&DEBIAN_PACKAGES) {
            say(&format!("going on without Debian's packages: {error:#}"));
        }
        if let Ok(toolchain) = toolchain::choose(candidates()) {
            return Ok(toolchain);
        }
    }
    if exec::find("rustup").is_some() {
        say(&format!(
            "installing {PINNED_NIGHTLY} and its rust-src with rustup (about a minute)"
        ));
        if let Err(error) = exec::output(Command::new("rustup").args(nightly(PINNED_NIGHTLY))) {
            say(&format!("going on without {PINNED_NIGHTLY}: {error:#}"));
        }
    }
    toolchain::choose(candidates()).or_else(|lacks| {
        bail!(
            "no compiler for eBPF ({lacks}): run `rustup {}`, or on Debian 12 \
             `apt-get install --no-install-recommends {}`",
            nightly(PINNED_NIGHTLY).join(" "),
            DEBIAN_PACKAGES.join(" "),
        )
    })
}

/// All that could build the eBPF crate, the best first.
fn candidates() -> Vec<Candidate> {
    let mut candidates = Vec::new();
    if exec::find("rustup").is_some() {
        candidates.extend([PINNED_NIGHTLY, "nightly"].map(probe::rustup));
    }
    candidates.push(probe::debian());
    candidates
}

/// What rustup is told, to install a nightly that builds core.
fn nightly(name: &str) -> [&str; 7] {
    [
        "toolchain",
        "install",
        name,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]
}
