//! `cargo xtask test`.

use std::ffi::OsString;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    apt, cargo, docker, ebpf,
    exec::{self, say},
    verbs,
};

/// A suite of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The pure parts; no root, no kernel.
    Unit,
    /// The eBPF programs, run by the kernel on packets that the tests make.
    Progrun,
    /// portnat as a whole, among hosts made of network namespaces.
    E2e,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Progrun => "progrun",
            Self::E2e => "e2e",
        }
    }

    /// What each `cargo test` of the suite is told.
    fn runs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Unit => &[
                &["--package", "portnat-common"],
                &["--package", "portnat", "--lib"],
                // Its programs want libFuzzer.
                &["--package", "portnat-fuzz", "--lib"],
                &["--package", "xtask"],
            ],
            Self::Progrun => &[&["--package", "portnat", "--test", "progrun"]],
            Self::E2e => &[&["--package", "portnat", "--test", "e2e"]],
        }
    }

    fn needs_root(self) -> bool {
        self != Self::Unit
    }
}

/// Runs one suite, or all in the order of how fast they tell.
pub(crate) fn run(suite: Option<Suite>, arguments: &[String]) -> Result<()> {
    // Even the unit tests of portnat have the object inside.
    ebpf::build()?;
    match suite {
        Some(suite) => run_suite(suite, arguments),
        None => Suite::value_variants()
            .iter()
            .try_for_each(|&suite| run_suite(suite, arguments)),
    }
}

/// Runs the test of everything at once, for so long.
pub(crate) fn chaos(seconds: u64, seed: Option<u64>) -> Result<()> {
    ebpf::build()?;
    let mut environment = vec![("PORTNAT_CHAOS_SECONDS", seconds.to_string().into())];
    environment.extend(seed.map(|seed| ("PORTNAT_CHAOS_SEED", seed.to_string().into())));
    let arguments = ["survival::chaos", "--nocapture"].map(str::to_owned);
    run_with(Suite::E2e, &arguments, environment)
}

fn run_suite(suite: Suite, arguments: &[String]) -> Result<()> {
    run_with(suite, arguments, Vec::new())
}

fn run_with(suite: Suite, arguments: &[String], environment: Vec<(&str, OsString)>) -> Result<()> {
    if suite == Suite::E2e {
        // What portnat is compared with, and gets along with, on a host.
        apt::require("nft", "nftables")?;
        apt::require("iptables", "iptables")?;
        // It judges the unit.
        if let Err(error) = apt::require("systemd-analyze", "systemd") {
            say(&format!("going on without systemd-analyze: {error:#}"));
        }
        // Who listens on a bridge changes what the bridge sees.
        apt::require("tcpdump", "tcpdump")?;
    }
    let dockers = match suite {
        Suite::E2e => docker::provide(),
        _ => Vec::new(),
    };
    say(&format!("running the {} tests", suite.name()));
    for run in suite.runs() {
        let mut cargo = cargo::command();
        cargo.arg("test").args(*run).arg("--").args(arguments);
        cargo.envs(dockers.iter().map(|(name, folder)| (name, folder)));
        cargo.envs(environment.iter().map(|(name, value)| (name, value)));
        if suite.needs_root() {
            verbs::as_root(&mut cargo, &format!("the {} tests", suite.name()))?;
        }
        exec::run(&mut cargo)?;
    }
    Ok(())
}
