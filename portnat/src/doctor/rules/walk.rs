//! What becomes of a packet among rules that are not all understood.

use std::net::IpAddr;

use super::{Action, Base, Chain, Family, Hook, Key, Rule, Ruleset, Test, Value};

/// How deep chains lead to others; the kernel allows 16.
const DEEPEST: usize = 16;

/// When connection tracking has its turn at the hooks where it sees packets first (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i64 = -200;

/// A packet, as far as it is known; what is `None` can be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::doctor) struct Packet {
    pub(in crate::doctor) v6: bool,
    pub(in crate::doctor) in_interface: Option<String>,
    pub(in crate::doctor) out_interface: Option<String>,
    pub(in crate::doctor) source: Option<IpAddr>,
    pub(in crate::doctor) destination: Option<IpAddr>,
    pub(in crate::doctor) source_port: Option<u16>,
    pub(in crate::doctor) destination_port: Option<u16>,
    /// `tcp`, `udp` or `sctp`.
    pub(in crate::doctor) protocol: Option<String>,
    /// Whether its connection is known to connection tracking.
    pub(in crate::doctor) established: bool,
    /// Whether it is for an address of the host's own.
    pub(in crate::doctor) is_local: bool,
    /// Whether connection tracking has not seen it yet: rules there take it for invalid.
    pub(in crate::doctor) untracked: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Outcome {
    /// It is dropped by a rule of a chain, or by its policy.
    Dropped {
        chain: usize,
        rule: Option<usize>,
        /// Unless a rule that is not understood lets it through before.
        perhaps: bool,
        /// Whether connection tracking comes after the chain.
        untracked: bool,
    },
    /// This rule may drop it or translate its destination, but is not understood.
    Unjudged { chain: usize, rule: usize },
    /// Its destination is translated by this rule.
    Redirected { chain: usize, rule: usize },
}

/// What is not sure on a packet's way.
#[derive(Clone, Debug, Default)]
struct Doubt {
    /// Whether a rule may have let it through.
    perhaps: bool,
    /// The rules that may drop it or translate its destination, and are not understood.
    unjudged: Vec<(usize, usize)>,
}

/// What a chain says.
enum Said {
    Nothing,
    Accept,
    Decided(Outcome),
}

impl Packet {
    /// Before routing it leaves by no interface yet, and what the host sends came in by none.
    fn at(&self, base: &Base) -> Self {
        let mut packet = self.clone();
        let first = matches!(base.hook, Hook::Prerouting | Hook::Output);
        packet.untracked = first && base.priority <= CONNTRACK;
        match base.hook {
            Hook::Prerouting => packet.out_interface = Some(String::new()),
            Hook::Output => packet.in_interface = Some(String::new()),
            // By which interface it came is known there too since Linux 5.7 (28f8bfd1ac94).
            Hook::Forward | Hook::Postrouting => {}
        }
        packet
    }
}

impl Ruleset {
    /// What drops a packet at a hook, or translates its destination; of chains that translate and others
    /// apart, for what has been translated is another packet. Each chain at the hook is asked, as all
    /// have to let it pass.
    pub(in crate::doctor) fn walk(
        &self,
        hook: Hook,
        is_nat: bool,
        packet: &Packet,
    ) -> Vec<Outcome> {
        let mut bases: Vec<_> = self
            .chains
            .iter()
            .enumerate()
            .filter_map(|(number, chain)| Some((number, chain, chain.base.as_ref()?)))
            .filter(|(_, chain, base)| {
                base.hook == hook && base.is_nat == is_nat && chain.sees(packet)
            })
            .collect();
        bases.sort_by_key(|(_, chain, base)| (base.priority, chain.tool));
        let outcomes = bases.into_iter().flat_map(|(number, _, base)| {
            let packet = packet.at(base);
            let mut doubt = Doubt::default();
            let decided = match self.run(number, &packet, &mut doubt, 0) {
                Said::Decided(outcome) => Some(outcome),
                Said::Nothing if base.drops => Some(Outcome::Dropped {
                    chain: number,
                    rule: None,
                    perhaps: doubt.perhaps,
                    untracked: packet.untracked,
                }),
                Said::Nothing | Said::Accept => None,
            };
            // What is dropped for sure nobody else drops.
            let unjudged = match decided {
                Some(Outcome::Dropped { perhaps: false, .. }) => Vec::new(),
                _ => doubt.unjudged,
            };
            let unjudged = unjudged.into_iter();
            let unjudged = unjudged.map(|(chain, rule)| Outcome::Unjudged { chain, rule });
            decided.into_iter().chain(unjudged)
        });
        outcomes.collect()
    }

    fn run(&self, number: usize, packet: &Packet, doubt: &mut Doubt, depth: usize) -> Said {
        let chain = &self.chains[number];
        if depth > DEEPEST {
            doubt.perhaps = true;
            return Said::Nothing;
        }
        for (place, rule) in chain.rules.iter().enumerate() {
            let is_met = rule.is_met(packet);
            if is_met == Some(false) {
                continue;
            }
            let sure = is_met.is_some();
            let is_unknown = rule.tests.iter().any(Test::is_unknown);
            match &rule.action {
                Action::Nothing => {}
                Action::Accept if sure => return Said::Accept,
                Action::Return if sure => return Said::Nothing,
                Action::Drop if sure => {
                    return Said::Decided(Outcome::Dropped {
                        chain: number,
                        rule: Some(place),
                        perhaps: doubt.perhaps,
                        untracked: packet.untracked,
                    });
                }
                Action::Redirect(_) if sure && !doubt.perhaps => {
                    return Said::Decided(Outcome::Redirected {
                        chain: number,
                        rule: place,
                    });
                }
                // A rule that asks for what is not known of the packet is there for others, as lists of bad
                // addresses are.
                Action::Drop | Action::Redirect(_) => {
                    if sure || is_unknown {
                        doubt.unjudged.push((number, place));
                    }
                }
                Action::Unknown => {
                    doubt.perhaps = true;
                    if sure || is_unknown {
                        doubt.unjudged.push((number, place));
                    }
                }
                Action::Accept | Action::Return => doubt.perhaps = true,
                Action::Jump(to) | Action::Goto(to) => {
                    let Some(to) = self.named(chain, to) else {
                        doubt.perhaps = true;
                        continue;
                    };
                    let is_jump = matches!(rule.action, Action::Jump(_));
                    let mut beneath = doubt.clone();
                    let said = self.run(to, packet, &mut beneath, depth + 1);
                    if sure {
                        *doubt = beneath;
                        match said {
                            Said::Nothing if is_jump => {}
                            said => return said,
                        }
                    } else {
                        let decides = matches!(said, Said::Decided(_));
                        // Whoever goes there for good does not come to what stands behind.
                        let ends = !is_jump && !decides;
                        doubt.perhaps |= beneath.perhaps || matches!(said, Said::Accept) || ends;
                        if is_unknown {
                            doubt.unjudged = beneath.unjudged;
                            if decides {
                                doubt.unjudged.push((number, place));
                            }
                        }
                    }
                }
            }
        }
        Said::Nothing
    }

    /// A chain of the same table.
    fn named(&self, beside: &Chain, name: &str) -> Option<usize> {
        self.chains.iter().position(|chain| {
            chain.name == name
                && (chain.tool, chain.family) == (beside.tool, beside.family)
                && chain.table == beside.table
        })
    }
}

impl Chain {
    fn sees(&self, packet: &Packet) -> bool {
        match self.family {
            Family::Inet => true,
            Family::Ip => !packet.v6,
            Family::Ip6 => packet.v6,
        }
    }
}

impl Rule {
    /// Whether the packet meets all tests; `None` if that is not known.
    fn is_met(&self, packet: &Packet) -> Option<bool> {
        all(&self.tests, packet)
    }
}

fn all(tests: &[Test], packet: &Packet) -> Option<bool> {
    let mut met = Some(true);
    for test in tests {
        match test.is_met(packet) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => met = None,
        }
    }
    met
}

fn one_of(rows: &[Vec<Test>], packet: &Packet) -> Option<bool> {
    let mut met = Some(false);
    for row in rows {
        match all(row, packet) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => met = None,
        }
    }
    met
}

impl Test {
    fn is_met(&self, packet: &Packet) -> Option<bool> {
        let (key, values, negated) = match self {
            Test::Known {
                key,
                values,
                negated,
            } => (key, values, negated),
            Test::OneOf { rows, negated } => {
                let met = one_of(rows, packet);
                return met.map(|is_one| is_one != *negated);
            }
            Test::Unknown => return None,
        };
        let is_one = match key {
            Key::InInterface => interface(packet.in_interface.as_deref(), values),
            Key::OutInterface => interface(packet.out_interface.as_deref(), values),
            Key::Source => address(packet.source, values),
            Key::Destination => address(packet.destination, values),
            Key::SourcePort => number(packet.source_port, values),
            Key::DestinationPort => number(packet.destination_port, values),
            Key::Protocol => name(packet.protocol.as_deref(), values),
            Key::Family => name(Some(if packet.v6 { "ipv6" } else { "ipv4" }), values),
            Key::State => {
                let state = match (packet.untracked, packet.established) {
                    (true, _) => "invalid",
                    (false, true) => "established",
                    (false, false) => "new",
                };
                name(Some(state), values)
            }
            Key::Status => Some(false),
            Key::DestinationType => {
                let kind = if packet.is_local { "local" } else { "unicast" };
                name(Some(kind), values)
            }
        };
        is_one.map(|is_one| is_one != *negated)
    }
}

fn interface(known: Option<&str>, values: &[Value]) -> Option<bool> {
    let known = known?;
    Some(values.iter().any(|value| match value {
        Value::Name(name) => match name.strip_suffix('*') {
            Some(beginning) => known.starts_with(beginning),
            None => known == name,
        },
        _ => false,
    }))
}

fn address(known: Option<IpAddr>, values: &[Value]) -> Option<bool> {
    let Some(known) = known else {
        // Whatever it is, it is in there.
        let all = |value: &Value| matches!(value, Value::Net(net) if net.prefix_len() == 0);
        return values.iter().any(all).then_some(true);
    };
    Some(values.iter().any(|value| match value {
        Value::Net(net) => net.contains(&known),
        Value::Addresses(first, last) => (first..=last).contains(&&known),
        _ => false,
    }))
}

fn number(known: Option<u16>, values: &[Value]) -> Option<bool> {
    let known = known?;
    Some(values.iter().any(
        |value| matches!(value, Value::Numbers(first, last) if (first..=last).contains(&&known)),
    ))
}

fn name(known: Option<&str>, values: &[Value]) -> Option<bool> {
    let known = known?;
    Some(
        values
            .iter()
            .any(|value| matches!(value, Value::Name(name) if name == known)),
    )
}
