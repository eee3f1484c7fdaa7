//! `portnat completions`

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Print what a shell needs to complete portnat's command line.
///
/// For bash: portnat completions bash > /etc/bash_completion.d/portnat
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut command = super::Cli::command();
    clap_complete::generate(args.shell, &mut command, "portnat", &mut script);
    super::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
