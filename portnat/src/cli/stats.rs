//! `portnat stats`

use std::process::ExitCode;

use crate::control::{Client, SocketArg};

/// Print how the datapath fares: how many flows there are and in which states, how hard source ports
/// were to find, and what was dropped and why.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: SocketArg,
}

/// Prints the numbers.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stats = Client::new(&args.socket.socket).stats()?;
    if args.json {
        super::print(serde_json::to_string_pretty(&stats)?)?;
    } else {
        super::print(stats)?;
    }
    Ok(ExitCode::SUCCESS)
}
