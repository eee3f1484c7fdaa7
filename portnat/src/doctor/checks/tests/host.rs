//! The kernel, sysctls, sockets, and the daemon itself.

use super::*;
use crate::doctor::Fix;
use crate::doctor::facts::Held;
use crate::net::{Holder, Owner, Tenure};
use crate::spec::Protocol;

#[test]
fn what_a_kernel_lacks_is_told_and_one_that_is_too_old_is_a_fault() {
    let mut facts = healthy();
    facts.kernel.version = Some((6, 1));
    facts.kernel.release = "6.1.0-30-amd64".to_owned();
    let (severity, finding) = one(&facts, "kernel");
    assert_eq!(severity, Severity::Note);
    assert!(
        finding.summary.contains("without devices that say"),
        "{finding:?}"
    );
    assert!(
        finding.meaning.contains("clsact filters are used"),
        "{finding:?}"
    );
    assert!(!finding.meaning.contains("bpf_check_mtu"), "{finding:?}");
    facts.kernel.version = Some((5, 4));
    assert_eq!(one(&facts, "kernel").0, Severity::Fault);
    facts.kernel.version = None;
    assert_eq!(one(&facts, "kernel").0, Severity::Fault);
}

#[test]
fn privileges_that_are_missing_are_named() {
    let mut facts = healthy();
    facts.kernel.capabilities = 1 << 12;
    let (severity, finding) = one(&facts, "privileges");
    assert_eq!(severity, Severity::Warning);
    assert_eq!(finding.summary, "without CAP_BPF and CAP_PERFMON");
    // CAP_SYS_ADMIN is those two as well.
    facts.kernel.capabilities = 1 << 12 | 1 << 21;
    assert_eq!(found(&facts, "privileges"), []);
    facts.kernel.capabilities = 1 << 12 | 1 << 38 | 1 << 39;
    assert_eq!(one(&facts, "privileges").0, Severity::Note);
}

#[test]
fn an_interpreter_is_a_warning_and_what_is_not_seen_a_note() {
    let mut facts = healthy();
    facts.sysctls = sysctls(&[("net/core/bpf_jit_enable", "0")]);
    assert_eq!(one(&facts, "jit").0, Severity::Warning);
    facts.sysctls = [].into_iter().collect();
    assert_eq!(one(&facts, "jit").0, Severity::Note);
    facts.kernel.btf = false;
    facts.kernel.bpf_fs = false;
    assert_eq!(one(&facts, "btf").0, Severity::Note);
    assert_eq!(
        one(&facts, "bpf-fs").1.remedies,
        ["mount -t bpf bpf /sys/fs/bpf"]
    );
}

#[test]
fn strict_reverse_paths_matter_where_there_are_several_uplinks() {
    let mut facts = healthy();
    facts.sysctls = sysctls(&[("net/ipv4/conf/eth0/rp_filter", "1")]);
    let (severity, finding) = one(&facts, "rp-filter");
    assert_eq!((severity, finding.fix), (Severity::Note, None));
    facts.uplinks.push("eth1.5".to_owned());
    let (severity, finding) = one(&facts, "rp-filter");
    assert_eq!(severity, Severity::Warning);
    assert_eq!(
        finding.remedies,
        ["sysctl -w net.ipv4.conf.eth0.rp_filter=2"]
    );
    assert_eq!(finding.fix, None, "that is for the administrator to judge");
    // The greater of an interface's and that of all counts.
    facts.sysctls = sysctls(&[
        ("net/ipv4/conf/all/rp_filter", "1"),
        ("net/ipv4/conf/eth0/rp_filter", "2"),
        ("net/ipv4/conf/eth1.5/rp_filter", "0"),
    ]);
    let (_, finding) = one(&facts, "rp-filter");
    assert_eq!(
        finding.remedies,
        ["sysctl -w net.ipv4.conf.eth1/5.rp_filter=2"]
    );
}

#[test]
fn sysctls_that_somebody_has_set_back_are_faults_that_can_be_fixed() {
    let mut facts = healthy();
    facts.sysctls = sysctls(&[
        ("net/ipv4/conf/docker0/forwarding", "0"),
        ("net/ipv4/conf/lo/accept_local", "0"),
        ("net/netfilter/nf_conntrack_tcp_be_liberal", "0"),
    ]);
    let (severity, finding) = one(&facts, "forwarding");
    assert_eq!(severity, Severity::Fault);
    assert_eq!(finding.fix, Some(Fix::Forward("docker0".to_owned())));
    let (severity, finding) = one(&facts, "localhost");
    assert_eq!(severity, Severity::Fault);
    assert_eq!(finding.fix, Some(Fix::OwnAnswers("lo".to_owned())));
    let (severity, finding) = one(&facts, "conntrack");
    assert_eq!(
        (severity, finding.fix),
        (Severity::Warning, Some(Fix::Liberal))
    );
    // Before it starts all that is for the daemon to set.
    facts.daemon = Daemon::default();
    for check in ["forwarding", "localhost", "conntrack"] {
        assert_eq!(found(&facts, check), [], "{check}");
    }
}

#[test]
fn ipv6_is_forwarded_by_each_interface_or_by_all() {
    let mut facts = healthy();
    answers(&mut facts).status.ipv6 = true;
    facts.sysctls = sysctls(&[
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/eth0/force_forwarding", "0"),
        ("net/ipv6/conf/docker0/force_forwarding", "1"),
    ]);
    let (_, finding) = one(&facts, "forwarding");
    assert_eq!(finding.fix, Some(Fix::ForwardV6("eth0".to_owned())));
    facts.kernel.version = Some((6, 1));
    facts.sysctls = sysctls(&[("net/ipv6/conf/all/forwarding", "0")]);
    let (_, finding) = one(&facts, "forwarding");
    assert_eq!(finding.summary, "net.ipv6.conf.all.forwarding is 0");
    facts.sysctls = sysctls(&[("net/ipv6/conf/all/forwarding", "1")]);
    assert_eq!(found(&facts, "forwarding"), []);
}

#[test]
fn an_open_loopback_network_is_worth_a_note() {
    let mut facts = healthy();
    facts.sysctls = sysctls(&[("net/ipv4/conf/docker0/route_localnet", "1")]);
    let (severity, finding) = one(&facts, "localhost");
    assert_eq!(severity, Severity::Note);
    assert_eq!(finding.summary, "route_localnet is on at docker0");
}

#[test]
fn masquerade_needs_ports() {
    let mut facts = healthy();
    facts.local_ports = Some((1024, 65535));
    let (severity, finding) = one(&facts, "source-ports");
    assert_eq!(severity, Severity::Warning);
    assert!(finding.summary.contains("leaves no port"), "{finding:?}");
    facts.local_ports = Some((2048, 65535));
    let (_, finding) = one(&facts, "source-ports");
    assert_eq!(finding.summary, "1024 source ports are left for masquerade");
    facts.local_ports = Some((32768, 60999));
    facts.reserved = vec![(1024, 30000)];
    answers(&mut facts).report.ports = vec![published(61000, 65535, 1000)];
    let (_, finding) = one(&facts, "source-ports");
    assert_eq!(finding.summary, "2767 source ports are left for masquerade");
}

fn held(port: u16, owner: Owner) -> Held {
    Held {
        address: [0, 0, 0, 0].into(),
        protocol: Protocol::Tcp,
        holder: Holder {
            address: ([0, 0, 0, 0], port).into(),
            tenure: Tenure::Bound,
            owner,
        },
    }
}

#[test]
fn who_listens_on_published_ports_is_named() {
    let process = |pid, name: &str| Owner::Process {
        pid,
        name: name.to_owned(),
    };
    let mut facts = healthy();
    // The daemon itself, and a port that is not published.
    facts.holders = Ok(vec![
        held(8080, process(7, "portnat")),
        held(8081, process(9, "nginx")),
    ]);
    assert_eq!(found(&facts, "port-holders"), []);
    for (name, expected) in [
        ("nginx", Severity::Fault),
        ("docker-proxy", Severity::Warning),
        ("dockerd", Severity::Note),
    ] {
        facts.holders = Ok(vec![held(8080, process(9, name))]);
        let (severity, finding) = one(&facts, "port-holders");
        assert_eq!(severity, expected);
        let summary = format!("{name} (pid 9) listens on 0.0.0.0:8080/tcp");
        assert_eq!(finding.summary, summary);
    }
    facts.holders = Ok(vec![held(8080, Owner::Kernel)]);
    let (severity, finding) = one(&facts, "port-holders");
    assert_eq!(severity, Severity::Warning);
    assert_eq!(finding.remedies, ["portnat unpublish 8080/tcp"]);
    facts.holders = Err("no".to_owned());
    assert_eq!(one(&facts, "port-holders").0, Severity::Note);
}

#[test]
fn a_program_that_is_gone_is_a_fault_and_one_before_ours_a_note() {
    let mut facts = healthy();
    let mut with = |programs: &[&str], filters: &[(u16, &str)]| {
        let programs = programs.iter().map(|name| (*name).to_owned()).collect();
        facts.hooks[0].programs = Ok(Some(programs));
        let filter = |(priority, kind): &(u16, &str)| Filter {
            priority: *priority,
            kind: (*kind).to_owned(),
        };
        facts.hooks[0].filters = Ok(filters.iter().map(filter).collect());
        found(&facts, "hooks")
    };
    assert_eq!(with(&["nat_in", "other"], &[(1, "bpf")]), []);
    assert_eq!(with(&[], &[(0x706e, "bpf"), (0xc000, "bpf")]), []);
    let before = with(&["other", "nat_in"], &[]);
    assert_eq!(before[0].severity, Severity::Note);
    assert_eq!(before[0].summary, "before nat_in at eth0 (in): other");
    let before = with(&["other"], &[(1, "u32"), (0x706e, "bpf")]);
    assert!(
        before[0]
            .summary
            .ends_with("other, a u32 filter of priority 1"),
        "{before:?}"
    );
    let gone = with(&["other"], &[(1, "bpf")]);
    assert_eq!(gone[0].severity, Severity::Fault);
    facts.hooks[0].programs = Err("not permitted".to_owned());
    assert_eq!(one(&facts, "hooks").0, Severity::Note);
}

#[test]
fn containers_that_take_no_frames_are_named_where_there_is_xdp() {
    let mut facts = healthy();
    facts.host.links.push(Link {
        index: 5,
        name: "veth5".to_owned(),
        ..Link::default()
    });
    let status = &mut answers(&mut facts).status;
    status.xdp = "native".to_owned();
    status.frame_ports = vec![5];
    facts.takers = Ok(BTreeSet::from([5]));
    assert_eq!(found(&facts, "xdp"), []);
    facts.takers = Ok(BTreeSet::new());
    let (severity, finding) = one(&facts, "xdp");
    assert_eq!(
        (severity, &finding.fix),
        (Severity::Warning, &Some(Fix::Gro(5)))
    );
    assert!(finding.summary.contains("veth5"), "{finding:?}");
}

#[test]
fn the_daemons_own_state_is_told() {
    let mut facts = healthy();
    answers(&mut facts).status.complaints = vec!["no room".to_owned()];
    assert_eq!(one(&facts, "daemon").0, Severity::Fault);
    answers(&mut facts).status.complaints.clear();
    answers(&mut facts).status.helper_gone = true;
    let (severity, finding) = one(&facts, "daemon");
    assert_eq!(severity, Severity::Warning);
    assert_eq!(finding.summary, "its helper process has ended");
    answers(&mut facts).status.helper_gone = false;
    answers(&mut facts).status.uplinks.clear();
    assert_eq!(one(&facts, "daemon").0, Severity::Warning);
    answers(&mut facts).is_here = false;
    let (severity, finding) = one(&facts, "daemon");
    assert_eq!(severity, Severity::Warning);
    assert_eq!(finding.remedies, ["nsenter -t 7 -n portnat doctor"]);
    facts.daemon = Daemon::Fails {
        why: "it is silent".to_owned(),
    };
    assert_eq!(one(&facts, "daemon").0, Severity::Fault);
    facts.daemon = Daemon::Denied {
        socket: "/run/portnat.sock".to_owned(),
    };
    assert_eq!(one(&facts, "daemon").1.remedies, ["sudo portnat doctor"]);
    for (runs, pinned, expected) in [
        (false, false, Severity::Note),
        (true, false, Severity::Warning),
        (false, true, Severity::Warning),
    ] {
        facts.daemon = Daemon::Nobody {
            socket: "/run/portnat.sock".to_owned(),
            runs,
            pinned,
        };
        assert_eq!(one(&facts, "daemon").0, expected);
    }
}

#[test]
fn drops_for_want_of_something_are_worth_a_word() {
    let mut facts = healthy();
    let dropped = &mut answers(&mut facts).stats.dropped;
    dropped.insert("redirect".to_owned(), 5);
    dropped.insert("ports-exhausted".to_owned(), 0);
    assert_eq!(found(&facts, "drops"), []);
    let dropped = &mut answers(&mut facts).stats.dropped;
    dropped.insert("flow-table-full".to_owned(), 1);
    let (severity, finding) = one(&facts, "drops");
    assert_eq!(severity, Severity::Note);
    assert_eq!(finding.summary, "1 packet dropped (flow-table-full)");
    answers(&mut facts).stats.dropped.clear();
    answers(&mut facts).stats.flows.total = 900;
    assert_eq!(one(&facts, "drops").0, Severity::Warning);
}
