//! The command line.

mod admission;
mod demo;
mod flows;
mod ls;
mod privileges;
mod run;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::datapath::DatapathError;

/// Publish containers' ports and masquerade what they send, as an eBPF dataplane.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say more; with a refusal of the kernel's verifier, its whole log.
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Ls(ls::Args),
    Flows(flows::Args),
    Demo(demo::Args),
}

/// Runs the command line. The exit code is 0 when all went well, 1 when something failed, 2 when
/// the command line makes no sense, and 130 when the demo was interrupted.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // What a value is wrong about is said in one line; what the options are, at length.
        Err(error) if error.kind() == ErrorKind::ValueValidation => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            eprintln!("portnat: {}", printable(line.trim_start_matches("error: ")));
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    start_logging(cli.verbose);
    let result = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Ls(args) => ls::run(&args),
        Command::Flows(args) => flows::run(args),
        Command::Demo(args) => demo::run(&args),
    };
    result.unwrap_or_else(|error| {
        // Each error names its cause once: a link of the chain that repeats the one before it
        // stays away.
        let mut line = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !line.contains(&cause) {
                line = format!("{line}: {cause}");
            }
        }
        eprintln!("portnat: {}", printable(&line));
        if cli.verbose
            && let Some(log) = error.downcast_ref().and_then(DatapathError::verifier_log)
        {
            eprintln!("{log}");
        }
        ExitCode::FAILURE
    })
}

/// Prints text to standard output. A reader that has seen enough, as `head` has, is no failure.
fn print(text: impl Display) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("printing"),
    }
}

/// A line without what would move a terminal's cursor: it may quote anything that was typed.
fn printable(line: &str) -> String {
    line.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// Messages go to standard error, without a time: a terminal's user sees them come, and the journal
/// has its own clock.
fn start_logging(verbose: bool) {
    let level = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let messages = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time();
    // Of the libraries only what concerns the user.
    let ours = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets([
            (env!("CARGO_PKG_NAME"), level),
            // The programs' own messages come by this name.
            ("portnat_ebpf", level),
        ]);
    tracing_subscriber::registry()
        .with(messages)
        .with(ours)
        .init();
}
