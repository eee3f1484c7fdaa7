//! What is wrong about a config file, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use toml::Spanned;

use crate::spec::SpecError;

/// Why a config file is not used.
#[derive(Debug)]
pub enum ConfigError {
    /// It cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Something on the command line makes no sense beside something else there.
    CommandLine(SpecError),
    /// Something in it makes no sense.
    Field {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; none where it is that something is missing.
        line: Option<usize>,
        /// The field, as `publish[0].target`; empty where it is not even that.
        field: String,
        /// What is wrong.
        what: String,
    },
}

impl std::error::Error for ConfigError {}

impl From<SpecError> for ConfigError {
    fn from(error: SpecError) -> Self {
        ConfigError::CommandLine(error)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Read { path, cause } => {
                let why = cause.raw_os_error().map_or_else(
                    || cause.to_string(),
                    |code| Errno::from_raw(code).desc().to_lowercase(),
                );
                write!(f, "reading {}: {why}", path.display())
            }
            ConfigError::CommandLine(error) => error.fmt(f),
            ConfigError::Field {
                path,
                line,
                field,
                what,
            } => {
                write!(f, "{}:", path.display())?;
                if let Some(line) = line {
                    write!(f, "{line}:")?;
                }
                if !field.is_empty() {
                    write!(f, " {field}:")?;
                }
                write!(f, " {what}")
            }
        }
    }
}

/// A file's text, in which places are named.
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Place<'_> {
    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    /// Something is wrong about a field's value.
    pub(super) fn field<T>(&self, field: &str, value: &Spanned<T>, what: String) -> ConfigError {
        self.at(field, value.span().start, what)
    }

    /// Something is wrong at a byte.
    pub(super) fn at(&self, field: &str, at: usize, what: String) -> ConfigError {
        ConfigError::Field {
            path: self.path.to_owned(),
            line: Some(self.line(at)),
            field: field.to_owned(),
            what,
        }
    }

    /// What the reader of TOML says, in one line.
    pub(super) fn toml(&self, field: &str, error: &toml::de::Error) -> ConfigError {
        let lines: Vec<_> = error.message().lines().map(str::trim).collect();
        ConfigError::Field {
            path: self.path.to_owned(),
            line: error.span().map(|span| self.line(span.start)),
            field: field.to_owned(),
            what: lines.join(", "),
        }
    }
}
