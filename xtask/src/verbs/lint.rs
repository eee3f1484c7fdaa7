//! `cargo xtask lint`.

mod claims;
mod dependencies;
mod supply;
mod tools;

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    cargo, ebpf,
    exec::{self, say},
};

/// Formatting, what comes from others, then clippy on the host's crates and on the eBPF crate.
pub(crate) fn run() -> Result<()> {
    require_component("fmt", "rustfmt")?;
    require_component("clippy", "clippy")?;
    say("checking the formatting");
    exec::run(cargo::command().args(["fmt", "--all", "--check"]))
        .context("run `cargo fmt --all`")?;
    claims::check()?;
    dependencies::check()?;
    supply::check()?;
    // portnat has the object inside.
    ebpf::build()?;
    say("clippy on the crates for the host");
    exec::run(
        cargo::command()
            .args([
                "clippy",
                "--workspace",
                "--exclude",
                "portnat-ebpf",
                "--all-targets",
            ])
            .args(["--", "-D", "warnings"]),
    )?;
    ebpf::lint()
}

/// A minimal toolchain has neither rustfmt nor clippy.
fn require_component(verb: &str, component: &str) -> Result<()> {
    if exec::succeeds(cargo::command().args([verb, "--version"])) {
        return Ok(());
    }
    say(&format!("installing {component} with rustup"));
    exec::output(Command::new("rustup").args(["component", "add", component]))
        .with_context(|| format!("no {component}: run `rustup component add {component}`"))?;
    Ok(())
}
