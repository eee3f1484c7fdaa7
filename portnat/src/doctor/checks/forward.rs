//! Rules that drop what is published or masqueraded.
//!
//! The rules see translated packets: on their way in those of a client to the container's own address
//! and port, on their way out those of the container. What they do with such packets is tried out.

use std::collections::BTreeSet;

use super::firewall;
use super::pieces::{self, Pieces};
use super::recipes;
use super::sysctls::list;
use crate::doctor::rules::{Hook, Outcome, Packet};
use crate::doctor::{Facts, Finding, Severity};
use crate::net::Link;
use crate::report::PortSides;

/// How many commands are told of a finding.
pub(super) const MOST_REMEDIES: usize = 12;

/// What may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// What asks for a container.
    In,
    /// Its answers.
    Answers,
    /// What a container asks for outside.
    Out,
    /// What comes back to it.
    Back,
    /// What a container asks of a published port of its own bridge's.
    Hairpin,
}

/// A packet that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) way: Way,
    pub(super) packet: Packet,
    /// Of a published port, or of ports in a row that all rules treat alike.
    pub(super) port: Option<PortSides>,
}

/// Where something is dropped, and what.
struct Dropping {
    hook: Hook,
    chain: usize,
    rule: Option<usize>,
    perhaps: bool,
    /// Whether connection tracking comes after it.
    untracked: bool,
    trials: Vec<Trial>,
}

pub(super) fn passes(facts: &Facts) -> Vec<Finding> {
    let rules = &facts.firewall.rules;
    let mut droppings: Vec<Dropping> = Vec::new();
    let mut unjudged = BTreeSet::new();
    for trial in trials(facts) {
        let hooks = [Hook::Prerouting, Hook::Forward, Hook::Postrouting].into_iter();
        let outcomes = hooks.flat_map(|hook| {
            let outcomes = rules.walk(hook, false, &trial.packet);
            unjudged.extend(firewall::unjudged(&outcomes));
            outcomes.into_iter().map(move |outcome| (hook, outcome))
        });
        for (hook, outcome) in outcomes {
            let Outcome::Dropped {
                chain,
                rule,
                perhaps,
                untracked,
            } = outcome
            else {
                continue;
            };
            let known = droppings.iter_mut().find(|one| {
                (one.hook, one.chain, one.rule, one.perhaps) == (hook, chain, rule, perhaps)
            });
            match known {
                Some(one) => one.add(&trial),
                None => droppings.push(Dropping {
                    hook,
                    chain,
                    rule,
                    perhaps,
                    untracked,
                    trials: vec![trial.clone()],
                }),
            }
        }
    }
    let unjudged = firewall::not_understood(facts, &unjudged, "what is published may be dropped");
    if droppings.is_empty() && unjudged.is_none() {
        return vec![firewall::clear(
            facts,
            "what is published and masqueraded passes",
        )];
    }
    let judged = droppings.into_iter().map(|one| judge(facts, one));
    judged.chain(unjudged).collect()
}

impl Dropping {
    /// Ports in a row become one.
    fn add(&mut self, trial: &Trial) {
        let ends = |one: &Trial| (one.way, one.packet.in_interface.clone());
        // They come in order: the last of its kind is its neighbour, or nobody is.
        let mut from_last = self.trials.iter_mut().rev();
        if let Some(known) = from_last.find(|one| ends(one) == ends(trial))
            && let (Some(port), Some(next)) = (&mut known.port, &trial.port)
            && pieces::join(port, next)
        {
            return;
        }
        self.trials.push(trial.clone());
    }
}

fn judge(facts: &Facts, dropping: Dropping) -> Finding {
    let Dropping {
        hook,
        chain: number,
        rule,
        perhaps,
        untracked,
        trials,
    } = dropping;
    let chain = facts.firewall.rules.chain(number);
    let by = match rule.and_then(|place| chain.rules.get(place)) {
        Some(rule) if !rule.text.is_empty() => format!("By the rule: {}.", rule.text),
        Some(_) => "By a rule.".to_owned(),
        None => "By its policy.".to_owned(),
    };
    let asks = trials
        .iter()
        .any(|trial| trial.port.is_some() && matches!(trial.way, Way::In | Way::Answers));
    let severity = match asks && !perhaps {
        true => Severity::Fault,
        false => Severity::Warning,
    };
    let verb = if perhaps { "may drop" } else { "drops" };
    let what = distinct(trials.iter().map(Trial::words));
    let words: Vec<_> = what.iter().map(String::as_str).collect();
    let summary = format!("{chain} {verb} {}", list(&words));
    let mut meaning = format!(
        "{by} Rules see the container's own address and port, as with Docker, and each table has \
         to let a packet pass."
    );
    if perhaps {
        meaning += " Rules that are not understood here come before and may let it through.";
    }
    let mut finding = Finding::new(severity, summary, meaning);
    finding.remedies = distinct(
        trials
            .iter()
            .flat_map(|trial| recipes::let_pass(facts, (hook, untracked), chain, trial)),
    );
    if untracked {
        finding.meaning +=
            " Connection tracking comes after it, so it cannot tell answers by their state.";
    }
    if finding.remedies.len() > 1 {
        finding.meaning += " All of these commands are needed.";
    }
    // Once, when all is said.
    let reloads = finding
        .remedies
        .iter()
        .any(|remedy| remedy == recipes::RELOAD);
    finding.remedies.retain(|remedy| remedy != recipes::RELOAD);
    if finding.remedies.len() > MOST_REMEDIES {
        let more = finding.remedies.len() - MOST_REMEDIES;
        finding.remedies.truncate(MOST_REMEDIES);
        finding.remedies.push(format!("and {more} more like these"));
    }
    if reloads {
        finding.remedies.push(recipes::RELOAD.to_owned());
    }
    finding
}

/// Each once, where it comes first.
fn distinct(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    words.filter(|word| seen.insert(word.clone())).collect()
}

impl Trial {
    fn words(&self) -> String {
        let bridge = |name: &Option<String>| name.clone().unwrap_or_default();
        match (self.way, &self.port) {
            (Way::In, Some(port)) => format!("what comes for {}/{}", port.host(), port.protocol),
            (Way::In, None) => {
                format!(
                    "what comes for ports of {}",
                    bridge(&self.packet.out_interface)
                )
            }
            (Way::Answers, Some(port)) => {
                format!("the answers of {}/{}", port.host(), port.protocol)
            }
            (Way::Answers, None) => format!("answers from {}", bridge(&self.packet.in_interface)),
            (Way::Out, _) => format!(
                "what containers of {} ask for outside",
                bridge(&self.packet.in_interface)
            ),
            (Way::Back, _) => format!(
                "answers to containers of {}",
                bridge(&self.packet.out_interface)
            ),
            (Way::Hairpin, port) => {
                let port = port
                    .as_ref()
                    .map(|port| format!("{}/{}", port.host(), port.protocol));
                format!(
                    "what containers of {} ask of {}",
                    bridge(&self.packet.in_interface),
                    port.unwrap_or_default()
                )
            }
        }
    }
}

/// The packets that should pass.
fn trials(facts: &Facts) -> Vec<Trial> {
    let mut trials = Vec::new();
    let bridges: Vec<&Link> = facts
        .bridges
        .iter()
        .filter_map(|name| facts.host.link_by_name(name).ok())
        .collect();
    for uplink in &facts.uplinks {
        for bridge in &bridges {
            trials.extend(of_bridge(facts, uplink, bridge));
        }
    }
    let Some(report) = facts.daemon.report() else {
        return trials;
    };
    let pieces = Pieces::of(&facts.firewall.rules);
    for port in &report.ports {
        let sides = &port.sides;
        // Those are redirected past the rules: from the host itself, and to the other family.
        if sides.address.is_loopback() || sides.address.is_ipv6() != sides.target.is_ipv6() {
            continue;
        }
        let bridge = bridges.iter().find(|bridge| {
            let subnets = bridge.subnets();
            subnets.iter().any(|net| net.contains(&sides.target))
        });
        let bridge = bridge.map(|bridge| bridge.name.clone());
        for one in pieces.cut(sides) {
            for uplink in &facts.uplinks {
                trials.extend(of_port(&one, uplink, bridge.as_ref()));
            }
            trials.extend(bridge.as_ref().map(|bridge| hairpin(&one, bridge)));
        }
    }
    trials
}

fn of_port(sides: &PortSides, uplink: &str, bridge: Option<&String>) -> [Trial; 2] {
    let packet = Packet {
        v6: sides.target.is_ipv6(),
        protocol: Some(sides.protocol.to_string()),
        ..Packet::default()
    };
    let port = Some(sides.clone());
    [
        Trial {
            way: Way::In,
            packet: Packet {
                in_interface: Some(uplink.to_owned()),
                out_interface: bridge.cloned(),
                destination: Some(sides.target),
                destination_port: Some(sides.target_port),
                ..packet.clone()
            },
            port: port.clone(),
        },
        Trial {
            way: Way::Answers,
            packet: Packet {
                in_interface: bridge.cloned(),
                out_interface: Some(uplink.to_owned()),
                source: Some(sides.target),
                source_port: Some(sides.target_port),
                established: true,
                ..packet
            },
            port,
        },
    ]
}

/// What a bridge's containers ask of a port of their own bridge, by way of the host.
fn hairpin(sides: &PortSides, bridge: &str) -> Trial {
    Trial {
        way: Way::Hairpin,
        packet: Packet {
            v6: sides.target.is_ipv6(),
            protocol: Some(sides.protocol.to_string()),
            in_interface: Some(bridge.to_owned()),
            out_interface: Some(bridge.to_owned()),
            destination: Some(sides.target),
            destination_port: Some(sides.target_port),
            ..Packet::default()
        },
        port: Some(sides.clone()),
    }
}

/// What a bridge's containers send and get in each family, whatever is published.
fn of_bridge(facts: &Facts, uplink: &str, bridge: &Link) -> Vec<Trial> {
    let publishes = facts
        .daemon
        .report()
        .is_some_and(|report| !report.ports.is_empty());
    let mut trials = Vec::new();
    for v6 in [false, true] {
        if !bridge
            .subnets()
            .iter()
            .any(|net| net.addr().is_ipv6() == v6)
        {
            continue;
        }
        let trial = |way, from: &str, to: &str, established| Trial {
            way,
            packet: Packet {
                v6,
                in_interface: Some(from.to_owned()),
                out_interface: Some(to.to_owned()),
                established,
                ..Packet::default()
            },
            port: None,
        };
        let name = &bridge.name;
        trials.push(trial(Way::Out, name, uplink, false));
        trials.push(trial(Way::Back, uplink, name, true));
        if !publishes {
            trials.push(trial(Way::In, uplink, name, false));
        }
    }
    trials
}
