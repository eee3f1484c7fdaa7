//! What becomes of the rules of one family, as one of iptables' tools shows them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use super::known::{Known, USERS};
use super::saved::{Saved, Table, leads_to};
use super::users;
use super::{Obstacle, Tables};
use crate::docker::Observed;

/// What marks portnat's own rules, which are there in place of Docker's.
pub(super) const MARK: &str = "portnat-for-docker";

/// Docker's bridges begin so, unless a name is given.
const BRIDGES: &str = "br-";

/// What helps where a rule asks for translation.
const INSTEAD: &str = "take it out; match the container's own address and port instead";

/// What is to be done to the rules of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleChange {
    /// The tool, as `iptables-nft`.
    pub tool: String,
    /// Rules that go, as `-t nat -D PREROUTING …`; those of chains that go are not among them.
    pub removed: Vec<String>,
    /// Chains that go, with how many rules, as `filter DOCKER`.
    pub chains: Vec<(String, usize)>,
    /// Rules that come, as `-t filter -I FORWARD 2 …`.
    pub added: Vec<String>,
    /// What the tool's `-restore --noflush` is told to do that.
    #[serde(skip)]
    pub script: String,
    /// The tables that it changes.
    #[serde(skip)]
    pub tables: Vec<String>,
}

/// What is found out about the rules of one family.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) change: RuleChange,
    pub(super) refused: Vec<Obstacle>,
    pub(super) notes: Vec<String>,
}

/// What goes of a table.
#[derive(Default)]
struct Going {
    /// By chain.
    rules: Vec<(String, String)>,
    chains: Vec<String>,
    added: Vec<String>,
}

/// Takes out what is Docker's.
pub(super) fn without_dockers(
    tables: &Tables,
    observed: &Observed,
    interfaces: &[String],
) -> Findings {
    let known = Known::of(observed);
    let mut findings = Findings::default();
    findings.change.tool.clone_from(&tables.tool);
    for table in &Saved::read(&tables.text).tables {
        let going = judge(table, tables, &known, observed, &mut findings);
        let going = Going {
            added: in_place(table, &going, &known, interfaces),
            ..going
        };
        findings.change.take(table, &going);
    }
    findings
}

/// Takes out what is there in place of Docker's.
pub(super) fn without_ours(tables: &Tables) -> RuleChange {
    let mut change = RuleChange {
        tool: tables.tool.clone(),
        ..RuleChange::default()
    };
    for table in &Saved::read(&tables.text).tables {
        let mut going = Going::default();
        for chain in &table.chains {
            let ours = chain.rules.iter().filter(|rule| is_ours(rule));
            going
                .rules
                .extend(ours.map(|rule| (chain.name.clone(), rule.clone())));
        }
        change.take(table, &going);
    }
    change
}

fn is_ours(rule: &str) -> bool {
    rule.contains(&format!("--comment {MARK} "))
}

fn judge(
    table: &Table,
    tables: &Tables,
    known: &Known,
    observed: &Observed,
    findings: &mut Findings,
) -> Going {
    let tool = &tables.tool;
    let refuse = |chain: &str, rule: &str, why: &str, remedy: &str| Obstacle {
        what: format!("{tool} -t {} -A {chain} {rule}: {why}", table.name),
        remedy: remedy.to_owned(),
    };
    let own = |name: &str| Known::is_own(&table.name, name);
    let users_stay = users_stay(table, known);
    let behind_users = users::behind(table, USERS);
    let mut going = Going::default();
    for chain in &table.chains {
        let name = chain.name.as_str();
        for (at, rule) in chain.rules.iter().enumerate() {
            let to = leads_to(rule).unwrap_or_default();
            let is_dockers = known.has_written(&table.name, name, rule);
            if is_dockers && !own(name) && !(users_stay && to == USERS) {
                going.rules.push((name.to_owned(), rule.clone()));
            }
            if is_dockers {
                continue;
            }
            if own(to) && to != USERS {
                findings.refused.push(refuse(
                    name,
                    rule,
                    "leads to a chain of Docker's, which would go",
                    "take it out, or have it lead elsewhere",
                ));
            } else if own(name) && name != USERS {
                findings.refused.push(refuse(
                    name,
                    rule,
                    "is in a chain of Docker's and none of its rules",
                    "take it out; DOCKER-USER is kept with what is in it",
                ));
            } else if name == USERS {
                let option = users::option_for(&chain.rules, at, observed);
                let text = format!("{tool} -A {name} {rule}");
                match (users::is_met_no_more(rule), option) {
                    (true, option) => findings.refused.push(refuse(
                        name,
                        rule,
                        "asks for translation by connection tracking and would never be met",
                        &match option {
                            Some(option) => format!("take it out; {option}"),
                            None => INSTEAD.to_owned(),
                        },
                    )),
                    (false, Some(option)) => findings.notes.push(format!(
                        "stays, but is gone with the next boot unless something restores it: {text}; \
                         {option}"
                    )),
                    (false, None) => findings.notes.push(format!(
                        "stays, but is gone with the next boot unless something restores it: {text}"
                    )),
                }
            } else if behind_users.contains(name) && users::is_met_no_more(rule) {
                let why = "is reached by DOCKER-USER, asks for translation by connection tracking and would \
                           never be met";
                findings.refused.push(refuse(name, rule, why, INSTEAD));
            } else if names(rule, known) {
                findings.notes.push(format!(
                    "stays, as Docker has not written it: {tool} -t {} -A {name} {rule}",
                    table.name
                ));
            }
        }
        if own(name) && !(users_stay && name == USERS) {
            going.chains.push(name.to_owned());
        }
    }
    going
}

/// Whether the user has rules in his chain, or others that lead to it.
fn users_stay(table: &Table, known: &Known) -> bool {
    table.chains.iter().any(|chain| {
        let mut rules = chain.rules.iter();
        rules.any(|rule| {
            let is_his = chain.name == USERS || leads_to(rule) == Some(USERS);
            is_his && !known.has_written(&table.name, &chain.name, rule)
        })
    })
}

/// Whether it names one of Docker's bridges.
fn names(rule: &str, known: &Known) -> bool {
    let mut words = rule.split_whitespace();
    words.any(|word| known.bridges().any(|bridge| bridge == word))
}

/// What has let Docker's packets pass goes, and others' rules or the policy behind it would drop them: in its
/// place comes what lets the same bridges' pass.
fn in_place(table: &Table, going: &Going, known: &Known, interfaces: &[String]) -> Vec<String> {
    const CHAIN: &str = "FORWARD";
    let chain = table.chains.iter().find(|chain| chain.name == CHAIN);
    let Some(chain) = chain.filter(|_| table.name == "filter") else {
        return Vec::new();
    };
    let goes = |rule: &String| {
        let mut rules = going.rules.iter();
        rules.any(|(of, one)| of == CHAIN && one == rule)
    };
    let is_passing = |rule: &String| goes(rule) && leads_to(rule) != Some(USERS);
    let ours = |rule: &String| is_ours(rule);
    let first = chain.rules.iter().position(is_passing);
    // Those of an earlier time may be of fewer bridges.
    let behind_ours = || chain.rules.iter().rposition(ours).map(|at| at + 1);
    let Some(at) = first.or_else(behind_ours) else {
        return Vec::new();
    };
    let drops = chain.policy.as_deref() != Some("ACCEPT");
    let mut behind = chain.rules[at..].iter();
    if !drops && behind.all(|rule| goes(rule) || is_ours(rule)) {
        return Vec::new();
    }
    let place = at + 1;
    let sides = bridges(known, interfaces);
    let sides = sides
        .iter()
        .flat_map(|bridge| ["-i", "-o"].map(|side| format!("{side} {bridge}")));
    let mut rules: Vec<_> = sides
        .map(|side| format!("{side} -m comment --comment {MARK} -j ACCEPT"))
        .filter(|rule| !chain.rules.contains(rule))
        .map(|rule| format!("-I {CHAIN} {place} {rule}"))
        .collect();
    // Each comes before the one before it.
    rules.reverse();
    rules
}

/// The names of Docker's bridges: of those that it names itself what they begin with, unless another bridge
/// here begins so.
fn bridges(known: &Known, interfaces: &[String]) -> BTreeSet<String> {
    let begins = |name: &&String| name.starts_with(BRIDGES);
    let mut of_others = interfaces
        .iter()
        .filter(begins)
        .filter(|name| known.bridges().all(|bridge| bridge != *name));
    let all = of_others.next().is_none();
    let shorten = |name: &String| match all && begins(&name) {
        true => format!("{BRIDGES}+"),
        false => name.clone(),
    };
    let later = all.then(|| format!("{BRIDGES}+"));
    known.bridges().map(shorten).chain(later).collect()
}

impl RuleChange {
    /// Whether there is nothing to do.
    pub(super) fn is_nothing(&self) -> bool {
        self.script.is_empty()
    }

    fn take(&mut self, table: &Table, going: &Going) {
        let name = &table.name;
        let Going {
            rules,
            chains,
            added,
        } = going;
        if rules.is_empty() && chains.is_empty() && added.is_empty() {
            return;
        }
        let mut script = format!("*{name}\n");
        let mut order = |order: String| {
            let _ = writeln!(script, "{order}");
        };
        // The place counts with what goes still there.
        for rule in added {
            self.added.push(format!("-t {name} {rule}"));
            order(rule.clone());
        }
        for (chain, rule) in rules {
            self.removed.push(format!("-t {name} -D {chain} {rule}"));
            order(format!("-D {chain} {rule}"));
        }
        for chain in chains {
            order(format!("-F {chain}"));
        }
        for chain in chains {
            let own = table.chains.iter().find(|one| one.name == *chain);
            let many = own.map_or(0, |own| own.rules.len());
            self.chains.push((format!("{name} {chain}"), many));
            order(format!("-X {chain}"));
        }
        order("COMMIT".to_owned());
        self.script.push_str(&script);
        self.tables.push(name.clone());
    }
}
