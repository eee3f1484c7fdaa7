//! One portnat to a network namespace.

use std::fs;
use std::io;

use socket2::{Domain, SockAddr, Socket, Type};

use super::NetError;

/// The name to own; `ss -x` shows it as `@portnat`.
const NAME: &str = "portnat";

/// The right to be the portnat of this network namespace, given up on drop.
///
/// Two of them would publish ports over each other's programs. The lock is an abstract unix socket,
/// because those belong to the network namespace, as the programs do: a lock file belongs to a
/// mount namespace, would keep apart two portnats that cannot meet, and survives a crash.
#[derive(Debug)]
#[must_use = "the namespace is free again once this is dropped"]
pub struct Singleton {
    /// Bound, and never made to listen: a `connect` is refused and nothing piles up.
    _socket: Socket,
}

impl Singleton {
    /// Takes the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`NetError::AlreadyRunning`] if another portnat has it.
    pub fn acquire() -> Result<Self, NetError> {
        Self::named(NAME)
    }

    /// Whether somebody has the calling thread's network namespace.
    #[must_use]
    pub fn is_taken() -> bool {
        let sockets = fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
        sockets
            .lines()
            .any(|line| line.ends_with(&format!(" @{NAME}")))
    }

    fn named(name: &str) -> Result<Self, NetError> {
        let bound = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
            Ok(socket)
        };
        bound()
            .map(|socket| Self { _socket: socket })
            .map_err(|cause: io::Error| match cause.kind() {
                io::ErrorKind::AddrInUse => NetError::AlreadyRunning,
                _ => NetError::Singleton {
                    name: name.to_owned(),
                    cause,
                },
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_until_the_first_is_gone() {
        let name = format!("portnat-test-{}", std::process::id());
        let first = Singleton::named(&name).expect("nobody else has this name");
        let refusal = Singleton::named(&name).expect_err("the first still runs");
        assert_eq!(
            refusal.to_string(),
            "another portnat already runs in this network namespace: stop it first"
        );
        drop(first);
        drop(Singleton::named(&name).expect("the first is gone"));
    }
}
