//! Who may come in by a published port.

mod rules;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use rules::{AdmissionError, AdmissionRule, AdmissionRules};

/// Who may open connections by a published port, and how many. By default everybody, any number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Who is let in. If there is any, of either family, everybody else is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// Who is not let in. Of all prefixes that a source lies in the longest decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<IpNet>,
    /// How many connections each source may open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<RateLimit>,
}

/// How many connections each source may open: `100/s:200`, as many in a unit of time, and as many at
/// once. A source is an IPv4 address, or a /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit {
    /// How many in a unit of time; 1 to [`RateLimit::MOST`].
    rate: u32,
    /// The unit.
    per: Unit,
    /// How many at once; 1 to [`RateLimit::MOST`].
    burst: u32,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Admission {
    /// Whether everybody may come in, any number of times.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what somebody else says. A limit takes the place of the one that there is.
    pub fn extend(&mut self, other: &Admission) {
        self.allow.extend(&other.allow);
        self.deny.extend(&other.deny);
        self.limit = other.limit.or(self.limit);
    }

    /// The prefix that is both let in and not, if there is one.
    #[must_use]
    pub fn contradiction(&self) -> Option<IpNet> {
        let denied: Vec<_> = self.deny.iter().map(IpNet::trunc).collect();
        let mut allowed = self.allow.iter().map(IpNet::trunc);
        allowed.find(|net| denied.contains(net))
    }
}

impl RateLimit {
    /// The highest rate and the largest burst.
    pub const MOST: u32 = portnat_common::Limit::MOST;

    /// The same for the datapath, with `hz` ticks a second.
    #[must_use]
    pub fn in_ticks(&self, hz: u64) -> portnat_common::Limit {
        let seconds = match self.per {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3600,
        };
        portnat_common::Limit {
            rate: self.rate,
            burst: self.burst,
            period: portnat_common::Ticks(seconds * hz),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (rate, burst) = match text.split_once(':') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (rate, per) = match rate.split_once('/') {
            None | Some((_, "s")) => (rate.trim_end_matches("/s"), Unit::Second),
            Some((rate, "m")) => (rate, Unit::Minute),
            Some((rate, "h")) => (rate, Unit::Hour),
            Some(_) => return None,
        };
        let rate = count(rate)?;
        let burst = burst.map_or(Some(rate), count)?;
        Some(RateLimit { rate, per, burst })
    }
}

/// A number of connections: `parse` alone would take a sign.
fn count(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (1..=RateLimit::MOST).contains(&number).then_some(number)
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            format!(
                "{text:?} is no limit: say for example 100, 100/s:200 or 6/m, with numbers from 1 to {}",
                Self::MOST
            )
        })
    }
}

impl TryFrom<String> for RateLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> String {
        limit.to_string()
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
        };
        write!(f, "{}/{unit}:{}", self.rate, self.burst)
    }
}

/// A prefix, or an address as one. Bits behind the prefix are forgotten.
pub(crate) fn prefix(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_and_shown() {
        for (text, shown) in [
            ("100", "100/s:100"),
            ("100/s", "100/s:100"),
            ("100/s:200", "100/s:200"),
            ("5:1", "5/s:1"),
            ("6/m", "6/m:6"),
            ("1/h:1000000", "1/h:1000000"),
        ] {
            let limit: RateLimit = text.parse().expect(text);
            assert_eq!(limit.to_string(), shown);
            assert_eq!(shown.parse(), Ok(limit));
        }
        for text in [
            "", "0", "1:0", "1/d", "1/s/s", "+1", "1000001", "1:2:3", "x", "/s", "1/", ":5",
        ] {
            let error = text.parse::<RateLimit>().expect_err(text);
            assert!(
                error.starts_with(&format!("{text:?} is no limit")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_limit_in_ticks() {
        let limit = |text: &str| text.parse::<RateLimit>().expect(text).in_ticks(250);
        assert_eq!(limit("6/m:3").period.0, 60 * 250);
        assert_eq!((limit("6/m:3").rate, limit("6/m:3").burst), (6, 3));
        assert_eq!(limit("1/h").period.0, 3600 * 250);
    }

    #[test]
    fn in_json_as_in_words() {
        let admission = Admission {
            allow: vec!["192.0.2.0/24".parse().expect("a prefix")],
            deny: Vec::new(),
            limit: Some("10/s:20".parse().expect("a limit")),
        };
        let json = serde_json::to_string(&admission).expect("serializes");
        assert_eq!(json, r#"{"allow":["192.0.2.0/24"],"limit":"10/s:20"}"#);
        assert_eq!(
            serde_json::from_str::<Admission>(&json).expect("reads"),
            admission
        );
        assert!(
            serde_json::from_str::<Admission>("{}")
                .expect("reads")
                .is_open()
        );
        for wrong in [r#"{"limit":"0"}"#, r#"{"alow":[]}"#, r#"{"allow":["x"]}"#] {
            assert!(serde_json::from_str::<Admission>(wrong).is_err(), "{wrong}");
        }
    }
}
