//! Debian's packages, where there are any.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    exec::{self, say},
    privilege::Root,
};

/// An apt that may be used without asking anyone.
pub(crate) struct Apt(Root);

impl Apt {
    /// Apt, if this is a Debian or a child of it, and we are root or have sudo.
    pub(crate) fn here() -> Option<Self> {
        let os_release = fs::read_to_string("/etc/os-release").ok()?;
        if !is_debian_like(&os_release) || exec::find("apt-get").is_none() {
            return None;
        }
        Root::unasked().map(Self)
    }

    /// Installs packages, and what of them is there already in its newest version.
    ///
    /// Removes nothing for it: rustc-web conflicts with Debian's own rustc and rustup, which are
    /// not ours to take away.
    pub(crate) fn install(&self, packages: &[&str]) -> Result<()> {
        let all = packages.join(" ");
        say(&format!("installing {all} with apt-get (up to a minute)"));
        self.update();
        exec::output(
            self.get()
                .args(["install", "-y", "--no-install-recommends", "--no-remove"])
                .args(packages),
        )
        .with_context(|| format!("cannot install {all}"))?;
        Ok(())
    }

    /// Brings the package lists up to date. Without lists nothing is found, and with old ones what is
    /// found may be gone. That one source of several does not answer is no reason to stop.
    pub(crate) fn update(&self) {
        if let Err(error) = exec::output(self.get().arg("update")) {
            say(&format!(
                "going on with the package lists at hand: {error:#}"
            ));
        }
    }

    fn get(&self) -> Command {
        let mut command = match self.0 {
            Root::Already => Command::new("apt-get"),
            Root::Sudo => {
                let mut sudo = Command::new("sudo");
                // -E for the proxies' variables.
                sudo.args(["-n", "-E", "apt-get"]);
                sudo
            }
        };
        command
            .args(["-q", "-o", "DPkg::Lock::Timeout=120"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// Makes sure of a program that a Debian package has.
pub(crate) fn require(program: &str, package: &str) -> Result<()> {
    if exec::find(program).is_some() {
        return Ok(());
    }
    let remedy =
        format!("`{program}` is missing: install it (Debian: `apt-get install {package}`)");
    Apt::here()
        .context(remedy.clone())?
        .install(&[package])
        .context(remedy)
}

/// What would be installed to have this package, itself among it. Nobody need be root for that.
pub(crate) fn missing(package: &str) -> Result<Vec<String>> {
    let mut simulate = Command::new("apt-get");
    simulate.args(["-q", "-s", "install", "--no-install-recommends", package]);
    Ok(installed_by(&exec::output(&mut simulate)?))
}

/// The packages that apt-get says it would install.
fn installed_by(simulation: &str) -> Vec<String> {
    let lines = simulation
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Downloads packages by this apt-get, which checks them, and unpacks them into a folder. Nothing is installed.
pub(crate) fn unpack(mut apt_get: Command, packages: &[&str], folder: &Path) -> Result<()> {
    let packed = folder.join("packages");
    fs::create_dir_all(&packed)?;
    let download = apt_get.args(["-q", "download"]).args(packages);
    exec::output(download.current_dir(&packed))?;
    for entry in fs::read_dir(&packed)? {
        let package = entry?.path();
        exec::output(Command::new("dpkg").arg("-x").arg(package).arg(folder))?;
    }
    fs::remove_dir_all(packed)?;
    Ok(())
}

/// Whether an os-release file says Debian, or something that derives from it.
fn is_debian_like(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
        .any(|id| id == "debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_would_be_installed() {
        let simulation = "Remv qemu-utils [1:10.0]\nInst libfdt1 (1.6.1-4+b1 Debian:12 [amd64])\n\
                          Inst qemu-system-x86 [1:7.1] (1:7.2 Debian:12 [amd64])\nConf libfdt1 (1.6.1)\n";
        assert_eq!(installed_by(simulation), ["libfdt1", "qemu-system-x86"]);
    }

    #[test]
    fn debian_and_its_children_have_its_packages() {
        assert!(is_debian_like("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian_like("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(is_debian_like("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian_like(
            "ID=fedora\nHOME_URL=\"https://x/debian\"\n"
        ));
        assert!(!is_debian_like("VARIANT_ID=debian\nID=debianish\n"));
    }
}
