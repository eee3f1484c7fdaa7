//! Judgements on facts that are made up.

mod firewall;
mod host;

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::control::{Attached, Stats, Status};
use crate::doctor::checks::{CHECKS, diagnose};
use crate::doctor::facts::{Answers, Daemon, Firewall, HookFacts, Kernel, Values};
use crate::doctor::{Facts, Finding, Severity};
use crate::flows::Transport;
use crate::model::Origin;
use crate::net::{Filter, Link, LinkKind, Snapshot};
use crate::report::{PortReport, PortSides, Report};

/// A host like many, with a daemon that publishes one port of a container.
fn healthy() -> Facts {
    let link = |index, name, address| Link::made(index, name, LinkKind::default(), &[address]);
    let links = vec![
        Link {
            loopback: true,
            ..link(1, "lo", "127.0.0.1/8")
        },
        link(2, "eth0", "192.0.2.1/24"),
        Link {
            kind: LinkKind::Bridge,
            ..link(3, "docker0", "172.17.0.1/16")
        },
    ];
    let attached = Attached {
        interface: "eth0".to_owned(),
        index: 2,
        hook: "in".to_owned(),
        program: "nat_in".to_owned(),
    };
    let status = Status {
        version: "0.1.0".to_owned(),
        pid: 7,
        uplinks: vec!["eth0".to_owned()],
        bridges: vec!["docker0".to_owned()],
        attached: vec![attached.clone()],
        fast_path: true,
        xdp: "off".to_owned(),
        ..Status::default()
    };
    let mut stats = Stats::default();
    stats.flows.max_per_family = 1000;
    Facts {
        kernel: Kernel {
            release: "6.18.0".to_owned(),
            version: Some((6, 18)),
            btf: true,
            bpf_fs: true,
            capabilities: u64::MAX,
        },
        uplinks: status.uplinks.clone(),
        bridges: status.bridges.clone(),
        host: Snapshot { links },
        sysctls: sysctls(&[]),
        local_ports: Some((32768, 60999)),
        reserved: Vec::new(),
        firewall: Firewall::default(),
        daemon: Daemon::Answers(Box::new(Answers {
            status,
            report: Report {
                ports: vec![published(8080, 8080, 80)],
                ..Report::default()
            },
            stats,
            is_here: true,
        })),
        hooks: vec![HookFacts {
            attached,
            programs: Ok(Some(vec!["nat_in".to_owned()])),
            filters: Ok(Vec::new()),
        }],
        holders: Ok(Vec::new()),
        takers: Ok(BTreeSet::new()),
    }
}

/// Sysctls of a healthy host, but for these.
fn sysctls(others: &[(&str, &str)]) -> Values {
    let usual = [
        ("net/core/bpf_jit_enable", "1"),
        ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/eth0/rp_filter", "0"),
        ("net/ipv4/conf/eth0/forwarding", "1"),
        ("net/ipv4/conf/docker0/forwarding", "1"),
        ("net/ipv4/conf/lo/route_localnet", "1"),
        ("net/ipv4/conf/lo/accept_local", "1"),
    ];
    let all = usual.iter().chain(others);
    all.map(|(path, value)| ((*path).to_owned(), (*value).to_owned()))
        .collect()
}

fn published(port: u16, port_end: u16, target_port: u16) -> PortReport {
    PortReport {
        sides: PortSides {
            address: IpAddr::from([0, 0, 0, 0]),
            port,
            port_end,
            protocol: Transport(6),
            target: IpAddr::from([172, 17, 0, 2]),
            target_port,
            target_port_end: target_port + (port_end - port),
            origin: Origin::Run,
            container: None,
            network: None,
        },
        totals: Default::default(),
    }
}

/// Changes what the daemon answers.
fn answers(facts: &mut Facts) -> &mut Answers {
    match &mut facts.daemon {
        Daemon::Answers(answers) => answers,
        other => panic!("{other:?}"),
    }
}

/// What a check says that is not ok.
fn found(facts: &Facts, check: &str) -> Vec<Finding> {
    let mut findings = diagnose(facts).findings;
    findings.retain(|finding| finding.check == check && finding.severity > Severity::Ok);
    findings
}

/// The one thing that a check says, and how bad it is.
#[track_caller]
fn one(facts: &Facts, check: &str) -> (Severity, Finding) {
    let findings = found(facts, check);
    let [finding] = &findings[..] else {
        panic!("not one finding: {findings:#?}");
    };
    (finding.severity, finding.clone())
}

#[test]
fn a_healthy_host_is_well_in_every_respect() {
    let diagnosis = diagnose(&healthy());
    assert!(diagnosis.is_well());
    for (name, _) in CHECKS {
        let of_it: Vec<_> = diagnosis
            .findings
            .iter()
            .filter(|finding| finding.check == name)
            .collect();
        assert_eq!(of_it.len(), 1, "{name}: {of_it:#?}");
        assert_eq!(of_it[0].severity, Severity::Ok, "{of_it:#?}");
        assert!(of_it[0].meaning.is_empty() && of_it[0].remedies.is_empty());
    }
}

#[test]
fn every_check_is_documented() {
    let page = include_str!("../../../../docs/doctor.md");
    for (name, _) in CHECKS {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}
