//! Rules that translate what is published: for a published port itself, or for its target's.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::firewall;
use super::pieces::{self, Pieces};
use super::sysctls::list;
use crate::doctor::rules::{Action, Hook, Outcome, Packet, UNTOLD};
use crate::doctor::{Facts, Finding, Severity};
use crate::report::PortSides;

/// Whose packets a rule is met by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    /// Of a published port, from outside: portnat comes first.
    Outside,
    /// Of a published port, from the host itself: the rule comes first.
    Host,
    /// What portnat has translated: the rule takes it elsewhere.
    Translated,
}

/// A rule that is met.
struct Conflict {
    chain: usize,
    rule: usize,
    whose: BTreeSet<Whose>,
    ports: Vec<PortSides>,
    /// Whether it leads where portnat does.
    same: bool,
}

pub(super) fn conflicts(facts: &Facts) -> Vec<Finding> {
    let Some(report) = facts.daemon.report() else {
        return Vec::new();
    };
    let mut conflicts: Vec<Conflict> = Vec::new();
    let mut unjudged = BTreeSet::new();
    let rules = &facts.firewall.rules;
    let pieces = Pieces::of(rules);
    if rules.has_chain(|chain| chain.base.as_ref().is_some_and(|base| base.is_nat)) {
        for port in report.ports.iter().flat_map(|port| pieces.cut(&port.sides)) {
            for (whose, hook, packet) in packets(facts, &port) {
                let outcomes = rules.walk(hook, true, &packet);
                // Of several the first has its way.
                let first = outcomes.iter().find_map(|outcome| match outcome {
                    Outcome::Redirected { chain, rule } => Some((*chain, *rule)),
                    _ => None,
                });
                if let Some(place) = first {
                    note(facts, &mut conflicts, place, whose, &port);
                }
                unjudged.extend(firewall::unjudged(&outcomes));
            }
        }
    }
    let unjudged =
        firewall::not_understood(facts, &unjudged, "published ports may be led elsewhere");
    if conflicts.is_empty() && unjudged.is_none() {
        return vec![firewall::clear(
            facts,
            "no rule leads published ports elsewhere",
        )];
    }
    let judged = conflicts.iter().map(|conflict| judge(facts, conflict));
    judged.chain(unjudged).collect()
}

/// The packets that a rule may meet.
fn packets(facts: &Facts, sides: &PortSides) -> Vec<(Whose, Hook, Packet)> {
    let mut packets = Vec::new();
    let packet = |v6, to: IpAddr, port, is_local| Packet {
        v6,
        destination: Some(to),
        destination_port: Some(port),
        protocol: Some(sides.protocol.to_string()),
        is_local,
        ..Packet::default()
    };
    let own: Vec<IpAddr> = match sides.address.is_unspecified() {
        true => facts
            .host
            .local_addresses()
            .into_iter()
            .filter(|own| own.is_ipv4() == sides.address.is_ipv4())
            .collect(),
        false => vec![sides.address],
    };
    for own in own {
        let asks = packet(own.is_ipv6(), own, sides.port, true);
        packets.push((
            Whose::Host,
            Hook::Output,
            Packet {
                out_interface: Some("lo".to_owned()),
                ..asks.clone()
            },
        ));
        if own.is_loopback() {
            continue;
        }
        for uplink in &facts.uplinks {
            let asks = Packet {
                in_interface: Some(uplink.clone()),
                ..asks.clone()
            };
            packets.push((Whose::Outside, Hook::Prerouting, asks));
        }
    }
    if sides.address.is_ipv6() == sides.target.is_ipv6() && !sides.address.is_loopback() {
        for uplink in &facts.uplinks {
            let translated = Packet {
                in_interface: Some(uplink.clone()),
                ..packet(
                    sides.target.is_ipv6(),
                    sides.target,
                    sides.target_port,
                    false,
                )
            };
            packets.push((Whose::Translated, Hook::Prerouting, translated));
        }
    }
    packets
}

fn note(
    facts: &Facts,
    conflicts: &mut Vec<Conflict>,
    (chain, rule): (usize, usize),
    whose: Whose,
    sides: &PortSides,
) {
    let target = SocketAddr::new(sides.target, sides.target_port);
    let same = leads_to(facts, chain, rule) == target.to_string();
    let known = conflicts
        .iter_mut()
        .find(|one| (one.chain, one.rule) == (chain, rule));
    match known {
        Some(one) => {
            one.whose.insert(whose);
            one.same &= same;
            let last = one.ports.last_mut();
            let joins = last.is_some_and(|port| pieces::join(port, sides));
            if !joins {
                one.ports.push(sides.clone());
            }
        }
        None => conflicts.push(Conflict {
            chain,
            rule,
            whose: [whose].into(),
            ports: vec![sides.clone()],
            same,
        }),
    }
}

fn leads_to(facts: &Facts, chain: usize, rule: usize) -> String {
    match &facts.firewall.rules.chain(chain).rules[rule].action {
        Action::Redirect(to) => to.clone(),
        _ => String::new(),
    }
}

fn judge(facts: &Facts, conflict: &Conflict) -> Finding {
    let chain = facts.firewall.rules.chain(conflict.chain);
    let rule = &chain.rules[conflict.rule];
    let to = leads_to(facts, conflict.chain, conflict.rule);
    let ports = conflict.ports.iter();
    let ports: Vec<String> = ports
        .map(|port| format!("{}/{}", port.host(), port.protocol))
        .collect();
    let ports: Vec<_> = ports.iter().map(String::as_str).collect();
    let summary = match to.as_str() {
        UNTOLD => format!("{chain} leads {} to what the rule chooses", list(&ports)),
        to => format!("{chain} leads {} to {to}", list(&ports)),
    };
    let is_dockers = chain.name.starts_with("DOCKER");
    if conflict.same {
        return Finding::new(
            Severity::Note,
            summary,
            "That is where portnat leads, too, so it does not matter who of the two does.",
        );
    }
    let mut meaning = Vec::new();
    let mut severity = Severity::Warning;
    if conflict.whose.contains(&Whose::Outside) {
        meaning.push(
            "What comes from outside goes to portnat's target, which comes before this rule: \
             whoever relies on the rule gets nothing.",
        );
    }
    if conflict.whose.contains(&Whose::Host) {
        severity = Severity::Fault;
        meaning.push("What the host itself sends there the rule takes first.");
    }
    if conflict.whose.contains(&Whose::Translated) {
        severity = Severity::Fault;
        meaning.push("What portnat has led to its target the rule takes from there.");
    }
    if !rule.text.is_empty() {
        meaning.push("By the rule:");
        meaning.push(&rule.text);
    }
    let finding = Finding::new(severity, summary, meaning.join(" "));
    let finding = match is_dockers {
        // It would come back with the container.
        true => finding
            .mended_by("docker run the container anew without -p")
            .mended_by(
                "set \"iptables\": false in /etc/docker/daemon.json; systemctl restart docker",
            ),
        false => finding.mended_by(chain.delete(rule)),
    };
    match conflict.ports.first() {
        Some(port) => finding.mended_by(format!(
            "portnat unpublish {}/{}, if the rule is what is wanted",
            port.port, port.protocol
        )),
        None => finding,
    }
}
