//! `portnat ls`

use std::process::ExitCode;

use crate::control::{Client, SocketArg};

/// List the published ports and what came through them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: SocketArg,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the table.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = Client::new(&args.socket.socket).ports()?;
    if args.json {
        super::print(serde_json::to_string_pretty(&report)?)?;
    } else {
        super::print(report)?;
    }
    Ok(ExitCode::SUCCESS)
}
