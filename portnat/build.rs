//! Brings the eBPF objects to where the library embeds them from.
//!
//! `cargo xtask build` makes them: a build script that did would need a second compiler and a
//! linker on every machine that only wants to `cargo check`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

/// Set by .cargo/config.toml; each with the object's name.
const OBJECTS: [(&str, &str); 2] = [
    ("PORTNAT_EBPF_OBJECT", "portnat-ebpf"),
    ("PORTNAT_BIND_OBJECT", "portnat-bind-ebpf"),
];

fn main() {
    for (variable, name) in OBJECTS {
        println!("cargo::rerun-if-env-changed={variable}");
        if let Err(complaint) = embed(variable, name) {
            eprintln!("{complaint}");
            process::exit(1);
        }
    }
}

fn embed(variable: &str, name: &str) -> Result<(), String> {
    let object = env::var_os(variable).map(PathBuf::from).unwrap_or_default();
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        return Err("an eBPF object is missing: run `cargo xtask build`".to_owned());
    }
    let out_dir = env::var_os("OUT_DIR").ok_or("no OUT_DIR: cargo runs this, nobody else")?;
    let copy = Path::new(&out_dir).join(name);
    fs::copy(&object, &copy).map(drop).map_err(|error| {
        format!(
            "cannot copy {} to {}: {error}",
            object.display(),
            copy.display()
        )
    })
}
