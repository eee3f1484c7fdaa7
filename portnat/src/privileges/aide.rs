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
use serde::de::{DeserializeOwned, IgnoredAny};
use tracing::warn;

use super::protocol::{Failure, Request, receive, send};
use crate::net::{FarEnd, Owner};

/// How long an answer may take: it reads `/proc` as a whole, which is milliseconds even with thousands
/// of processes. Meanwhile the daemon does nothing else; its packets need nobody.
const PATIENCE: Duration = Duration::from_secs(3);

/// The helper, as the daemon has it. It ends with us, however we end.
#[derive(Debug)]
pub struct Aide {
    /// Nothing any more once it has ended.
    line: Mutex<Option<Line>>,
    process: Mutex<Child>,
}

/// The connection to it, by which it answers in the order in which it is asked.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    /// How many requests it has not answered, as it took its time.
    late: u32,
}

/// Why the helper is of no help.
#[derive(Debug, thiserror::Error)]
pub enum AideError {
    /// It tried.
    #[error(transparent)]
    Refused(io::Error),
    /// It has not answered yet: what it reads, or the machine, is slow.
    #[error("the helper process has not answered for {} s: try again", PATIENCE.as_secs())]
    Slow,
    /// It has ended.
    #[error("the helper process has ended: restart portnat")]
    Gone,
}

impl From<AideError> for io::Error {
    fn from(error: AideError) -> Self {
        match error {
            AideError::Refused(error) => error,
            AideError::Slow | AideError::Gone => io::Error::other(error.to_string()),
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
                line: Mutex::new(Some(Line::new(ours))),
                process: Mutex::new(process),
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

    /// Whether it is of no help any more. It is not asked for that.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.is_none() || !matches!(process.try_wait(), Ok(None))
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, AideError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &mut *line else {
            return Err(AideError::Gone);
        };
        match open.ask(request) {
            Ok(answer) => answer.map_err(|failure| AideError::Refused(failure.into())),
            Err(error) if is_late(&error) => Err(AideError::Slow),
            Err(_) => {
                *line = None;
                Err(AideError::Gone)
            }
        }
    }
}

impl Line {
    fn new(stream: UnixStream) -> Self {
        Line { stream, late: 0 }
    }

    /// Its answer. One that is late is waited for before the next request, and then forgotten: who asked has
    /// been told so.
    ///
    /// # Errors
    /// [`is_late`], and all others for good.
    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> io::Result<Result<T, Failure>> {
        while self.late > 0 {
            self.hear::<IgnoredAny>()?;
        }
        send(&mut self.stream, request).map_err(io::Error::other)?;
        self.late += 1;
        self.hear()
    }

    fn hear<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let heard = receive(&mut self.stream)?;
        let heard = heard.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.late -= 1;
        Ok(heard)
    }
}

/// Whether nothing of an answer has come yet.
fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_late_is_asked_again_and_understood() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(Duration::from_millis(1)))
            .expect("set");
        let mut line = Line::new(ours);
        for _ in 0..2 {
            let late = line
                .ask::<String>(&Request::Config)
                .expect_err("nobody is there");
            assert!(is_late(&late), "{late}");
        }
        // It was asked but once; the answer is not for who asks now.
        let asked: Option<Request> = receive(&mut theirs).expect("a request");
        assert!(matches!(asked, Some(Request::Config)));
        send(&mut theirs, &Ok::<_, Failure>("first")).expect("sent");
        send(&mut theirs, &Ok::<_, Failure>("second")).expect("sent");
        let heard = line.ask::<String>(&Request::Config).expect("an answer");
        assert_eq!(heard.expect("the text"), "second");

        // What breaks off amid an answer is over.
        send(&mut theirs, &"x".repeat(99)).expect("sent");
        drop(theirs);
        let end = line.ask::<bool>(&Request::Config).expect_err("has ended");
        assert!(!is_late(&end), "{end}");
    }
}
