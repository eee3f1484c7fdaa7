//! The host's addresses: which of them a port is published on, and how they come and go.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use portnat::lab::{Lab, probe};

use crate::daemon::{Daemon, row};
use crate::support::{CONTAINER, assert_dropped, at, eventually, net, tcp_server, udp_server};

const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A lab whose host has [`SECOND`] too.
fn lab_with_second_address(containers: usize) -> Lab {
    let lab = Lab::builder()
        .containers(containers)
        .build()
        .expect("a lab");
    let links = lab.host.links();
    links
        .add_address(Lab::UPLINK, net("192.0.2.2/24"))
        .expect("a second address");
    lab
}

#[test]
fn a_port_of_one_address_is_closed_on_another() {
    let lab = lab_with_second_address(1);
    let _server = tcp_server(&lab.containers[0].namespace, lab.containers[0].address, 80);
    let _daemon = Daemon::run(&lab, &["-p", "192.0.2.2:8080:80@172.17.0.2"]);

    let answer = probe::tcp_echo(&lab.client, at(SECOND, 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    let refusal = probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello");
    assert_eq!(
        refusal.expect_err("not published here").kind(),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn two_containers_share_a_port_at_two_addresses() {
    let lab = lab_with_second_address(2);
    let servers: Vec<_> = lab
        .containers
        .iter()
        .map(|container| tcp_server(&container.namespace, container.address, 80))
        .collect();
    let publish = [
        "-p",
        "192.0.2.1:8080:80@172.17.0.2",
        "-p",
        "192.0.2.2:8080:80@172.17.0.3",
    ];
    let daemon = Daemon::run(&lab, &publish);

    let seen = || [servers[0].peers().len(), servers[1].peers().len()];
    probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"first").expect("an answer");
    assert_eq!(seen(), [1, 0]);
    probe::tcp_echo(&lab.client, at(SECOND, 8080), b"second").expect("an answer");
    assert_eq!(seen(), [1, 1]);

    let table = daemon.stop();
    for port in ["192.0.2.1:8080/tcp", "192.0.2.2:8080/tcp"] {
        assert_eq!(row(&table, port).flows, 1, "{table}");
    }
}

#[test]
fn an_address_is_published_when_it_comes_and_not_when_it_has_gone() {
    let lab = Lab::builder().build().expect("a lab");
    let server = udp_server(&lab.containers[0].namespace, lab.containers[0].address, 53);
    let daemon = Daemon::run(&lab, &["-p", "5353:53/udp@172.17.0.2"]);

    let links = lab.host.links();
    links
        .add_address(Lab::UPLINK, net("192.0.2.2/24"))
        .expect("added");
    eventually("asking at the new address", || {
        probe::udp_echo(&lab.client, at(SECOND, 5353), b"hello")
    });
    let asked = server.peers().len();
    assert!(asked > 0, "the host itself answered");

    links
        .delete_address(Lab::UPLINK, net("192.0.2.2/24"))
        .expect("removed");
    eventually(
        "no longer answering at the old address",
        || match probe::udp_echo(&lab.client, at(SECOND, 5353), b"hello") {
            Ok(_) => Err("an answer"),
            Err(_) => Ok(()),
        },
    );
    // The other address is as it was.
    probe::udp_echo(&lab.client, at(Lab::HOST, 5353), b"hello").expect("an answer");
    daemon.stop();
}

#[test]
fn a_port_without_a_number_gets_one_and_says_which() {
    let lab = Lab::builder().build().expect("a lab");
    let server = tcp_server(&lab.containers[0].namespace, lab.containers[0].address, 80);
    let daemon = Daemon::run(&lab, &["-p", "80@172.17.0.2"]);

    let line = daemon.line("published");
    let port: u16 = line
        .split_once("0.0.0.0:")
        .and_then(|(_, rest)| rest.split_once("/tcp -> 172.17.0.2:80"))
        .and_then(|(port, _)| port.parse().ok())
        .unwrap_or_else(|| panic!("no port in {line:?}"));
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, port), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    assert_eq!(server.peers().len(), 1);

    let table = daemon.stop();
    assert_eq!(row(&table, &format!("0.0.0.0:{port}/tcp")).flows, 1);
}

/// That the client knows the way to the containers, and the host forwards, does not let it in.
#[test]
fn a_containers_own_address_is_closed_to_the_outside() {
    let lab = Lab::builder()
        .client_routes_via_host(true)
        .build()
        .expect("a lab");
    let container = &lab.containers[0];
    let web = tcp_server(&container.namespace, container.address, 80);
    let dns = udp_server(&container.namespace, container.address, 53);
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);

    // Less than the second after which a SYN is sent again.
    let patience = Duration::from_millis(300);
    let connect = || TcpStream::connect_timeout(&web.address(), patience);
    let silence = lab.client.run(connect).expect_err("not from outside");
    assert_eq!(silence.kind(), ErrorKind::TimedOut);
    let socket = probe::udp_connect(&lab.client, None, dns.address()).expect("a socket");
    socket.set_read_timeout(Some(patience)).expect("set");
    socket.send(b"hello").expect("sent");
    let silence = socket.recv(&mut [0; 16]).expect_err("not from outside");
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    let silence = probe::ping(&lab.client, container.address, 1, 1);
    silence.expect_err("not from outside");
    assert_eq!([web.peers(), dns.peers()], [[], []]);

    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    assert_dropped(&daemon.stop(), 3, "direct-access", &[&lab.client]);
}

/// Behind the NAT both connections have the same addresses and the same target port; one of them
/// must get another source port.
#[test]
fn one_source_port_reaches_one_target_by_two_addresses() {
    let lab = lab_with_second_address(1);
    let server = tcp_server(&lab.containers[0].namespace, lab.containers[0].address, 80);
    let daemon = Daemon::run(&lab, &["-p", &format!("8080:80@{CONTAINER}")]);

    let source = at(Lab::CLIENT, 40_000);
    let mut streams = [Lab::HOST, SECOND].map(|address| {
        probe::tcp_connect(&lab.client, Some(source), at(address, 8080)).expect("a connection")
    });
    // In turns, so that both live at the same time.
    for round in 0..3 {
        for (number, stream) in (0_u8..).zip(&mut streams) {
            assert_eq!(said_back(stream, [round, number]), [round, number]);
        }
    }
    let peers = server.peers();
    assert_eq!(peers.len(), 2);
    assert!(peers.iter().all(|peer| peer.ip() == source.ip()));
    assert!(peers.contains(&source), "{peers:?}");
    assert_ne!(peers[0], peers[1]);
    assert_eq!(row(&daemon.stop(), "0.0.0.0:8080/tcp").flows, 2);
}

fn said_back(stream: &mut TcpStream, words: [u8; 2]) -> [u8; 2] {
    let mut answer = [0; 2];
    stream.write_all(&words).expect("sent");
    stream.read_exact(&mut answer).expect("an answer");
    answer
}
