//! `bpf-linker`, in the version that reads the bitcode of our rustc.
//!
//! It has no LLVM of its own: it opens the first file called libLLVM… in the folders of
//! LD_LIBRARY_PATH, whichever that is, and then beside those of PATH. There may be several (rustup
//! puts its active toolchain's first, and /usr/lib has as many as Debian packages want), so it
//! gets a folder with one: that of the rustc whose bitcode it reads.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    cargo,
    exec::{self, say},
    probe,
    toolchain::Toolchain,
};

/// The last that uses rustc's LLVM; from 0.11 on it wants one of its own.
pub(crate) const VERSION: &str = "0.10.3";

/// The LLVM whose functions this version was written against.
pub(crate) const LLVM_MAJOR: u32 = 22;

/// The linker for what this toolchain compiles: a script that shows bpf-linker the right LLVM.
pub(crate) fn for_toolchain(toolchain: &Toolchain) -> Result<PathBuf> {
    let home = cargo::target().join(format!("tools/bpf-linker-{VERSION}"));
    let linker = home.join("bin/bpf-linker");
    if !linker.is_file() {
        install(&home)?;
    }
    let llvm = find_llvm(toolchain)?;
    let release = &toolchain.version.release;
    let folder = home.join(format!("llvm-of-{release}"));
    let link = folder.join("libLLVM.so");
    if fs::read_link(&link).ok().as_ref() != Some(&llvm) {
        point(&link, &llvm).with_context(|| format!("cannot make {}", link.display()))?;
    }
    let script = home.join(format!("link-for-{release}"));
    let text = script_text(&folder, &linker);
    // Left alone if it is right: cargo would link again with a newer linker.
    if fs::read_to_string(&script).ok().as_ref() != Some(&text) {
        write_script(&script, &text)
            .with_context(|| format!("cannot write {}", script.display()))?;
    }
    Ok(script)
}

fn install(home: &Path) -> Result<()> {
    say(&format!(
        "installing bpf-linker {VERSION} into {} (about a minute)",
        home.strip_prefix(cargo::root()).unwrap_or(home).display()
    ));
    let mut cargo = cargo::command();
    probe::forget_host_compiler(&mut cargo);
    cargo
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--quiet",
            "--version",
            VERSION,
        ])
        .arg("--root")
        .arg(home);
    exec::run(&mut cargo).context("no bpf-linker: run it again where crates.io can be reached")
}

/// The LLVM that a rustc itself uses.
fn find_llvm(toolchain: &Toolchain) -> Result<PathBuf> {
    let lib = toolchain.sysroot.join("lib");
    let architecture = toolchain.version.host.split('-').next().unwrap_or_default();
    let folders = [lib.join(format!("{architecture}-linux-gnu")), lib];
    folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .find(|file| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| is_llvm(name, &toolchain.version.llvm)) && is_elf(file)
        })
        .with_context(|| {
            format!(
                "{toolchain} has no libLLVM.so in {} to share with bpf-linker: \
                 take another with PORTNAT_BPF_TOOLCHAIN",
                folders
                    .map(|folder| folder.display().to_string())
                    .join(" or ")
            )
        })
}

/// Whether a library's name is that of this version of LLVM: `libLLVM.so.22.1` at Debian,
/// `libLLVM.so.22.1-rust-1.97.0-nightly` in a rustup toolchain.
fn is_llvm(name: &str, version: &str) -> bool {
    let soname = version
        .rsplit_once('.')
        .map_or(version, |(soname, _)| soname);
    name.strip_prefix("libLLVM.so.")
        .and_then(|name| name.strip_prefix(soname))
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Some libraries are text, for a linker to read; those cannot be opened as one.
fn is_elf(file: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(file)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok_and(|()| magic == *b"\x7fELF")
}

fn point(link: &Path, llvm: &Path) -> io::Result<()> {
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(llvm, link),
    }
}

/// A script and not a variable, because rustup and cargo both put their own folders first.
fn script_text(folder: &Path, linker: &Path) -> String {
    let [folder, linker] = [folder, linker].map(quoted);
    format!(
        "#!/bin/sh\n\
         # Written by `cargo xtask`: bpf-linker with the LLVM of the rustc that it links for.\n\
         LD_LIBRARY_PATH={folder} exec {linker} \"$@\"\n"
    )
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn write_script(script: &Path, text: &str) -> io::Result<()> {
    fs::write(script, text)?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_that_of_rustcs_version() {
        assert!(is_llvm("libLLVM.so.22.1", "22.1.8"));
        assert!(is_llvm("libLLVM.so.22.1-rust-1.97.0-nightly", "22.1.4"));
        assert!(!is_llvm("libLLVM.so.22.10", "22.1.8"));
        assert!(!is_llvm("libLLVM.so.21.1", "22.1.8"));
        assert!(!is_llvm("libLLVM-22.so", "22.1.8"));
    }

    #[test]
    fn a_path_is_one_word_to_the_shell() {
        let text = script_text(Path::new("/a b"), Path::new("/it's"));
        assert!(
            text.ends_with("\nLD_LIBRARY_PATH='/a b' exec '/it'\\''s' \"$@\"\n"),
            "{text}"
        );
    }
}
