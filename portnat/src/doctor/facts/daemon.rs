//! What the daemon says of itself, if there is one.

use tokio::task::spawn_blocking;

use super::Where;
use crate::control::{Client, ClientError, Stats, Status};
use crate::datapath::Pins;
use crate::net::{Singleton, namespace_name};
use crate::report::Report;

/// The daemon as it is found.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::doctor) enum Daemon {
    /// It answers.
    Answers(Box<Answers>),
    /// There is one, and it does not answer as it should.
    Fails {
        /// Why.
        why: String,
    },
    /// The socket is root's, which we are not.
    Denied {
        /// Where it is.
        socket: String,
    },
    /// None is at the socket.
    Nobody {
        /// Where one was looked for.
        socket: String,
        /// Whether one runs in this network namespace all the same.
        runs: bool,
        /// Whether one has left its programs and tables.
        pinned: bool,
    },
}

/// What it answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::doctor) struct Answers {
    pub(in crate::doctor) status: Status,
    pub(in crate::doctor) report: Report,
    pub(in crate::doctor) stats: Stats,
    /// Whether it is the daemon of this network namespace.
    pub(in crate::doctor) is_here: bool,
}

impl Default for Daemon {
    fn default() -> Self {
        Daemon::Nobody {
            socket: String::new(),
            runs: false,
            pinned: false,
        }
    }
}

impl Daemon {
    /// What it answers, if it is that of this network namespace.
    pub(in crate::doctor) fn answers(&self) -> Option<&Answers> {
        match self {
            Daemon::Answers(answers) if answers.is_here => Some(answers),
            _ => None,
        }
    }

    pub(in crate::doctor) fn status(&self) -> Option<&Status> {
        self.answers().map(|answers| &answers.status)
    }

    pub(in crate::doctor) fn report(&self) -> Option<&Report> {
        self.answers().map(|answers| &answers.report)
    }
}

/// Asks for it.
pub(super) async fn gather(at: &Where) -> Daemon {
    let namespace = namespace_name().unwrap_or_default();
    let client = Client::new(&at.socket);
    let here = namespace.clone();
    // A client has a runtime of its own.
    let asked = spawn_blocking(move || {
        let status = client.status()?;
        Ok::<_, ClientError>(Answers {
            is_here: status.namespace == here,
            report: client.ports()?,
            stats: client.stats()?,
            status,
        })
    });
    match asked.await {
        Ok(Ok(answers)) => Daemon::Answers(Box::new(answers)),
        Ok(Err(ClientError::Nobody { .. })) => Daemon::Nobody {
            socket: at.socket.display().to_string(),
            runs: Singleton::is_taken(),
            pinned: Pins::new(&at.pin_dir, &namespace).are_there(),
        },
        Ok(Err(ClientError::Denied(socket))) => Daemon::Denied {
            socket: socket.display().to_string(),
        },
        Ok(Err(error)) => Daemon::Fails {
            why: error.to_string(),
        },
        Err(error) => Daemon::Fails {
            why: error.to_string(),
        },
    }
}
