//! What the daemon can ask of its helper: nothing that leads further than these three.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::net::FarEnd;

/// How long a request or an answer can be: that of as many sockets as there are ports fits.
const LONGEST: u32 = 16 << 20;

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Whose the sockets with these inodes are; the answer is a map to
    /// [`Owner`](crate::net::Owner)s.
    Owners(Vec<u32>),
    /// Switch GRO at the far end of a container's link on or off; the answer says whether that is a
    /// change.
    SetGro {
        /// The far end.
        end: FarEnd,
        /// Whether it is to be on.
        on: bool,
    },
    /// The text of the config file, whose name the helper knows.
    Config,
}

/// Why something was not done: the error's number, if it has one, and its words.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    errno: Option<i32>,
    words: String,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure {
            errno: error.raw_os_error(),
            words: error.to_string(),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(failure.words),
        }
    }
}

/// Writes a message: its length in bytes, the least significant first, and its JSON.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(text);
    to.write_all(&bytes)
}

/// Reads a message; nothing, if the other side has ended before it. What has a time-out and meets it amid a
/// message says [`io::ErrorKind::Other`].
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other("a message of more than 16 MiB"));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text).map_err(io::Error::other)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were() {
        let end = FarEnd {
            namespace: 3,
            index: 7,
        };
        let mut bytes = Vec::new();
        send(&mut bytes, &Request::SetGro { end, on: true }).expect("written");
        send(&mut bytes, &Request::Owners(vec![1, 2])).expect("written");
        let mut bytes = &bytes[..];
        let first: Option<Request> = receive(&mut bytes).expect("read");
        assert!(matches!(first, Some(Request::SetGro { end: e, on: true }) if e == end));
        let second: Option<Request> = receive(&mut bytes).expect("read");
        assert!(matches!(second, Some(Request::Owners(inodes)) if inodes == [1, 2]));
        let end: Option<Request> = receive(&mut bytes).expect("the end");
        assert!(end.is_none());
    }

    #[test]
    fn nobody_makes_us_allocate_gigabytes() {
        let bytes = [0xff; 8];
        let refusal = receive::<Request>(&mut &bytes[..]).expect_err("too long");
        assert_eq!(refusal.to_string(), "a message of more than 16 MiB");
        let refusal =
            receive::<Request>(&mut &[2, 0, 0, 0, b'{', b'}'][..]).expect_err("no request");
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_failure_keeps_its_number() {
        let failure = Failure::from(io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP));
        assert_eq!(io::Error::from(failure).kind(), io::ErrorKind::Unsupported);
        let failure = Failure::from(io::Error::other("no process is in its namespace"));
        let error = io::Error::from(failure);
        assert_eq!(error.to_string(), "no process is in its namespace");
    }
}
