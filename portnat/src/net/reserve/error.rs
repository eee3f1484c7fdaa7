//! Why a host port could not be reserved.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use thiserror::Error;

use super::Holder;
use crate::net::error::reason;
use crate::spec::Protocol;

/// Why a host port could not be reserved, in Docker's words.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// The kernel refused this one, or a process has it.
    #[error("failed to bind host port {address}/{protocol}: {}{}", reason(.cause), Because(.address, .holder.as_deref()))]
    Bind {
        /// The address and port that were asked for.
        address: SocketAddr,
        /// The protocol that was asked for.
        protocol: Protocol,
        /// The kernel's answer.
        cause: io::Error,
        /// Who has it, as far as that is known.
        holder: Option<Box<Holder>>,
    },
    /// None of a range is free.
    #[error("all ports are allocated")]
    Exhausted,
}

impl ReserveError {
    /// Whether somebody else has the port, rather than that nobody could have it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { cause, .. } if cause.kind() == io::ErrorKind::AddrInUse)
    }

    /// The port that was refused, if it is one in particular.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Bind { address, .. } => Some(address.port()),
            Self::Exhausted => None,
        }
    }
}

/// Who has the port, behind the reason.
struct Because<'e>(&'e SocketAddr, Option<&'e Holder>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(wanted, holder) = self;
        match holder {
            Some(holder) => write!(f, ": {}", holder.about(**wanted)),
            None => Ok(()),
        }
    }
}
