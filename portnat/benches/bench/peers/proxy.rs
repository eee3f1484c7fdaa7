//! Docker's userland proxy: a process for each port and protocol.

use std::env;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::libc;

use crate::ground::{Ground, INSIDE, PUBLISHED};

/// Where the proxy is, if not where a package has put it. `cargo xtask bench` sets it.
const VARIABLE: &str = "PORTNAT_BENCH_DOCKER_PROXY";

/// The proxy, if it is there.
pub(super) fn program() -> Option<PathBuf> {
    env::var_os(VARIABLE)
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .or_else(|| super::find("docker-proxy"))
}

/// One proxy for TCP and one for UDP, as dockerd starts them.
pub(super) fn set_up(ground: &mut Ground) -> Result<()> {
    for protocol in ["tcp", "udp"] {
        let process = start(ground, protocol)?;
        ground.processes.push(process);
    }
    Ok(())
}

fn start(ground: &Ground, protocol: &str) -> Result<Child> {
    let program = program().context("no docker-proxy")?;
    let (mut ours, theirs) = std::io::pipe()?;
    let mut command = ground.lab.host.command(program);
    command
        .args(["-proto", protocol])
        .args(["-host-ip", "0.0.0.0"])
        .args(["-host-port", &PUBLISHED.to_string()])
        .args(["-container-ip", &ground.container().address.to_string()])
        .args(["-container-port", &INSIDE.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let pipe = theirs.as_raw_fd();
    // It says on descriptor 3 whether it could listen, and closes that, whatever it is.
    let place = move || {
        // SAFETY: a bare system call on a descriptor that is open until the child is there. Where
        // it is 3 already it must still lose its close-on-exec flag.
        let done = unsafe {
            if pipe == 3 {
                libc::fcntl(3, libc::F_SETFD, 0)
            } else {
                libc::dup2(pipe, 3)
            }
        };
        nix::errno::Errno::result(done)
            .map(drop)
            .map_err(Into::into)
    };
    // SAFETY: between fork and exec only async-signal-safe calls may run, and these are.
    unsafe { command.pre_exec(place) };
    let child = command.spawn().context("starting docker-proxy")?;
    drop(theirs);
    let mut said = String::new();
    ours.read_to_string(&mut said)?;
    ensure!(said.trim() == "0", "docker-proxy: {said}");
    Ok(child)
}
