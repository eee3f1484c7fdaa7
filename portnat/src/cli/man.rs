//! `portnat man`, for those who make packages: `cargo xtask man` runs it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

/// Write the man pages of portnat and all its commands into a directory.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory, which is made if it is not there.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Writes the pages.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let directory = &args.directory;
    let writing = || format!("writing man pages to {}", directory.display());
    fs::create_dir_all(directory).with_context(writing)?;
    clap_mangen::generate_to(super::Cli::command(), directory).with_context(writing)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = folder.path().join("man1");
        let args = Args {
            directory: directory.clone(),
        };
        run(&args).expect("written");
        let read = |name: &str| {
            let page = fs::read_to_string(directory.join(format!("{name}.1")));
            page.unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let command = super::super::Cli::command();
        for command in command.get_subcommands().filter(|one| !one.is_hide_set()) {
            let page = read(&format!("portnat-{}", command.get_name()));
            assert!(page.contains(".SH SYNOPSIS"), "{page}");
        }
        assert!(read("portnat").contains("130"), "the exit codes");
        assert!(read("portnat-flows-flush").contains("\\-\\-all"));
    }
}
