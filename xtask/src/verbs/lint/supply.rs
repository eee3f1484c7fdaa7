//! What comes from others: licences, sources, duplicates, known faults, and whether it is used at all.

use anyhow::{Context as _, Result};

use super::tools::Tool;
use crate::exec::{self, say};

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    first: &["--all-features"],
};

const MACHETE: Tool = Tool {
    name: "cargo-machete",
    version: "0.9.2",
    first: &[],
};

/// The rules are in `deny.toml`.
pub(super) fn check() -> Result<()> {
    say("asking cargo-deny about licences, duplicates and sources");
    exec::run(
        DENY.command()?
            .args(["check", "--hide-inclusion-graph"])
            .args(["bans", "licenses", "sources"]),
    )?;
    // It is a repository somewhere else than the crates, so it may be out of reach where they are not.
    match exec::output(DENY.command()?.args(["fetch", "db"])) {
        Ok(_) => exec::run(
            DENY.command()?
                .args(["check", "--disable-fetch", "advisories"]),
        )?,
        Err(error) => say(&format!(
            "SKIPPING THE CHECK FOR KNOWN VULNERABILITIES: the advisory database cannot be had: {error:#}"
        )),
    }
    say("asking cargo-machete about dependencies that nobody uses");
    exec::run(&mut MACHETE.command()?)
        .context("take it out of the manifest, and of docs/dependencies.md")
}
