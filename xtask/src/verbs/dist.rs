//! `cargo xtask dist`: a static binary, a Debian package and an archive.

mod deb;
mod stage;
mod trial;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    apt, cargo, ebpf,
    exec::{self, say},
    probe,
    toolchain::Version,
    verbs::runner_variable,
};

/// What is being packed.
struct Dist {
    version: String,
    /// The processor, as Rust and the kernel call it.
    processor: String,
    /// The static binary.
    binary: PathBuf,
    /// Where all of it goes.
    folder: PathBuf,
}

/// Builds, packs, and tries what was packed; the results are in target/dist.
pub(crate) fn run() -> Result<()> {
    ebpf::build()?;
    let rustc = exec::output(probe::host_rustc().arg("-vV"))?;
    let host = Version::parse(&rustc)
        .context("`rustc -vV` does not say which host it is for")?
        .host;
    let binary = build(&host)?;
    require_static(&binary)?;
    let folder = cargo::target().join("dist");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let dist = Dist {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        processor: host.split('-').next().unwrap_or_default().to_owned(),
        binary,
        folder,
    };
    let root = dist.folder.join("root");
    stage::fill(&dist, &root)?;
    tell(&stage::archive(&dist, &root)?)?;
    if exec::find("dpkg-deb").is_none() {
        say("no dpkg-deb: no Debian package");
        return Ok(());
    }
    let package = deb::build(&dist, &root)?;
    tell(&package)?;
    trial::run(&package)?;
    lint(&package)
}

/// The binary with all that it needs inside: by musl where the toolchain has it, else by the host's own
/// library, which is as good for a program that looks up no names.
fn build(host: &str) -> Result<PathBuf> {
    let musl = host.replace("-gnu", "-musl");
    let libraries =
        exec::output(probe::host_rustc().args(["--print", "target-libdir", "--target", &musl]))?;
    let has_musl = Path::new(libraries.trim()).is_dir();
    let target = if has_musl { &musl } else { host };
    say(&format!(
        "building portnat for {target}, as it is released (minutes)"
    ));
    let mut cargo = cargo::command();
    cargo.args(["build", "--release", "--package", "portnat"]);
    cargo.args(["--target", target]);
    if !has_musl {
        let flags = runner_variable(target).replace("_RUNNER", "_RUSTFLAGS");
        cargo.env(flags, "-C target-feature=+crt-static");
    }
    exec::run(&mut cargo)?;
    Ok(cargo::target().join(target).join("release/portnat"))
}

/// Refuses a binary that asks for an interpreter, as one does that is linked when it is started.
fn require_static(binary: &Path) -> Result<()> {
    let headers = exec::output(Command::new("readelf").arg("-lW").arg(binary))?;
    ensure!(
        !headers.contains("INTERP"),
        "{} is not static",
        binary.display()
    );
    Ok(())
}

/// What Debian's own judge says; what it must not say of us is argued in the overrides.
fn lint(package: &Path) -> Result<()> {
    if let Err(error) = apt::require("lintian", "lintian") {
        say(&format!("going on without lintian: {error:#}"));
        return Ok(());
    }
    say("asking lintian");
    exec::run(
        Command::new("lintian")
            .args(["--fail-on", "error,warning", "--allow-root", "--no-cfg"])
            .arg(package),
    )
}

fn tell(file: &Path) -> Result<()> {
    let kilobytes = fs::metadata(file)?.len().div_ceil(1024);
    say(&format!("made {} ({kilobytes} KiB)", file.display()));
    Ok(())
}
