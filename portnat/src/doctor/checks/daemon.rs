//! What the daemon says of itself.

use super::sysctls::list;
use crate::doctor::facts::Daemon;
use crate::doctor::{Facts, Finding, Severity};

/// Reasons to drop that call for somebody to do something, and what.
const TELLING: [(&str, &str, &str); 5] = [
    (
        "flow-table-full",
        "New connections are refused for want of room.",
        "portnat run --max-flows N, with more than now",
    ),
    (
        "ports-exhausted",
        "Containers had no source port left towards a server.",
        "leave masquerade more ports: net.ipv4.ip_local_port_range",
    ),
    (
        "container-limit",
        "A container has opened as many connections as one may.",
        "portnat run --max-flows-per-container N; portnat flows --client ADDRESS shows what it \
         does",
    ),
    (
        "no-egress-address",
        "Containers sent by an uplink that has no address to lend them.",
        "give it one, or leave it out: portnat run --uplink IF names those that count",
    ),
    (
        "unwritable",
        "The kernel had no memory to make packets writable.",
        "look for what takes the memory",
    ),
];

pub(super) fn answers(facts: &Facts) -> Vec<Finding> {
    match &facts.daemon {
        Daemon::Fails { why } => vec![
            Finding::new(
                Severity::Fault,
                format!("it does not answer as it should: {why}"),
                "What is published goes on as it was, but follows no change of the host; XDP ends \
                 within 5 seconds of its last sign of life. The checks of what it publishes were \
                 left out.",
            )
            .mended_by(
                "restart portnat run; with --persist on its command line no connection is lost",
            ),
        ],
        Daemon::Denied { socket } => vec![
            Finding::new(
                Severity::Warning,
                format!("the socket {socket} is for root alone"),
                "What portnat publishes is not known, so the checks of that were left out.",
            )
            .mended_by("sudo portnat doctor"),
        ],
        Daemon::Nobody {
            runs: true, socket, ..
        } => vec![
            Finding::new(
                Severity::Warning,
                format!("a portnat runs in this network namespace, and none answers at {socket}"),
                "What it publishes is not known, so the checks of that were left out.",
            )
            .mended_by("portnat doctor --socket PATH, as portnat run was given it"),
        ],
        Daemon::Nobody {
            pinned: true,
            socket,
            ..
        } => vec![
            Finding::new(
                Severity::Warning,
                format!("none answers at {socket}, and one has left its programs and tables"),
                "What it published and masqueraded goes on, but follows no change of the host, \
                 and its ports are not kept from other processes.",
            )
            .mended_by("portnat run --persist, as before, goes on with it")
            .mended_by("portnat cleanup takes it away"),
        ],
        Daemon::Nobody { socket, .. } => vec![Finding::new(
            Severity::Note,
            format!("no portnat runs here (none answers at {socket})"),
            "The host was looked at by itself; ports and hooks are looked at when one runs.",
        )],
        Daemon::Answers(answers) if !answers.is_here => vec![
            Finding::new(
                Severity::Warning,
                format!(
                    "portnat {} (pid {}) serves another network namespace than this one",
                    answers.status.version, answers.status.pid
                ),
                "What it publishes is there, so the checks of that were left out.",
            )
            .mended_by(format!(
                "nsenter -t {} -n portnat doctor",
                answers.status.pid
            )),
        ],
        Daemon::Answers(answers) => {
            let status = &answers.status;
            let uplinks: Vec<_> = status.uplinks.iter().map(String::as_str).collect();
            let bridges: Vec<_> = status.bridges.iter().map(String::as_str).collect();
            let internal: Vec<_> = status.internal.iter().map(String::as_str).collect();
            let internal = match internal.is_empty() {
                true => String::new(),
                false => format!("; internal: {}", list(&internal)),
            };
            let mut findings = vec![Finding::ok(format!(
                "portnat {} (pid {}) publishes {}; uplinks: {}; bridges: {}{internal}",
                status.version,
                status.pid,
                number(answers.report.ports.len(), "port"),
                list(&uplinks),
                list(&bridges)
            ))];
            if status.uplinks.is_empty() {
                findings.push(
                    Finding::new(
                        Severity::Warning,
                        "there is no uplink",
                        "Nobody outside reaches published ports. Uplinks are interfaces that are \
                         up and no bridge without a default route, nor a port of one.",
                    )
                    .mended_by("ip -br link shows what there is; portnat run --uplink IF"),
                );
            }
            if status.helper_gone {
                findings.push(
                    Finding::new(
                        Severity::Warning,
                        "its helper process has ended",
                        "The config is not read anew, processes that have ports are not named, and \
                         containers' ends are given no GRO. All else goes on.",
                    )
                    .mended_by("systemctl restart portnat, or start portnat run anew"),
                );
            }
            findings.extend(status.complaints.iter().map(|complaint| {
                Finding::new(
                    Severity::Fault,
                    complaint.clone(),
                    "The daemon could not do that at its last look at the host, and tries again \
                     at each.",
                )
            }));
            findings
        }
    }
}

pub(super) fn drops(facts: &Facts) -> Vec<Finding> {
    let Some(answers) = facts.daemon.answers() else {
        return Vec::new();
    };
    let stats = &answers.stats;
    let mut findings: Vec<_> = TELLING
        .iter()
        .filter_map(|(reason, meaning, remedy)| {
            let packets = *stats.dropped.get(*reason).filter(|packets| **packets > 0)?;
            let packets = usize::try_from(packets).unwrap_or(usize::MAX);
            let summary = format!("{} dropped ({reason})", number(packets, "packet"));
            Some(Finding::new(Severity::Note, summary, *meaning).mended_by(*remedy))
        })
        .collect();
    let flows = &stats.flows;
    // Of one family it may be more than of both together: nearly full is meant.
    if flows.max_per_family > 0 && flows.total >= flows.max_per_family / 10 * 9 {
        findings.push(
            Finding::new(
                Severity::Warning,
                format!(
                    "{} flows, of {} that each family may have",
                    flows.total, flows.max_per_family
                ),
                "When there is no room left new connections are refused.",
            )
            .mended_by("portnat run --max-flows N, with more than now"),
        );
    }
    if findings.is_empty() {
        let others = stats.dropped.values().sum::<u64>();
        let summary = match others {
            0 => "none".to_owned(),
            _ => format!("{others} packets, none for want of anything (portnat stats)"),
        };
        findings.push(Finding::ok(summary));
    }
    findings
}

/// So many of them.
pub(super) fn number(number: usize, of: &str) -> String {
    match number {
        1 => format!("1 {of}"),
        many => format!("{many} {of}s"),
    }
}
