//! From container to container by the host's addresses, whatever else the host does.

use std::io::ErrorKind;
use std::net::IpAddr;

use portnat::lab::{Lab, Namespace, probe};

use crate::base::published;
use crate::daemon::{Daemon, row};
use crate::firewall::{self, FIREWALL, OTHER_BRIDGE};
use crate::support::{assert_nothing_lost, at, payload, seen_by, tcp_server, udp_server};

macro_rules! matrix {
    ($($name:ident: $bridge_nf:literal, $firewall:expr;)+) => {
        $(
            #[test]
            fn $name() {
                scenario($bridge_nf, $firewall);
            }
        )+
    };
}

matrix! {
    alone: false, None;
    with_firewall: false, Some(FIREWALL);
    with_bridge_nf: true, None;
    with_bridge_nf_and_firewall: true, Some(FIREWALL);
}

/// Two containers on the first bridge, the first of which is published, and one on another.
fn lab() -> Lab {
    let other = "172.18.0.0/16".parse().expect("a subnet");
    Lab::builder()
        .containers(2)
        .bridge(OTHER_BRIDGE, other, 1)
        .build()
        .expect("a lab")
}

fn scenario(bridge_nf: bool, firewall: Option<&str>) {
    let lab = lab();
    firewall::set_up(&lab.host, bridge_nf, firewall);
    let [target, neighbour, stranger] = &lab.containers[..] else {
        panic!("three containers");
    };
    let web = tcp_server(&target.namespace, target.address, 80);
    let dns = udp_server(&target.namespace, target.address, 53);
    let publish = ["-p", "8080:80@172.17.0.2", "-p", "5353:53/udp@172.17.0.2"];
    let daemon = Daemon::run(&lab, &[&publish[..], &["--attach", "tcx"]].concat());

    // On the same bridge the answers must come by the host too.
    let gateway = lab.bridges[0].gateway;
    let ways = [
        (neighbour, Lab::HOST, gateway),
        (neighbour, gateway, gateway),
        (target, Lab::HOST, gateway),
        (target, gateway, gateway),
        (stranger, Lab::HOST, stranger.address),
        (stranger, gateway, stranger.address),
    ];
    let mut seen = [0, 0];
    for (client, address, source) in ways {
        published(&client.namespace, address.into());
        let (tcp, udp) = (seen_by(&web), seen_by(&dns));
        let mut new = tcp[seen[0]..].iter().chain(&udp[seen[1]..]);
        let way = format!("{} by {address}", client.address);
        assert!(new.all(|peer| *peer == IpAddr::from(source)), "{way}");
        assert_eq!(tcp.len(), seen[0] + 2, "{way}");
        seen = [tcp.len(), udp.len()];
    }
    if firewall.is_some() {
        firewall::assert_met(&lab.host);
    }

    // By its own address the target sees who it is; and there it has its own port only.
    let sent = payload(10_000);
    let answer = probe::tcp_echo(&neighbour.namespace, web.address(), &sent);
    assert!(answer.expect("TCP answers") == sent);
    let answer = probe::udp_echo(&neighbour.namespace, dns.address(), &sent);
    assert!(answer.expect("UDP answers") == sent);
    for server in [&web, &dns] {
        let peer = seen_by(server).pop();
        assert_eq!(peer, Some(neighbour.address.into()));
    }
    for client in [target, neighbour] {
        let refusal = probe::tcp_echo(&client.namespace, at(target.address, 8080), b"?");
        let refusal = refusal.expect_err("not published here").kind();
        assert_eq!(refusal, ErrorKind::ConnectionRefused, "{}", client.address);
    }

    // Nobody was told of a shorter way, by which the answers would come from elsewhere.
    for container in [target, neighbour] {
        assert_eq!(redirects(&container.namespace), 0);
    }
    let table = daemon.stop();
    // One byte and many, by each way.
    for port in ["0.0.0.0:8080/tcp", "0.0.0.0:5353/udp"] {
        assert_eq!(row(&table, port).flows, 2 * ways.len() as u64, "{table}");
    }
    assert_nothing_lost(&table);
}

/// How many ICMP redirects a namespace has received.
fn redirects(namespace: &Namespace) -> u64 {
    let mut command = namespace.command("cat");
    let output = command.arg("/proc/net/snmp").output().expect("cat runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
    let mut words = || lines.next().expect("a line").split_whitespace();
    let column = words().position(|name| name == "InRedirects");
    let value = words().nth(column.expect("a column"));
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}
