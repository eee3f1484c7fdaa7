//! `portnat publish`

use std::process::ExitCode;

use crate::control::{Client, PublishRequest, SocketArg};

/// Publish ports of a target while portnat runs: all that are asked for, or none.
///
/// Prints each as `portnat ls` has it. What is published already stays as it is, which is no failure.
/// Such ports are published until `portnat unpublish`, or until portnat ends.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The target's address, or the name of a container that Docker runs.
    #[arg(value_name = "TARGET")]
    target: String,

    /// What of it to publish: [[IP:][HOSTPORT]:]PORT[/PROTO], for example 8080:80 or 53/udp.
    /// Without HOSTPORT a free one is taken. May be given several times.
    #[arg(short, long = "publish", value_name = "SPEC", required = true)]
    publish: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: SocketArg,
}

/// Publishes, and says what.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let request = PublishRequest {
        target: args.target,
        specs: args.publish,
    };
    if let Err(error) = request.wishes() {
        return Ok(super::misused(error));
    }
    let ports = Client::new(&args.socket.socket).publish(&request)?;
    if args.json {
        super::print(serde_json::to_string_pretty(&ports)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for port in &ports.published {
        super::print(port)?;
    }
    for port in &ports.unchanged {
        super::print(format_args!("{port} (is published already)"))?;
    }
    Ok(ExitCode::SUCCESS)
}
