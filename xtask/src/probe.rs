//! What compilers there are on this machine.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    exec,
    toolchain::{Candidate, Compiler, DEBIAN_RUSTC, Version, Way},
};

/// What the environment says about the compiler for the host, which is not the one for eBPF.
const HOST_COMPILER: [&str; 13] = [
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "SYSROOT",
];

/// Clears what would make a command use the host's compiler, or its libraries.
pub(crate) fn forget_host_compiler(command: &mut Command) {
    for name in HOST_COMPILER {
        command.env_remove(name);
    }
}

/// A program of a rustup toolchain; fails, rather than to install it, where it is missing.
pub(crate) fn rustup_run(toolchain: &str, program: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", toolchain, program])
        .env("RUSTUP_AUTO_INSTALL", "0")
        // rustup's own, of the cargo that started this program.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    forget_host_compiler(&mut command);
    command
}

/// The compiler that cargo uses for the host.
pub(crate) fn host_rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")))
}

/// A nightly, and its `rust-src`.
pub(crate) fn rustup(toolchain: &str) -> Candidate {
    let compiler = compiler(
        || rustup_run(toolchain, "rustc"),
        |sysroot| sysroot.join("lib/rustlib/src/rust/library/core").is_dir(),
    );
    Candidate {
        way: Way::BuildStd(toolchain.to_owned()),
        compiler,
    }
}

/// Debian's rustc, and its core for bpfel.
pub(crate) fn debian() -> Candidate {
    let rustc = || {
        let mut command = Command::new(DEBIAN_RUSTC);
        forget_host_compiler(&mut command);
        command
    };
    Candidate {
        way: Way::Prebuilt,
        compiler: compiler(rustc, |sysroot| {
            has_libcore(&sysroot.join("lib/rustlib/bpfel-unknown-none/lib"))
        }),
    }
}

fn compiler(rustc: impl Fn() -> Command, has_core: impl Fn(&Path) -> bool) -> Option<Compiler> {
    let version = exec::output(rustc().arg("-vV")).ok()?;
    let sysroot = exec::output(rustc().args(["--print", "sysroot"])).ok()?;
    let sysroot = PathBuf::from(sysroot.trim_end());
    Some(Compiler {
        version: Version::parse(&version)?,
        has_core: has_core(&sysroot),
        sysroot,
    })
}

fn has_libcore(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(is_libcore))
    })
}

fn is_libcore(name: &str) -> bool {
    name.starts_with("libcore-") && name.ends_with(".rlib")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_is_a_library_with_code() {
        assert!(is_libcore("libcore-8056e5e5b270ef4d.rlib"));
        assert!(!is_libcore("libcore-8056e5e5b270ef4d.rmeta"));
        assert!(!is_libcore("libcompiler_builtins-be37794067eb9afa.rlib"));
    }
}
