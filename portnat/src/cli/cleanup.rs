//! `portnat cleanup`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{print, privileges};
use crate::control::SocketArg;
use crate::daemon::cleanup::clean_up;

/// Detach and remove all that a portnat has left in this network namespace, and put back what it changed.
///
/// No portnat may run there: stop it first. One that was started without --persist leaves nothing but
/// when it is killed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pins: PinDirArg,

    #[command(flatten)]
    socket: SocketArg,
}

/// Where there are pins.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PinDirArg {
    /// The directory of a BPF file system where things are pinned, each network namespace's in one of
    /// its own.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/portnat")]
    pub(super) pin_dir: PathBuf,
}

/// Cleans up, and says what was there.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    privileges::check()?;
    let removed = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(clean_up(&args.pins.pin_dir, &args.socket.socket))?;
    print(removed)?;
    Ok(ExitCode::SUCCESS)
}
