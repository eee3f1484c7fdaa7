//! Listings as the tools write them, and what becomes of packets among them.

use std::collections::{BTreeMap, BTreeSet};

mod silent;

use super::*;

const NFT: &str = include_str!("fixtures/ruleset.json");
const TEXT: &str = include_str!("fixtures/ruleset.txt");
const DOCKER: &str = include_str!("fixtures/docker.txt");

fn nft() -> Ruleset {
    let texts = rule_texts(TEXT);
    read_nft(NFT, &texts, &BTreeSet::new()).expect("a listing")
}

fn docker() -> Ruleset {
    read_iptables(DOCKER, Tool::IptablesNft, Family::Ip, None)
}

/// From a client to a container.
fn packet(to: &str, port: u16) -> Packet {
    Packet {
        in_interface: Some("eth0".to_owned()),
        out_interface: Some("docker0".to_owned()),
        source: Some("192.0.2.10".parse().expect("an address")),
        destination: Some(to.parse().expect("an address")),
        destination_port: Some(port),
        protocol: Some("tcp".to_owned()),
        ..Packet::default()
    }
}

/// What drops a forwarded packet: the chain, the rule's place or the policy, and whether that is sure.
fn dropped(rules: &Ruleset, packet: &Packet) -> Vec<(String, Option<usize>, bool)> {
    let outcomes = rules.walk(Hook::Forward, false, packet);
    let named = outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Dropped {
            chain,
            rule,
            perhaps,
            ..
        } => Some((rules.chain(chain).name.clone(), rule, !perhaps)),
        Outcome::Unjudged { .. } => None,
        Outcome::Redirected { .. } => panic!("nothing translates there"),
    });
    named.collect()
}

/// Where a rule leads a packet, and what deletes the rule.
fn redirected(rules: &Ruleset, hook: Hook, packet: &Packet) -> Option<(String, String)> {
    let outcomes = rules.walk(hook, true, packet);
    let Outcome::Redirected { chain, rule } = outcomes.first()? else {
        panic!("nothing drops there");
    };
    let chain = rules.chain(*chain);
    let rule = &chain.rules[*rule];
    let Action::Redirect(to) = &rule.action else {
        panic!("{rule:?}");
    };
    Some((to.clone(), chain.delete(rule)))
}

#[test]
fn sets_ranges_and_patterns_of_nft_are_understood() {
    let rules = nft();
    for port in [80, 8000, 8010] {
        assert_eq!(dropped(&rules, &packet("172.17.0.2", port)), [], "{port}");
    }
    let policy = [("forward".to_owned(), None, true)];
    for (to, port) in [("172.17.0.2", 81), ("172.17.0.3", 80)] {
        assert_eq!(dropped(&rules, &packet(to, port)), policy, "{to} {port}");
    }
    let from_lan = Packet {
        in_interface: Some("wlan0".to_owned()),
        ..packet("172.17.0.2", 80)
    };
    assert_eq!(dropped(&rules, &from_lan), policy);
    let bad = Packet {
        source: Some("203.0.113.7".parse().expect("an address")),
        ..packet("172.17.0.2", 80)
    };
    // One that looks up its verdict in a map of three is three.
    assert_eq!(
        dropped(&rules, &bad),
        [("forward".to_owned(), Some(3), true)]
    );
    let answer = Packet {
        established: true,
        ..packet("172.17.0.3", 81)
    };
    assert_eq!(dropped(&rules, &answer), []);
}

#[test]
fn what_is_not_understood_makes_a_drop_uncertain() {
    let rules = nft();
    let udp = Packet {
        protocol: Some("udp".to_owned()),
        ..packet("172.17.0.3", 53)
    };
    // As many a second pass.
    assert_eq!(dropped(&rules, &udp), [("forward".to_owned(), None, false)]);
    let mail = Packet {
        in_interface: Some("docker0".to_owned()),
        out_interface: Some("eth0".to_owned()),
        ..packet("198.51.100.1", 25)
    };
    // With a mark they pass.
    assert_eq!(
        dropped(&rules, &mail),
        [("outside".to_owned(), Some(3), false)]
    );
    let web = Packet {
        destination_port: Some(443),
        ..mail
    };
    assert_eq!(dropped(&rules, &web), []);
    // What is not known of the packet, too.
    let unknown = Packet {
        destination_port: None,
        ..packet("172.17.0.2", 80)
    };
    assert_eq!(
        dropped(&rules, &unknown),
        [("forward".to_owned(), None, false)]
    );
}

#[test]
fn translations_of_nft_lead_somewhere_and_can_be_deleted() {
    let rules = nft();
    let local = |port| Packet {
        is_local: true,
        ..packet("192.0.2.1", port)
    };
    let delete = |handle| format!("nft delete rule inet filter prerouting handle {handle}");
    let at = |packet: &Packet| redirected(&rules, Hook::Prerouting, packet);
    assert_eq!(
        at(&local(8080)),
        Some(("172.17.0.9:80".to_owned(), delete(19)))
    );
    assert_eq!(at(&packet("172.17.0.2", 8080)), None);
    assert_eq!(at(&local(8443)), Some(("elsewhere".to_owned(), delete(21))));
    assert_eq!(at(&local(53)), None);
    let dns = Packet {
        protocol: Some("udp".to_owned()),
        ..local(53)
    };
    assert_eq!(
        at(&dns),
        Some(("port 5353 of the host".to_owned(), delete(20)))
    );
    assert_eq!(redirected(&rules, Hook::Output, &local(8080)), None);
}

#[test]
fn rules_are_told_as_nft_tells_them() {
    let rules = nft();
    let chain = &rules.chains[0];
    assert_eq!(chain.to_string(), "chain forward of table inet filter");
    let texts: Vec<_> = chain.rules.iter().map(|rule| &*rule.text).collect();
    assert_eq!(texts[3], "ip saddr @bad drop");
}

#[test]
fn dockers_rules_let_pass_what_docker_publishes_alone() {
    let rules = docker();
    assert_eq!(dropped(&rules, &packet("172.17.0.3", 80)), []);
    let at_end = [("DOCKER".to_owned(), Some(1), true)];
    assert_eq!(dropped(&rules, &packet("172.17.0.2", 80)), at_end);
    let out = Packet {
        in_interface: Some("docker0".to_owned()),
        out_interface: Some("eth0".to_owned()),
        ..packet("198.51.100.1", 80)
    };
    assert_eq!(dropped(&rules, &out), []);
    let raw = rules.walk(Hook::Prerouting, false, &packet("172.17.0.3", 80));
    let Some(Outcome::Dropped {
        chain,
        perhaps: false,
        ..
    }) = raw.first()
    else {
        panic!("{raw:?}");
    };
    assert_eq!(rules.chain(*chain).table, "raw");
    let other = rules.walk(Hook::Prerouting, false, &packet("172.17.0.2", 80));
    assert_eq!(other, []);
}

#[test]
fn dockers_translation_is_found_behind_its_jump() {
    let rules = docker();
    let local = Packet {
        is_local: true,
        ..packet("192.0.2.1", 8080)
    };
    let rule =
        "DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.3:80";
    let delete = format!("iptables-nft -t nat -D {rule}");
    let expected = Some(("172.17.0.3:80".to_owned(), delete));
    assert_eq!(redirected(&rules, Hook::Prerouting, &local), expected);
    let own = Packet {
        in_interface: None,
        out_interface: Some("lo".to_owned()),
        ..local.clone()
    };
    // Of what the host sends the interface that it came in by is none.
    assert_eq!(redirected(&rules, Hook::Output, &own), expected);
    let loopback = Packet {
        destination: Some("127.0.0.1".parse().expect("an address")),
        ..own
    };
    assert_eq!(redirected(&rules, Hook::Output, &loopback), None);
    assert_eq!(
        redirected(&rules, Hook::Prerouting, &packet("172.17.0.2", 8080)),
        None
    );
}

#[test]
fn words_of_iptables_are_read_with_quotes_negations_and_lists() {
    let saved = "*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p tcp -m multiport --dports 80,8000:8010 -m comment --comment \"a -j \\\"b\\\"\" -j REJECT --reject-with tcp-reset
-A FORWARD ! -d 172.16.0.0/12 -p 17 -m set --match-set x dst -j DROP
-A FORWARD -p udp -j LOG --log-prefix \"x \" --log-level 4
-A FORWARD -p udp -m iprange --src-range 192.0.2.9-192.0.2.11 -j DROP
COMMIT
";
    let rules = read_iptables(saved, Tool::IptablesLegacy, Family::Ip, None);
    let reject = [("FORWARD".to_owned(), Some(0), true)];
    for port in [80, 8005] {
        assert_eq!(dropped(&rules, &packet("172.17.0.2", port)), reject);
    }
    assert_eq!(dropped(&rules, &packet("172.17.0.2", 8011)), []);
    let udp = Packet {
        protocol: Some("udp".to_owned()),
        ..packet("10.0.0.1", 53)
    };
    // Perhaps by the set, and surely behind it.
    assert_eq!(
        dropped(&rules, &udp),
        [("FORWARD".to_owned(), Some(3), true)]
    );
    let chain = &rules.chains[0];
    let rule = &chain.rules[2];
    assert_eq!((&rule.action, rule.tests.len()), (&Action::Nothing, 1));
    assert!(
        chain
            .to_string()
            .ends_with("table ip filter (iptables-legacy)")
    );
}

#[test]
fn tables_of_iptables_are_those_that_nft_does_not_show_in_full() {
    assert_eq!(managed_tables(NFT).expect("a listing"), BTreeSet::new());
    let listing = r#"{"nftables": [
        {"rule": {"family": "ip", "table": "nat", "chain": "X", "handle": 2,
                  "expr": [{"xt": {"type": "target", "name": "DNAT"}}]}},
        {"rule": {"family": "ip", "table": "filter", "chain": "X", "handle": 2,
                  "expr": [{"drop": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "X", "handle": 2,
                  "expr": [{"xt": null}]}}]}"#;
    let expected = BTreeSet::from([(Family::Ip, "nat".to_owned())]);
    assert_eq!(managed_tables(listing).expect("a listing"), expected);
    managed_tables("no JSON").expect_err("it is none");
}

#[test]
fn chains_that_lead_in_circles_end() {
    let saved = "*filter\n:FORWARD DROP [0:0]\n:A - [0:0]\n-A FORWARD -j A\n-A A -j A\nCOMMIT\n";
    let rules = read_iptables(saved, Tool::IptablesLegacy, Family::Ip, None);
    let uncertain = [("FORWARD".to_owned(), None, false)];
    assert_eq!(dropped(&rules, &packet("172.17.0.2", 80)), uncertain);
}

/// A listing of a table of this family with one chain, a policy that drops, and one rule.
fn listing(family: &str, hook: &str, rule: &str) -> String {
    format!(
        r#"{{"nftables": [
        {{"table": {{"family": "{family}", "name": "t", "handle": 1}}}},
        {{"chain": {{"family": "{family}", "table": "t", "name": "c", "handle": 1, "type": "filter",
            "hook": "{hook}", "prio": 0, "policy": "drop"}}}},
        {{"rule": {{"family": "{family}", "table": "t", "chain": "c", "handle": 2, "expr": [{rule}]}}}}]}}"#
    )
}

fn read(listing: &str) -> Ruleset {
    read_nft(listing, &BTreeMap::new(), &BTreeSet::new()).expect("a listing")
}

/// As nft 1.0.6 writes them.
#[test]
fn tables_that_are_dormant_are_known_by_their_text() {
    let text = "table inet t { # handle 1\n\tflags dormant\n\n\tchain c { # handle 1\n\t}\n}\n\
                table ip awake { # handle 2\n\tchain c { # handle 1\n\t\t\
                comment \"flags dormant\"\n\t}\n}\n\
                table ip6 both { # handle 3\n\tflags owner,dormant\n}\n";
    let asleep = dormant(text);
    let names: Vec<_> = asleep
        .iter()
        .map(|(of, name)| format!("{of} {name}"))
        .collect();
    assert_eq!(names, ["ip6 both", "inet t"]);
    let listing = listing("inet", "forward", "");
    assert_eq!(dropped(&read(&listing), &packet("172.17.0.2", 80)).len(), 1);
    let awake = read_nft(&listing, &BTreeMap::new(), &asleep).expect("a listing");
    assert_eq!(dropped(&awake, &packet("172.17.0.2", 80)), []);
}

#[test]
fn what_sees_frames_is_named() {
    let names = |family: &str, hook: &str| unjudged(&listing(family, hook, "")).expect("one");
    assert_eq!(names("bridge", "forward"), ["table bridge t"]);
    assert_eq!(names("netdev", "ingress"), ["table netdev t"]);
    assert_eq!(names("inet", "ingress"), ["chain c of table inet t"]);
    assert_eq!(names("inet", "forward"), [""; 0]);
}

/// As `ip daddr . tcp dport vmap { 172.17.0.2 . 80 : accept, 172.17.0.0/24 . 90-99 : accept }`.
#[test]
fn maps_of_several_things_at_once_are_understood() {
    let payload = |protocol, field| {
        format!(r#"{{"payload": {{"protocol": "{protocol}", "field": "{field}"}}}}"#)
    };
    let (daddr, dport) = (payload("ip", "daddr"), payload("tcp", "dport"));
    let net = r#"{"prefix": {"addr": "172.17.0.0", "len": 24}}"#;
    let rule = format!(
        r#"{{"vmap": {{"key": {{"concat": [{daddr}, {dport}]}}, "data": {{"set": [
            [{{"concat": ["172.17.0.2", 80]}}, {{"accept": null}}],
            [{{"concat": [{net}, {{"range": [90, 99]}}]}}, {{"accept": null}}]]}}}}}}"#
    );
    let rules = read(&listing("inet", "forward", &rule));
    for (to, port, passes) in [
        ("172.17.0.2", 80, true),
        ("172.17.0.3", 80, false),
        ("172.17.0.3", 95, true),
        ("172.17.1.3", 95, false),
    ] {
        let policy = [("c".to_owned(), None, true)];
        let expected = if passes { &[][..] } else { &policy[..] };
        assert_eq!(dropped(&rules, &packet(to, port)), expected, "{to} {port}");
    }
}
