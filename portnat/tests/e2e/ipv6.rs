//! The other family: what must work, and what is put back.

use std::net::IpAddr;

use portnat::lab::{Lab, LabBuilder, probe};

use crate::base::{masqueraded, published, unpublished};
use crate::daemon::{Daemon, row};
use crate::firewall::{self, FIREWALL};
use crate::picture::Picture;
use crate::support::{assert_nothing_lost, at, payload, seen_by, tcp_server, udp_server};

const PUBLISH: [&str; 4] = ["-p", "8080:80@fd00:17::2", "-p", "5353:53/udp@fd00:17::2"];
const HOST: IpAddr = IpAddr::V6(Lab::HOST_V6);
const CLIENT: IpAddr = IpAddr::V6(Lab::CLIENT_V6);

fn lab() -> LabBuilder {
    Lab::builder().ipv6(true)
}

macro_rules! matrix {
    ($($name:ident: $bridge_nf:literal, $firewall:expr, $attach:literal;)+) => {
        $(
            #[test]
            fn $name() {
                scenario($bridge_nf, $firewall, $attach);
            }
        )+
    };
}

matrix! {
    tcx_alone: false, None, "tcx";
    tcx_with_bridge_nf_and_firewall: true, Some(FIREWALL), "tcx";
    clsact_alone: false, None, "clsact";
    clsact_with_bridge_nf_and_firewall: true, Some(FIREWALL), "clsact";
}

fn scenario(bridge_nf: bool, firewall: Option<&str>, attach: &str) {
    let lab = lab().containers(2).build().expect("a lab");
    firewall::set_up(&lab.host, bridge_nf, firewall);
    let before = Picture::of(&lab.host);
    let [target, neighbour] = &lab.containers[..] else {
        panic!("two containers");
    };
    let web = tcp_server(&target.namespace, target.address_v6, 80);
    let dns = udp_server(&target.namespace, target.address_v6, 53);
    let daemon = Daemon::run(&lab, &[&PUBLISH[..], &["--attach", attach]].concat());

    published(&lab.client, HOST);
    assert_eq!(seen_by(&web), [CLIENT, CLIENT]);
    assert!(seen_by(&dns).iter().all(|peer| *peer == CLIENT));
    unpublished(&lab.client, HOST);
    masqueraded(&lab, &target.namespace, CLIENT, HOST);
    probe::ping(&target.namespace, CLIENT, 1, 1).expect("ping answers");

    // From containers by the host's addresses.
    let gateway = IpAddr::from(lab.bridges[0].gateway_v6);
    let (tcp, udp) = (web.peers().len(), dns.peers().len());
    for client in [neighbour, target] {
        for address in [HOST, gateway] {
            published(&client.namespace, address);
        }
    }
    assert_eq!(seen_by(&web)[tcp..], [gateway; 8]);
    assert!(seen_by(&dns)[udp..].iter().all(|peer| *peer == gateway));
    // And by the target's own.
    let answer = probe::tcp_echo(&neighbour.namespace, web.address(), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    assert_eq!(seen_by(&web).pop(), Some(neighbour.address_v6.into()));
    if firewall.is_some() {
        firewall::assert_met(&lab.host);
    }

    let during = Picture::of(&lab.host);
    assert!(
        during
            .changed_sysctls(&before)
            .iter()
            .any(|name| name.starts_with("/proc/sys/net/ipv6/conf/") && name.contains("forwarding")),
        "{:?}",
        during.changed_sysctls(&before)
    );
    let table = daemon.stop();
    for port in ["[::]:8080/tcp", "[::]:5353/udp"] {
        assert_eq!(row(&table, port).flows, 10, "{table}");
    }
    assert_nothing_lost(&table);
    assert_eq!(Picture::of(&lab.host), before);
}

#[test]
fn both_families_share_a_port() {
    let lab = lab().build().expect("a lab");
    let container = &lab.containers[0];
    let v4 = tcp_server(&container.namespace, container.address, 80);
    let v6 = tcp_server(&container.namespace, container.address_v6, 80);
    let publish = ["-p", "8080:80@172.17.0.2", "-p", "8080:80@fd00:17::2"];
    let daemon = Daemon::run(&lab, &publish);

    let sent = payload(10_000);
    for _ in 0..2 {
        for address in [Lab::HOST.into(), HOST] {
            let answer = probe::tcp_echo(&lab.client, at(address, 8080), &sent);
            assert!(answer.expect("an answer") == sent, "{address}");
        }
    }
    assert_eq!(seen_by(&v4), [IpAddr::from(Lab::CLIENT); 2]);
    assert_eq!(seen_by(&v6), [CLIENT; 2]);
    let table = daemon.stop();
    for port in ["0.0.0.0:8080/tcp", "[::]:8080/tcp"] {
        assert_eq!(row(&table, port).flows, 2, "{table}");
    }
}

#[test]
fn only_the_named_prefix_is_masqueraded() {
    let lab = lab()
        .containers(2)
        .client_routes_via_host(true)
        .build()
        .expect("a lab");
    let _daemon = Daemon::run(&lab, &["--masquerade", "fd00:17::2/128"]);
    let server = tcp_server(&lab.client, CLIENT, 80);
    for container in &lab.containers {
        let answer = probe::tcp_echo(&container.namespace, server.address(), b"hello");
        assert_eq!(answer.expect("an answer"), b"hello");
    }
    let second = IpAddr::from(lab.containers[1].address_v6);
    assert_eq!(seen_by(&server), [HOST, second]);
}
