//! What was taken for no matter without being understood.

use super::*;

/// A listing of a chain at forward that accepts, with these rules, and a set `s` of addresses and ports.
fn forward(rules: &[&str]) -> Ruleset {
    chains(&[(
        "c",
        r#", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept""#,
        rules,
    )])
}

/// Chains of a table, each with what makes it a base chain and with its rules.
fn chains(all: &[(&str, &str, &[&str])]) -> Ruleset {
    let of = r#""family": "inet", "table": "t""#;
    let net = r#"{"prefix": {"addr": "172.18.0.0", "len": 16}}"#;
    let mut objects = vec![format!(
        r#"{{"set": {{{of}, "name": "s", "type": ["ipv4_addr", "inet_service"], "handle": 9, "elem": [
            {{"concat": ["172.17.0.2", 80]}},
            {{"elem": {{"val": {{"concat": [{net}, {{"range": [90, 99]}}]}}, "comment": "x"}}}}]}}}}"#
    )];
    for (name, base, rules) in all {
        objects.push(format!(
            r#"{{"chain": {{{of}, "name": "{name}", "handle": 1{base}}}}}"#
        ));
        let rules = rules.iter().enumerate().map(|(handle, rule)| {
            format!(
                r#"{{"rule": {{{of}, "chain": "{name}", "handle": {handle}, "expr": [{rule}]}}}}"#
            )
        });
        objects.extend(rules);
    }
    read(&format!(r#"{{"nftables": [{}]}}"#, objects.join(", ")))
}

fn payload(protocol: &str, field: &str) -> String {
    format!(r#"{{"payload": {{"protocol": "{protocol}", "field": "{field}"}}}}"#)
}

fn compares(left: &str, op: &str, right: &str) -> String {
    format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}"#)
}

/// Whether the first rule of the first chain drops a packet to this address and port; nothing, if that is not judged.
fn drops(rules: &Ruleset, to: &str, port: u16) -> Option<bool> {
    let outcomes = rules.walk(Hook::Forward, false, &packet(to, port));
    match outcomes[..] {
        [] => Some(false),
        [
            Outcome::Dropped {
                chain: 0,
                rule: Some(0),
                perhaps: false,
                ..
            },
        ] => Some(true),
        [Outcome::Unjudged { chain: 0, rule: 0 }] => None,
        _ => panic!("{outcomes:?}"),
    }
}

/// As `ip daddr . tcp dport @s drop`.
#[test]
fn sets_of_several_things_at_once_are_understood() {
    let left = format!(
        r#"{{"concat": [{}, {}]}}"#,
        payload("ip", "daddr"),
        payload("tcp", "dport")
    );
    for (op, inside) in [("==", true), ("!=", false)] {
        let rules = forward(&[&format!(
            r#"{}, {{"drop": null}}"#,
            compares(&left, op, "\"@s\"")
        )]);
        for (to, port, is_one) in [
            ("172.17.0.2", 80, true),
            ("172.17.0.2", 81, false),
            ("172.17.0.3", 80, false),
            ("172.18.7.7", 95, true),
            ("172.18.7.7", 80, false),
        ] {
            assert_eq!(
                drops(&rules, to, port),
                Some(is_one == inside),
                "{op} {to} {port}"
            );
        }
        let edges: Vec<_> = rules.edges().collect();
        assert_eq!(edges, [80, 81, 90, 100], "a range is tried in pieces");
    }
    // Listed in the rule; and one with a part that is not understood, or a set that is not there.
    let listed = r#"{"set": [{"concat": ["172.17.0.2", 80]}]}"#;
    let rules = forward(&[&format!(
        r#"{}, {{"drop": null}}"#,
        compares(&left, "==", listed)
    )]);
    assert_eq!(drops(&rules, "172.17.0.2", 80), Some(true));
    let marked = format!(
        r#"{{"concat": [{}, {{"meta": {{"key": "mark"}}}}]}}"#,
        payload("ip", "daddr")
    );
    for (left, right) in [(&marked, "\"@s\""), (&left, "\"@none\"")] {
        let rules = forward(&[&format!(
            r#"{}, {{"drop": null}}"#,
            compares(left, "==", right)
        )]);
        assert_eq!(drops(&rules, "172.17.0.2", 80), None);
    }
}

/// As `tcp dport < 1024 drop`.
#[test]
fn comparisons_of_ports_are_understood() {
    let dport = payload("tcp", "dport");
    for (op, number, dropped, passes) in [
        ("<", 1024, &[0, 80, 1023][..], &[1024, 65535][..]),
        ("<=", 1024, &[1024], &[1025]),
        (">", 1024, &[1025, 65535], &[1024]),
        (">=", 1024, &[1024], &[1023]),
        ("!=", 80, &[79, 81], &[80]),
        ("<", 0, &[], &[0, 80]),
        (">", 65535, &[], &[65535]),
    ] {
        let rule = format!(
            r#"{}, {{"drop": null}}"#,
            compares(&dport, op, &number.to_string())
        );
        let rules = forward(&[&rule]);
        for (ports, expected) in [(dropped, true), (passes, false)] {
            for port in ports {
                let found = drops(&rules, "172.17.0.2", *port);
                assert_eq!(found, Some(expected), "{port} {op} {number}");
            }
        }
    }
    // As `ip ttl < 5 drop`, `tcp dport < @x drop`.
    for (left, right) in [(payload("ip", "ttl"), "5"), (dport, "\"@x\"")] {
        let rule = format!(r#"{}, {{"drop": null}}"#, compares(&left, "<", right));
        assert_eq!(drops(&forward(&[&rule]), "172.17.0.2", 80), None);
    }
}

#[test]
fn what_may_drop_and_is_not_understood_is_told() {
    let ttl = compares(&payload("ip", "ttl"), "==", "1");
    for rule in [
        format!(r#"{ttl}, {{"drop": null}}"#),
        format!(r#"{ttl}, {{"jump": {{"target": "bad"}}}}"#),
        format!(r#"{ttl}, {{"goto": {{"target": "bad"}}}}"#),
        r#"{"queue": null}"#.to_owned(),
        r#"{"limit": {"rate": 9, "per": "second", "inv": true}}, {"drop": null}"#.to_owned(),
    ] {
        let base = r#", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept""#;
        let rules = chains(&[("c", base, &[&rule]), ("bad", "", &[r#"{"drop": null}"#])]);
        assert_eq!(drops(&rules, "172.17.0.2", 80), None, "{rule}");
        // That is for others.
        let other = compares(&payload("ip", "daddr"), "==", "\"172.17.0.9\"");
        let apart = chains(&[
            ("c", base, &[&format!("{other}, {rule}")]),
            ("bad", "", &[]),
        ]);
        assert_eq!(drops(&apart, "172.17.0.2", 80), Some(false), "{rule}");
    }
    // A list of bad addresses, of a client that is not known.
    let bad = compares(&payload("ip", "saddr"), "==", "\"203.0.113.7\"");
    let rules = forward(&[&format!(r#"{bad}, {{"drop": null}}"#)]);
    let client = Packet {
        source: None,
        ..packet("172.17.0.2", 80)
    };
    assert_eq!(rules.walk(Hook::Forward, false, &client), []);
}

/// Who goes to another chain for good does not come to what stands behind.
#[test]
fn behind_an_uncertain_goto_nothing_is_sure() {
    let base = r#", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept""#;
    let ttl = compares(&payload("ip", "ttl"), "==", "1");
    let to = |kind: &str| format!(r#"{ttl}, {{"{kind}": {{"target": "other"}}}}"#);
    let drop = r#"{"drop": null}"#;
    for (kind, other, sure) in [
        ("goto", &[][..], false),
        ("goto", &[r#"{"return": null}"#], false),
        ("goto", &[r#"{"accept": null}"#], false),
        // Either way it is dropped.
        ("goto", &[drop], true),
        ("jump", &[], true),
        ("jump", &[r#"{"accept": null}"#], false),
    ] {
        let rules = chains(&[("c", base, &[&to(kind), drop]), ("other", "", other)]);
        let found = dropped(&rules, &packet("172.17.0.2", 80));
        assert_eq!(found, [("c".to_owned(), Some(1), sure)], "{kind} {other:?}");
    }
}

#[test]
fn comments_of_iptables_may_look_like_options() {
    for (comment, port, is_dropped) in [
        ("-x", 80, true),
        ("--dport", 80, true),
        ("\"-j ACCEPT\"", 80, true),
        ("\"! -d 172.17.0.2\"", 80, true),
        ("!", 80, true),
        ("-x", 81, false),
    ] {
        let rule =
            format!("-A FORWARD -m comment --comment {comment} -p tcp -m tcp --dport 80 -j DROP");
        let saved = format!("*filter\n:FORWARD ACCEPT [0:0]\n{rule}\nCOMMIT\n");
        let rules = read_iptables(&saved, Tool::IptablesLegacy, Family::Ip, None);
        let found = drops(&rules, "172.17.0.2", port);
        assert_eq!(found, Some(is_dropped), "{rule}");
    }
}

/// What stands before connection tracking knows no connections.
#[test]
fn states_are_not_known_before_connection_tracking() {
    let state = |priority: &str, state: &str| {
        let base = format!(
            r#", "type": "filter", "hook": "prerouting", "prio": {priority}, "policy": "accept""#
        );
        let test = compares(r#"{"ct": {"key": "state"}}"#, "in", &format!("\"{state}\""));
        let rules = chains(&[("c", &base, &[&format!(r#"{test}, {{"drop": null}}"#)])]);
        let answer = Packet {
            established: true,
            ..packet("172.17.0.2", 80)
        };
        let outcomes = rules.walk(Hook::Prerouting, false, &answer);
        !outcomes.is_empty()
    };
    assert!(!state("-300", "established") && state("-150", "established"));
    assert!(state("-300", "invalid") && !state("-150", "invalid"));
}
