//! Firewall rules, whoever wrote them: one model for nftables, iptables over it, and legacy iptables.
//!
//! Of a rule only what decides over published ports is understood; the rest is [`Test::Unknown`], which
//! may be met or not. [`Ruleset::walk`] says what becomes of a packet.

mod iptables;
mod matches;
mod nft;
mod sets;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub(super) use iptables::read as read_iptables;
pub(super) use nft::{dormant, managed_tables, read as read_nft, rule_texts, unjudged};
pub(super) use walk::{Outcome, Packet};

/// Where a rule leads that does not tell it by itself: it looks it up in a map, say.
pub(super) const UNTOLD: &str = "elsewhere";

/// All rules of a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// The chains, in no particular order.
    pub(super) chains: Vec<Chain>,
}

/// Which tool shows and changes a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    /// `nft`.
    Nft,
    /// `iptables-nft` and `ip6tables-nft`, whose tables nft shows in part.
    IptablesNft,
    /// `iptables-legacy` and `ip6tables-legacy`, whose tables nft does not show.
    IptablesLegacy,
}

/// Whose packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// IPv4's.
    Ip,
    /// IPv6's.
    Ip6,
    /// Both.
    Inet,
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) tool: Tool,
    pub(super) family: Family,
    pub(super) table: String,
    pub(super) name: String,
    /// Where packets come to it, unless only other chains lead there.
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// Where packets come to a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) hook: Hook,
    /// The lower, the earlier.
    pub(super) priority: i64,
    /// Whether its rules translate.
    pub(super) is_nat: bool,
    /// Whether what no rule decides over is dropped.
    pub(super) drops: bool,
}

/// The hooks that matter to published ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// Before routing, of what comes in.
    Prerouting,
    /// Of what is for other machines.
    Forward,
    /// Of all that leaves.
    Postrouting,
    /// Of what the host itself sends.
    Output,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// All are to be met.
    pub(super) tests: Vec<Test>,
    pub(super) action: Action,
    /// What names it: nft's handle, or what iptables takes behind `-D`.
    pub(super) name: String,
    /// As its tool shows it.
    pub(super) text: String,
}

/// Something that a packet may meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// One of these values, or with `negated` none.
    Known {
        key: Key,
        values: Vec<Value>,
        negated: bool,
    },
    /// All of one of these rows, or with `negated` of none.
    OneOf { rows: Vec<Vec<Test>>, negated: bool },
    /// Who knows.
    Unknown,
}

/// What is asked of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    InInterface,
    OutInterface,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    Protocol,
    /// `ipv4` or `ipv6`.
    Family,
    /// Connection tracking's `new` or `established`.
    State,
    /// Connection tracking's `dnat` and `snat`: what portnat translates has neither.
    Status,
    /// `local` for the host's own addresses.
    DestinationType,
}

/// What it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A name; of an interface with a `*` at its end any that begins so.
    Name(String),
    Net(IpNet),
    Addresses(IpAddr, IpAddr),
    Numbers(u16, u16),
}

/// What becomes of a packet that meets a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing: it is counted or marked.
    Nothing,
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// Its destination is translated to this.
    Redirect(String),
    /// Who knows.
    Unknown,
}

impl Ruleset {
    /// Every way to name the chain of a rule that decided.
    pub(super) fn chain(&self, number: usize) -> &Chain {
        &self.chains[number]
    }

    /// Whether there is a chain of such a name.
    pub(super) fn has_chain(&self, is_meant: impl Fn(&Chain) -> bool) -> bool {
        self.chains.iter().any(is_meant)
    }

    /// The ports at which rules begin or cease to be met.
    pub(super) fn edges(&self) -> impl Iterator<Item = u16> {
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        let tests = rules.flat_map(|rule| &rule.tests);
        tests.flat_map(Test::edges)
    }
}

impl Test {
    fn edges(&self) -> Vec<u16> {
        let values = match self {
            Test::Known {
                key: Key::SourcePort | Key::DestinationPort,
                values,
                ..
            } => values,
            Test::OneOf { rows, .. } => {
                return rows.iter().flatten().flat_map(Test::edges).collect();
            }
            Test::Known { .. } | Test::Unknown => return Vec::new(),
        };
        let edges = values.iter().flat_map(|value| match value {
            Value::Numbers(first, last) => vec![*first, last.saturating_add(1)],
            _ => Vec::new(),
        });
        edges.collect()
    }

    /// Whether there is something about it that is not understood.
    fn is_unknown(&self) -> bool {
        match self {
            Test::Known { .. } => false,
            Test::OneOf { rows, .. } => rows.iter().flatten().any(Test::is_unknown),
            Test::Unknown => true,
        }
    }
}

impl Chain {
    /// The command that deletes one of its rules.
    pub(super) fn delete(&self, rule: &Rule) -> String {
        match self.tool {
            Tool::Nft => format!(
                "nft delete rule {} {} {} handle {}",
                self.family, self.table, self.name, rule.name
            ),
            Tool::IptablesNft | Tool::IptablesLegacy => {
                format!("{} -t {} -D {}", self.command(), self.table, rule.name)
            }
        }
    }

    /// The program that changes it.
    pub(super) fn command(&self) -> &'static str {
        match (self.tool, self.family) {
            (Tool::Nft, _) => "nft",
            (Tool::IptablesNft, Family::Ip6) => "ip6tables-nft",
            (Tool::IptablesNft, _) => "iptables-nft",
            (Tool::IptablesLegacy, Family::Ip6) => "ip6tables-legacy",
            (Tool::IptablesLegacy, _) => "iptables-legacy",
        }
    }
}

/// As `chain FORWARD of table ip filter (iptables-legacy)`.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chain {} of table {} {}",
            self.name, self.family, self.table
        )?;
        match self.tool {
            Tool::Nft => Ok(()),
            _ => write!(f, " ({})", self.command()),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
            Family::Inet => "inet",
        })
    }
}

impl Hook {
    /// The hook of this name, in nft's letters or iptables'.
    fn named(name: &str) -> Option<Self> {
        [
            ("prerouting", Hook::Prerouting),
            ("forward", Hook::Forward),
            ("postrouting", Hook::Postrouting),
            ("output", Hook::Output),
        ]
        .into_iter()
        .find_map(|(known, hook)| name.eq_ignore_ascii_case(known).then_some(hook))
    }
}
