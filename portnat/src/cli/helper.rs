//! `portnat helper`, which `portnat run` starts.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::privileges::help;

/// Do what takes more privileges than `portnat run` keeps, as it asks for it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config file that it may ask for.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Helps until the daemon ends.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    help(args.config.as_deref())?;
    Ok(ExitCode::SUCCESS)
}
