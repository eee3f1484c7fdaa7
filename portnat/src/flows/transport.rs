//! Names of transport protocols.

use std::fmt;
use std::str::FromStr;

use portnat_common::wire::protocol;
use serde::{Deserialize, Serialize};

/// A transport protocol, by its number in an IP header (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Transport(pub u8);

/// What is no protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no protocol: {0:?}: say tcp, udp, sctp, icmp, icmpv6 or a number")]
pub struct TransportError(String);

const NAMES: [(u8, &str); 5] = [
    (protocol::TCP, "tcp"),
    (protocol::UDP, "udp"),
    (protocol::SCTP, "sctp"),
    (protocol::ICMP, "icmp"),
    (protocol::ICMPV6, "icmpv6"),
];

/// The name, or the number of a protocol without one.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Transport {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, TransportError> {
        let named = NAMES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text));
        named
            .map(|(number, _)| *number)
            .or_else(|| text.parse().ok())
            .map(Transport)
            .ok_or_else(|| TransportError(text.to_owned()))
    }
}

impl From<Transport> for String {
    fn from(transport: Transport) -> Self {
        transport.to_string()
    }
}

impl TryFrom<String> for Transport {
    type Error = TransportError;

    fn try_from(text: String) -> Result<Self, TransportError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_spelling_that_is_read_again() {
        for number in 0..=u8::MAX {
            let text = Transport(number).to_string();
            assert_eq!(text.parse(), Ok(Transport(number)), "{text}");
        }
        assert_eq!(Transport(58).to_string(), "icmpv6");
        assert_eq!("TCP".parse(), Ok(Transport(6)));
        for text in ["", "256", "-1", "quic"] {
            assert!(text.parse::<Transport>().is_err(), "{text}");
        }
    }
}
