//! Who may come in by published ports.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use portnat::lab::{Lab, Namespace, probe};
use socket2::{Domain, Socket, Type};

use crate::daemon::{Daemon, row};
use crate::firewall::OTHER_BRIDGE;
use crate::support::{ANSWER, assert_dropped, at, net, tcp_server, udp_server};

/// Less than the second after which a SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(400);

/// A second client, beside the first, in each family.
const SECOND: [&str; 2] = ["192.0.2.11/24", "2001:db8:1::11/64"];
/// And one in another /64.
const ELSEWHERE: &str = "2001:db8:2::10/64";

fn lab() -> Lab {
    let other = "172.18.0.0/16".parse().expect("a subnet");
    let lab = Lab::builder()
        .bridge(OTHER_BRIDGE, other, 1)
        .ipv6(true)
        .build()
        .expect("a lab");
    for address in SECOND.into_iter().chain([ELSEWHERE]) {
        let links = lab.client.links();
        links.add_address(Lab::UPLINK, net(address)).expect("added");
    }
    // The host knows the way back.
    let elsewhere = net("2001:db8:2::1/64");
    let links = lab.host.links();
    links.add_address(Lab::UPLINK, elsewhere).expect("added");
    links.wait_until_up(&[Lab::UPLINK]).expect("up");
    lab.client
        .links()
        .wait_until_up(&[Lab::UPLINK])
        .expect("up");
    lab
}

/// Connects from an address to one; `false` if nobody says anything.
pub(crate) fn connects(from: &Namespace, source: Option<IpAddr>, target: SocketAddr) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&at(source, 0).into())?;
        }
        socket.connect_timeout(&target.into(), PATIENCE)
    };
    match from.run(connect) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::TimedOut => false,
        Err(error) => panic!("{target}: {error}"),
    }
}

#[test]
fn only_who_is_on_the_list_comes_in() {
    let lab = lab();
    let [target, stranger] = &lab.containers[..] else {
        panic!("two containers");
    };
    let inside = &target.namespace;
    let _servers = [
        tcp_server(inside, target.address, 80),
        tcp_server(inside, target.address_v6, 80),
    ];
    let publish = [
        format!("8080:80@{}", target.address),
        format!("8080:80@{}", target.address_v6),
        format!("8081:80@{}", target.address),
    ];
    let daemon = Daemon::run(
        &lab,
        &[
            "-p",
            &publish[0],
            "-p",
            &publish[1],
            "-p",
            &publish[2],
            "--allow",
            "8080=192.0.2.0/24",
            "--allow",
            "8080=2001:db8:1::/64",
            "--deny",
            "8080=192.0.2.11",
            "--deny",
            "8080/tcp=2001:db8:1::11",
        ],
    );
    let mut denied = 0;
    let hosts = [IpAddr::from(Lab::HOST), Lab::HOST_V6.into()];
    for (host, second) in hosts.into_iter().zip(SECOND) {
        let first = match host {
            IpAddr::V4(_) => Lab::CLIENT.into(),
            IpAddr::V6(_) => IpAddr::from(Lab::CLIENT_V6),
        };
        let second = net(second).addr();
        let stays = probe::tcp_connect(&lab.client, Some(at(first, 40_000)), at(host, 8080));
        assert!(!connects(&lab.client, Some(second), at(host, 8080)));
        // A container that is on no list, not even on its own bridge; and the host, which needs none.
        assert!(!connects(&stranger.namespace, None, at(host, 8080)));
        assert!(!connects(inside, None, at(host, 8080)));
        denied += 3;
        assert!(connects(&lab.host, None, at(host, 8080)));
        drop(stays.expect("an answer"));
    }
    for loopback in ["127.0.0.1:8080", "[::1]:8080"] {
        let target = loopback.parse().expect("an address and a port");
        assert!(connects(&lab.host, None, target));
    }
    // Another port has no list.
    let second = net(SECOND[0]).addr();
    assert!(connects(&lab.client, Some(second), at(Lab::HOST, 8081)));
    let from = [&lab.client, &stranger.namespace, inside];
    assert_dropped(&daemon.stop(), denied, "denied", &from);
}

#[test]
fn what_is_published_later_has_its_rules_too() {
    let lab = lab();
    let target = &lab.containers[0];
    let _server = tcp_server(&target.namespace, target.address, 80);
    let container = target.address.to_string();
    let daemon = Daemon::run(&lab, &["--deny", "192.0.2.11"]);
    let second = net(SECOND[0]).addr();
    let publish = [
        "publish",
        &container,
        "-p",
        "8080:80",
        "-p",
        "9000-9003:80-83",
    ];
    for _ in 0..2 {
        daemon.told(&publish);
        for port in [8080, 9000] {
            assert!(connects(&lab.client, None, at(Lab::HOST, port)));
            assert!(!connects(&lab.client, Some(second), at(Lab::HOST, port)));
        }
        daemon.told(&["unpublish", &container]);
    }
    assert_dropped(&daemon.stop(), 4, "denied", &[&lab.client]);
}

#[test]
fn a_source_opens_a_burst_and_then_its_rate() {
    const BURST: u64 = 5;
    const REFUSED: u64 = 2;
    let lab = lab();
    let target = &lab.containers[0];
    let inside = &target.namespace;
    let _servers = [
        tcp_server(inside, target.address, 80),
        tcp_server(inside, target.address_v6, 80),
    ];
    let _dns = udp_server(inside, target.address, 53);
    let publish = [
        format!("8080:80@{}", target.address),
        format!("8080:80@{}", target.address_v6),
        format!("5353:53/udp@{}", target.address),
    ];
    // In an hour none is added while this runs.
    let limit = format!("8080=1/h:{BURST}");
    let daemon = Daemon::run(
        &lab,
        &[
            "-p",
            &publish[0],
            "-p",
            &publish[1],
            "-p",
            &publish[2],
            "--limit",
            &limit,
            "--limit",
            "1/h:1",
        ],
    );
    let mut streams = Vec::new();
    for (host, source) in [
        (IpAddr::from(Lab::HOST), None),
        (Lab::HOST_V6.into(), None),
        // Of one /64 all are one source, and of another one is another.
        (Lab::HOST_V6.into(), Some(net(ELSEWHERE).addr())),
    ] {
        for _ in 0..BURST {
            let source = source.map(|source| at(source, 0));
            let stream = probe::tcp_connect(&lab.client, source, at(host, 8080));
            streams.push(stream.expect("one of the burst"));
        }
        for _ in 0..REFUSED {
            assert!(!connects(&lab.client, source, at(host, 8080)));
        }
    }
    let second = SECOND.map(|address| net(address).addr());
    assert!(connects(&lab.client, Some(second[0]), at(Lab::HOST, 8080)));
    assert!(!connects(
        &lab.client,
        Some(second[1]),
        at(Lab::HOST_V6, 8080)
    ));
    // What is open goes on, also of UDP: one flow, however many datagrams.
    use std::io::{Read as _, Write as _};
    for stream in &mut streams {
        stream.write_all(b"?").expect("sent");
        stream.read_exact(&mut [0]).expect("an answer");
    }
    let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353)).expect("a socket");
    socket.set_read_timeout(Some(ANSWER)).expect("set");
    for _ in 0..10 {
        socket.send(b"?").expect("sent");
        socket.recv(&mut [0; 8]).expect("an answer");
    }
    let other = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353)).expect("a socket");
    other.set_read_timeout(Some(PATIENCE)).expect("set");
    other.send(b"?").expect("sent");
    let silence = other.recv(&mut [0; 8]).expect_err("a second flow");
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:8080/tcp").flows, BURST + 1, "{table}");
    assert_dropped(&table, 3 * REFUSED + 2, "limited", &[&lab.client]);
}

/// Also where the host's stack would take a packet for a loopback address from outside.
#[test]
fn a_port_on_a_loopback_address_is_out_of_reach_whatever_the_stack_allows() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let web = tcp_server(&container.namespace, container.address, 80);
    for (namespace, link) in [
        (&lab.client, Lab::UPLINK),
        (&lab.host, Lab::UPLINK),
        (&container.namespace, "eth0"),
        (&lab.host, Lab::BRIDGE),
    ] {
        let name = format!("net/ipv4/conf/{link}/route_localnet");
        namespace.sysctl(&name, "1").expect("set");
    }
    let gateway = lab.bridges[0].gateway.to_string();
    let host = Lab::HOST.to_string();
    for (namespace, via) in [(&lab.client, &host), (&container.namespace, &gateway)] {
        for arguments in [
            &["route", "flush", "table", "local", "root", "127.0.0.0/8"][..],
            &["route", "add", "127.0.0.0/8", "via", via],
        ] {
            let status = namespace.command("ip").args(arguments).status();
            assert!(status.expect("ip is installed").success(), "{arguments:?}");
        }
    }
    let daemon = Daemon::run(
        &lab,
        &[
            "-p",
            "127.0.0.1:8080:80@172.17.0.2",
            "-p",
            "8081:80@172.17.0.2",
        ],
    );
    let clients = [&lab.client, &container.namespace];
    for from in clients {
        for port in [8080, 8081] {
            let target = at(Ipv4Addr::LOCALHOST, port);
            let connect = || TcpStream::connect_timeout(&target, PATIENCE);
            let silence = from.run(connect).expect_err("not from here");
            assert_eq!(silence.kind(), ErrorKind::TimedOut);
        }
    }
    assert_eq!(web.peers(), []);
    let answer = probe::tcp_echo(&lab.host, at(Ipv4Addr::LOCALHOST, 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    // All have come as far as that.
    assert_dropped(&daemon.stop(), 4, "loopback", &clients);
}
