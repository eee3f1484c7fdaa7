//! Other programs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Runs a program that reads `input`, and that has to succeed.
pub(crate) fn run(command: Command, input: &str) -> Result<()> {
    output(command, input).map(drop)
}

/// The same; returns what it prints.
pub(crate) fn output(mut command: Command, input: &str) -> Result<String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {what}"))?;
    // One that does not read says why it ended.
    let _ = child
        .stdin
        .take()
        .context("is piped")?
        .write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
