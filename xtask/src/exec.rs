//! Other programs: found, run, and their failures told in one line.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Says what is being done, in one line: standard output belongs to the programs that are run.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Runs a command that speaks for itself.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command for what it prints; one line of its complaints is the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let complaints = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}", line(command), complaint_in(&complaints));
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed no UTF-8", line(command)))
}

/// Whether a command runs and succeeds; for questions, where no is an answer and not an error.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where a program is. The administrator's folders count even where PATH lacks them, as it does for
/// Debian's ordinary users: `nft` is there.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A command as one would type it, without the folder of its program.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args().map(OsStr::to_string_lossy) {
        line.push(' ');
        line.push_str(&argument);
    }
    line
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", line(command))
}

/// The line that says why: the first that is called an error (cargo, rustup and apt do), for a
/// backtrace may follow it; otherwise the last.
fn complaint_in(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back();
    lines
        .find(|line| line.starts_with("error") || line.starts_with("E: "))
        .or(last)
        .unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_as_it_is_typed() {
        let mut command = Command::new("/some/where/bin/cargo");
        command.args(["build", "--package", "portnat"]);
        assert_eq!(line(&command), "cargo build --package portnat");
    }

    #[test]
    fn an_error_is_the_line_that_says_why() {
        let rustup = "info: syncing\nerror: could not download file\n\nStack backtrace:\n  22: x\n";
        assert_eq!(complaint_in(rustup), "error: could not download file");
        assert_eq!(complaint_in("W: old\nE: no package\n"), "E: no package");
        assert_eq!(complaint_in("usage:\n  it is so \n\n"), "it is so");
        assert_eq!(complaint_in("\n"), "it does not say why");
    }
}
