//! The eBPF crate: built, and linted, as bpfel code.

use std::{env, path::Path, process::Command};

use anyhow::Result;

use crate::{
    apt, cargo,
    exec::{self, say},
    linker, probe, provide,
    toolchain::{DEBIAN_RUSTC, Toolchain, Way},
};

/// Debian's clippy, of the same build as its rustc; rustup's reads no other compiler's core.
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// Leaves the object where .cargo/config.toml says that portnat's build script finds it.
pub(crate) fn build() -> Result<()> {
    let toolchain = provide::toolchain()?;
    let linker = linker::for_toolchain(&toolchain)?;
    say(&format!("building the eBPF object with {toolchain}"));
    exec::run(&mut cargo(&toolchain, &linker, "build"))
}

/// Clippy, with warnings as errors.
pub(crate) fn lint() -> Result<()> {
    let toolchain = provide::toolchain()?;
    match &toolchain.way {
        Way::BuildStd(name) => require_clippy(name)?,
        Way::Prebuilt => apt::require(DEBIAN_CLIPPY, "rust-web-clippy")?,
    }
    // It links nothing, but with another linker's name cargo would take the build's core for stale,
    // and the build the one of clippy.
    let linker = linker::for_toolchain(&toolchain)?;
    say(&format!("clippy on the eBPF crate with {toolchain}"));
    let mut clippy = cargo(&toolchain, &linker, "clippy");
    exec::run(clippy.args(["--", "-D", "warnings"]))
}

/// A cargo command on the eBPF crate, as bpfel code.
fn cargo(toolchain: &Toolchain, linker: &Path, verb: &str) -> Command {
    let mut command = match &toolchain.way {
        Way::BuildStd(name) => probe::rustup_run(name, "cargo"),
        // It goes on to the cargo that this program was started by.
        Way::Prebuilt if verb == "clippy" => Command::new(DEBIAN_CLIPPY),
        Way::Prebuilt => cargo::command(),
    };
    cargo::forget_this_package(&mut command);
    probe::forget_host_compiler(&mut command);
    command
        .current_dir(cargo::root())
        .args([verb, "--release", "--package", "portnat-ebpf"])
        .args([
            "--target",
            "bpfel-unknown-none",
            "--target-dir",
            "target/ebpf",
        ])
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        // This variable, because it is the one that no configuration of the user's adds to.
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(env::consts::ARCH));
    match toolchain.way {
        Way::BuildStd(_) => command.args(["-Z", "build-std=core"]),
        Way::Prebuilt => command
            .env("RUSTC", DEBIAN_RUSTC)
            .env("RUSTC_BOOTSTRAP", "1"),
    };
    command
}

/// As aya-build has them: what BTF is made from, BTF itself, and which registers a kprobe would see.
fn rustflags(architecture: &str) -> String {
    [
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        &format!("--cfg=bpf_target_arch=\"{architecture}\""),
    ]
    .join("\x1f")
}

/// A minimal nightly has no clippy.
fn require_clippy(toolchain: &str) -> Result<()> {
    if exec::succeeds(probe::rustup_run(toolchain, "cargo").args(["clippy", "--version"])) {
        return Ok(());
    }
    say(&format!("installing clippy for {toolchain} with rustup"));
    let add = ["component", "add", "clippy", "--toolchain", toolchain];
    exec::output(Command::new("rustup").args(add))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_apart_as_cargo_wants_them() {
        assert_eq!(
            rustflags("x86_64").split('\x1f').collect::<Vec<_>>(),
            [
                "-Cdebuginfo=2",
                "-Clink-arg=--btf",
                "--cfg=bpf_target_arch=\"x86_64\""
            ]
        );
    }
}
