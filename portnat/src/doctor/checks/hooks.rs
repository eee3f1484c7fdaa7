//! Whether our programs are where they should be, and who comes before them.

use super::daemon::number;
use crate::datapath::{FILTER_PRIORITY, is_ours};
use crate::doctor::facts::HookFacts;
use crate::doctor::{Facts, Finding, Severity};

pub(super) fn stand(facts: &Facts) -> Vec<Finding> {
    if facts.daemon.status().is_none() {
        return Vec::new();
    }
    let mut findings: Vec<_> = facts.hooks.iter().flat_map(judge).collect();
    if !findings
        .iter()
        .any(|finding| finding.severity >= Severity::Warning)
    {
        let count = number(facts.hooks.len(), "program");
        findings.insert(0, Finding::ok(format!("{count} attached")));
    }
    findings
}

fn judge(hook: &HookFacts) -> Vec<Finding> {
    let attached = &hook.attached;
    let place = format!("{} ({})", attached.interface, attached.hook);
    let unknown = |why: &String| {
        Finding::new(
            Severity::Note,
            format!("what is attached to {place} is not known: {why}"),
            "So it was not looked at whether our program is there, nor whether others come before \
             it.",
        )
    };
    let (programs, filters) = match (&hook.programs, &hook.filters) {
        (Ok(programs), Ok(filters)) => (programs.as_deref().unwrap_or_default(), filters),
        (Err(why), _) | (_, Err(why)) => return vec![unknown(why)],
    };
    let own = programs.iter().position(|name| is_ours(name));
    let filter = filters
        .iter()
        .position(|filter| filter.priority == FILTER_PRIORITY && filter.kind == "bpf");
    // TCX runs before clsact.
    let before: Vec<String> = match (own, filter) {
        (Some(own), _) => programs[..own].to_vec(),
        (None, Some(own)) => programs
            .iter()
            .cloned()
            .chain(
                filters[..own]
                    .iter()
                    .map(|other| format!("a {} filter of priority {}", other.kind, other.priority)),
            )
            .collect(),
        (None, None) => {
            return vec![
                Finding::new(
                    Severity::Fault,
                    format!("{} is not attached to {place} any more", attached.program),
                    "Somebody has detached it: what comes by there is not translated.",
                )
                .mended_by(
                    "restart portnat run; with --persist on its command line no connection is lost",
                ),
            ];
        }
    };
    if before.is_empty() {
        return Vec::new();
    }
    vec![
        Finding::new(
            Severity::Note,
            format!(
                "before {} at {place}: {}",
                attached.program,
                before.join(", ")
            ),
            "What that drops, redirects or lets through for good (TC_ACT_OK) portnat does not see; \
         what it passes on (TC_ACT_UNSPEC, TCX_NEXT) it does.",
        )
        .mended_by(format!(
            "bpftool net show dev {}; tc filter show dev {} {}",
            attached.interface,
            attached.interface,
            match attached.hook.as_str() {
                "in" => "ingress",
                _ => "egress",
            }
        )),
    ]
}
