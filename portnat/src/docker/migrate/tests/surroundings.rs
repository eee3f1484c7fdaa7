//! What is around Docker: its command line, its other backend, chains and bridges that have come since.

use super::*;

#[test]
fn another_config_file_than_dockers_is_not_changed() {
    let mut facts = facts("iptables-nft", PLAIN);
    facts.file.path = "/srv/daemon.json".into();
    let refused = Plan::of(&facts).expect("JSON").refused;
    assert_eq!(refused.len(), 1, "{refused:?}");
    let words = "dockerd reads /etc/docker/daemon.json, and not /srv/daemon.json";
    assert_eq!(refused[0].what, words);
    let running = facts.docker.as_mut().expect("is there");
    running.reads = None;
    let plan = Plan::of(&facts).expect("JSON");
    assert_eq!(plan.refused, []);
    assert!(plan.notes[0].contains("--daemon-json names it"), "{plan:?}");
}

/// Docker 29 and later may write rules of nftables.
#[test]
fn dockers_other_backend_is_recognised() {
    let mut facts = facts("iptables-nft", "");
    facts.nft_tables = vec!["ip docker-bridges".to_owned()];
    let notes = |facts: &Facts| Plan::of(facts).expect("JSON").notes.join("\n");
    assert_eq!(notes(&facts), "");
    let said = |notes: &str| notes.contains("firewall backend is nftables");
    facts.file.text = Some("{\"firewall-backend\": \"iptables\"}".to_owned());
    assert!(!said(&notes(&facts)));
    // Also where dockerd was told so.
    let running = facts.docker.as_mut().expect("is there");
    running.survey.firewall = Some("nftables".to_owned());
    assert!(said(&notes(&facts)));
    let running = facts.docker.as_mut().expect("is there");
    running.survey.firewall = None;
    facts.file.text = Some("{\"firewall-backend\": \"nftables\"}".to_owned());
    assert!(said(&notes(&facts)));
    let plan = Plan::of(&facts).expect("JSON");
    assert_eq!(plan.nft_tables, ["ip docker-bridges"]);
    let after = plan.daemon_json.expect("a change").after.expect("a text");
    assert!(
        after.contains("\"firewall-backend\": \"nftables\""),
        "{after}"
    );
}

/// As when a network was made since the last time.
#[test]
fn bridges_that_have_come_since_get_their_rules() {
    let accept = |side: &str, bridge: &str| {
        format!("{side} {bridge} -m comment --comment portnat-for-docker -j ACCEPT")
    };
    let table = |rules: &[String]| {
        let rules = rules.iter().map(|rule| format!("-A FORWARD {rule}\n"));
        format!(
            "*filter\n:FORWARD DROP [0:0]\n{}COMMIT\n",
            rules.collect::<String>()
        )
    };
    let both = |bridge| ["-i", "-o"].map(|side| accept(side, bridge)).to_vec();
    let mut facts = facts(
        "iptables-nft",
        &table(&[both("docker0"), both("br-+")].concat()),
    );
    assert_eq!(Plan::of(&facts).expect("JSON").rules, []);
    let running = facts.docker.as_mut().expect("is there");
    let own = network("own", "mybr", &["172.30.0.0/16"], false);
    running.observed.networks.push(own);
    let plan = Plan::of(&facts).expect("JSON");
    let wanted = [
        format!("-t filter -I FORWARD 5 {}", accept("-o", "mybr")),
        format!("-t filter -I FORWARD 5 {}", accept("-i", "mybr")),
    ];
    assert_eq!(plan.rules[0].added, wanted);
    // Behind Docker's, which it has written again.
    let old = both("docker0")
        .iter()
        .map(|rule| format!("-A FORWARD {rule}\n"))
        .collect::<String>();
    facts.tables[0].text = PLAIN.replace("-A FORWARD -o", &format!("{old}-A FORWARD -o"));
    let added = Plan::of(&facts).expect("JSON").rules[0].added.join("\n");
    assert!(
        added.contains("-I FORWARD 4 -i mybr") && !added.contains("docker0"),
        "{added}"
    );
}

#[test]
fn what_the_users_chain_leads_to_is_read_too() {
    let mine = ":mine - [0:0]\n:deep - [0:0]\n-A DOCKER-USER -i eth0 -j mine\n-A mine -g deep\n-A deep -j mine";
    assert_eq!(with(mine).refused, []);
    let asking = "-A deep -p tcp -m conntrack --ctorigdstport 8080 -j DROP";
    let plan = with(&format!("{mine}\n{asking}"));
    let refused: Vec<_> = plan.refused.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].contains("-A deep -p tcp") && refused[0].contains("reached by DOCKER-USER"),
        "{refused:?}"
    );
    // Where nothing of Docker's leads there it is no matter.
    let apart = ":deep - [0:0]\n-A INPUT -j deep\n";
    assert_eq!(with(&format!("{apart}{asking}")).refused, []);
}
