//! Plans on recorded rules and on some that are made up.

mod applying;
mod surroundings;

use super::*;
use crate::docker::{Container, Endpoint, Network, Port};
use crate::spec::Protocol;

/// What Docker 20.10 and 28.5 had written for [`observed`], and `iptables-nft-save` and `ip6tables-nft-save`
/// printed.
const RECORDED: [(&str, &str); 4] = [
    ("iptables-nft", include_str!("tests/recorded/ip-20.txt")),
    ("ip6tables-nft", include_str!("tests/recorded/ip6-20.txt")),
    ("iptables-nft", include_str!("tests/recorded/ip-28.txt")),
    ("ip6tables-nft", include_str!("tests/recorded/ip6-28.txt")),
];

/// A table that has nothing but Docker's rules of one port.
const PLAIN: &str = "\
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
";

fn network(name: &str, bridge: &str, subnets: &[&str], internal: bool) -> Network {
    Network {
        name: name.to_owned(),
        bridge: bridge.to_owned(),
        subnets: subnets
            .iter()
            .map(|it| it.parse().expect("a subnet"))
            .collect(),
        internal,
        ..Network::default()
    }
}

fn port(text: &str) -> Port {
    let words: Vec<_> = text.split(' ').collect();
    let number = |at: usize| words[at].parse().expect("a port");
    Port {
        address: words[0].parse().expect("an address"),
        host: Some(number(1)),
        container: number(2),
        protocol: Protocol::Tcp,
    }
}

/// As it was recorded.
fn observed() -> Observed {
    let web = Container {
        name: "web".to_owned(),
        ports: vec![port("0.0.0.0 8080 80"), port("127.0.0.1 8081 81")],
        ..Container::default()
    };
    Observed {
        networks: vec![
            network("bridge", "docker0", &["172.17.0.0/16"], false),
            network("two", "br-two", &["172.18.0.0/16", "fd00:2::/64"], false),
            network("inner", "br-inner", &["172.19.0.0/16", "fd00:3::/64"], true),
            network(
                "routed",
                "br-routed",
                &["172.20.0.0/16", "fd00:4::/64"],
                false,
            ),
            network("apart", "br-apart", &["172.21.0.0/16"], false),
            network("open", "br-open", &["172.22.0.0/16"], false),
        ],
        containers: vec![web],
    }
}

fn facts(tool: &str, text: &str) -> Facts {
    let interfaces = ["lo", "eth0", "docker0", "br-two", "br-inner"];
    Facts {
        docker: Some(Running {
            observed: observed(),
            survey: Survey {
                version: "28.5.2".to_owned(),
                ..Survey::default()
            },
            arguments: vec!["dockerd".to_owned()],
            reads: Some("/etc/docker/daemon.json".into()),
        }),
        file: ConfigFile {
            path: "/etc/docker/daemon.json".into(),
            ..ConfigFile::default()
        },
        tables: vec![Tables {
            tool: tool.to_owned(),
            text: text.to_owned(),
        }],
        nft_tables: Vec::new(),
        interfaces: interfaces.map(str::to_owned).into(),
    }
}

fn plan(text: &str) -> Plan {
    Plan::of(&facts("iptables-nft", text)).expect("JSON")
}

/// The plain table with these lines before its end.
fn with(lines: &str) -> Plan {
    plan(&PLAIN.replace("COMMIT", &format!("{lines}\nCOMMIT")))
}

#[test]
fn all_that_docker_has_written_goes_and_nothing_else() {
    for (tool, text) in RECORDED {
        let plan = Plan::of(&facts(tool, text)).expect("JSON");
        assert_eq!(plan.refused, [], "{tool}");
        assert_eq!(plan.notes, [""; 0], "{tool}");
        let rules = text.lines().filter(|line| line.starts_with("-A ")).count();
        let going = plan.rules.iter().flat_map(|change| {
            let chains = change.chains.iter().map(|(_, many)| many);
            chains.copied().chain([change.removed.len()])
        });
        assert_eq!(going.sum::<usize>(), rules, "{tool}: {plan:#?}");
        let chains = text.lines().filter(|line| line.starts_with(":DOCKER"));
        let going = plan.rules.iter().flat_map(|change| &change.chains);
        assert_eq!(going.count(), chains.count(), "{tool}");
    }
}

#[test]
fn what_is_done_is_told_to_the_tool_table_by_table() {
    let plan = plan(PLAIN);
    let accept = |side: &str, bridge: &str| {
        format!("-I FORWARD 2 {side} {bridge} -m comment --comment portnat-for-docker -j ACCEPT\n")
    };
    let wanted = [
        "*filter\n",
        // Its policy drops, so what passed goes on to.
        &accept("-o", "docker0"),
        &accept("-i", "docker0"),
        &accept("-o", "br-+"),
        &accept("-i", "br-+"),
        "-D FORWARD -j DOCKER-USER\n",
        "-D FORWARD -o docker0 -j DOCKER\n",
        "-D FORWARD -i docker0 ! -o docker0 -j ACCEPT\n",
        "-F DOCKER\n-F DOCKER-USER\n-X DOCKER\n-X DOCKER-USER\nCOMMIT\n",
    ];
    assert_eq!(plan.rules[0].script, wanted.concat());
    assert_eq!(plan.rules[0].tables, ["filter"]);
}

#[test]
fn nothing_comes_in_place_where_nobody_drops() {
    let open = PLAIN.replace("FORWARD DROP", "FORWARD ACCEPT");
    assert_eq!(plan(&open).rules[0].added, [""; 0]);
    // Others behind Docker may.
    let guarded = open.replace("COMMIT", "-A FORWARD -j ufw-before-forward\nCOMMIT");
    assert_eq!(plan(&guarded).rules[0].added.len(), 4);
    // Where others' bridges begin so, too.
    let mut facts = facts("iptables-nft", PLAIN);
    facts.interfaces.push("br-lan".to_owned());
    let plan = Plan::of(&facts).expect("JSON");
    let added = plan.rules[0].added.join("\n");
    assert!(
        added.contains("-i br-two ") && !added.contains('+'),
        "{added}"
    );
}

#[test]
fn rules_of_others_that_need_dockers_are_in_the_way() {
    for (rule, why) in [
        (
            "-A FORWARD -i wg0 -j DOCKER",
            "leads to a chain of Docker's",
        ),
        ("-A DOCKER -i wg0 -j DROP", "none of its rules"),
        (
            "-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -m comment --comment mine -j ACCEPT",
            "none of its rules",
        ),
        (
            "-A DOCKER-USER -d 172.17.0.2/32 -g DOCKER",
            "leads to a chain of Docker's",
        ),
        (
            "-A DOCKER-USER -m conntrack --ctstate DNAT -j DROP",
            "would never be met",
        ),
    ] {
        let plan = with(rule);
        assert_eq!(plan.refused.len(), 1, "{rule}: {plan:#?}");
        assert!(plan.refused[0].what.contains(why), "{plan:#?}");
    }
}

#[test]
fn rules_of_others_stay() {
    for rule in [
        "-A FORWARD -i eth0 -o docker0 -j ACCEPT",
        // Like Docker's, of a bridge that is not Docker's.
        "-A FORWARD -i br-lan ! -o br-lan -j ACCEPT",
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment mine -j ACCEPT",
    ] {
        let plan = with(rule);
        assert_eq!(plan.refused, [], "{rule}");
        let script = &plan.rules[0].script;
        assert!(!script.contains(rule.trim_start_matches("-A ")), "{script}");
    }
}

/// In the chain that Docker leaves to its users.
#[test]
fn the_users_own_rules_stay_and_are_told_in_options() {
    for (rule, option) in [
        ("-s 192.0.2.0/24 -j DROP", Some("--deny 192.0.2.0/24")),
        (
            "! -s 192.0.2.0/24 -i eth0 -j REJECT --reject-with icmp-port-unreachable",
            None,
        ),
        ("! -s 192.0.2.0/24 -j DROP", Some("--allow 192.0.2.0/24")),
        (
            "-s 192.0.2.7/32 -p tcp -m tcp --dport 80 -j DROP",
            Some("--deny 8080=192.0.2.7/32"),
        ),
        ("-s 192.0.2.7/32 -p tcp -m tcp --dport 99 -j DROP", None),
        ("-m limit --limit 5/sec -j LOG", None),
        ("! -s 192.0.2.0/24 -i eth0 -j DROP", None),
        ("-s 192.0.2.0/24 -j RETURN", None),
    ] {
        let last = "-A DOCKER-USER -j RETURN";
        let plan = plan(&PLAIN.replace(last, &format!("-A DOCKER-USER {rule}\n{last}")));
        assert_eq!(plan.refused, []);
        let note = plan.notes.first().expect("a note");
        assert!(note.contains(rule), "{note}");
        let says = option.map(|option| format!("portnat run {option} says the same"));
        match says {
            Some(says) => assert!(note.contains(&says), "{note}"),
            None => assert!(!note.contains("says the same"), "{note}"),
        }
        let change = &plan.rules[0];
        assert_eq!(change.chains.len(), 1, "{change:#?}");
        assert!(!change.script.contains("DOCKER-USER"), "{}", change.script);
    }
    // Who else leads there has it stay, too.
    let plan = with(":INPUT ACCEPT [0:0]\n-A INPUT -j DOCKER-USER");
    assert_eq!(plan.refused, []);
    assert!(!plan.rules[0].script.contains("DOCKER-USER"));
}

#[test]
fn what_portnat_does_not_serve_is_in_the_way() {
    let refused = |change: &dyn Fn(&mut Running)| {
        let mut facts = facts("iptables-nft", PLAIN);
        change(facts.docker.as_mut().expect("is there"));
        let plan = Plan::of(&facts).expect("JSON");
        let refused = plan.refused.iter().map(|it| it.what.clone());
        refused.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(refused(&|_| {}), "");
    assert!(refused(&|it| it.survey.swarm = true).contains("swarm"));
    assert!(refused(&|it| it.survey.rootless = true).contains("rootless"));
    assert!(refused(&|it| it.survey.version = "19.03.1".to_owned()).contains("19.03.1"));
    assert!(refused(&|it| it.arguments.push("--iptables".to_owned())).contains("--iptables"));
    assert_eq!(
        refused(&|it| it.arguments.push("--ip=192.0.2.1".to_owned())),
        ""
    );
    let lan = ("lan".to_owned(), "macvlan".to_owned());
    // As long as nobody is there it is no matter.
    assert_eq!(refused(&|it| it.survey.unserved.push(lan.clone())), "");
    let used = refused(&|it| {
        it.survey.unserved.push(lan.clone());
        it.observed.containers[0].endpoints.push(Endpoint {
            name: "lan".to_owned(),
            ..Endpoint::default()
        });
    });
    assert!(used.contains("container web is in network lan"), "{used}");
}

#[test]
fn containers_that_do_not_come_back_are_named() {
    let mut facts = facts("iptables-nft", PLAIN);
    let running = facts.docker.as_mut().expect("is there");
    running.survey.stays_down.push("web".to_owned());
    let plan = Plan::of(&facts).expect("JSON");
    assert!(plan.notes[0].contains("docker start web"), "{plan:#?}");
    let running = facts.docker.as_mut().expect("is there");
    running.survey.live_restore = true;
    assert_eq!(Plan::of(&facts).expect("JSON").notes, [""; 0]);
}

#[test]
fn the_way_back_puts_the_file_back_and_takes_out_what_is_in_place() {
    let mut facts = facts("iptables-nft", PLAIN);
    let old = "{ \"bip\": \"10.1.0.1/24\", \"iptables\": true }";
    facts.file.text = Some(old.to_owned());
    let change = Plan::of(&facts).expect("JSON").daemon_json;
    let switched = change.expect("a change").after.expect("a text");
    facts.file.text = Some(switched.clone());
    facts.file.backup = Some(old.to_owned());
    facts.tables[0].text = "*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -i docker0 -m comment --comment portnat-for-docker -j ACCEPT\n\
        -A FORWARD -i docker0 -m comment --comment mine -j ACCEPT\nCOMMIT\n"
        .to_owned();
    let back = Plan::back(&facts).expect("JSON");
    let after = |plan: &Plan| plan.daemon_json.clone().expect("a change").after;
    assert_eq!(after(&back).as_deref(), Some(old), "letter by letter");
    assert_eq!(
        back.rules[0].script,
        "*filter\n-D FORWARD -i docker0 -m comment --comment portnat-for-docker -j ACCEPT\nCOMMIT\n"
    );

    // What was changed meanwhile stays so.
    facts.file.text = Some(switched.replace("10.1.0.1", "10.2.0.1"));
    let text = after(&Plan::back(&facts).expect("JSON")).expect("a text");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        read,
        serde_json::json!({"bip": "10.2.0.1/24", "iptables": true})
    );

    // Where there was none there is none.
    facts.file.text = None;
    let change = Plan::of(&facts).expect("JSON").daemon_json;
    facts.file.text = change.expect("a change").after;
    facts.file.backup = Some(String::new());
    assert_eq!(after(&Plan::back(&facts).expect("JSON")), None);

    // Without a copy it is as Docker has it by itself.
    facts.file.text = Some(switched);
    facts.file.backup = None;
    let text = after(&Plan::back(&facts).expect("JSON")).expect("a text");
    assert!(!text.contains("tables") && text.contains("bip"), "{text}");
}

#[test]
fn a_config_that_makes_no_sense_is_an_error() {
    let mut facts = facts("iptables-nft", PLAIN);
    facts.file.text = Some("{ iptables: true }".to_owned());
    let error = Plan::of(&facts).expect_err("is no JSON").to_string();
    assert!(error.starts_with("/etc/docker/daemon.json: "), "{error}");
}
