//! The package is installed, removed and purged, in a folder that stands for a host.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::{
    cargo,
    exec::{self, say},
    privilege::Root,
};

/// A host without anything, of which dpkg thinks that it has what the package depends on.
struct Host(PathBuf);

/// The files that have to be there, some of all kinds.
const FILES: [&str; 7] = [
    "usr/bin/portnat",
    "lib/systemd/system/portnat.service",
    "etc/portnat/portnat.toml",
    "usr/share/man/man1/portnat-run.1.gz",
    "usr/share/bash-completion/completions/portnat",
    "usr/share/zsh/vendor-completions/_portnat",
    "usr/share/fish/vendor_completions.d/portnat.fish",
];

/// Where the unit is when it is enabled.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/portnat.service";

/// The configuration.
const CONFIG: &str = "etc/portnat/portnat.toml";

/// Tries a package.
pub(super) fn run(package: &Path) -> Result<()> {
    say("installing, removing and purging the package in a folder");
    let host = Host::new()?;
    let before = host.files()?;

    host.dpkg(&["--install"], package)?;
    for file in FILES {
        ensure!(host.has(file), "{file} is not installed");
    }
    ensure!(host.has(ENABLED), "the unit is not enabled");
    let version = exec::output(Command::new(host.0.join(FILES[0])).arg("--version"))?;
    ensure!(
        version.trim() == concat!("portnat ", env!("CARGO_PKG_VERSION")),
        "the binary is another one: {version}"
    );

    // What the administrator has written is his own.
    host.write(CONFIG, "publish = []\n")?;
    host.dpkg(&["--install"], package)?;
    host.dpkg(&["--remove"], Path::new("portnat"))?;
    ensure!(!host.has(FILES[0]), "the binary is still there");
    let config = fs::read_to_string(host.0.join(CONFIG))?;
    ensure!(config == "publish = []\n", "the config file was changed");

    host.write("var/lib/portnat/ports.json", "{}")?;
    host.dpkg(&["--purge"], Path::new("portnat"))?;
    let after = host.files()?;
    ensure!(
        before == after,
        "the package leaves {:?}",
        after.difference(&before).collect::<Vec<_>>()
    );
    host.remove()
}

impl Host {
    fn new() -> Result<Self> {
        let host = Self(cargo::target().join("dist/host"));
        host.remove()?;
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
            fs::create_dir_all(host.0.join(folder))?;
        }
        host.write("var/lib/dpkg/available", "")?;
        host.write(
            "var/lib/dpkg/status",
            "Package: init-system-helpers\nStatus: install ok installed\nVersion: 1.65\n\
             Architecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: is there\n\n",
        )?;
        Ok(host)
    }

    /// Runs dpkg. Its scripts are the machine's shell's, and told by DPKG_ROOT to keep to the folder.
    fn dpkg(&self, arguments: &[&str], what: &Path) -> Result<()> {
        let mut dpkg = match Root::required("the package's trial")? {
            Root::Already => Command::new("dpkg"),
            Root::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.arg("dpkg");
                sudo
            }
        };
        dpkg.arg("--root")
            .arg(&self.0)
            .args(["--force-script-chrootless", "--log=/dev/null"])
            .args(arguments)
            .arg(what);
        exec::output(&mut dpkg).map(drop)
    }

    fn has(&self, file: &str) -> bool {
        self.0.join(file).symlink_metadata().is_ok()
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.0.join(file);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        Ok(fs::write(path, text)?)
    }

    /// All files but dpkg's own.
    fn files(&self) -> Result<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = entry.path();
                match entry.file_type()?.is_dir() {
                    true if path.ends_with("var/lib/dpkg") => {}
                    true => folders.push(path),
                    false => {
                        files.insert(path);
                    }
                }
            }
        }
        Ok(files)
    }

    fn remove(&self) -> Result<()> {
        match self.0.exists() {
            true => Ok(fs::remove_dir_all(&self.0)?),
            false => Ok(()),
        }
    }
}
