//! Judges of dependencies, from crates.io in versions that are known to work.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    cargo,
    exec::{self, say},
};

/// A program that cargo installs.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// What it is told before anything else.
    pub(super) first: &'static [&'static str],
}

impl Tool {
    /// The program, installed if it is not there yet.
    ///
    /// Built without optimizations and debug information: it runs for a second, and building it as it is
    /// released takes minutes.
    pub(super) fn command(&self) -> Result<Command> {
        let Tool { name, version, .. } = self;
        let home = cargo::target().join(format!("tools/{name}-{version}"));
        let program = home.join("bin").join(name);
        if !program.is_file() {
            say(&format!("installing {name} {version} (about a minute)"));
            let mut install = cargo::command();
            install
                .args(["install", name, "--version", version])
                .args(["--locked", "--quiet", "--debug", "--root"])
                .arg(&home)
                .env("CARGO_PROFILE_DEV_DEBUG", "0");
            exec::run(&mut install).with_context(|| {
                format!("no {name}: run it again where crates.io can be reached")
            })?;
        }
        let mut command = Command::new(program);
        command.current_dir(cargo::root()).args(self.first);
        cargo::forget_this_package(&mut command);
        // Or it takes itself for a verb of cargo's.
        command.env_remove("CARGO");
        Ok(command)
    }
}
