//! The Debian package.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{Dist, stage};
use crate::{cargo, exec};

/// Maintainer scripts, which dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "postrm", "prerm"];

/// Packs what lies under `root`.
pub(super) fn build(dist: &Dist, root: &Path) -> Result<PathBuf> {
    let debian = cargo::root().join("packaging/debian");
    let read = |name: &str| {
        let path = debian.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let put = |place: &str, text: &str, mode| stage::put(root, place, text.as_bytes(), mode);

    let changelog = read("changelog")?;
    ensure!(
        changelog.starts_with(&format!("portnat ({}) ", dist.version)),
        "packaging/debian/changelog does not begin with version {}",
        dist.version
    );
    let changelog = put("usr/share/doc/portnat/changelog", &changelog, 0o644)?;
    stage::compress(&changelog)?;
    let license = fs::read_to_string(cargo::root().join("LICENSE-MIT"))?;
    let copyright = read("copyright")?.replace("@MIT@", &as_field(&license));
    put("usr/share/doc/portnat/copyright", &copyright, 0o644)?;
    let overrides = read("lintian-overrides")?;
    put("usr/share/lintian/overrides/portnat", &overrides, 0o644)?;

    let mut files = Vec::new();
    gather(root, &mut files)?;
    files.sort();
    let bytes: u64 = files
        .iter()
        .map(|file| fs::metadata(file).map(|data| data.len()))
        .sum::<Result<_, _>>()?;
    let sums = exec::output(
        Command::new("md5sum")
            .args(
                files
                    .iter()
                    .filter_map(|file| file.strip_prefix(root).ok())
                    .filter(|file| !file.starts_with("etc")),
            )
            .current_dir(root),
    )?;
    let architecture = architecture(&dist.processor);
    let control = read("control")?
        .replace("@VERSION@", &dist.version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@KILOBYTES@", &bytes.div_ceil(1024).to_string());
    put("DEBIAN/control", &control, 0o644)?;
    put("DEBIAN/conffiles", &read("conffiles")?, 0o644)?;
    put("DEBIAN/md5sums", &sums, 0o644)?;
    for script in SCRIPTS {
        put(&format!("DEBIAN/{script}"), &read(script)?, 0o755)?;
    }
    set_modes(root)?;
    let package = dist
        .folder
        .join(format!("portnat_{}_{architecture}.deb", dist.version));
    exec::output(
        Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(root)
            .arg(&package),
    )?;
    Ok(package)
}

/// What Debian calls a processor.
fn architecture(processor: &str) -> &str {
    match processor {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A text as a field's continuation (deb822(5)): no line begins at the margin, and none is empty.
fn as_field(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| match line.trim_end() {
        "" => " .".to_owned(),
        line => format!(" {line}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Lists all files below a folder.
fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => gather(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// Lets everybody enter the folders, whatever the umask is here.
fn set_modes(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            set_modes(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_license_is_a_field() {
        assert_eq!(as_field("A b\n\nc\n"), " A b\n .\n c");
    }

    #[test]
    fn debian_has_its_own_names_for_processors() {
        assert_eq!(architecture("x86_64"), "amd64");
        assert_eq!(architecture("aarch64"), "arm64");
        assert_eq!(architecture("riscv64"), "riscv64");
    }
}
