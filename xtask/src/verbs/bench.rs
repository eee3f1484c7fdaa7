//! `cargo xtask bench`.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    apt::{self, Apt},
    cargo, docker, ebpf,
    exec::{self, say},
    verbs,
};

/// What portnat is measured beside and with: programs, and Debian's packages that have them.
const TOOLS: [(&str, &str); 3] = [
    ("iptables-legacy-restore", "iptables"),
    ("nft", "nftables"),
    ("sockperf", "sockperf"),
];

/// Where the benchmark looks for Docker's proxy.
const PROXY: &str = "PORTNAT_BENCH_DOCKER_PROXY";

/// Builds portnat as it is released, and measures it; the arguments are the benchmark's own.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ebpf::build()?;
    for (program, package) in TOOLS {
        // Who is missing is skipped, and the benchmark says so again at its end.
        if let Err(error) = apt::require(program, package) {
            say(&format!("going on without {program}: {error:#}"));
        }
    }
    say("building and running the benchmark");
    let mut cargo = cargo::command();
    cargo.args(["bench", "--package", "portnat", "--bench", "bench"]);
    match docker_proxy() {
        Ok(Some(proxy)) => {
            cargo.env(PROXY, proxy);
        }
        Ok(None) => {}
        Err(error) => say(&format!("going on without docker-proxy: {error:#}")),
    }
    if has_dockers(arguments) {
        cargo.envs(docker::provide());
    }
    cargo.arg("--").args(arguments);
    verbs::as_root(&mut cargo, "the benchmark")?;
    exec::run(&mut cargo)
}

/// Whether whole Dockers are measured: by name, or as all works are.
fn has_dockers(arguments: &[String]) -> bool {
    let is_work =
        |argument: &&String| argument.len() == 1 && !argument.chars().all(char::is_numeric);
    let mut works = arguments.iter().filter(is_work).peekable();
    works.peek().is_none() || works.any(|work| work == "p")
}

/// Docker's proxy out of Debian's package; none if one is installed. The package itself is not
/// installed: dockerd would start, and change the machine's rules.
fn docker_proxy() -> Result<Option<PathBuf>> {
    if exec::find("docker-proxy").is_some() {
        return Ok(None);
    }
    let folder = cargo::target().join("tools/docker.io");
    let proxy = folder.join("usr/sbin/docker-proxy");
    if !proxy.is_file() {
        say("unpacking docker-proxy from Debian's docker.io");
        if let Some(apt) = Apt::here() {
            apt.update();
        }
        apt::unpack(Command::new("apt-get"), &["docker.io"], &folder)?;
    }
    Ok(Some(proxy))
}
