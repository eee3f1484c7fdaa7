//! Brings the eBPF object to where the library embeds it from.
//!
//! `cargo xtask build` makes the object: a build script that did would need a second compiler and a
//! linker on every machine that only wants to `cargo check`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

/// Set by .cargo/config.toml.
const OBJECT: &str = "PORTNAT_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    if let Err(complaint) = embed() {
        eprintln!("{complaint}");
        process::exit(1);
    }
}

fn embed() -> Result<(), String> {
    let object = env::var_os(OBJECT).map(PathBuf::from).unwrap_or_default();
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        return Err("the eBPF object is missing: run `cargo xtask build`".to_owned());
    }
    let out_dir = env::var_os("OUT_DIR").ok_or("no OUT_DIR: cargo runs this, nobody else")?;
    let copy = Path::new(&out_dir).join("portnat-ebpf");
    fs::copy(&object, &copy).map(drop).map_err(|error| {
        format!(
            "cannot copy {} to {}: {error}",
            object.display(),
            copy.display()
        )
    })
}
