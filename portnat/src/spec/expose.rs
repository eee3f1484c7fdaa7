//! Ports that a container exposes, and that `-P` publishes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{Ports, Protocol, PublishSpec, SpecError, container, grammar};

/// Ports on which a container listens: `containerPort[-containerEnd][/proto]@TARGET`, of which all
/// before `@` is what Docker's `--expose` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExposeSpec {
    /// The ports.
    pub ports: Ports,
    /// Their protocol.
    pub protocol: Protocol,
    /// The container's address.
    pub target: IpAddr,
}

impl FromStr for ExposeSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (docker, target) = match text.split_once('@') {
            Some((docker, target)) => (docker, Some(target)),
            None => (text, None),
        };
        if docker.contains(':') {
            return Err(SpecError::ExposedOnHost {
                ports: docker.to_owned(),
            });
        }
        let (ports, proto) = docker.split_once('/').unwrap_or((docker, ""));
        let protocol = grammar::protocol(proto)?;
        let ports = grammar::ports(ports).map_err(|source| SpecError::InvalidExposed {
            ports: docker.to_owned(),
            source,
        })?;
        let Some(target) = target else {
            return Err(SpecError::MissingTarget {
                spec: text.to_owned(),
            });
        };
        let target = container(target)?;
        let spec = Self {
            ports,
            protocol,
            target,
        };
        spec.published(ports).validate(text)?;
        Ok(spec)
    }
}

impl ExposeSpec {
    /// These of its ports on ephemeral ones of the host.
    fn published(&self, ports: Ports) -> PublishSpec {
        PublishSpec {
            host_ip: None,
            host_ports: None,
            container_ports: ports,
            protocol: self.protocol,
            target: self.target,
        }
    }
}

impl fmt::Display for ExposeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.published(self.ports).fmt(f)
    }
}

/// What `-P` publishes: each port that is exposed and not published by itself, on an ephemeral one.
#[must_use]
pub fn publish_all(exposed: &[ExposeSpec], published: &[PublishSpec]) -> Vec<PublishSpec> {
    let mut specs = Vec::new();
    for (number, spec) in exposed.iter().enumerate() {
        let whose = (spec.protocol, spec.target);
        let published = published
            .iter()
            .filter(|other| (other.protocol, other.target) == whose)
            .map(|other| other.container_ports);
        let earlier = exposed[..number]
            .iter()
            .filter(|other| (other.protocol, other.target) == whose)
            .map(|other| other.ports);
        let known: BTreeSet<_> = published
            .chain(earlier)
            .filter_map(|ports| ports.intersection(spec.ports))
            .collect();
        specs.extend(without(spec.ports, &known).map(|ports| spec.published(ports)));
    }
    specs
}

/// The ports that are in none of `known`, whose parts are in order, in rows as long as can be.
fn without(ports: Ports, known: &BTreeSet<Ports>) -> impl Iterator<Item = Ports> {
    let mut rest = Vec::new();
    let mut next = Some(ports.first());
    for part in known {
        let before = |first| Ports::new(first, part.first().get().checked_sub(1)?.try_into().ok()?);
        rest.extend(next.and_then(before));
        let behind = part.last().checked_add(1);
        next = next.zip(behind).map(|(next, behind)| next.max(behind));
    }
    rest.extend(next.and_then(|first| Ports::new(first, ports.last())));
    rest.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed(texts: &[&str]) -> Vec<ExposeSpec> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn refusal(text: &str) -> String {
        text.parse::<ExposeSpec>().expect_err(text).to_string()
    }

    #[test]
    fn exposed_ports_are_dockers_words_and_a_target() {
        let spec = exposed(&["8000-8010/UDP@172.17.0.2"])[0];
        assert_eq!(spec.to_string(), "8000-8010/udp@172.17.0.2");
        assert_eq!(exposed(&["80@fd00::2"])[0].to_string(), "80/tcp@fd00::2");
        assert_eq!(
            refusal("8080:80@172.17.0.2"),
            "invalid port format for --expose: 8080:80"
        );
        assert_eq!(
            refusal("web@172.17.0.2"),
            "invalid range format for --expose: web"
        );
        assert_eq!(refusal("80/icmp@172.17.0.2"), "invalid proto: icmp");
        assert!(refusal("80").starts_with("missing target: 80: "));
        assert!(refusal("80@web").starts_with("invalid target: web"));
        assert!(refusal("80@fe80::2").starts_with("invalid target: fe80::2"));
    }

    #[test]
    fn what_is_published_by_itself_is_not_published_again() {
        let exposed = exposed(&[
            "80-90@172.17.0.2",
            "85-95@172.17.0.2",
            "80/udp@172.17.0.2",
            "80@172.17.0.3",
        ]);
        let published = [
            "8082-8083:82-83@172.17.0.2",
            "8080:80@172.17.0.2",
            "90@172.17.0.2",
        ]
        .map(|text| text.parse().expect(text));
        let all = publish_all(&exposed, &published);
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "81/tcp@172.17.0.2",
                "84-89/tcp@172.17.0.2",
                "91-95/tcp@172.17.0.2",
                "80/udp@172.17.0.2",
                "80/tcp@172.17.0.3"
            ]
        );
    }
}
