//! Brings the eBPF objects to where the library embeds them from.
//!
//! `cargo xtask build` makes them: a build script that did would need a second compiler and a
//! linker on every machine that only wants to `cargo check`.

use std::{
    env,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process,
};

use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

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
    let failed = |error: &dyn Display| {
        let (from, to) = (object.display(), copy.display());
        format!("cannot copy {from} to {to}: {error}")
    };
    let whole = fs::read(&object).map_err(|error| failed(&error))?;
    let stripped = strip(&whole).map_err(|error| failed(&error))?;
    fs::write(&copy, stripped).map_err(|error| failed(&error))
}

/// The object without its debug information: BTF, which the kernel reads, has been made from that by
/// now, and the daemon would carry all of it in its memory.
fn strip(whole: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = Builder::read(whole)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug") || name.starts_with(b".rel.debug");
    }
    builder.delete_orphans();
    // LLVM has all names in one table, the writer wants sections' apart.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}
