//! The user's rules in `DOCKER-USER` and in the chains that it leads to: which of them go on to mean what they
//! say, and which options say the same.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::pattern::{Captures, captures};
use super::saved::{Table, leads_to};
use crate::docker::Observed;
use crate::docker::labels::protocol;
use crate::model::prefix;

/// What a rule can ask of connection tracking that what portnat has translated never meets.
const NEVER: [&str; 6] = [
    "--ctorigdst",
    "--ctorigdstport",
    "--ctorigsrc",
    "--ctorigsrcport",
    "--ctstatus",
    "DNAT",
];

/// Where a rule sees packets, in patterns.
const ANYWHERE: &str = "[ -i <in> ] [ -o <out> ]";

/// Whether a rule is met no more once nothing translates by connection tracking.
pub(super) fn is_met_no_more(rule: &str) -> bool {
    let words = rule.split_whitespace().flat_map(|word| word.split(','));
    let mut words = words.filter(|word| NEVER.contains(word));
    words.next().is_some()
}

/// The chains of a table that this one leads to, by whichever way, without itself.
pub(super) fn behind<'t>(table: &'t Table, chain: &'t str) -> BTreeSet<&'t str> {
    let mut found = BTreeSet::new();
    let mut next = vec![chain];
    while let Some(name) = next.pop() {
        let chains = table.chains.iter().filter(|one| one.name == name);
        for to in chains
            .flat_map(|one| &one.rules)
            .filter_map(|rule| leads_to(rule))
        {
            let is_chain = table.chains.iter().any(|one| one.name == to);
            if is_chain && to != chain && found.insert(to) {
                next.push(to);
            }
        }
    }
    found
}

/// What an option says of a rule that stands at this place of a chain, as ``portnat run --deny … says the same``;
/// none, if no option is like it. Rules see the containers' ports, options name the host's.
///
/// It is the same where all that stands before it keeps out too or decides over nothing new; what lets in
/// says something only with the rule that keeps out all others.
pub(super) fn option_for(rules: &[String], at: usize, observed: &Observed) -> Option<String> {
    let rule = Rule::read(rules.get(at)?)?;
    let before = &rules[..at];
    let mut others = rules.iter().enumerate().filter(|(other, _)| *other != at);
    let is_clear = !others.any(|(_, other)| Rule::read(other).is_some_and(|it| rule.clashes(&it)));
    let is_alike = is_clear
        && match rule.does {
            Does::KeepOut => before.iter().all(|it| is_passed(it)),
            Does::LetIn => {
                let mut behind = rules[at + 1..].iter().enumerate();
                let end = behind.find(|(_, other)| rule.is_ended_by(other))?.0;
                let between = &rules[at + 1..at + 1 + end];
                let mut all = before.iter().chain(between);
                all.all(|it| is_passed(it) || rule.is_beside(it))
            }
        };
    let option = rule.option(observed)?;
    Some(match (is_alike, rule.interfaces().is_empty()) {
        (true, true) => format!("portnat run {option} says the same of published ports"),
        (true, false) => format!(
            "portnat run {option} says it of published ports, but not only of {}",
            rule.interfaces()
        ),
        (false, _) => format!(
            "portnat run {option} is like it, but for the rules around it, which count in another order"
        ),
    })
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Whom it names does not come in; or, as it is said, nobody else does.
    KeepOut,
    /// Whom it names comes in, whatever stands behind it.
    LetIn,
}

/// A rule that an option is like.
struct Rule<'r> {
    does: Does,
    /// `--deny` or `--allow`.
    option: &'static str,
    captured: Captures<'r>,
}

impl<'r> Rule<'r> {
    fn read(rule: &'r str) -> Option<Self> {
        const PLAIN: [&str; 3] = [
            "<where> -j <does>",
            "<where> -p <protocol> -m <protocol> --dport <port> -j <does>",
            "<where> -p <protocol> -m conntrack [ --ctorigdst <any> ] --ctorigdstport <host-port> -j <does>",
        ];
        let kinds = [
            ("-s <net>", "<drop>", "--deny", Does::KeepOut),
            ("! -s <net>", "<drop>", "--allow", Does::KeepOut),
            ("-s <net>", "<pass>", "--allow", Does::LetIn),
        ];
        kinds.into_iter().find_map(|(net, end, option, does)| {
            let found = PLAIN.iter().find_map(|plain| {
                let place = format!("{net} {ANYWHERE}");
                let pattern = plain.replace("<where>", &place).replace("<does>", end);
                captures(&pattern, rule, &is_one)
            });
            let captured = found?;
            Some(Rule {
                does,
                option,
                captured,
            })
        })
    }

    fn word(&self, wanted: &str) -> Option<&'r str> {
        let mut all = self.captured.iter();
        all.find_map(|(name, word)| (name == wanted).then_some(*word))
    }

    /// What it is about, but for whom.
    fn about(&self) -> [Option<&'r str>; 5] {
        ["in", "out", "protocol", "port", "host-port"].map(|name| self.word(name))
    }

    /// As `eth0 and docker0`.
    fn interfaces(&self) -> String {
        let named = ["in", "out"].map(|name| self.word(name));
        let named: Vec<_> = named.into_iter().flatten().collect();
        named.join(" and ")
    }

    fn net(&self) -> Option<IpNet> {
        prefix(self.word("net")?)
    }

    /// Whether the options of two rules together say something else than the rules one after the other: of
    /// options the longest prefix counts, and who is on any list of those that come in.
    fn clashes(&self, other: &Self) -> bool {
        let (Some(own), Some(its)) = (self.net(), other.net()) else {
            return true;
        };
        match (self.option, other.option) {
            ("--allow", "--allow") => (self.does, other.does) != (Does::LetIn, Does::LetIn),
            ("--allow", "--deny") => its.contains(&own),
            ("--deny", "--allow") => own.contains(&its),
            _ => false,
        }
    }

    /// Whether another rule keeps out all that is left of what this one is about.
    fn is_ended_by(&self, other: &str) -> bool {
        let plain = [
            format!("{ANYWHERE} -j <drop>"),
            format!("{ANYWHERE} -p <protocol> -m <protocol> --dport <port> -j <drop>"),
        ];
        let found = plain.iter().find_map(|it| captures(it, other, &is_one));
        let Some(captured) = found else {
            return false;
        };
        let other = Rule {
            does: Does::KeepOut,
            option: "",
            captured,
        };
        other.about() == self.about()
    }

    /// Whether another rule lets others in at the same place.
    fn is_beside(&self, other: &str) -> bool {
        let other = Rule::read(other);
        other.is_some_and(|other| other.does == self.does && other.about() == self.about())
    }

    fn option(&self, observed: &Observed) -> Option<String> {
        let option = self.option;
        let net = self.net()?;
        let Some(name) = self.word("protocol") else {
            return Some(format!("{option} {net}"));
        };
        let transport = protocol(name)?;
        let suffix = match name {
            "tcp" => String::new(),
            other => format!("/{other}"),
        };
        let mut hosts: Vec<NonZeroU16> = match (self.word("host-port"), self.word("port")) {
            (Some(host), _) => vec![host.parse().ok()?],
            (None, Some(inside)) => {
                let inside: NonZeroU16 = inside.parse().ok()?;
                let ports = observed.containers.iter().flat_map(|one| &one.ports);
                let its =
                    ports.filter(|port| (port.container, port.protocol) == (inside, transport));
                its.filter_map(|port| port.host).collect()
            }
            (None, None) => return None,
        };
        hosts.sort_unstable();
        hosts.dedup();
        let options = hosts
            .iter()
            .map(|host| format!("{option} {host}{suffix}={net}"));
        let options: Vec<_> = options.collect();
        (!options.is_empty()).then(|| options.join(" "))
    }
}

/// Whether a rule takes nothing from those behind it: it keeps out, counts or logs, or is about what was let in
/// before.
fn is_passed(rule: &str) -> bool {
    let keeps_out = Rule::read(rule).is_some_and(|it| it.does == Does::KeepOut);
    let decides = matches!(leads_to(rule), Some(to) if !["LOG", "NFLOG", "MARK"].contains(&to));
    let open = format!("{ANYWHERE} -m conntrack --ctstate <open> -j <pass>");
    keeps_out || !decides || captures(&open, rule, &is_one).is_some()
}

fn is_one(name: &str, word: &str) -> bool {
    match name {
        "net" => prefix(word).is_some(),
        "in" | "out" => !word.starts_with('-') && word != "!",
        "protocol" => protocol(word).is_some(),
        "port" | "host-port" => word.parse::<NonZeroU16>().is_ok(),
        "any" => word.parse::<IpAddr>().is_ok() || prefix(word).is_some(),
        "drop" => ["DROP", "REJECT"].contains(&word),
        "pass" => ["ACCEPT", "RETURN"].contains(&word),
        "open" => ["RELATED,ESTABLISHED", "ESTABLISHED", "ESTABLISHED,RELATED"].contains(&word),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
