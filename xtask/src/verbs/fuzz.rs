//! `cargo xtask fuzz`.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    apt, cargo, ebpf,
    exec::{self, say},
    probe,
    toolchain::Version,
};

/// What is fuzzed, and how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Have AddressSanitizer watch over memory; slower by half.
    #[arg(long)]
    asan: bool,
    /// Add to fuzz/corpus what reaches code that nothing there does.
    #[arg(long)]
    keep: bool,
    /// The programs in fuzz/fuzz_targets to run; all of them if none is named.
    targets: Vec<String>,
}

/// What libFuzzer learns from, as cargo-fuzz has it.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Longer inputs find nothing that shorter ones do not.
const LONGEST: usize = 4096;

/// Builds the fuzzers with the stable compiler, and runs one after the other.
pub(crate) fn run(options: &Options) -> Result<()> {
    let all = all()?;
    for target in &options.targets {
        ensure!(
            all.contains(target),
            "no fuzzer is called {target}: there are {}",
            all.join(", ")
        );
    }
    // portnat has the object inside.
    ebpf::build()?;
    apt::require("g++", "g++").context("libFuzzer is C++")?;
    let programs = build(options)?;
    let chosen = if options.targets.is_empty() {
        &all
    } else {
        &options.targets
    };
    for target in chosen {
        fuzz(&programs.join(target), target, options)?;
    }
    Ok(())
}

/// The names of the targets.
fn all() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(cargo::root().join("fuzz/fuzz_targets"))? {
        let path = file?.path();
        names.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// Returns the folder of the programs.
fn build(options: &Options) -> Result<PathBuf> {
    let rustc = exec::output(probe::host_rustc().arg("-vV"))?;
    let host = Version::parse(&rustc)
        .context("`rustc -vV` does not say which host it is for")?
        .host;
    let (folder, sanitizer) = match options.asan {
        true => ("fuzz-asan", Some("-Zsanitizer=address")),
        false => ("fuzz", None),
    };
    say(&format!(
        "building the fuzzers in target/{folder} (minutes)"
    ));
    let flags: Vec<_> = COVERAGE.into_iter().chain(sanitizer).collect();
    let mut cargo = cargo::command();
    // With a target named, the flags are not those of build scripts and macros.
    cargo
        .args(["build", "--package", "portnat-fuzz", "--bins"])
        .args(["--features", "libfuzzer", "--profile", "fuzz"])
        .args(["--target", &host, "--target-dir"])
        .arg(cargo::target().join(folder))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // The flag of the sanitizer is not stable.
        .env("RUSTC_BOOTSTRAP", "1");
    exec::run(&mut cargo)?;
    Ok(cargo::target().join(folder).join(host).join("fuzz"))
}

/// Runs one; what it has found so far is kept in target/fuzz-corpus, and what it fails at in
/// target/fuzz-found.
fn fuzz(program: &std::path::Path, target: &str, options: &Options) -> Result<()> {
    let seeds = cargo::root().join("fuzz/corpus").join(target);
    let corpus = cargo::target().join("fuzz-corpus").join(target);
    let found = cargo::target().join("fuzz-found").join(target);
    for folder in [&seeds, &corpus, &found] {
        fs::create_dir_all(folder)?;
    }
    let known = cargo::root().join("fuzz/regressions").join(target);
    say(&format!("fuzzing {target} for {} s", options.seconds));
    let mut fuzzer = Command::new(program);
    fuzzer
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    let words = cargo::root().join(format!("fuzz/dictionaries/{target}.dict"));
    if words.is_file() {
        fuzzer.arg(format!("-dict={}", words.display()));
    }
    fuzzer.args([&corpus, &seeds]);
    if known.is_dir() {
        fuzzer.arg(&known);
    }
    exec::run(&mut fuzzer).with_context(|| {
        format!(
            "{target}: mend it, and keep the file from target/fuzz-found/{target} in \
             fuzz/regressions/{target} under a name that says what it was"
        )
    })?;
    if options.keep {
        say(&format!("adding to fuzz/corpus/{target}"));
        let mut merge = Command::new(program);
        // How often code is reached makes no difference here, and a few files do for all of it: else there
        // would be thousands.
        merge
            .args(["-set_cover_merge=1", "-use_counters=0", "-timeout=10"])
            .arg(&seeds)
            .arg(&corpus);
        exec::run(&mut merge)?;
    }
    Ok(())
}
