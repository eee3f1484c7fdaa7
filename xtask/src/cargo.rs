//! The workspace, and the cargo that started this program.

use std::{env, ffi::OsString, path::PathBuf, process::Command};

/// The folder of the workspace, as `cargo run` tells it: what was so when this program was compiled
/// is not, once the checkout has moved.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(PathBuf::from).unwrap_or_default()
}

/// Where what is built goes, apart from what cargo itself puts there.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The cargo that runs this program, so that `cargo +1.95 xtask` means 1.95 throughout.
pub(crate) fn command() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root());
    forget_this_package(&mut command);
    command
}

/// `cargo run` tells a program about its package; passed on, a build script that watches one of
/// these would run again each time that one changes between `cargo build` and `cargo xtask build`.
pub(crate) fn forget_this_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_about_this_package) {
            command.env_remove(name);
        }
    }
}

fn is_about_this_package(name: &str) -> bool {
    [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_this_package_is_forgotten() {
        assert!(is_about_this_package("CARGO_PKG_VERSION"));
        assert!(is_about_this_package("CARGO_MANIFEST_DIR"));
        assert!(!is_about_this_package("CARGO_HOME"));
        assert!(!is_about_this_package("CARGO_TARGET_DIR"));
    }
}
