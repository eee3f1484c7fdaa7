//! The files as they are to lie on a host.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::Dist;
use crate::{cargo, exec};

/// Where shells look for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/portnat"),
    ("zsh", "usr/share/zsh/vendor-completions/_portnat"),
    ("fish", "usr/share/fish/vendor_completions.d/portnat.fish"),
];

/// Where man pages lie.
const MAN: &str = "usr/share/man/man1";

/// Puts all in its place under `root`.
pub(super) fn fill(dist: &Dist, root: &Path) -> Result<()> {
    let packaging = cargo::root().join("packaging");
    let read = |name: &str| {
        let path = packaging.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    let binary = put(root, "usr/bin/portnat", &fs::read(&dist.binary)?, 0o755)?;
    exec::output(Command::new("strip").arg(binary))?;
    for (from, to) in [
        ("portnat.service", "lib/systemd/system/portnat.service"),
        ("portnat.toml", "etc/portnat/portnat.toml"),
    ] {
        put(root, to, &read(from)?, 0o644)?;
    }
    for (shell, place) in COMPLETIONS {
        let script = exec::output(Command::new(&dist.binary).args(["completions", shell]))?;
        put(root, place, script.as_bytes(), 0o644)?;
    }
    let pages = root.join(MAN);
    fs::create_dir_all(&pages)?;
    exec::output(Command::new(&dist.binary).arg("man").arg(&pages))?;
    for page in fs::read_dir(&pages)? {
        compress(&page?.path())?;
    }
    Ok(())
}

/// Writes a file under `root`.
pub(super) fn put(root: &Path, place: &str, content: &[u8], mode: u32) -> Result<PathBuf> {
    let path = root.join(place);
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Compresses a file as Debian has documents: without a name and a time, so that the same file always
/// comes out the same.
pub(super) fn compress(file: &Path) -> Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    exec::output(Command::new("gzip").args(["-9nf"]).arg(file)).map(drop)
}

/// The same files for hosts without dpkg, with the licenses, in an archive to be unpacked at `/`.
pub(super) fn archive(dist: &Dist, root: &Path) -> Result<PathBuf> {
    let documents = "usr/share/doc/portnat";
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let text = fs::read(cargo::root().join(name))?;
        put(root, &format!("{documents}/{name}"), &text, 0o644)?;
    }
    let Dist {
        version, processor, ..
    } = dist;
    let archive = dist
        .folder
        .join(format!("portnat-{version}-linux-{processor}.tar.gz"));
    exec::output(
        Command::new("tar")
            .args([
                "--create",
                "--gzip",
                "--sort=name",
                "--owner=0",
                "--group=0",
            ])
            .args(["--numeric-owner", "--mtime=@0", "--mode=go-w"])
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(root)
            .args(["etc", "lib", "usr"]),
    )?;
    // Debian has these texts itself.
    fs::remove_dir_all(root.join(documents))?;
    Ok(archive)
}
