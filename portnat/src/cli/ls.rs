//! `portnat ls`

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use crate::control::{Client, SocketArg};

/// How often a table that is watched is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Clears a terminal and goes to its upper left corner (ECMA-48 CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// List the published ports and what came through them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: SocketArg,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// Print again whenever something has changed, until interrupted.
    #[arg(long)]
    watch: bool,
}

/// Prints the table.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.socket.socket);
    if args.watch {
        return watch(&client, args.json);
    }
    super::print(list(&client, args.json, false)?)?;
    Ok(ExitCode::SUCCESS)
}

fn list(client: &Client, json: bool, watched: bool) -> anyhow::Result<String> {
    let report = client.ports()?;
    Ok(match (json, watched) {
        (true, false) => serde_json::to_string_pretty(&report)?,
        // A line each, for who reads them one after the other.
        (true, true) => serde_json::to_string(&report)?,
        (false, _) => report.to_string(),
    })
}

/// Ends when nobody reads any more, or with the daemon.
fn watch(client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let clear = io::stdout().is_terminal() && !json;
    let mut shown = String::new();
    loop {
        let now = list(client, json, true)?;
        if now != shown {
            let before = if clear { CLEAR } else { "" };
            match writeln!(io::stdout(), "{before}{now}") {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(ExitCode::SUCCESS);
                }
                printed => printed.context("printing")?,
            }
            shown = now;
        }
        sleep(EVERY);
    }
}
