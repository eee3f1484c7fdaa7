//! Addresses are those for documentation: holding their ports disturbs nobody.

use super::super::tests::source;
use super::*;
use crate::net::Choice;

fn specs(texts: &[impl AsRef<str>]) -> Vec<PublishSpec> {
    texts
        .iter()
        .map(|text| text.as_ref().parse().expect("a spec"))
        .collect()
}

fn publish(ledger: &mut Ledger, texts: &[impl AsRef<str>], origin: Origin) {
    let published = ledger.publish(&specs(texts), origin, &source());
    published.expect("they are free");
}

#[track_caller]
fn restore(ledger: &mut Ledger, kept: Vec<Kept>) {
    let refused = ledger.restore::<PublishError>(kept, &source(), |_| Ok(()));
    assert!(refused.is_empty(), "{refused:?}");
}

/// What a ledger lists, with the ids.
fn listed(ledger: &Ledger) -> Vec<String> {
    let listed = ledger.listed().into_iter();
    listed
        .map(|(port, origin)| format!("{}: {port} {origin:?}", port.id))
        .collect()
}

/// All kinds, at addresses that end so: a test each.
fn all(host: u8) -> Vec<String> {
    let kinds = [
        "198.51.100.HOST:8080:80@172.17.0.2",
        "198.51.100.HOST:9000-9009:80-89/udp@172.17.0.2",
        "198.51.100.HOST::80@172.17.0.2",
        "198.51.100.HOST:9100-9109:80@172.17.0.2",
        "[2001:db8::HOST]:8080:80@fd00::2",
    ];
    kinds
        .map(|spec| spec.replace("HOST", &host.to_string()))
        .to_vec()
}

#[test]
fn what_commands_published_is_the_same_in_writing_and_back() {
    let mut first = Ledger::default();
    publish(
        &mut first,
        &["198.51.100.201:7000:70@172.17.0.9"],
        Origin::Run,
    );
    publish(&mut first, &all(201), Origin::Command);
    let kept = first.kept();
    assert_eq!(kept.len(), 5, "what others say they say again");
    let text = serde_json::to_string(&kept).expect("text");
    let read: Vec<Kept> = serde_json::from_str(&text).expect("the same");
    assert_eq!(read, kept);

    let before = listed(&first);
    let left: Vec<_> = first.ports();
    drop(first);
    let mut second = Ledger::default();
    second.take_over(left, 90);
    publish(
        &mut second,
        &["198.51.100.201:7000:70@172.17.0.9"],
        Origin::Run,
    );
    restore(&mut second, read);
    assert_eq!(listed(&second), before);
    assert!(second.end_taking_over().is_empty());
}

#[test]
fn what_the_file_says_too_is_the_files() {
    let mut first = Ledger::default();
    let twice = ["198.51.100.202::80@172.17.0.2"; 2];
    publish(&mut first, &twice, Origin::Command);
    let kept = first.kept();
    drop(first);
    let mut second = Ledger::default();
    // As the file of ports given has it.
    publish(
        &mut second,
        &["198.51.100.202:50000:80@172.17.0.2"],
        Origin::Config,
    );
    let refused = second.restore::<PublishError>(kept, &source(), |_| Ok(()));
    // The first is on a port that is the file's by now, the second is its own.
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(second.iter().count(), 2);

    let mut third = Ledger::default();
    publish(&mut third, &all(202), Origin::Config);
    let kept: Vec<Kept> = third.iter().map(Kept::from).collect();
    let before = listed(&third);
    restore(&mut third, kept);
    assert_eq!(listed(&third), before);
}

#[test]
fn who_has_the_place_by_now_keeps_it() {
    let mut first = Ledger::default();
    publish(&mut first, &all(203), Origin::Command);
    let kept = first.kept();
    drop(first);
    let mut second = Ledger::default();
    publish(
        &mut second,
        &["198.51.100.203:9005:80/udp@172.17.0.3"],
        Origin::Run,
    );
    let range = PortRange::single(
        [198, 51, 100, 203].into(),
        8080.try_into().expect("a port"),
        crate::spec::Protocol::Tcp,
    );
    let somebody = (source().reserve)(range, Choice::Ours).expect("it is free");
    let judge = |ports: &[PublishedPort]| match ports[0].target.is_ipv6() {
        true => Err(PublishError::Allocated {
            address: ports[0].address,
            port: 0,
            spec: "judged".to_owned(),
            other: String::new(),
        }),
        false => Ok(()),
    };
    let refused = second.restore(kept, &source(), judge);
    let why: Vec<_> = refused.iter().map(|(_, why)| why.to_string()).collect();
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(why[0].contains("8080"), "{why:?}");
    assert!(why[1].contains("port is already allocated"), "{why:?}");
    assert!(why[2].contains("judged"), "{why:?}");
    assert_eq!(second.kept().len(), 2);
    drop(somebody);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_words() {
    for (text, why) in [
        (r#"{"spec": "80@", "ports": []}"#, "80@"),
        (
            r#"{"spec": "80@172.17.0.2", "ports": [["0.0.0.0", "0", "172.17.0.2:80"]]}"#,
            "0 are no ports",
        ),
    ] {
        let error = serde_json::from_str::<Kept>(text).expect_err("no sense");
        assert!(error.to_string().contains(why), "{error}");
    }
}
