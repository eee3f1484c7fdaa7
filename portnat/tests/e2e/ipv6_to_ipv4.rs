//! IPv6 clients of targets that know IPv4 only: what is not in [`crate::matrix`].

use std::io::ErrorKind;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr};

use portnat::flows::FlowList;
use portnat::lab::{Lab, probe};

use crate::daemon::Daemon;
use crate::icmp::{Distance, heard_mtu};
use crate::support::{CONTAINER, MEGABYTE, at, eventually, payload, tcp_server};

const PUBLISH: [&str; 4] = [
    "-p",
    "[::]:8080:80@172.17.0.2",
    "-p",
    "[::]:5353:53/udp@172.17.0.2",
];

/// One port of both families leads to the same target, and the client of either is answered.
#[test]
fn beside_a_port_of_ipv4() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let web = tcp_server(&container.namespace, container.address, 80);
    let publish = [
        "-p",
        "0.0.0.0:8080:80@172.17.0.2",
        "-p",
        "[::1]:8080:80@172.17.0.2",
    ];
    let daemon = Daemon::run(&lab, &publish);
    let sent = payload(10_000);
    // Both come from the bridge's address and the same port, unless the other has that already.
    let (v4, v6) = (IpAddr::from(Lab::HOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    for (port, order) in [(5000, [v4, v6]), (5001, [v6, v4])] {
        for address in order {
            let (source, published) = (at(address, port), at(address, 8080));
            let answer = probe::tcp_echo_from(&lab.host, source, published, &sent);
            assert!(answer.expect("an answer") == sent);
        }
        let mut ports: Vec<_> = web.peers().iter().map(|peer| peer.port()).collect();
        let second = ports.pop().expect("two connections");
        assert_eq!(ports.pop(), Some(port));
        assert_ne!(second, port, "each has its own");
    }
    // It is there for the host only.
    let refusal = probe::tcp_echo(&lab.client, at(Lab::HOST_V6, 8080), b"?").expect_err("nobody");
    assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
    daemon.stop();
}

/// Such a flow is told once, with addresses of two families, and ended by either.
#[test]
fn a_flow_is_told_and_ended() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let _web = tcp_server(&container.namespace, container.address, 80);
    let daemon = Daemon::run(&lab, &PUBLISH);
    let open = probe::tcp_connect(&lab.client, None, at(Lab::HOST_V6, 8080));
    let mut stream = open.expect("a connection");
    let mut said = [0; 4];
    stream.write_all(b"talk").expect("sent");
    stream.read_exact(&mut said).expect("an answer");
    let client = stream.local_addr().expect("is bound");

    let flows = || {
        let json = daemon.told(&["flows", "--json", "--target", CONTAINER]);
        let FlowList(flows) = serde_json::from_str(&json).expect("JSON");
        flows
    };
    let [flow] = &flows()[..] else {
        panic!("one flow");
    };
    assert_eq!((flow.half_open, &*flow.state), (false, "established"));
    assert_eq!(flow.published.as_deref(), Some("[::]:8080/tcp"));
    let (original, translated) = (&flow.original, &flow.translated);
    assert_eq!(at(original.source, original.source_port), client);
    assert_eq!(original.destination, Lab::HOST_V6);
    assert_eq!(translated.source, lab.bridges[0].gateway);
    assert_eq!(translated.destination, container.address);
    assert_eq!(translated.destination_port, 80);
    assert!(flow.traffic.packets_in >= 3 && flow.traffic.packets_out >= 2);

    let ended = daemon.told(&["flows", "flush", "--target", CONTAINER]);
    assert_eq!(ended, "ended 1 flow\n");
    eventually("no flow", || match &flows()[..] {
        [] => Ok(()),
        flows => Err(flows.to_vec()),
    });
    daemon.stop();
}

/// The target learns how much fits through a narrow link on the client's way: IPv6's header is 20
/// bytes longer.
#[test]
fn the_target_learns_the_path_mtu() {
    let distance = Distance::new(1);
    let container = &distance.lab.containers[0];
    let _web = tcp_server(&container.namespace, container.address, 80);
    let daemon = Daemon::run(&distance.lab, &PUBLISH);
    let gateway = IpAddr::from(distance.lab.bridges[0].gateway);
    assert_eq!(heard_mtu(&container.namespace, gateway), None);
    let sent = payload(MEGABYTE);
    let answer = probe::tcp_echo(&distance.far, at(Lab::HOST_V6, 8080), &sent);
    assert!(answer.expect("all of it") == sent, "something else");
    assert_eq!(heard_mtu(&container.namespace, gateway), Some(1260));
    let table = daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}

/// A target that is not there: the host says so itself, once nobody has answered its ARP requests
/// for three seconds.
#[test]
fn a_target_that_is_not_there_is_unreachable() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let daemon = Daemon::run(&lab, &["-p", "[::]:8080:80@172.17.0.77"]);
    for (from, address) in [
        (&lab.client, Lab::HOST_V6),
        (&lab.host, Ipv6Addr::LOCALHOST),
    ] {
        eventually("an error", || {
            let answer = probe::tcp_echo(from, at(address, 8080), b"?").expect_err("nobody");
            match answer.kind() {
                ErrorKind::NetworkUnreachable => Ok(()),
                _ => Err(answer),
            }
        });
    }
    daemon.stop();
}

/// A link of the host's that is narrower than the client knows: the host tells the target itself.
#[test]
fn the_target_learns_the_mtu_of_the_way_out() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let _web = tcp_server(&container.namespace, container.address, 80);
    lab.host.links().set_mtu(Lab::UPLINK, 1400).expect("set");
    let daemon = Daemon::run(&lab, &PUBLISH);
    let gateway = IpAddr::from(lab.bridges[0].gateway);
    assert_eq!(heard_mtu(&container.namespace, gateway), None);
    let sent = payload(MEGABYTE);
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST_V6, 8080), &sent);
    assert!(answer.expect("all of it") == sent, "something else");
    assert_eq!(heard_mtu(&container.namespace, gateway), Some(1380));
    let table = daemon.stop();
    assert!(table.contains("(too-big)"), "{table}");
}
