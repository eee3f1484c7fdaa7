//! `cargo xtask miri`.

use anyhow::Result;

use crate::{
    cargo,
    exec::{self, say},
    probe,
    toolchain::{Compiler, PINNED_NIGHTLY},
};

/// Runs the unit tests of the pure crate under Miri, which interprets them and sees undefined behaviour. It
/// wants a nightly, its `rust-src` and its `miri`; where one of them is missing that is said, and no error.
pub(crate) fn run() -> Result<()> {
    let Some(toolchain) = [PINNED_NIGHTLY, "nightly"]
        .into_iter()
        .find(|name| has_miri(name))
    else {
        say(&format!(
            "SKIPPING MIRI: no nightly has rust-src and miri: run `rustup toolchain install \
             {PINNED_NIGHTLY} --component rust-src,miri` where they can be had"
        ));
        return Ok(());
    };
    say(&format!(
        "running the unit tests of portnat-common under Miri of {toolchain}"
    ));
    let mut cargo = probe::rustup_run(toolchain, "cargo");
    cargo::forget_this_package(&mut cargo);
    cargo
        .current_dir(cargo::root())
        .args(["miri", "test", "--package", "portnat-common", "--lib"])
        // Proptest looks for files of its own; and each case takes its time.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("PROPTEST_CASES", "4");
    exec::run(&mut cargo)
}

fn has_miri(toolchain: &str) -> bool {
    let has_core = probe::rustup(toolchain)
        .compiler
        .is_some_and(|Compiler { has_core, .. }| has_core);
    has_core && exec::succeeds(probe::rustup_run(toolchain, "cargo").args(["miri", "--version"]))
}
