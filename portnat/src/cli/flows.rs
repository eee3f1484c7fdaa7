//! `portnat flows`

use std::process::ExitCode;

use clap::Subcommand;

use crate::control::{Client, SocketArg};
use crate::flows::FlowFilter;

/// List flows, a line for each with both its directions; or end them.
///
/// A flow goes from its client to its target: IN is what the client has sent, OUT what came back.
/// ORIGINAL is what the client's packets say where they come to us, TRANSLATED what they say
/// afterwards. Of an ICMP query the identifier stands in the place of both ports.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    filter: FlowFilter,

    /// Print JSON, an array with an object for each flow.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: SocketArg,
}

#[derive(Debug, Subcommand)]
enum Action {
    Flush(Flush),
}

/// End flows, and say how many. What still comes of an ended one begins anew where it may.
#[derive(Debug, clap::Args)]
struct Flush {
    #[command(flatten)]
    filter: FlowFilter,

    /// End every flow.
    #[arg(long, conflicts_with = "FlowFilter")]
    all: bool,

    #[command(flatten)]
    socket: SocketArg,
}

/// Prints the flows, or ends them.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Action::Flush(args)) = args.action {
        return flush(&args);
    }
    let client = Client::new(&args.socket.socket);
    if args.json {
        let json = client.flows_json(&args.filter)?;
        super::print(String::from_utf8_lossy(&json).trim_end())?;
    } else {
        super::print(client.flows(&args.filter)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn flush(args: &Flush) -> anyhow::Result<ExitCode> {
    if args.filter.is_everything() && !args.all {
        eprintln!(
            "portnat: which flows? Say --port, --target, --client or --proto, or --all for every one"
        );
        return Ok(ExitCode::from(2));
    }
    let ended = Client::new(&args.socket.socket).flush(&args.filter)?;
    super::print(format_args!("ended {}", number(ended)))?;
    Ok(ExitCode::SUCCESS)
}

/// So many flows, in words.
pub(super) fn number(flows: u64) -> String {
    let word = if flows == 1 { "flow" } else { "flows" };
    format!("{flows} {word}")
}
