use super::*;
use crate::docker::{Container, Port};
use crate::spec::Protocol;

fn observed() -> Observed {
    let port = |number| NonZeroU16::new(number).expect("not 0");
    let web = Container {
        ports: vec![Port {
            address: [0, 0, 0, 0].into(),
            host: Some(port(8080)),
            container: port(80),
            protocol: Protocol::Tcp,
        }],
        ..Container::default()
    };
    Observed {
        containers: vec![web],
        ..Observed::default()
    }
}

/// What is said of the last of these, but one behind a `*`.
fn said(rules: &[&str]) -> String {
    let starred = rules.iter().position(|rule| rule.starts_with('*'));
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| rule.trim_start_matches('*').to_owned())
        .collect();
    let at = starred.unwrap_or(rules.len() - 1);
    option_for(&rules, at, &observed()).unwrap_or_default()
}

#[test]
fn an_option_says_the_same_only_where_it_does() {
    const DENY: &str = "-s 192.0.2.0/24 -j DROP";
    for (rules, words) in [
        (
            &[DENY][..],
            "--deny 192.0.2.0/24 says the same of published",
        ),
        (
            &["! -s 192.0.2.0/24 -j DROP"],
            "--allow 192.0.2.0/24 says the same",
        ),
        (
            &[
                "-j LOG",
                "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                DENY,
            ],
            "says the same",
        ),
        // It is only of what comes by these.
        (&["-s 192.0.2.0/24 -i eth0 -j DROP"], "but not only of eth0"),
        (
            &["! -s 192.0.2.0/24 -o docker0 -j DROP"],
            "but not only of docker0",
        ),
        (
            &["! -s 192.0.2.0/24 -i eth0 -o docker0 -j DROP"],
            "but not only of eth0 and docker0",
        ),
        // Who comes before it is let in, or kept out.
        (&["-s 192.0.2.7/32 -j RETURN", DENY], "is like it, but"),
        (&["-j mine", DENY], "is like it, but"),
        // That lets nobody in who would not be.
        (&["-s 192.0.2.0/24 -j RETURN"], ""),
        (&["*-s 192.0.2.0/24 -j RETURN", "-j RETURN"], ""),
        (&["*-s 192.0.2.0/24 -i eth0 -j RETURN", "-j DROP"], ""),
        (
            &[
                "*-s 192.0.2.0/24 -p tcp -m tcp --dport 80 -j ACCEPT",
                "-j DROP",
            ],
            "",
        ),
        // With what keeps out the others it does.
        (
            &["*-s 192.0.2.0/24 -j RETURN", "-j DROP"],
            "--allow 192.0.2.0/24 says the same",
        ),
        (
            &[
                "*-s 192.0.2.0/24 -j RETURN",
                "-s 198.51.100.0/24 -j RETURN",
                "-j DROP",
            ],
            "--allow 192.0.2.0/24 says the same",
        ),
        (
            &["*-s 192.0.2.0/24 -i eth0 -j RETURN", "-i eth0 -j DROP"],
            "but not only of eth0",
        ),
        (
            &[
                "*-s 192.0.2.0/24 -p tcp -m tcp --dport 80 -j ACCEPT",
                "-p tcp -m tcp --dport 80 -j DROP",
            ],
            "--allow 8080=192.0.2.0/24 says the same",
        ),
        // Only who is on both lists comes in; of options, who is on one.
        (
            &["! -s 192.0.2.0/24 -j DROP", "! -s 192.0.2.0/25 -j DROP"],
            "is like it, but",
        ),
        // The longer one counts, wherever it stands.
        (
            &["-s 192.0.0.0/16 -j DROP", "! -s 192.0.2.0/24 -j DROP"],
            "is like it, but",
        ),
        (
            &["-s 192.0.2.7/32 -j DROP", "! -s 192.0.2.0/24 -j DROP"],
            "--allow 192.0.2.0/24 says the same",
        ),
    ] {
        let said = said(rules);
        assert!(said.contains(words), "{rules:?}: {said}");
        assert!(!words.is_empty() || said.is_empty(), "{rules:?}: {said}");
    }
}
