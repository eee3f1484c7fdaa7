//! What one types after `cargo xtask`.

pub(crate) mod bench;
pub(crate) mod dist;
pub(crate) mod fuzz;
pub(crate) mod lint;
pub(crate) mod miri;
pub(crate) mod test;
pub(crate) mod vm;

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    cargo, ebpf,
    exec::{self, say},
    privilege::Root,
    probe,
    toolchain::Version,
};

/// The eBPF object, then portnat with the object inside.
pub(crate) fn build(release: bool) -> Result<()> {
    ebpf::build()?;
    say("building portnat");
    let mut cargo = cargo::command();
    exec::run(
        cargo
            .args(["build", "--package", "portnat"])
            .args(profile(release)),
    )
}

/// Builds portnat, and becomes it.
pub(crate) fn run(release: bool, arguments: &[String]) -> Result<()> {
    build(release)?;
    let mut cargo = cargo::command();
    // By way of cargo, which knows where it has put the program; then only portnat is left, and its
    // exit code and the signals it gets are its own.
    cargo
        .args(["run", "--quiet", "--package", "portnat"])
        .args(profile(release))
        .arg("--")
        .args(arguments);
    as_root(&mut cargo, "portnat")?;
    say(&format!("running portnat {}", arguments.join(" ")));
    Err(cargo.exec()).context("cannot start cargo")
}

/// The man pages, as portnat itself writes them.
pub(crate) fn man() -> Result<()> {
    const DIRECTORY: &str = "target/man";
    build(false)?;
    say(&format!("writing man pages to {DIRECTORY}"));
    let mut cargo = cargo::command();
    exec::run(cargo.args([
        "run",
        "--quiet",
        "--package",
        "portnat",
        "--",
        "man",
        DIRECTORY,
    ]))
}

fn profile(release: bool) -> Option<&'static str> {
    release.then_some("--release")
}

/// Has cargo start the programs that it built as root. It itself builds as the user: files of root's
/// in target/ would be in the way of the next build.
pub(crate) fn as_root(cargo: &mut Command, what: &str) -> Result<()> {
    if Root::required(what)? == Root::Sudo {
        let rustc = exec::output(probe::host_rustc().arg("-vV"))?;
        let host = Version::parse(&rustc)
            .context("`rustc -vV` does not say which host it is for")?
            .host;
        cargo.env(runner_variable(&host), "sudo -E");
    }
    Ok(())
}

/// The variable by which cargo learns what is to start the programs of a target.
fn runner_variable(target: &str) -> String {
    let target = target.to_uppercase().replace(['-', '.'], "_");
    format!("CARGO_TARGET_{target}_RUNNER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_is_that_of_the_host() {
        assert_eq!(
            runner_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
        );
    }
}
