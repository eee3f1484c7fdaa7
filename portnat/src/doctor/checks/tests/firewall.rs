//! Rules of firewalls.

use super::*;
use crate::doctor::checks::forward::MOST_REMEDIES;
use crate::doctor::facts::Unread;
use crate::doctor::rules::{Family, Ruleset, Tool, read_iptables};

const DOCKER: &str = include_str!("../../rules/fixtures/docker.txt");

fn iptables(saved: &str) -> Ruleset {
    read_iptables(saved, Tool::IptablesLegacy, Family::Ip, None)
}

fn with(saved: &str) -> Facts {
    let mut facts = healthy();
    facts.firewall.rules = iptables(saved);
    facts
}

const POLICY: &str = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n";

#[test]
fn a_policy_that_drops_is_one_fault_with_a_command_for_each_way() {
    let (severity, finding) = one(&with(POLICY), "forward-rules");
    assert_eq!(severity, Severity::Fault);
    assert!(
        finding.summary.starts_with(
            "chain FORWARD of table ip filter (iptables-legacy) drops what containers of docker0 \
             ask for outside, "
        ),
        "{finding:?}"
    );
    assert!(finding.meaning.starts_with("By its policy."), "{finding:?}");
    let insert = "iptables-legacy -t filter -I FORWARD";
    let expected = [
        format!("{insert} -i docker0 -o eth0 -j ACCEPT"),
        format!("{insert} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
        format!("{insert} -i eth0 -o docker0 -d 172.17.0.2 -p tcp --dport 80 -j ACCEPT"),
        // No more than the port: containers may be kept apart.
        format!("{insert} -i docker0 -o docker0 -d 172.17.0.2 -p tcp --dport 80 -j ACCEPT"),
    ];
    assert_eq!(finding.remedies, expected);
    assert_eq!(finding.fix, None);
}

/// What it tells is what it wants.
#[test]
fn the_commands_mend_it() {
    let (_, finding) = one(&with(POLICY), "forward-rules");
    let rules: Vec<_> = finding
        .remedies
        .iter()
        .map(|remedy| remedy.replace("iptables-legacy -t filter -I", "-A"))
        .collect();
    let saved = POLICY.replace("COMMIT", &format!("{}\nCOMMIT", rules.join("\n")));
    assert_eq!(found(&with(&saved), "forward-rules"), []);
}

#[test]
fn a_range_is_one_and_a_part_of_it_by_itself() {
    let mut facts = with(
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp --dport 1000:1009 -j DROP\nCOMMIT\n",
    );
    answers(&mut facts).report.ports = vec![published(8000, 8099, 1000)];
    let (_, finding) = one(&facts, "forward-rules");
    assert!(
        finding
            .summary
            .contains("drops what comes for 0.0.0.0:8000-8009/tcp, "),
        "{finding:?}"
    );
    assert!(
        finding.remedies[0].contains("--dport 1000:1009"),
        "{finding:?}"
    );
    facts.firewall.rules = iptables(POLICY);
    let (_, finding) = one(&facts, "forward-rules");
    assert!(
        finding.summary.contains("0.0.0.0:8000-8099/tcp"),
        "{finding:?}"
    );
}

#[test]
fn docker_is_told_by_its_own_chain() {
    let (severity, finding) = one(&with(DOCKER), "forward-rules");
    assert_eq!(severity, Severity::Fault);
    assert!(
        finding
            .meaning
            .contains("DOCKER ! -i docker0 -o docker0 -j DROP"),
        "{finding:?}"
    );
    let insert = "iptables-legacy -t filter -I DOCKER-USER -i eth0 -o docker0";
    let expected = [format!(
        "{insert} -d 172.17.0.2 -p tcp --dport 80 -j ACCEPT"
    )];
    assert_eq!(finding.remedies, expected);
    // The container that Docker publishes is kept from direct access before routing.
    let mut facts = with(DOCKER);
    answers(&mut facts).report.ports[0].sides.target = [172, 17, 0, 3].into();
    let (severity, finding) = one(&facts, "forward-rules");
    assert_eq!(severity, Severity::Fault);
    assert!(finding.summary.contains("table ip raw"), "{finding:?}");
    assert!(
        finding.remedies[0].contains("allow-direct-routing"),
        "{finding:?}"
    );
}

#[test]
fn ufw_and_firewalld_have_words_of_their_own() {
    let ufw = POLICY.replace("COMMIT", ":ufw-user-forward - [0:0]\nCOMMIT");
    let (_, finding) = one(&with(&ufw), "forward-rules");
    let route = "ufw route allow in on eth0 out on docker0 to 172.17.0.2 port 80 proto tcp";
    assert!(finding.remedies.contains(&route.to_owned()), "{finding:?}");

    let mut facts = with(POLICY);
    let chain = &mut facts.firewall.rules.chains[0];
    (chain.tool, chain.family, chain.table) = (Tool::Nft, Family::Inet, "firewalld".to_owned());
    let (_, finding) = one(&facts, "forward-rules");
    for command in [
        "firewall-cmd --permanent --zone=trusted --add-interface=docker0",
        "firewall-cmd --permanent --policy=portnat-in --add-port=80/tcp",
    ] {
        assert!(
            finding.remedies.contains(&command.to_owned()),
            "{finding:?}"
        );
    }
    assert_eq!(
        finding.remedies.last().map(String::as_str),
        Some("firewall-cmd --reload")
    );
}

#[test]
fn without_a_daemon_what_would_be_dropped_is_a_warning() {
    let mut facts = with(POLICY);
    facts.daemon = Daemon::default();
    let (severity, finding) = one(&facts, "forward-rules");
    assert_eq!(severity, Severity::Warning);
    assert!(
        finding.summary.contains("what comes for ports of docker0"),
        "{finding:?}"
    );
    // Docker's may let it through: it depends on the container.
    facts.firewall.rules = iptables(DOCKER);
    let (severity, finding) = one(&facts, "forward-rules");
    assert_eq!(severity, Severity::Warning);
    assert!(finding.summary.contains("may drop"), "{finding:?}");
}

#[test]
fn a_rule_that_leads_our_port_elsewhere_is_told_with_who_is_concerned() {
    let rules = |chain: &str, to: &str| {
        format!(
            "*nat\n:{chain} ACCEPT [0:0]\n-A {chain} -p tcp -m tcp --dport 8080 -j DNAT \
             --to-destination {to}\nCOMMIT\n"
        )
    };
    let (severity, finding) = one(&with(&rules("PREROUTING", "172.17.0.9:80")), "nat-rules");
    assert_eq!(severity, Severity::Warning);
    assert_eq!(
        finding.summary,
        "chain PREROUTING of table ip nat (iptables-legacy) leads 0.0.0.0:8080/tcp to 172.17.0.9:80"
    );
    assert_eq!(
        finding.remedies[0],
        "iptables-legacy -t nat -D PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination \
         172.17.0.9:80"
    );
    let (severity, _) = one(&with(&rules("OUTPUT", "172.17.0.9:80")), "nat-rules");
    assert_eq!(severity, Severity::Fault);
    let (severity, _) = one(&with(&rules("PREROUTING", "172.17.0.2:80")), "nat-rules");
    assert_eq!(severity, Severity::Note);
    // What has been translated is not for the host's port any more, but for the container's.
    let translated = rules("PREROUTING", "172.17.0.9:80").replace("8080", "80");
    let (severity, finding) = one(&with(&translated), "nat-rules");
    assert_eq!(severity, Severity::Fault);
    assert!(finding.meaning.contains("led to its target"), "{finding:?}");
}

#[test]
fn dockers_own_rule_goes_with_its_container() {
    let (severity, finding) = one(&with(DOCKER), "nat-rules");
    assert_eq!(severity, Severity::Fault);
    assert!(
        finding
            .summary
            .contains("leads 0.0.0.0:8080/tcp to 172.17.0.3:80"),
        "{finding:?}"
    );
    assert!(finding.remedies[0].contains("without -p"), "{finding:?}");
    assert!(
        finding.remedies[1].contains("\"iptables\": false"),
        "{finding:?}"
    );
}

#[test]
fn rules_that_were_not_read_are_said_to_be_so() {
    let mut facts = healthy();
    facts.firewall.unread = vec![Unread {
        what: "the rules of nftables",
        why: "nft is not installed".to_owned(),
        package: Some("nftables"),
    }];
    let (severity, finding) = one(&facts, "firewall");
    assert_eq!(severity, Severity::Note);
    assert_eq!(
        finding.summary,
        "the rules of nftables were not read: nft is not installed"
    );
    assert_eq!(finding.remedies, ["apt install nftables"]);
    // Then nobody says that all is well with them.
    for check in ["forward-rules", "nat-rules"] {
        let (severity, finding) = one(&facts, check);
        assert_eq!(severity, Severity::Note);
        assert!(
            finding.summary.ends_with("as far as rules were read"),
            "{finding:?}"
        );
    }
}

#[test]
fn bridged_packets_matter_where_there_are_rules() {
    let mut facts = healthy();
    facts.sysctls = sysctls(&[("net/bridge/bridge-nf-call-iptables", "1")]);
    assert_eq!(found(&facts, "firewall"), []);
    facts.firewall.rules = iptables("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n");
    let (severity, finding) = one(&facts, "firewall");
    assert_eq!(severity, Severity::Note);
    assert_eq!(finding.summary, "bridge-nf-call-iptables is on");
    assert_eq!(finding.remedies, [""; 0], "nothing needs to be done");
}

#[test]
fn what_leaves_is_looked_at_to_its_end() {
    let facts =
        with("*mangle\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j DROP\nCOMMIT\n");
    let (severity, finding) = one(&facts, "forward-rules");
    assert_eq!(severity, Severity::Fault);
    assert!(
        finding.summary.contains("the answers of 0.0.0.0:8080/tcp"),
        "{finding:?}"
    );
    // There iptables does not ask by which interface it came.
    assert_eq!(
        finding.remedies[0],
        "iptables-legacy -t mangle -I POSTROUTING -o eth0 -j ACCEPT"
    );
}

#[test]
fn rules_that_see_frames_are_said_not_to_be_judged() {
    let mut facts = healthy();
    facts.firewall.unjudged = vec!["table netdev early".to_owned()];
    let (severity, finding) = one(&facts, "firewall");
    assert_eq!(severity, Severity::Note);
    assert_eq!(
        finding.summary,
        "what table netdev early drops is not looked at"
    );
    let (severity, _) = one(&facts, "forward-rules");
    assert_eq!(severity, Severity::Note, "not simply ok");
}

/// Connection tracking has not seen a packet there, so no rule for answers by their state would help.
#[test]
fn the_commands_mend_it_before_connection_tracking_too() {
    let saved = "*raw\n:PREROUTING DROP [0:0]\nCOMMIT\n";
    let (severity, finding) = one(&with(saved), "forward-rules");
    assert_eq!(severity, Severity::Fault);
    assert!(
        finding
            .meaning
            .contains("Connection tracking comes after it"),
        "{finding:?}"
    );
    let commands = finding.remedies.join("\n");
    assert!(!commands.contains("ctstate"), "{commands}");
    let answers =
        "iptables-legacy -t raw -I PREROUTING -i docker0 -s 172.17.0.2 -p tcp --sport 80 -j ACCEPT";
    assert!(commands.contains(answers), "{commands}");
    let rules = commands.replace("iptables-legacy -t raw -I", "-A");
    let mended = saved.replace("COMMIT", &format!("{rules}\nCOMMIT"));
    assert_eq!(found(&with(&mended), "forward-rules"), []);
    // As nft says it.
    let mut facts = with(saved);
    let chain = &mut facts.firewall.rules.chains[0];
    (chain.tool, chain.family) = (Tool::Nft, Family::Inet);
    let (_, finding) = one(&facts, "forward-rules");
    let commands = finding.remedies.join("\n");
    let answers = "PREROUTING iifname \"docker0\" ip saddr 172.17.0.2 tcp sport 80 accept";
    assert!(
        commands.contains(answers) && !commands.contains("ct state"),
        "{commands}"
    );
}

#[test]
fn what_is_not_understood_is_said_and_not_simply_ok() {
    let forward = "*filter\n:FORWARD ACCEPT [0:0]\n";
    let rule = "-A FORWARD -p tcp -m u32 --u32 \"0x0>>0x16\" -j DROP";
    let (severity, finding) = one(
        &with(&format!("{forward}{rule}\nCOMMIT\n")),
        "forward-rules",
    );
    assert_eq!(severity, Severity::Note);
    assert_eq!(
        finding.summary,
        "what is published may be dropped by 1 rule not understood here"
    );
    assert!(finding.meaning.contains(rule), "{finding:?}");
    assert!(
        finding.meaning.contains("chain FORWARD of table ip filter"),
        "{finding:?}"
    );
    // Nothing of ours comes to it.
    let other = rule.replace("-p tcp", "-p udp -i wlan0");
    assert_eq!(
        found(
            &with(&format!("{forward}{other}\nCOMMIT\n")),
            "forward-rules"
        ),
        []
    );

    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m u32 --u32 \"0x0>>0x16\" -j DNAT \
               --to-destination 172.17.0.9\nCOMMIT\n";
    let (severity, finding) = one(&with(nat), "nat-rules");
    assert_eq!(severity, Severity::Note);
    assert_eq!(
        finding.summary,
        "published ports may be led elsewhere by 1 rule not understood here"
    );
}

/// As `dnat to tcp dport map @targets`.
#[test]
fn where_a_rule_leads_that_does_not_tell_is_said_so() {
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT\nCOMMIT\n";
    let (_, finding) = one(&with(nat), "nat-rules");
    let words = "leads 0.0.0.0:8080/tcp to what the rule chooses";
    assert!(finding.summary.contains(words), "{finding:?}");
}

/// A look at each with each would take minutes.
#[test]
fn as_many_ports_as_there_are_are_judged_at_once() {
    let mut facts = with(POLICY);
    // Every other one, so that none are in a row.
    let every_other = (1000..61_000).step_by(2);
    answers(&mut facts).report.ports = every_other
        .map(|port| published(port, port, port))
        .collect();
    facts.firewall.rules.chains.extend(iptables(DOCKER).chains);
    let findings = found(&facts, "forward-rules");
    assert_eq!(findings.len(), 2, "the policy, and Docker");
    for finding in findings {
        assert_eq!(finding.remedies.len(), MOST_REMEDIES + 1);
        let last = finding.remedies.last().expect("one");
        assert!(last.ends_with("more like these"), "{last}");
    }
}
