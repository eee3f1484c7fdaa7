//! Who may come in by what is published: as the daemon's rules say, and a container's labels.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::docker::Wanted;
use crate::model::{Admission, AdmissionError, AdmissionRules, Ledger, Publication};

/// Who may come in.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    /// By the ids of ports; of those that are not there, everybody.
    pub(super) of: BTreeMap<u32, Admission>,
    /// What nobody but the host reaches, as labels say something else than what they are beside, or nothing
    /// that makes sense.
    pub(super) shut: Vec<Shut>,
}

/// A port that nobody reaches.
#[derive(Debug)]
pub(super) struct Shut {
    /// Its id.
    id: u32,
    /// Which it is, and why.
    pub(super) words: String,
}

impl Admissions {
    /// Those of all that is published.
    ///
    /// Labels count beside rules. Where they contradict each other, or labels make no sense, who may come in is
    /// not known: nobody does then, and all others are served.
    ///
    /// # Errors
    /// The rules make no sense by themselves.
    pub(super) fn of(
        rules: &AdmissionRules,
        wanted: Option<&Wanted>,
        ledger: &Ledger,
    ) -> Result<Self, AdmissionError> {
        let mut all = Admissions {
            of: rules.of(&ledger.ports())?,
            shut: Vec::new(),
        };
        for publication in ledger.iter() {
            if let Some(wanted) = wanted {
                all.add(publication, wanted);
            }
        }
        Ok(all)
    }

    fn add(&mut self, publication: &Publication, wanted: &Wanted) {
        let label = wanted.admission(&publication.spec);
        if label.as_ref().is_ok_and(Admission::is_open) {
            return;
        }
        for port in &publication.ports {
            let admission = self.of.entry(port.id).or_default();
            let why = match &label {
                Ok(label) => {
                    admission.extend(label);
                    let Some(net) = admission.contradiction() else {
                        continue;
                    };
                    let port = port.host();
                    AdmissionError::Contradiction { net, port }.to_string()
                }
                Err(why) => why.clone(),
            };
            *admission = nobody();
            self.shut.push(Shut {
                id: port.id,
                words: format!("nobody but the host is let in by {}: {why}", port.host()),
            });
        }
    }

    /// Why one of these is shut, if one is.
    pub(super) fn why_shut<'p>(
        &self,
        publications: impl IntoIterator<Item = &'p Publication>,
    ) -> Option<&str> {
        let ports = publications.into_iter().flat_map(|one| &one.ports);
        let mut shut = ports.filter_map(|port| self.shut.iter().find(|shut| shut.id == port.id));
        shut.next().map(|shut| shut.words.as_str())
    }
}

/// What lets nobody in.
fn nobody() -> Admission {
    Admission {
        deny: vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())],
        ..Admission::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::{Container, Endpoint, Observed};
    use crate::model::{HostPorts, Origin, Source};
    use crate::net::{GuardError, Reserver};

    /// At addresses for documentation, one a test: holding its ports disturbs nobody.
    fn ledger(address: &str, origin: Origin) -> Ledger {
        let reserver = Reserver::new(|| Err(GuardError("there is none".to_owned())));
        let source = Source {
            ports: HostPorts {
                ephemeral: (50_000, 50_100),
                reserved: Vec::new(),
                ipv6: false,
            },
            reserve: Box::new(move |ports, choice| reserver.reserve(ports, choice, false)),
        };
        let texts = ["8080:80@172.17.0.2", "8081:81@172.17.0.2"];
        let specs = texts.map(|text| format!("{address}:{text}").parse().expect(text));
        let mut ledger = Ledger::default();
        ledger
            .publish(&specs, origin, &source)
            .expect("they are free");
        ledger
    }

    fn wanted(labels: &[(&str, &str)]) -> Wanted {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let endpoint = Endpoint {
            v4: Some([172, 17, 0, 2].into()),
            ..Endpoint::default()
        };
        let container = Container {
            name: "web".to_owned(),
            labels: labels.iter().map(owned).collect(),
            endpoints: vec![endpoint],
            ..Container::default()
        };
        let observed = Observed {
            containers: vec![container],
            ..Observed::default()
        };
        Wanted::of(&observed, false)
    }

    fn rules(allow: &[&str], deny: &[&str]) -> AdmissionRules {
        AdmissionRules {
            allow: allow.iter().map(|it| it.parse().expect(it)).collect(),
            deny: deny.iter().map(|it| it.parse().expect(it)).collect(),
            limit: Vec::new(),
        }
    }

    /// Of the port of the host.
    fn at<'a>(found: &'a Admissions, ledger: &Ledger, host: u16) -> &'a Admission {
        let ports = ledger.ports();
        let port = ports.iter().find(|port| port.ports.contains(host));
        &found.of[&port.expect("is published").id]
    }

    #[test]
    fn labels_count_beside_rules_on_whoever_s_word_it_is_published() {
        let labels = wanted(&[("portnat.deny.80", "10.0.0.0/8"), ("portnat.limit", "5/s")]);
        let rules = rules(&["8080=10.1.0.0/16"], &["192.0.2.0/24"]);
        for origin in [Origin::Run, Origin::Config, Origin::Command, Origin::Docker] {
            let ledger = ledger("198.51.100.177", origin);
            let found = Admissions::of(&rules, Some(&labels), &ledger).expect("makes sense");
            let json = |host| serde_json::to_string(at(&found, &ledger, host)).expect("JSON");
            assert_eq!(
                json(8080),
                r#"{"allow":["10.1.0.0/16"],"deny":["192.0.2.0/24","10.0.0.0/8"],"limit":"5/s:5"}"#
            );
            assert_eq!(json(8081), r#"{"deny":["192.0.2.0/24"],"limit":"5/s:5"}"#);
            assert!(found.shut.is_empty());
        }
    }

    /// Nothing of what they deny comes in, and nobody else's ports are affected.
    #[test]
    fn what_is_not_clear_is_shut() {
        let everybody = ["0.0.0.0/0", "::/0"];
        for (labels, allow, words) in [
            (
                &[("portnat.deny.80", "10.0.0.0/8")][..],
                &["8080=10.0.0.0/8"][..],
                "10.0.0.0/8 is both allowed and denied at 198.51.100.178:8080/tcp",
            ),
            (
                &[("portnat.alow.80", "10.0.0.0/8")],
                &[],
                "container web: label portnat.alow",
            ),
        ] {
            let ledger = ledger("198.51.100.178", Origin::Docker);
            let rules = rules(allow, &[]);
            let found = Admissions::of(&rules, Some(&wanted(labels)), &ledger);
            let found = found.expect("others are served");
            let shut = at(&found, &ledger, 8080);
            let denied: Vec<_> = shut.deny.iter().map(ToString::to_string).collect();
            assert_eq!(
                (denied, shut.allow.len()),
                (everybody.map(str::to_owned).to_vec(), 0)
            );
            let why = found.why_shut(ledger.iter()).expect("it is told");
            assert!(why.contains(words), "{why}");
        }
    }
}
