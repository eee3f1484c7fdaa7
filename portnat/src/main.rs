//! The `portnat` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    portnat::cli::main()
}
