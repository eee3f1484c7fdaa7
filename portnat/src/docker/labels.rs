//! What a container's labels say of who may come in by its ports, which Docker has no words for.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use ipnet::IpNet;

use crate::model::{Admission, prefix};
use crate::spec::{Ports, Protocol};

/// What all of our labels begin with.
pub(super) const OURS: &str = "portnat.";

/// What a container's labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    /// For all of its ports.
    all: Admission,
    /// For some.
    ports: BTreeMap<(NonZeroU16, Protocol), Admission>,
}

impl Labels {
    /// Reads `portnat.allow`, `portnat.deny` and `portnat.limit`, or `portnat.allow.80`,
    /// `portnat.allow.53/udp` for one port of the container. What is not understood is an error: who has
    /// misspelt who may come in has not let everybody in.
    pub(super) fn read(labels: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut read = Self::default();
        let mut said = BTreeSet::new();
        for (name, value) in labels {
            let Some(rest) = name.strip_prefix(OURS) else {
                continue;
            };
            let (option, port) = match rest.split_once('.') {
                Some((option, port)) => (option, Some(port)),
                None => (rest, None),
            };
            let port = match port {
                Some(text) => {
                    let port = container_port(text);
                    Some(port.ok_or_else(|| format!("label {name}: no port: {text:?}"))?)
                }
                None => None,
            };
            // 53 and 53/tcp are the same.
            if !said.insert((option, port)) {
                return Err(format!(
                    "label {name}: another label says this of the same port"
                ));
            }
            let of_port = match port {
                Some(port) => read.ports.entry(port).or_default(),
                None => &mut read.all,
            };
            match option {
                "allow" => of_port.allow = nets(name, value)?,
                "deny" => of_port.deny = nets(name, value)?,
                "limit" => {
                    let limit = value.trim().parse();
                    of_port.limit = Some(limit.map_err(|why| format!("label {name}: {why}"))?);
                }
                _ => return Err(format!("label {name}: there are allow, deny and limit")),
            }
        }
        for admission in read.ports.values_mut() {
            let own = admission.clone();
            *admission = read.all.clone();
            admission.extend(&own);
        }
        let contradiction = {
            let mut all = read.ports.values().chain([&read.all]);
            all.find_map(Admission::contradiction)
        };
        match contradiction {
            Some(net) => Err(format!("labels: {net} is both allowed and denied")),
            None => Ok(read),
        }
    }

    /// What they say of a port of the container.
    pub(super) fn of(&self, port: NonZeroU16, protocol: Protocol) -> &Admission {
        self.ports.get(&(port, protocol)).unwrap_or(&self.all)
    }

    /// What they say of each of these ports, if it is the same.
    pub(super) fn of_all(&self, ports: Ports, protocol: Protocol) -> Option<&Admission> {
        let first = self.of(ports.first(), protocol);
        let mut others = self.ports.iter().filter(|((port, of), _)| {
            *of == protocol && ports.contains(port.get()) && *port != ports.first()
        });
        let named = others.clone().count();
        let is_said = |(_, admission): (_, &Admission)| admission == first;
        let rest = usize::from(ports.count().get()) - 1 - named;
        (others.all(is_said) && (rest == 0 || self.all == *first)).then_some(first)
    }
}

fn nets(name: &str, value: &str) -> Result<Vec<IpNet>, String> {
    let net = |text: &str| {
        let text = text.trim();
        prefix(text).ok_or_else(|| format!("label {name}: no prefix: {text:?}"))
    };
    value.split(',').map(net).collect()
}

/// Reads `80`, `80/tcp`.
pub(super) fn container_port(text: &str) -> Option<(NonZeroU16, Protocol)> {
    let (port, name) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol(name)?))
}

/// Reads `tcp`.
pub(super) fn protocol(name: &str) -> Option<Protocol> {
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    all.into_iter().find(|it| it.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(labels: &[(&str, &str)]) -> Result<Labels, String> {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        Labels::read(&labels.iter().map(owned).collect())
    }

    #[test]
    fn what_is_said_twice_of_a_port_is_not_lost() {
        for twice in [
            [
                ("portnat.deny.53", "10.0.0.0/8"),
                ("portnat.deny.53/tcp", "192.0.2.0/24"),
            ],
            [
                ("portnat.deny.53", "10.0.0.0/8"),
                ("portnat.deny.053", "192.0.2.0/24"),
            ],
        ] {
            let error = read(&twice).expect_err("one of them would be lost");
            assert!(error.contains("of the same port"), "{error}");
        }
        read(&[
            ("portnat.deny.53", "10.0.0.0/8"),
            ("portnat.deny.53/udp", "10.0.0.0/8"),
        ])
        .expect("two ports");
    }

    #[test]
    fn labels_are_for_all_ports_or_for_one() {
        let labels = read(&[
            ("com.example", "x"),
            ("portnat.allow", "10.0.0.0/8, fd00::/8"),
            ("portnat.limit", "5/s"),
            ("portnat.deny.53/udp", "10.6.6.6"),
            ("portnat.limit.53/udp", "9/s"),
        ]);
        let labels = labels.expect("they make sense");
        let port = |number, protocol| {
            let number = NonZeroU16::new(number).expect("not 0");
            serde_json::to_string(labels.of(number, protocol)).expect("JSON")
        };
        let allow = r#""allow":["10.0.0.0/8","fd00::/8"]"#;
        let all = format!(r#"{{{allow},"limit":"5/s:5"}}"#);
        assert_eq!(port(80, Protocol::Tcp), all);
        assert_eq!(port(53, Protocol::Tcp), all);
        let own = format!(r#"{{{allow},"deny":["10.6.6.6/32"],"limit":"9/s:9"}}"#);
        assert_eq!(port(53, Protocol::Udp), own);
        assert_eq!(read(&[("port", "nat")]), Ok(Labels::default()));
    }

    #[test]
    fn a_row_of_ports_has_labels_in_common_or_none() {
        let labels = |labels: &[(&str, &str)]| read(labels).expect("they make sense");
        let ports = |first, last| {
            let port = |number| NonZeroU16::new(number).expect("not 0");
            Ports::new(port(first), port(last)).expect("in order")
        };
        let (all, one) = (("portnat.limit", "5/s"), ("portnat.limit.81", "9/s"));
        let other = ("portnat.limit.80", "9/s");
        for (said, first, last, limit) in [
            (&[all][..], 80, 65535, Some("5/s:5")),
            (&[all, one], 80, 82, None),
            (&[all, one], 81, 82, None),
            (&[all, one], 82, 90, Some("5/s:5")),
            (&[all, one, other], 80, 81, Some("9/s:9")),
            (&[all, one, other], 80, 82, None),
            (&[one], 79, 80, Some("")),
        ] {
            let labels = labels(said);
            let found = labels.of_all(ports(first, last), Protocol::Tcp);
            let found = found.map(|it| it.limit.map(String::from).unwrap_or_default());
            assert_eq!(found.as_deref(), limit, "{said:?} {first}-{last}");
        }
        let udp = labels(&[("portnat.deny.81/udp", "10.0.0.0/8")]);
        let open = Admission::default();
        assert_eq!(udp.of_all(ports(80, 82), Protocol::Tcp), Some(&open));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (labels, words) in [
            (
                &[("portnat.alow", "10.0.0.0/8")][..],
                "label portnat.alow: there are allow, deny and limit",
            ),
            (
                &[("portnat.allow", "")],
                r#"label portnat.allow: no prefix: """#,
            ),
            (
                &[("portnat.deny.http", "10.0.0.1")],
                r#"label portnat.deny.http: no port: "http""#,
            ),
            (
                &[
                    ("portnat.deny", "10.0.0.0/8"),
                    ("portnat.allow.80", "10.0.0.0/8"),
                ],
                "labels: 10.0.0.0/8 is both allowed and denied",
            ),
        ] {
            assert_eq!(read(labels), Err(words.to_owned()));
        }
        let limit = read(&[("portnat.limit", "many")]).expect_err("no limit");
        assert!(limit.starts_with("label portnat.limit: "), "{limit}");
    }
}
