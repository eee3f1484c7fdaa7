//! Sysctls: those that portnat sets, and those that get in its way.

use portnat_common::ports::PortPool;

use crate::doctor::{Facts, Finding, Fix, Severity};

/// Fewer source ports than this are few: as many containers that ask one server at the same time.
const FEW: usize = 4096;

pub(super) fn forwarding(facts: &Facts) -> Vec<Finding> {
    let Some(status) = facts.daemon.status() else {
        return vec![Finding::ok("portnat run switches it on for its interfaces")];
    };
    let mut findings = Vec::new();
    for interface in facts.through() {
        let is_off = |family, name| facts.sysctls.of_link(family, interface, name) == Some(0);
        let off = |key: String, fix| {
            Finding::new(
                Severity::Fault,
                format!("{key} is 0"),
                format!(
                    "Packets that come by {interface} are not forwarded to containers, nor their \
                     answers. Somebody has switched it off since portnat started, which switches \
                     it on again within half a minute; if it stays off somebody does it again and \
                     again."
                ),
            )
            .mended_by(format!("sysctl -w {key}=1"))
            .fixed_by(fix)
        };
        let spelled = interface.replace('.', "/");
        if is_off("ipv4", "forwarding") {
            let key = format!("net.ipv4.conf.{spelled}.forwarding");
            findings.push(off(key, Fix::Forward(interface.clone())));
        }
        let all_off = facts.sysctls.number("net/ipv6/conf/all/forwarding") == Some(0);
        if !status.ipv6 || !all_off {
            continue;
        }
        let fix = || Fix::ForwardV6(interface.clone());
        match facts.sysctls.of_link("ipv6", interface, "force_forwarding") {
            Some(0) => {
                let key = format!("net.ipv6.conf.{spelled}.force_forwarding");
                findings.push(off(key, fix()));
            }
            None if facts.kernel.version < Some((6, 17)) => {
                findings.push(off("net.ipv6.conf.all.forwarding".to_owned(), fix()));
                // It is one for all.
                return findings;
            }
            _ => {}
        }
    }
    if findings.is_empty() {
        let names: Vec<_> = facts.through().map(String::as_str).collect();
        findings.push(Finding::ok(format!("on for {}", list(&names))));
    }
    findings
}

pub(super) fn conntrack(facts: &Facts) -> Vec<Finding> {
    let key = "net.netfilter.nf_conntrack_tcp_be_liberal";
    let liberal = facts
        .sysctls
        .number("net/netfilter/nf_conntrack_tcp_be_liberal");
    let is_fast = facts.daemon.status().map(|status| status.fast_path);
    let finding = match (liberal, is_fast) {
        (None, _) => Finding::ok("no connection tracking in this network namespace"),
        (Some(0), Some(true)) => Finding::new(
            Severity::Warning,
            format!("{key} is 0"),
            "Packets of established connections go past the stack, so connection tracking sees a \
             part of them and may call the rest invalid, which many firewalls drop: connections \
             hang when they end. portnat sets it every other second; if it stays 0 somebody sets \
             it back.",
        )
        .mended_by(format!("sysctl -w {key}=1"))
        .fixed_by(Fix::Liberal),
        (Some(0), Some(false)) => Finding::ok("all packets go through the stack"),
        (Some(0), None) => Finding::ok(format!("portnat run sets {key}")),
        (Some(_), _) => Finding::ok(format!("{key} is 1")),
    };
    vec![finding]
}

/// The kernel takes the greater of an interface's value and that of `all`.
pub(super) fn reverse_path(facts: &Facts) -> Vec<Finding> {
    let all = facts.sysctls.number("net/ipv4/conf/all/rp_filter");
    let strict: Vec<_> = facts
        .uplinks
        .iter()
        .filter(|uplink| all.max(facts.sysctls.of_link("ipv4", uplink, "rp_filter")) == Some(1))
        .collect();
    if strict.is_empty() {
        return vec![Finding::ok("not strict on any uplink")];
    }
    let severity = match facts.uplinks.len() {
        1 => Severity::Note,
        _ => Severity::Warning,
    };
    let finding = |uplink: &String| {
        let key = format!("net.ipv4.conf.{}.rp_filter", uplink.replace('.', "/"));
        let meaning = match severity {
            Severity::Note => {
                "What comes by it from senders whom another interface leads to is dropped before \
                 anybody sees it. With one uplink that takes a policy route or a tunnel."
            }
            _ => {
                "A client whose packets come by one uplink and whose way back is another gets no \
                 answer from published ports: the kernel drops them without a word \
                 (IPReversePathFilter in nstat counts them). 2 takes senders that any interface \
                 leads to, forged ones among them."
            }
        };
        let summary = format!("strict on the uplink {uplink}");
        // For the administrator to judge: it lets forged senders in, too.
        Finding::new(severity, summary, meaning).mended_by(format!("sysctl -w {key}=2"))
    };
    strict.into_iter().map(finding).collect()
}

pub(super) fn localhost(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let published = facts.daemon.report().map_or(0, |report| report.ports.len());
    for link in facts.host.links.iter().filter(|link| link.loopback) {
        for name in ["route_localnet", "accept_local"] {
            if published == 0 || facts.sysctls.of_link("ipv4", &link.name, name) != Some(0) {
                continue;
            }
            let key = format!("net.ipv4.conf.{}.{name}", link.name);
            findings.push(
                Finding::new(
                    Severity::Fault,
                    format!("{key} is 0"),
                    "The host itself does not reach published ports by its own addresses: the \
                     answers that come back to it are dropped. portnat sets it, and again within \
                     half a minute; if it stays 0 somebody sets it back.",
                )
                .mended_by(format!("sysctl -w {key}=1"))
                .fixed_by(Fix::OwnAnswers(link.name.clone())),
            );
        }
    }
    let open: Vec<_> = facts
        .host
        .links
        .iter()
        .filter(|link| !link.loopback)
        .filter(|link| facts.sysctls.of_link("ipv4", &link.name, "route_localnet") == Some(1))
        .map(|link| link.name.as_str())
        .collect();
    if !open.is_empty() {
        findings.push(
            Finding::new(
                Severity::Note,
                format!("route_localnet is on at {}", list(&open)),
                "Neighbours there can reach what the host serves at 127.0.0.0/8, but for \
                 published ports, which portnat keeps to the host. Docker switches it on for its \
                 bridges where there is no docker-proxy; portnat does not need it.",
            )
            .mended_by(format!(
                "sysctl -w net.ipv4.conf.{}.route_localnet=0",
                open[0]
            )),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(match published {
            0 => "nothing is published that the host could ask for",
            _ => "the host reaches its own published ports",
        }));
    }
    findings
}

pub(super) fn source_ports(facts: &Facts) -> Vec<Finding> {
    let Some(local) = facts.local_ports else {
        return vec![Finding::new(
            Severity::Fault,
            "net.ipv4.ip_local_port_range cannot be read",
            "portnat does not start without: it keeps masqueraded connections off these ports.",
        )];
    };
    let pool = PortPool::outside(local);
    let published = facts
        .daemon
        .report()
        .map_or(&[][..], |report| &report.ports)
        .iter()
        .map(|port| (port.sides.port, port.sides.port_end));
    let mut taken = vec![false; usize::from(u16::MAX) + 1];
    for (first, last) in facts.reserved.iter().copied().chain(published) {
        if let Some(range) = taken.get_mut(usize::from(first)..=usize::from(last)) {
            range.fill(true);
        }
    }
    let free = (0..=u16::MAX)
        .filter(|port| pool.contains(*port) && !taken[usize::from(*port)])
        .count();
    let (first, last) = local;
    let remedy = "sysctl -w net.ipv4.ip_local_port_range='32768 60999'";
    let finding = if first <= 1024 && last == u16::MAX {
        Finding::new(
            Severity::Warning,
            "net.ipv4.ip_local_port_range leaves no port for masquerade",
            "All ports are the host's own, so masqueraded connections take theirs from among them \
             and may meet those of the host. A range in the middle leaves both enough.",
        )
        .mended_by(remedy)
    } else if free < FEW {
        Finding::new(
            Severity::Warning,
            format!("{free} source ports are left for masquerade"),
            "So many connections can containers have to one port of one server outside; more are \
             refused as ports-exhausted. The others are in net.ipv4.ip_local_port_range and \
             net.ipv4.ip_local_reserved_ports, or are published.",
        )
        .mended_by(remedy)
    } else {
        Finding::ok(format!(
            "{free} for masquerade, {first}-{last} for the host"
        ))
    };
    vec![finding]
}

/// Names in a row, of many the first.
pub(super) fn list(names: &[&str]) -> String {
    const MANY: usize = 4;
    match names {
        [] => "none".to_owned(),
        names if names.len() > MANY => {
            let more = names.len() - MANY;
            format!("{} and {more} more", names[..MANY].join(", "))
        }
        names => names.join(", "),
    }
}
