//! Options of a command that publishes several ports: each says who may come in by some of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Admission, RateLimit, prefix};
use crate::flows::PortFilter;
use crate::model::PublishedPort;

/// A rule for one published port, `8080=192.0.2.0/24`, or for all, `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionRule<T> {
    /// The ports that it is for; `None` for all.
    pub port: Option<PortFilter>,
    /// What it says.
    pub says: T,
}

/// What a command says of its published ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionRules {
    /// Who may come in.
    pub allow: Vec<AdmissionRule<IpNet>>,
    /// Who may not.
    pub deny: Vec<AdmissionRule<IpNet>>,
    /// How many each source may open. A rule for one port goes before a rule for all.
    pub limit: Vec<AdmissionRule<RateLimit>>,
}

/// Why rules make no sense together, or with the ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// A rule is for a port that is not published.
    #[error("--{option} {port}=…: no such port is published")]
    NoPort {
        /// The option's name.
        option: &'static str,
        /// The port.
        port: PortFilter,
    },
    /// A rule is for one port of a range, which has its rules as a whole.
    #[error("a rule for {port} would be for a part of {range}: name the range by its first port")]
    PartOfRange {
        /// The port.
        port: PortFilter,
        /// The range.
        range: String,
    },
    /// A prefix is let in and kept out at once.
    #[error("{net} is both allowed and denied at {port}")]
    Contradiction {
        /// The prefix.
        net: IpNet,
        /// The published port.
        port: String,
    },
    /// There are two limits for a port.
    #[error("there are two limits for {port}: {one} and {other}")]
    TwoLimits {
        /// The published port.
        port: String,
        /// The first.
        one: RateLimit,
        /// The second.
        other: RateLimit,
    },
}

impl AdmissionError {
    /// The published port that it is about.
    #[must_use]
    pub fn port(&self) -> Option<&str> {
        match self {
            Self::NoPort { .. } => None,
            Self::PartOfRange { range: port, .. }
            | Self::Contradiction { port, .. }
            | Self::TwoLimits { port, .. } => Some(port),
        }
    }
}

impl AdmissionRules {
    /// Whether all rules are for ports that are published.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self, ports: &[PublishedPort]) -> Result<(), AdmissionError> {
        fn check<T>(
            option: &'static str,
            rules: &[AdmissionRule<T>],
            ports: &[PublishedPort],
        ) -> Result<(), AdmissionError> {
            let named = rules.iter().filter_map(|rule| rule.port);
            let mut nowhere = named.filter(|name| !ports.iter().any(|port| name.names(port)));
            match nowhere.next() {
                Some(port) => Err(AdmissionError::NoPort { option, port }),
                None => Ok(()),
            }
        }
        check("allow", &self.allow, ports)?;
        check("deny", &self.deny, ports)?;
        check("limit", &self.limit, ports)
    }

    /// By the ids of those of these ports for which there are rules, what they say.
    ///
    /// # Errors
    /// The first rule that is for a part of a range, or that another one contradicts.
    pub fn of(&self, ports: &[PublishedPort]) -> Result<BTreeMap<u32, Admission>, AdmissionError> {
        let mut admissions = BTreeMap::new();
        for port in ports {
            let admission = self.of_one(port)?;
            if !admission.is_open() {
                admissions.insert(port.id, admission);
            }
        }
        Ok(admissions)
    }

    /// The names of the options that are other than they were.
    pub fn differences(&self, new: &Self) -> impl Iterator<Item = &'static str> + use<> {
        let all = [
            ("allow", self.allow != new.allow),
            ("deny", self.deny != new.deny),
            ("limit", self.limit != new.limit),
        ];
        let changed = all.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(name, _)| name)
    }

    fn of_one(&self, port: &PublishedPort) -> Result<Admission, AdmissionError> {
        let nets_for = self.allow.iter().chain(&self.deny).map(|rule| rule.port);
        let named = nets_for.chain(self.limit.iter().map(|rule| rule.port));
        let mut in_part = named
            .flatten()
            .filter(|name| name.is_in(port) && !name.names(port));
        if let Some(name) = in_part.next() {
            return Err(AdmissionError::PartOfRange {
                port: name,
                range: port.host(),
            });
        }
        let nets = |rules: &[AdmissionRule<IpNet>]| {
            let of_port = rules.iter().filter(|rule| rule.is_for(port));
            of_port.map(|rule| rule.says).collect()
        };
        let limit = |of_all: bool| {
            let limits = self
                .limit
                .iter()
                .filter(|rule| rule.port.is_none() == of_all);
            let mut limits = limits
                .filter(|rule| rule.is_for(port))
                .map(|rule| rule.says);
            match (limits.next(), limits.next()) {
                (Some(one), Some(other)) => Err(AdmissionError::TwoLimits {
                    port: port.host(),
                    one,
                    other,
                }),
                (limit, _) => Ok(limit),
            }
        };
        let admission = Admission {
            allow: nets(&self.allow),
            deny: nets(&self.deny),
            limit: limit(false)?.or(limit(true)?),
        };
        match admission.contradiction() {
            Some(net) => Err(AdmissionError::Contradiction {
                net,
                port: port.host(),
            }),
            None => Ok(admission),
        }
    }
}

impl<T> AdmissionRule<T> {
    fn is_for(&self, port: &PublishedPort) -> bool {
        self.port.is_none_or(|name| name.names(port))
    }

    fn parse(text: &str, says: impl FnOnce(&str) -> Result<T, String>) -> Result<Self, String> {
        let (port, rest) = match text.split_once('=') {
            Some((port, rest)) => {
                let port = port.parse().map_err(|error| format!("{error}"));
                (Some(port?), rest)
            }
            None => (None, text),
        };
        Ok(AdmissionRule {
            port,
            says: says(rest)?,
        })
    }
}

impl FromStr for AdmissionRule<IpNet> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, |net| {
            prefix(net).ok_or_else(|| {
                format!(
                    "no prefix: {net:?}: say for example 192.0.2.0/24, 192.0.2.7 or 2001:db8::/32"
                )
            })
        })
    }
}

impl FromStr for AdmissionRule<RateLimit> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, str::parse)
    }
}

impl<T: fmt::Display> fmt::Display for AdmissionRule<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(port) = &self.port {
            write!(f, "{port}=")?;
        }
        self.says.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::spec::{Ports, Protocol};

    fn port(id: u32, port: u16, protocol: Protocol) -> PublishedPort {
        range(id, (port, port), protocol)
    }

    fn range(id: u32, (first, last): (u16, u16), protocol: Protocol) -> PublishedPort {
        let port = |port| NonZeroU16::new(port).expect("not 0");
        PublishedPort {
            id,
            address: [0, 0, 0, 0].into(),
            ports: Ports::new(port(first), port(last)).expect("in order"),
            protocol,
            target: "172.17.0.2:80".parse().expect("an address and a port"),
        }
    }

    fn ports() -> [PublishedPort; 3] {
        [
            port(1, 8080, Protocol::Tcp),
            port(2, 53, Protocol::Tcp),
            port(3, 53, Protocol::Udp),
        ]
    }

    fn rules<T: FromStr>(texts: &[&str]) -> Vec<AdmissionRule<T>>
    where
        AdmissionRule<T>: FromStr<Err = String>,
    {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn all(allow: &[&str], deny: &[&str], limit: &[&str]) -> AdmissionRules {
        AdmissionRules {
            allow: rules(allow),
            deny: rules(deny),
            limit: rules(limit),
        }
    }

    #[test]
    fn a_rule_is_for_the_ports_that_it_names() {
        let rules = all(
            &["8080=192.0.2.0/24", "53/udp=2001:db8::1/32"],
            &["198.51.100.7"],
            &["53=5", "10/s:20"],
        );
        let admissions = rules.of(&ports()).expect("makes sense");
        let shown: Vec<_> = admissions
            .iter()
            .map(|(id, it)| (*id, serde_json::to_string(it).expect("serializes")))
            .collect();
        let expected = [
            r#"{"allow":["192.0.2.0/24"],"deny":["198.51.100.7/32"],"limit":"10/s:20"}"#,
            r#"{"deny":["198.51.100.7/32"],"limit":"5/s:5"}"#,
            r#"{"allow":["2001:db8::/32"],"deny":["198.51.100.7/32"],"limit":"5/s:5"}"#,
        ];
        let expected: Vec<_> = (1..).zip(expected.map(str::to_owned)).collect();
        assert_eq!(shown, expected);
        assert!(
            AdmissionRules::default()
                .of(&ports())
                .expect("nothing")
                .is_empty()
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (rules, error) in [
            (
                all(&["80=192.0.2.0/24"], &[], &[]),
                "--allow 80=…: no such port",
            ),
            (
                all(&[], &["8080/udp=192.0.2.0/24"], &[]),
                "--deny 8080/udp=…: no such",
            ),
            (
                all(&[], &[], &["1.2.3.4:53=7"]),
                "--limit 1.2.3.4:53=…: no such",
            ),
            (
                all(&["8080=192.0.2.7/24"], &["192.0.2.0/24"], &[]),
                "192.0.2.0/24 is both allowed and denied at 0.0.0.0:8080/tcp",
            ),
            (
                all(&[], &[], &["53=7", "53/udp=8"]),
                "there are two limits for 0.0.0.0:53/udp: 7/s:7 and 8/s:8",
            ),
        ] {
            let refused = rules.check(&ports()).and_then(|()| rules.of(&ports()));
            let refused = refused.expect_err(error).to_string();
            assert!(refused.starts_with(error), "{refused}");
        }
    }

    #[test]
    fn a_rule_outlives_its_port() {
        let rules = all(&["8080=192.0.2.0/24"], &[], &[]);
        assert!(rules.check(&[]).is_err());
        assert!(rules.of(&[]).expect("none").is_empty());
        assert_eq!(rules.of(&ports()).expect("makes sense").len(), 1);
    }

    #[test]
    fn a_range_has_its_rules_as_a_whole() {
        let ranges = [range(1, (8000, 8100), Protocol::Tcp)];
        let by_first = all(&[], &[], &["8000=5"]);
        assert_eq!(by_first.of(&ranges).expect("the range").len(), 1);
        let by_another = all(&["8080=192.0.2.0/24"], &[], &[]);
        let refused = by_another.of(&ranges).expect_err("a part").to_string();
        let expected = "a rule for 8080 would be for a part of 0.0.0.0:8000-8100/tcp";
        assert!(refused.starts_with(expected), "{refused}");
    }

    #[test]
    fn what_differs_is_named() {
        let (old, new) = (all(&[], &[], &["5"]), all(&["10.0.0.0/8"], &[], &["6"]));
        let names: Vec<_> = old.differences(&new).collect();
        assert_eq!(names, ["allow", "limit"]);
        assert_eq!(new.differences(&new).count(), 0);
    }

    #[test]
    fn parse_and_display_are_inverse() {
        for text in ["8080/tcp=192.0.2.0/24", "[fd00::1]:53=::/0", "10.0.0.0/8"] {
            let rule: AdmissionRule<IpNet> = text.parse().expect(text);
            assert_eq!(rule.to_string(), text);
        }
        for text in [
            "",
            "=",
            "8080=",
            "=10.0.0.0/8",
            "x=10.0.0.0/8",
            "10.0.0.0/33",
            "8080",
        ] {
            assert!(text.parse::<AdmissionRule<IpNet>>().is_err(), "{text}");
        }
    }
}
