//! Addresses are those for documentation, one a test: holding their ports disturbs nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::net::{GuardError, Reserver};

/// Where ports come from, of which nobody keeps any.
pub(super) fn source() -> Source<'static> {
    let reserver = Reserver::new(|| Err(GuardError("there is none".to_owned())));
    Source {
        ports: HostPorts {
            ephemeral: (50_000, 50_100),
            reserved: Vec::new(),
            ipv6: true,
        },
        reserve: Box::new(move |ports, choice| reserver.reserve(ports, choice, false)),
    }
}

fn specs(texts: &[&str]) -> Vec<PublishSpec> {
    texts.iter().map(|text| text.parse().expect(text)).collect()
}

fn ids<'a>(publications: impl IntoIterator<Item = &'a Publication>) -> Vec<u32> {
    let ports = publications.into_iter().flat_map(|one| &one.ports);
    ports.map(|port| port.id).collect()
}

impl Ledger {
    #[track_caller]
    fn add(&mut self, texts: &[&str]) -> Change {
        let change = self.publish(&specs(texts), Origin::Command, &source());
        change.expect("they are free")
    }

    #[track_caller]
    fn file(&mut self, texts: &[&str]) -> Change {
        let change = self.replace(&specs(texts), Origin::Config, &source());
        change.expect("they are free")
    }
}

/// Whether nobody has the port.
fn is_free(spec: &str) -> bool {
    let [spec] = specs(&[spec])[..] else {
        unreachable!()
    };
    let address = spec.host_ip.expect("an address");
    let ports = spec.host_ports.expect("ports");
    let range = PortRange {
        address,
        first: ports.first(),
        last: ports.last(),
        protocol: spec.protocol,
    };
    (source().reserve)(range, Choice::Ours).is_ok()
}

#[test]
fn what_is_published_already_is_not_published_again() {
    let mut ledger = Ledger::default();
    let wanted = [
        "198.51.100.20:8080:80@172.17.0.2",
        "198.51.100.20::81@172.17.0.2",
    ];
    let first = ledger.add(&wanted);
    assert!(first.asked.iter().all(|(_, new)| *new));
    let again = ledger.add(&wanted);
    assert!(again.asked.iter().all(|(_, new)| !new) && again.removed.is_empty());
    assert_eq!(ids(ledger.iter()), [1, 2]);
    // The port that was chosen is now named.
    let port = first.asked[1].0.ports[0].ports;
    let named = format!("198.51.100.20:{port}:81@172.17.0.2");
    assert!(!ledger.add(&[&named]).asked[0].1);
    // Who asks twice in one breath wants two.
    let two = ledger.add(&[wanted[1], wanted[1]]);
    assert_eq!(
        two.asked.iter().map(|(_, new)| *new).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(ids(ledger.iter()), [1, 2, 3]);
}

#[test]
fn all_or_nothing() {
    let mut ledger = Ledger::default();
    ledger.add(&["198.51.100.21:8080:80@172.17.0.2"]);
    let wanted = specs(&[
        "198.51.100.21:8081:80@172.17.0.2",
        "198.51.100.21:8080:80@172.17.0.3",
    ]);
    let error = ledger.publish(&wanted, Origin::Command, &source());
    let words = error.expect_err("the second is taken").to_string();
    assert!(words.starts_with("Bind for 198.51.100.21:8080 failed: port is already allocated"));
    assert!(
        words.contains("198.51.100.21:8080/tcp -> 172.17.0.2:80"),
        "{words}"
    );
    assert_eq!(ids(ledger.iter()), [1]);
    assert!(is_free("198.51.100.21:8081:80@172.17.0.2"));
}

#[test]
fn a_port_is_free_once_nobody_has_a_copy() {
    let spec = "198.51.100.22:8080:80@172.17.0.2";
    let mut ledger = Ledger::default();
    ledger.add(&[spec]);
    let before = ledger.clone();
    let change = ledger.unpublish(|one| one.origin == Origin::Command);
    assert_eq!((ids(&change.removed), ledger.iter().count()), (vec![1], 0));
    drop(change);
    assert!(!is_free(spec));
    drop(before);
    assert!(is_free(spec));
    // An id that a dropped copy gave is not given again either.
    ledger.clone().add(&[spec]);
    assert_eq!(
        ids(ledger.add(&[spec]).asked.iter().map(|(one, _)| one)),
        [3]
    );
}

#[test]
fn a_file_takes_away_only_what_it_gave() {
    let at = |rest: &str| format!("198.51.100.23:{rest}");
    let (one, two, three) = (
        at("1:80@172.17.0.2"),
        at("2:80@172.17.0.2"),
        at("3:80@172.17.0.2"),
    );
    let mut ledger = Ledger::default();
    ledger.add(&[&one]);
    ledger.file(&[&two, &three]);
    let change = ledger.file(&[&three]);
    assert_eq!(
        (ids(&change.removed), ids(ledger.iter())),
        (vec![2], vec![1, 3])
    );
    // What a command gave and the file then names is the file's.
    ledger.file(&[&three, &one]);
    assert_eq!(ids(ledger.iter()), [1, 3]);
    assert_eq!(ids(&ledger.file(&[]).removed), [1, 3]);
    // What the daemon was started with stays as long as it does.
    let both = specs(&[&one]);
    let published = ledger.publish(&both, Origin::Run, &source());
    published.expect("is free again");
    ledger.file(&[&one]);
    assert!(ledger.file(&[]).removed.is_empty());
}

#[test]
fn a_port_that_gets_another_target_stays_held_under_another_id() {
    let at = |target: &str| format!("198.51.100.24:8080:80@{target}");
    let mut ledger = Ledger::default();
    ledger.file(&[&at("172.17.0.2")]);
    let change = ledger.file(&[&at("172.17.0.3")]);
    assert_eq!(
        (ids(&change.removed), ids(ledger.iter())),
        (vec![1], vec![2])
    );
    drop(change);
    assert!(!is_free(&at("172.17.0.3")));
    ledger.file(&[]);
    assert!(is_free(&at("172.17.0.3")));
}

#[test]
fn who_is_the_same_after_a_restart_has_the_same_id() {
    let at = |rest: &str| format!("198.51.100.29:{rest}");
    let specs = [at("8080:80@172.17.0.2"), at("9000-9009:90-99@172.17.0.2")];
    let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
    let mut before = Ledger::default();
    before.add(&["198.51.100.29:1:1@172.17.0.2", specs[1], specs[0]]);
    let mut left = before.ports();
    drop(before);
    // Another target's, by now.
    left[2].target.set_port(81);
    let mut ledger = Ledger::default();
    ledger.take_over(left, 12);
    ledger.add(&specs);
    assert_eq!(ids(ledger.iter()), [13, 2]);
    assert_eq!(ledger.end_taking_over(), [1, 3]);
    // What is published later is nobody's successor.
    ledger.add(&["198.51.100.29:1:1@172.17.0.2"]);
    assert_eq!(ids(ledger.iter()), [13, 2, 14]);
}

#[test]
fn a_range_moves_and_goes_as_a_whole() {
    let at = |target: &str| format!("198.51.100.27:8000-8009:80-89@{target}");
    let mut ledger = Ledger::default();
    ledger.file(&[&at("172.17.0.2")]);
    let change = ledger.file(&[&at("172.17.0.3")]);
    let [port] = &change.asked[0].0.ports[..] else {
        panic!("a range is one: {change:?}");
    };
    assert_eq!(
        port.to_string(),
        "198.51.100.27:8000-8009/tcp -> 172.17.0.3:80-89"
    );
    let publication = ledger.iter().next().expect("one");
    let means = |spec: &str| publication.is_meant_by(&specs(&[spec])[0]);
    assert!(means("80-89@172.17.0.3") && means(&at("172.17.0.3")));
    assert!(!means("8000:80@172.17.0.3") && !means("80@172.17.0.3"));
    drop(change);
    ledger.file(&[]);
    assert!(is_free(&at("172.17.0.3")));
}

#[test]
fn without_an_address_a_spec_has_its_port_in_both_families() {
    let mut ledger = Ledger::default();
    let source = source();
    let ports = source.ports;
    let nothing_held = Source {
        ports,
        reserve: Box::new(|ports, _| {
            let reserver = Reserver::new(|| Err(GuardError("there is none".to_owned())));
            // An address that nobody has, instead of all of the host's.
            let address = IpAddr::from([198, 51, 100, 28]);
            let protocol = match ports.address {
                IpAddr::V4(_) => Protocol::Tcp,
                IpAddr::V6(_) => Protocol::Udp,
            };
            let elsewhere = PortRange {
                address,
                protocol,
                ..ports
            };
            reserver.reserve(elsewhere, Choice::Ours, false)
        }),
    };
    let spec = specs(&["8080:80@172.17.0.2"]);
    let change = ledger.publish(&spec, Origin::Command, &nothing_held);
    let change = change.expect("they are free");
    assert_eq!(ids(change.asked.iter().map(|(one, _)| one)), [1, 2]);
    let again = ledger.publish(&spec, Origin::Command, &nothing_held);
    assert!(!again.expect("it is there").asked[0].1);
}

#[test]
fn a_spec_means_what_it_says() {
    let mut ledger = Ledger::default();
    ledger.add(&["198.51.100.25:8080:80@172.17.0.2"]);
    let publication = ledger.iter().next().expect("one");
    for (spec, meant) in [
        ("80@172.17.0.2", true),
        ("8080:80@172.17.0.2", true),
        ("198.51.100.25::80@172.17.0.2", true),
        ("8081:80@172.17.0.2", false),
        ("80/udp@172.17.0.2", false),
        ("80@172.17.0.3", false),
        ("198.51.100.26::80@172.17.0.2", false),
    ] {
        assert_eq!(publication.is_meant_by(&specs(&[spec])[0]), meant, "{spec}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever follows whatever: the file's ports are those it says, others' stay, no port leads
    /// to two targets, and no id is seen twice.
    #[test]
    fn any_sequence_of_files(
        files in prop::collection::vec(prop::collection::btree_map(1_u16..6, 2_u8..5, 0..5), 1..6)
    ) {
        let address = IpAddr::from([198, 51, 100, 26]);
        let mut ledger = Ledger::default();
        ledger.add(&["198.51.100.26:9:80@172.17.0.2"]);
        let mut known = BTreeMap::new();
        for file in files {
            let texts: Vec<_> = file
                .iter()
                .map(|(port, target)| format!("{address}:{port}:80@172.17.0.{target}"))
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let before = ids(ledger.iter());
            let change = ledger.file(&texts);
            for id in ids(&change.removed) {
                prop_assert!(before.contains(&id));
            }
            prop_assert_eq!(ledger.iter().count(), file.len() + 1);
            prop_assert_eq!(ids(ledger.iter())[0], 1);
            for port in ledger.ports() {
                let side = (port.host(), port.target);
                prop_assert_eq!(known.entry(port.id).or_insert(side.clone()), &side);
            }
            for (port, target) in file {
                let leads = ledger.ports().into_iter().filter(|one| one.ports.contains(port));
                let targets: Vec<_> = leads.map(|one| one.target.to_string()).collect();
                prop_assert_eq!(targets, [format!("172.17.0.{target}:80")]);
            }
        }
    }
}

#[test]
fn what_leads_elsewhere_keeps_its_ports_under_another_id() {
    let mut ledger = Ledger::default();
    let both = [
        "198.51.100.99:8080:80@172.17.0.2",
        "198.51.100.99:8080:80@172.17.0.9",
    ];
    let [old, new] = both.map(|text| text.parse().expect(text));
    let source = source();
    ledger.publish(&[old], Origin::Run, &source).expect("free");
    let before = ledger.ports();
    assert!(ledger.lead_elsewhere(&old, Origin::Config, &new).is_none());
    let change = ledger.lead_elsewhere(&old, Origin::Run, &new);
    let change = change.expect("is there");
    assert_eq!((change.asked.len(), change.removed.len()), (1, 1));
    let after = ledger.ports();
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.address, before.ports), (after.address, after.ports));
        assert_eq!(after.target, "172.17.0.9:80".parse().expect("an address"));
        assert_ne!(before.id, after.id);
    }
    assert!(ledger.lead_elsewhere(&old, Origin::Run, &new).is_none());
}
