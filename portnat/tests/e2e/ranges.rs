//! Ranges, pools and ephemeral ranges of ports, and both families at once.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use portnat::flows::FlowList;
use portnat::lab::{Lab, Namespace, probe};

use crate::daemon::{Daemon, row};
use crate::support::{CONTAINER, at, tcp_server, udp_server};

#[track_caller]
fn answers(client: &Namespace, address: impl Into<IpAddr>, port: u16) {
    let answer = probe::tcp_echo(client, at(address, port), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello", "{port}");
}

#[track_caller]
fn refuses(client: &Namespace, address: impl Into<IpAddr>, port: u16) {
    let refusal = probe::tcp_echo(client, at(address, port), b"?").expect_err("nobody");
    assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "{port}");
}

/// The first and last port at `address` in the line that says what was published for `target`.
#[track_caller]
fn published(daemon: &Daemon, address: &str, target: &str) -> (u16, u16) {
    let line = daemon.line(target);
    let (_, ports) = line.split_once(address).expect("the address");
    let (ports, _) = ports[1..].split_once('/').expect("a protocol");
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse().expect("a port");
    (port(first), port(last))
}

#[test]
fn each_port_of_a_range_leads_to_its_own_for_clients_of_either_family() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let serve = |port| tcp_server(&container.namespace, container.address, port);
    let servers = [80, 86, 90].map(serve);
    let dns = udp_server(&container.namespace, container.address, 55);
    let publish = [
        "-p",
        "8000-8010:80-90@172.17.0.2",
        "-p",
        "5350-5359:50-59/udp@172.17.0.2",
    ];
    let daemon = Daemon::run(&lab, &publish);
    for port in [8000, 8006, 8010] {
        answers(&lab.client, Lab::HOST, port);
        answers(&lab.client, Lab::HOST_V6, port);
        // The host itself, and a container by way of it.
        answers(&lab.host, Ipv4Addr::LOCALHOST, port);
        answers(&container.namespace, Lab::HOST, port);
    }
    for port in [7999, 8011, 80] {
        refuses(&lab.client, Lab::HOST, port);
        refuses(&lab.client, Lab::HOST_V6, port);
    }
    assert!(servers.iter().all(|server| server.peers().len() == 4));

    let asked = probe::udp_echo(&lab.client, at(Lab::HOST, 5355), b"who?");
    assert_eq!(asked.expect("an answer"), b"who?");
    assert_eq!(dns.peers().len(), 1);
    let told = |filter: &str| {
        let json = daemon.told(&["flows", "--json", "--port", filter]);
        let FlowList(flows) = serde_json::from_str(&json).expect("JSON");
        flows
    };
    let [flow] = &told("5355/udp")[..] else {
        panic!("one flow");
    };
    assert_eq!(flow.published.as_deref(), Some("0.0.0.0:5355/udp"));
    assert!(told("5354/udp").is_empty());
    assert_eq!(told("5350-5359/udp").len(), 1);

    for part in ["8003", "8003-8020"] {
        let ended = daemon.ask(&["unpublish", part]);
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        let whole = format!("{part} is a part of 0.0.0.0:8000-8010/tcp");
        assert!(ended.stderr[0].contains(&whole), "{ended:#?}");
    }
    daemon.told(&["unpublish", "5350-5359/udp"]);
    assert!(told("5350-5359/udp").is_empty());

    let table = daemon.stop();
    // The container's, too, come by IPv4.
    assert_eq!(row(&table, "0.0.0.0:8000-8010/tcp").flows, 9, "{table}");
    assert_eq!(row(&table, "[::]:8000-8010/tcp").flows, 3, "{table}");
    assert!(table.contains("172.17.0.2:80-90"), "{table}");
}

#[test]
fn of_a_pool_the_first_free_port_is_published() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _server = tcp_server(&container.namespace, container.address, 80);
    let busy = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8000));
    let _busy = lab.host.run(busy).expect("a socket");
    let pool = "8000-8002:80@172.17.0.2";
    let daemon = Daemon::run(&lab, &["-p", pool, "-p", pool]);
    assert_eq!(published(&daemon, "0.0.0.0", "172.17.0.2:80"), (8001, 8001));
    answers(&lab.client, Lab::HOST, 8001);
    answers(&lab.client, Lab::HOST, 8002);
    // In the words in which it was asked for, too.
    daemon.told(&["unpublish", CONTAINER, "-p", "8000-8002:80"]);
    refuses(&lab.client, Lab::HOST, 8001);
    refuses(&lab.client, Lab::HOST, 8002);
    daemon.stop();
}

#[test]
fn what_is_exposed_gets_ports_in_a_row() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let serve = |port| tcp_server(&container.namespace, container.address, port);
    let servers = [80, 81, 82].map(serve);
    let expose = format!("80-82@{CONTAINER}");
    let publish = ["-P", "--expose", &expose, "-p", "8082:82@172.17.0.2"];
    let daemon = Daemon::run(&lab, &[&publish[..], &["--ip", "192.0.2.1"]].concat());
    let (first, last) = published(&daemon, "192.0.2.1", "172.17.0.2:80-81");
    assert_eq!(last, first + 1);
    for port in [first, last, 8082] {
        answers(&lab.client, Lab::HOST, port);
    }
    assert!(servers.iter().all(|server| server.peers().len() == 1));
    // Not on all addresses, as was said.
    refuses(&lab.host, Ipv4Addr::LOCALHOST, 8082);
    daemon.stop();
}

#[test]
fn without_ipv6_ports_are_published_in_ipv4() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _server = tcp_server(&container.namespace, container.address, 80);
    let off = lab.host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    off.expect("a sysctl");
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);
    answers(&lab.client, Lab::HOST, 8080);
    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:8080/tcp").flows, 1);
    assert!(!table.contains("[::]"), "{table}");
}

/// Published at once, and held in both families.
#[test]
fn sixty_thousand_ports() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let inside = [4000, 4001, 12_345, 16_383, 16_384, 63_999];
    let serve = |port| tcp_server(&container.namespace, container.address, port);
    let servers = inside.map(serve);
    let daemon = Daemon::run(&lab, &["-p", "5000-64999:4000-63999@172.17.0.2"]);
    for port in inside.map(|port| port + 1000) {
        answers(&lab.client, Lab::HOST, port);
        answers(&lab.client, Lab::HOST_V6, port);
        let bind = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let taken = lab.host.run(bind).expect_err("it is published");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }
    refuses(&lab.client, Lab::HOST, 4999);
    refuses(&lab.client, Lab::HOST, 65_000);
    assert!(servers.iter().all(|server| server.peers().len() == 2));
    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:5000-64999/tcp").flows, 6, "{table}");
}
