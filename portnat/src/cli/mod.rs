//! The command line.

mod admission;
mod cleanup;
mod completions;
mod compose;
mod demo;
mod docker;
mod doctor;
mod flows;
mod helper;
mod ls;
mod man;
mod port;
pub(crate) mod privileges;
mod publish;
mod publishing;
mod reload;
mod run;
mod stats;
mod unpublish;

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
use crate::spec::SpecError;

/// What the exit codes mean; for the long help and the man pages.
const EXIT_CODES: &str = "Exit codes:
  0    it is done
  1    it cannot be done here and now: the host does not let it, no portnat answers, or what is
       meant is not there (unpublish and port); one line on standard error says why. Or doctor
       has found a warning or a fault
  2    the command line or the config file makes no sense
  130  the demo was interrupted";

/// Publish containers' ports and masquerade what they send, as an eBPF dataplane.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say more; with a refusal of the kernel's verifier, its whole log.
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Publish(publish::Args),
    Unpublish(unpublish::Args),
    Ls(ls::Args),
    Port(port::Args),
    Flows(flows::Args),
    Stats(stats::Args),
    Reload(reload::Args),
    Doctor(doctor::Args),
    Cleanup(cleanup::Args),
    #[command(subcommand)]
    Compose(compose::Command),
    #[command(subcommand)]
    Docker(docker::Command),
    Demo(demo::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Helper(helper::Args),
    #[command(hide = true)]
    Man(man::Args),
}

/// Runs the command line; returns one of [`EXIT_CODES`].
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
        Command::Run(args) => run::run(*args),
        Command::Publish(args) => publish::run(args),
        Command::Unpublish(args) => unpublish::run(args),
        Command::Ls(args) => ls::run(&args),
        Command::Port(args) => port::run(&args),
        Command::Flows(args) => flows::run(args),
        Command::Stats(args) => stats::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::Compose(command) => compose::run(&command),
        Command::Docker(command) => docker::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Helper(args) => helper::run(&args),
        Command::Man(args) => man::run(&args),
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
        match error.is::<SpecError>() {
            true => ExitCode::from(2),
            false => ExitCode::FAILURE,
        }
    })
}

/// Says in a line that the command line makes no sense.
fn misused(why: impl Display) -> ExitCode {
    eprintln!("portnat: {}", printable(&why.to_string()));
    ExitCode::from(2)
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
