//! The daemon's side: what the helper is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::protocol::{Failure, Request, receive, send};
use crate::net::{FarEnd, Owner};

/// How long an answer may take: it reads `/proc` as a whole, which is milliseconds even with thousands
/// of processes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The helper, as the daemon has it. It ends with us, however we end.
#[derive(Debug)]
pub struct Aide {
    /// Nothing any more once it has not answered: what came later could be taken for the answer to
    /// something else.
    line: Mutex<Option<UnixStream>>,
    _process: Child,
}

/// Why the helper is of no help.
#[derive(Debug, thiserror::Error)]
pub enum AideError {
    /// It tried.
    #[error(transparent)]
    Refused(io::Error),
    /// It has ended, or does not answer.
    #[error("the helper process does not answer: restart portnat")]
    Gone,
}

impl From<AideError> for io::Error {
    fn from(error: AideError) -> Self {
        match error {
            AideError::Refused(error) => error,
            AideError::Gone => io::Error::other(error.to_string()),
        }
    }
}

impl Aide {
    /// Starts the helper: this program anew, with an address space of its own.
    pub(super) fn start(config: Option<&Path>) -> anyhow::Result<Self> {
        let start = || {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_read_timeout(Some(PATIENCE))?;
            ours.set_write_timeout(Some(PATIENCE))?;
            let mut command = Command::new("/proc/self/exe");
            command.arg("helper");
            if let Some(config) = config {
                command.arg("--config").arg(config);
            }
            let process = command
                .env_clear()
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            Ok::<_, io::Error>(Aide {
                line: Mutex::new(Some(ours)),
                _process: process,
            })
        };
        start().context("starting the helper process")
    }

    /// Whose the sockets with these inodes are, as far as that can be told.
    #[must_use]
    pub fn owners(&self, inodes: &BTreeSet<u32>) -> BTreeMap<u32, Owner> {
        if inodes.is_empty() {
            return BTreeMap::new();
        }
        let request = Request::Owners(inodes.iter().copied().collect());
        self.ask(&request).unwrap_or_else(|error| {
            warn!("looking for who has a port: {error}");
            BTreeMap::new()
        })
    }

    /// Switches GRO at the far end of a container's link on or off; returns whether that was a change.
    ///
    /// # Errors
    /// The namespace is found nowhere, the kernel refuses, or the helper is gone.
    pub fn set_gro(&self, end: FarEnd, on: bool) -> Result<bool, AideError> {
        self.ask(&Request::SetGro { end, on })
    }

    /// The text of the config file as it is now.
    ///
    /// # Errors
    /// It cannot be read, or the helper is gone.
    pub fn config(&self) -> Result<String, AideError> {
        self.ask(&Request::Config)
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, AideError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = &mut *line else {
            return Err(AideError::Gone);
        };
        let answer = send(stream, request).and_then(|()| receive::<Result<T, Failure>>(stream));
        match answer {
            Ok(Some(answer)) => answer.map_err(|failure| AideError::Refused(failure.into())),
            Ok(None) | Err(_) => {
                *line = None;
                Err(AideError::Gone)
            }
        }
    }
}
