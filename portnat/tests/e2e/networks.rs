//! Who reaches containers by their own addresses, by the modes of their bridges. That nobody does by
//! default from outside is in [`crate::matrix`] too.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use portnat::lab::{Lab, Namespace, Server, probe};

use crate::daemon::Daemon;
use crate::firewall::{self, FIREWALL, OTHER_BRIDGE};
use crate::support::{ANSWER, assert_dropped, at, net, payload, tcp_server, udp_server};

/// How long nothing is heard where nothing is expected: less than the second after which a SYN is sent
/// again.
const SILENCE: Duration = Duration::from_millis(400);

/// What somebody gets of a container at its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    /// A published port of TCP, and one of UDP.
    published: [bool; 2],
    /// Others, where somebody listens too.
    others: [bool; 2],
    ping: bool,
}

const NOTHING: Reach = Reach {
    published: [false; 2],
    others: [false; 2],
    ping: false,
};

const EVERYTHING: Reach = Reach {
    published: [true; 2],
    others: [true; 2],
    ping: true,
};

const WHAT_IS_PUBLISHED: Reach = Reach {
    others: [false; 2],
    ..EVERYTHING
};

impl Reach {
    /// What is expected is waited for; what is not is silence soon.
    fn of(from: &Namespace, target: IpAddr, expected: Self) -> Self {
        let [published, others] = [(80, 53, expected.published), (81, 54, expected.others)].map(
            |(web, dns, [tcp_expected, udp_expected])| {
                [
                    tcp(from, at(target, web), tcp_expected),
                    udp(from, at(target, dns), udp_expected),
                ]
            },
        );
        Reach {
            published,
            others,
            ping: probe::ping(from, target, 7, 1).is_ok(),
        }
    }
}

#[track_caller]
fn assert_reach(from: &Namespace, target: IpAddr, expected: Reach) {
    assert_eq!(Reach::of(from, target, expected), expected, "{target}");
}

const fn patience(expected: bool) -> Duration {
    if expected { ANSWER } else { SILENCE }
}

fn tcp(from: &Namespace, target: SocketAddr, expected: bool) -> bool {
    match from.run(|| TcpStream::connect_timeout(&target, patience(expected))) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::TimedOut => false,
        Err(error) => panic!("{target}: {error}"),
    }
}

fn udp(from: &Namespace, target: SocketAddr, expected: bool) -> bool {
    let socket = probe::udp_connect(from, None, target).expect("a socket");
    let patience = Some(patience(expected));
    socket.set_read_timeout(patience).expect("set");
    socket.send(b"hello").expect("sent");
    match socket.recv(&mut [0; 16]) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{target}: {error}"),
    }
}

/// A container on each of two bridges, and a client that knows the way to both.
fn lab() -> Lab {
    let other = "172.18.0.0/16".parse().expect("a subnet");
    Lab::builder()
        .bridge(OTHER_BRIDGE, other, 1)
        .client_routes_via_host(true)
        .ipv6(true)
        .build()
        .expect("a lab")
}

/// Servers of both containers, on two ports of each protocol, in both families.
fn servers(lab: &Lab) -> Vec<Server> {
    let mut servers = Vec::new();
    for container in &lab.containers {
        let addresses = [IpAddr::from(container.address), container.address_v6.into()];
        for address in addresses {
            let namespace = &container.namespace;
            servers.extend([80, 81].map(|port| tcp_server(namespace, address, port)));
            servers.extend([53, 54].map(|port| udp_server(namespace, address, port)));
        }
    }
    servers
}

/// A port of TCP and one of UDP of the first container, in both families.
fn run(lab: &Lab, arguments: &[&str]) -> Daemon {
    let container = &lab.containers[0];
    let (v4, v6) = (container.address, container.address_v6);
    let publish = [
        format!("8080:80@{v4}"),
        format!("5353:53/udp@{v4}"),
        format!("8080:80@{v6}"),
        format!("5353:53/udp@{v6}"),
    ];
    let mut all: Vec<&str> = publish.iter().flat_map(|port| ["-p", port]).collect();
    all.extend(arguments);
    Daemon::run(lab, &all)
}

/// Each family's addresses: the host's, the first container's, the other's, the client's.
fn families(lab: &Lab) -> [[IpAddr; 4]; 2] {
    let [own, other] = &lab.containers[..] else {
        panic!("two containers");
    };
    [
        [
            Lab::HOST.into(),
            own.address.into(),
            other.address.into(),
            Lab::CLIENT.into(),
        ],
        [
            Lab::HOST_V6.into(),
            own.address_v6.into(),
            other.address_v6.into(),
            Lab::CLIENT_V6.into(),
        ],
    ]
}

/// Published ports of the host answer, little and much.
fn host_answers(from: &Namespace, host: IpAddr) {
    for length in [1, 100_000] {
        let sent = payload(length);
        let answer = probe::tcp_echo(from, at(host, 8080), &sent).expect("TCP answers");
        assert!(answer == sent, "TCP returns something else");
        let answer = probe::udp_echo(from, at(host, 5353), &sent).expect("UDP answers");
        assert!(answer == sent, "UDP returns something else");
    }
}

fn nat(bridge_nf: bool, firewall: Option<&str>, arguments: &[&str]) {
    let lab = lab();
    firewall::set_up(&lab.host, bridge_nf, firewall);
    let servers = servers(&lab);
    let daemon = run(&lab, arguments);
    let [own, other] = [0, 1].map(|number| &lab.containers[number].namespace);
    for [host, target, stranger, _] in families(&lab) {
        for from in [&lab.client, other] {
            assert_reach(from, target, NOTHING);
        }
        assert_reach(own, stranger, NOTHING);
        for from in [&lab.client, other, own] {
            host_answers(from, host);
        }
        // A gateway is the host.
        probe::ping(own, host, 7, 1).expect("an answer");
    }
    let first: Vec<_> = servers[..8].iter().flat_map(Server::peers).collect();
    assert!(!first.is_empty());
    let table = daemon.stop();
    assert_dropped(&table, 10, "direct-access", &[&lab.client]);
    assert_dropped(&table, 20, "isolated", &[own, other]);
}

#[test]
fn by_default_bridges_are_isolated() {
    nat(false, None, &[]);
}

#[test]
fn they_are_where_bridged_packets_meet_a_firewall() {
    nat(true, Some(FIREWALL), &["--fast-path", "off"]);
}

#[test]
fn an_unprotected_network_is_reached_by_every_outsider_and_no_other_bridge() {
    let lab = lab();
    let servers = servers(&lab);
    let daemon = run(&lab, &["--network", "docker0=nat-unprotected"]);
    let [own, other] = [0, 1].map(|number| &lab.containers[number].namespace);
    for [host, target, stranger, client] in families(&lab) {
        assert_reach(&lab.client, target, EVERYTHING);
        assert_reach(other, target, NOTHING);
        assert_reach(own, stranger, NOTHING);
        for from in [&lab.client, other] {
            host_answers(from, host);
        }
        // Its containers are masqueraded as any.
        let server = tcp_server(&lab.client, client, 80);
        probe::tcp_echo(own, server.address(), b"who?").expect("an answer");
        assert_eq!(server.peers()[0].ip(), host);
        much_is_echoed(&lab.client, target);
        // Nor does who says that he is somebody outside.
        let forged = match target {
            IpAddr::V4(_) => net("203.0.113.9/32"),
            IpAddr::V6(_) => net("2001:db8:77::9/128"),
        };
        let added = other.links().add_address("eth0", forged);
        added.expect("an address");
        let says = probe::udp_connect(other, Some(at(forged.addr(), 0)), at(target, 54));
        let says = says.expect("a socket");
        says.set_read_timeout(Some(SILENCE)).expect("set");
        says.send(b"evil").expect("sent");
        says.recv(&mut [0; 8]).expect_err("nothing comes of it");
        let mut seen = servers.iter().flat_map(Server::peers);
        assert!(seen.all(|peer| peer.ip() != forged.addr()), "{forged}");
    }
    let table = daemon.stop();
    assert_dropped(&table, 20, "isolated", &[own, other]);
    assert_dropped(&table, 2, "direct-access", &[]);
}

#[test]
fn what_is_not_masqueraded_is_reached_by_everybody() {
    let lab = lab();
    let _servers = servers(&lab);
    let arguments = [
        "--masquerade",
        "172.18.0.0/16",
        "--masquerade",
        "fd00:17:1::/64",
    ];
    let daemon = run(&lab, &arguments);
    let [own, other] = [0, 1].map(|number| &lab.containers[number].namespace);
    for [host, target, stranger, _] in families(&lab) {
        for from in [&lab.client, other] {
            assert_reach(from, target, EVERYTHING);
            host_answers(from, host);
        }
        assert_reach(own, stranger, NOTHING);
        much_is_echoed(other, target);
    }
    assert_dropped(&daemon.stop(), 10, "isolated", &[own]);
}

/// Much, so that it is cut and acknowledged, by a container's own address and ports that are not published.
fn much_is_echoed(from: &Namespace, target: IpAddr) {
    let sent = payload(1_000_000);
    let answer = probe::tcp_echo(from, at(target, 81), &sent).expect("TCP answers");
    assert!(answer == sent, "TCP returns something else");
    let answer = probe::udp_echo(from, at(target, 54), &sent).expect("UDP answers");
    assert!(answer == sent, "UDP returns something else");
}

#[test]
fn a_routed_network_is_reached_at_published_ports_and_nothing_is_translated() {
    let lab = lab();
    let servers = servers(&lab);
    let daemon = run(&lab, &["--network", "docker0=routed"]);
    let [own, other] = [0, 1].map(|number| &lab.containers[number].namespace);
    for [host, target, stranger, client] in families(&lab) {
        for from in [&lab.client, other] {
            assert_reach(from, target, WHAT_IS_PUBLISHED);
        }
        assert_reach(own, stranger, NOTHING);
        let refusal = probe::tcp_echo(&lab.client, at(host, 8080), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
        // It asks outside as itself, and is answered.
        let (tcp, udp) = (
            tcp_server(&lab.client, client, 80),
            udp_server(&lab.client, client, 53),
        );
        let sent = payload(1_000_000);
        let answer = probe::tcp_echo(own, tcp.address(), &sent).expect("TCP answers");
        assert!(answer == sent, "TCP returns something else");
        let answer = probe::udp_echo(own, udp.address(), &sent).expect("UDP answers");
        assert!(answer == sent, "UDP returns something else");
        probe::ping(own, client, 7, 1).expect("an answer");
        assert_eq!(tcp.peers()[0].ip(), target);
        assert_eq!(udp.peers()[0].ip(), target);
    }
    let seen: Vec<_> = servers[..8].iter().flat_map(Server::peers).collect();
    let clients: Vec<IpAddr> = families(&lab)
        .into_iter()
        .flat_map(|[.., stranger, client]| [stranger, client])
        .collect();
    assert!(
        seen.iter().all(|peer| clients.contains(&peer.ip())),
        "{seen:?}"
    );
    let table = daemon.stop();
    assert_dropped(&table, 4, "direct-access", &[&lab.client]);
    assert_dropped(&table, 4 + 10, "isolated", &[own, other]);
}
