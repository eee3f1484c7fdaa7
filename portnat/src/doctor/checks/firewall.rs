//! Whether the firewall's rules could be read, and whether bridged packets meet them.

use std::collections::BTreeSet;

use super::daemon::number;
use super::sysctls::list;
use crate::doctor::rules::Outcome;
use crate::doctor::{Facts, Finding, Severity};

/// How many rules are told of a finding.
const MOST_RULES: usize = 5;

pub(super) fn is_read(facts: &Facts) -> Vec<Finding> {
    let firewall = &facts.firewall;
    let mut findings: Vec<_> = firewall
        .unread
        .iter()
        .map(|unread| {
            let finding = Finding::new(
                Severity::Note,
                format!("{} were not read: {}", unread.what, unread.why),
                "So it is not known whether they drop what is published, or lead it elsewhere.",
            );
            match unread.package {
                Some(package) => finding.mended_by(format!("apt install {package}")),
                None => finding,
            }
        })
        .collect();
    if findings.is_empty() {
        let chains = &firewall.rules.chains;
        let rules = chains.iter().map(|chain| chain.rules.len()).sum();
        findings.push(Finding::ok(format!("{} read", number(rules, "rule"))));
    }
    if !firewall.unjudged.is_empty() {
        let tables: Vec<_> = firewall.unjudged.iter().map(String::as_str).collect();
        findings.push(Finding::new(
            Severity::Note,
            format!("what {} drops is not looked at", list(&tables)),
            "Rules of families bridge and netdev see frames as they come and go, before portnat or \
             after it, with the host's ports or the containers'. `nft list ruleset` shows them.",
        ));
    }
    let bridged: Vec<_> = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"]
        .into_iter()
        .filter(|name| facts.sysctls.number(&format!("net/bridge/{name}")) == Some(1))
        .collect();
    let has_rules = firewall.rules.has_chain(|chain| chain.base.is_some());
    if has_rules && !bridged.is_empty() {
        findings.push(Finding::new(
            Severity::Note,
            format!("{} on", are(&bridged)),
            "Packets between containers of one bridge meet the host's forward rules too. Docker \
             sets it, and keeps containers apart by such rules; portnat works with it and without.",
        ));
    }
    findings
}

/// The rules that are not understood, of those that a packet has come to.
pub(super) fn unjudged(outcomes: &[Outcome]) -> impl Iterator<Item = (usize, usize)> {
    outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Unjudged { chain, rule } => Some((*chain, *rule)),
        Outcome::Dropped { .. } | Outcome::Redirected { .. } => None,
    })
}

/// Says by which rules something may happen that are not understood here.
pub(super) fn not_understood(
    facts: &Facts,
    places: &BTreeSet<(usize, usize)>,
    what: &str,
) -> Option<Finding> {
    let rules = &facts.firewall.rules;
    let texts = places.iter().map(|(chain, rule)| {
        let chain = rules.chain(*chain);
        let text = chain.rules.get(*rule).map(|rule| rule.text.as_str());
        match text.filter(|text| !text.is_empty()) {
            Some(text) => format!("{text} ({chain})"),
            None => chain.to_string(),
        }
    });
    let mut texts: Vec<_> = texts.collect();
    if texts.is_empty() {
        return None;
    }
    let many = number(texts.len(), "rule");
    let summary = format!("{what} by {many} not understood here");
    if texts.len() > MOST_RULES {
        let more = texts.len() - MOST_RULES;
        texts.truncate(MOST_RULES);
        texts.push(format!("and {more} more"));
    }
    let meaning = format!(
        "Packets of published ports come to them, and they ask for or do something that is not understood here: {}.",
        texts.join("; ")
    );
    Some(Finding::new(Severity::Note, summary, meaning))
}

/// No rule is in the way, as far as they were read.
pub(super) fn clear(facts: &Facts, summary: &str) -> Finding {
    if facts.firewall.unread.is_empty() && facts.firewall.unjudged.is_empty() {
        return Finding::ok(summary);
    }
    Finding::new(
        Severity::Note,
        format!("{summary}, as far as rules were read"),
        "Some were not, or are not understood, as the check firewall says.",
    )
}

fn are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(" and "))
}
