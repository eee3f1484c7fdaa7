//! `portnat reload`

use std::process::ExitCode;

use crate::control::{Client, SocketArg};

/// Have the running portnat read its config file anew, as SIGHUP does, and say what has changed.
///
/// What stays is not touched: no connection and no packet is lost. Where something in the file makes
/// no sense or cannot be done, or cannot change while portnat runs, nothing is changed and the exit
/// code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: SocketArg,
}

/// Reloads, and says what that has changed.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let reloaded = Client::new(&args.socket.socket).reload()?;
    for warning in &reloaded.warnings {
        eprintln!("portnat: {}", super::printable(warning));
    }
    if args.json {
        super::print(serde_json::to_string_pretty(&reloaded)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for port in &reloaded.unpublished {
        super::print(format_args!("unpublished {port}"))?;
    }
    for port in &reloaded.published {
        super::print(format_args!("published {port}"))?;
    }
    for option in &reloaded.changed {
        super::print(format_args!("changed {option}"))?;
    }
    if reloaded.flows_ended > 0 {
        super::print(format_args!(
            "ended {}",
            super::flows::number(reloaded.flows_ended)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
