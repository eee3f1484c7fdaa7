//! Commands that let packets pass, in the words of whoever keeps the rules.

use super::forward::{Trial, Way};
use crate::doctor::Facts;
use crate::doctor::rules::{Chain, Hook, Tool};
use crate::report::PortSides;

/// What makes firewalld's permanent words count.
pub(super) const RELOAD: &str = "firewall-cmd --reload";

/// Who keeps the rules of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Ufw,
    Firewalld,
    Docker,
    Nobody,
}

/// Lets a packet pass that is dropped in a chain, to which it came from a hook, perhaps before connection
/// tracking.
pub(super) fn let_pass(
    facts: &Facts,
    (hook, untracked): (Hook, bool),
    chain: &Chain,
    trial: &Trial,
) -> Vec<String> {
    let mut trial = trial.clone();
    trial.packet.untracked = untracked;
    if hook == Hook::Prerouting {
        // By which interface it leaves is not known there.
        trial.packet.out_interface = None;
    }
    if hook == Hook::Postrouting {
        if chain.tool != Tool::Nft {
            // iptables does not ask there by which interface it came.
            trial.packet.in_interface = None;
        }
        // Nobody of whom more is known keeps rules there that drop.
        return vec![plain(chain, &chain.name, &trial)];
    }
    match keeper(facts, chain) {
        Keeper::Ufw => ufw(&trial),
        Keeper::Firewalld => firewalld(&trial),
        // Since version 28 it drops there what comes for containers by their own addresses.
        Keeper::Docker if hook == Hook::Prerouting => vec![
            "set \"allow-direct-routing\": true, or \"iptables\": false, in \
             /etc/docker/daemon.json; systemctl restart docker"
                .to_owned(),
        ],
        Keeper::Docker => docker(chain, &trial),
        Keeper::Nobody => vec![plain(chain, &chain.name, &trial)],
    }
}

fn keeper(facts: &Facts, dropping: &Chain) -> Keeper {
    let rules = &facts.firewall.rules;
    let of_same = |chain: &Chain| (chain.tool, chain.family) == (dropping.tool, dropping.family);
    let beside = |chain: &Chain| of_same(chain) && chain.table == dropping.table;
    let is_dockers = |chain: &Chain| match dropping.table.as_str() {
        // Its chains are in the other tables.
        "raw" => of_same(chain) && chain.name == "DOCKER",
        _ => beside(chain) && chain.name == "DOCKER-USER",
    };
    if dropping.table == "firewalld" {
        Keeper::Firewalld
    } else if rules.has_chain(|chain| beside(chain) && chain.name.starts_with("ufw")) {
        Keeper::Ufw
    } else if rules.has_chain(is_dockers) {
        Keeper::Docker
    } else {
        Keeper::Nobody
    }
}

fn name(interface: &Option<String>) -> &str {
    interface.as_deref().unwrap_or("any")
}

/// The target's ports, of a range with this between its ends.
fn ports(port: &PortSides, between: char) -> String {
    port.target_ports().replace('-', &between.to_string())
}

/// ufw-framework(8) lets answers pass by itself.
fn ufw(trial: &Trial) -> Vec<String> {
    let packet = &trial.packet;
    let (from, to) = (name(&packet.in_interface), name(&packet.out_interface));
    match (trial.way, &trial.port) {
        (Way::In | Way::Hairpin, Some(port)) => vec![format!(
            "ufw route allow in on {from} out on {to} to {} port {} proto {}",
            port.target,
            ports(port, ':'),
            port.protocol
        )],
        (Way::In | Way::Out | Way::Hairpin, _) => {
            vec![format!("ufw route allow in on {from} out on {to}")]
        }
        (Way::Answers | Way::Back, _) => vec!["ufw reload".to_owned()],
    }
}

/// firewalld(1) lets answers pass by itself. A bridge is to be in a zone of its own for that.
fn firewalld(trial: &Trial) -> Vec<String> {
    let packet = &trial.packet;
    let bridge = match trial.way {
        Way::In | Way::Back | Way::Hairpin => name(&packet.out_interface),
        Way::Answers | Way::Out => name(&packet.in_interface),
    };
    let zone = format!("firewall-cmd --permanent --zone=trusted --add-interface={bridge}");
    let policy = |name: &str, from: &str, to: &str| {
        let new = format!("firewall-cmd --permanent --new-policy={name}");
        let ends = format!(
            "firewall-cmd --permanent --policy={name} --add-ingress-zone={from} \
             --add-egress-zone={to}"
        );
        vec![zone.clone(), new, ends]
    };
    let accept =
        |name: &str| format!("firewall-cmd --permanent --policy={name} --set-target=ACCEPT");
    let mut commands = match (trial.way, &trial.port) {
        (Way::In, Some(port)) => {
            let mut commands = policy("portnat-in", "ANY", "trusted");
            commands.push(format!(
                "firewall-cmd --permanent --policy=portnat-in --add-port={}/{}",
                ports(port, '-'),
                port.protocol
            ));
            commands
        }
        (Way::In, None) => {
            let mut commands = policy("portnat-in", "ANY", "trusted");
            commands.push(accept("portnat-in"));
            commands
        }
        (Way::Out, _) => {
            let mut commands = policy("portnat-out", "trusted", "ANY");
            commands.push(accept("portnat-out"));
            commands
        }
        (Way::Answers | Way::Back | Way::Hairpin, _) => vec![zone],
    };
    commands.push(RELOAD.to_owned());
    commands
}

/// Docker asks the chain DOCKER-USER before its own ones.
fn docker(chain: &Chain, trial: &Trial) -> Vec<String> {
    vec![plain(chain, "DOCKER-USER", trial)]
}

/// A rule at the head of a chain.
fn plain(chain: &Chain, place: &str, trial: &Trial) -> String {
    match chain.tool {
        Tool::Nft => nft(chain, place, trial),
        Tool::IptablesNft | Tool::IptablesLegacy => iptables(chain, place, trial),
    }
}

fn nft(chain: &Chain, place: &str, trial: &Trial) -> String {
    let packet = &trial.packet;
    let mut rule = format!("nft insert rule {} {} {place}", chain.family, chain.table);
    let mut test = |words: String| rule = format!("{rule} {words}");
    let comes_back = matches!(trial.way, Way::Answers | Way::Back);
    if comes_back && !packet.untracked {
        test("ct state established,related accept".to_owned());
        return rule;
    }
    if let Some(from) = &packet.in_interface {
        test(format!("iifname {from:?}"));
    }
    if let Some(to) = &packet.out_interface {
        test(format!("oifname {to:?}"));
    }
    if let (Way::In | Way::Hairpin, Some(port)) = (trial.way, &trial.port) {
        let family = if packet.v6 { "ip6" } else { "ip" };
        test(format!("{family} daddr {}", port.target));
        test(format!("{} dport {}", port.protocol, ports(port, '-')));
    }
    if let (Way::Answers, Some(port)) = (trial.way, &trial.port) {
        let family = if packet.v6 { "ip6" } else { "ip" };
        test(format!("{family} saddr {}", port.target));
        test(format!("{} sport {}", port.protocol, ports(port, '-')));
    }
    test("accept".to_owned());
    rule
}

fn iptables(chain: &Chain, place: &str, trial: &Trial) -> String {
    let packet = &trial.packet;
    let mut rule = format!("{} -t {} -I {place}", chain.command(), chain.table);
    let mut test = |words: String| rule = format!("{rule} {words}");
    let comes_back = matches!(trial.way, Way::Answers | Way::Back);
    if comes_back && !packet.untracked {
        test("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned());
        return rule;
    }
    if let Some(from) = &packet.in_interface {
        test(format!("-i {from}"));
    }
    if let Some(to) = &packet.out_interface {
        test(format!("-o {to}"));
    }
    if let (Way::In | Way::Hairpin, Some(port)) = (trial.way, &trial.port) {
        test(format!("-d {}", port.target));
        test(format!("-p {} --dport {}", port.protocol, ports(port, ':')));
    }
    if let (Way::Answers, Some(port)) = (trial.way, &trial.port) {
        test(format!("-s {}", port.target));
        test(format!("-p {} --sport {}", port.protocol, ports(port, ':')));
    }
    test("-j ACCEPT".to_owned());
    rule
}
