//! The QEMU that runs guests: this machine's own, or else one that is unpacked from Debian's packages and not
//! installed, as it may not go together with other packages of QEMU's that are there.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Apt},
    cargo,
    exec::{self, say},
};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// The first QEMU that keeps others from writing what it translates (commit deba78709ae8). In earlier ones
/// a processor can go on with what another has overwritten, as a kernel does to its own code: 6.18 panics
/// now and then at a breakpoint that is there no more.
const LOCKS_CODE: (u32, u32) = (8, 1);

/// A QEMU that can be started.
pub(super) struct Qemu {
    program: PathBuf,
    /// Where its libraries are, if it brings them along.
    libraries: Option<OsString>,
    /// The first line of what it says of its version.
    version: String,
}

impl Qemu {
    /// The machine's own, or one that is unpacked.
    pub(super) fn provide() -> Result<Self> {
        if let Some(program) = exec::find(PROGRAM) {
            return Self::of(program, None);
        }
        let folder = cargo::target().join("tools/qemu");
        let program = folder.join("usr/bin").join(PROGRAM);
        if !program.is_file() {
            unpack(&folder).with_context(|| {
                format!("`{PROGRAM}` is missing: install it (Debian: `apt-get install {PACKAGE}`)")
            })?;
        }
        Self::of(program, Some(libraries(&folder)?))
    }

    fn of(program: PathBuf, libraries: Option<OsString>) -> Result<Self> {
        let mut qemu = Qemu {
            program,
            libraries,
            version: String::new(),
        };
        let said = exec::output(qemu.command().arg("--version"))?;
        said.lines()
            .next()
            .unwrap_or_default()
            .clone_into(&mut qemu.version);
        Ok(qemu)
    }

    /// What it says of its version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// It, with nothing said to it yet. It finds its own files beside itself.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// How it computes: a thread for each processor, or both in turn.
    pub(super) fn accelerator(&self) -> &'static str {
        accelerator(&self.version)
    }
}

fn unpack(folder: &Path) -> Result<()> {
    say("unpacking QEMU from this Debian's packages");
    if let Some(apt) = Apt::here() {
        apt.update();
    }
    let packages = apt::missing(PACKAGE)?;
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    // Who is interrupted begins anew: what has its name is whole.
    let new = folder.with_extension("new");
    for stale in [new.as_path(), folder] {
        if stale.exists() {
            fs::remove_dir_all(stale)?;
        }
    }
    apt::unpack(Command::new("apt-get"), &packages, &new)?;
    fs::rename(new, folder)?;
    Ok(())
}

/// The folders of shared libraries, as the linker wants them.
fn libraries(folder: &Path) -> Result<OsString> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"] {
        let Ok(entries) = fs::read_dir(folder.join(parent)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-linux-gnu") {
                folders.push(path);
            }
        }
    }
    Ok(env::join_paths(folders)?)
}

/// How a QEMU of this version (its first line) computes: a thread for each processor, or both in turn.
fn accelerator(version: &str) -> &'static str {
    let numbers = version.split_once("version ").map(|(_, rest)| {
        let mut numbers = rest.split('.').map_while(|number| number.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    });
    match numbers >= Some(LOCKS_CODE) {
        true => "tcg,thread=multi",
        false => "tcg,thread=single",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_qemus_compute_for_one_processor_at_a_time() {
        let of = |version: &str| accelerator(&format!("QEMU emulator version {version}"));
        assert_eq!(
            of("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"),
            "tcg,thread=single"
        );
        assert_eq!(of("8.0.4"), "tcg,thread=single");
        assert_eq!(of("8.1.0-rc4"), "tcg,thread=multi");
        assert_eq!(of("10.0.2"), "tcg,thread=multi");
        assert_eq!(accelerator("something else"), "tcg,thread=single");
    }
}
