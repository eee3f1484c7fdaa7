//! Datagrams in fragments, in any order (RFC 4787 REQ-14), whatever else the host does.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};
use portnat::lab::{Lab, Namespace, Server, probe};
use socket2::{Domain, Protocol, Socket, Type};

use crate::daemon::{Daemon, row};
use crate::firewall::{self, FIREWALL};
use crate::pieces::{Cutter, ORDERS};
use crate::support::{PATIENCE, assert_nothing_lost, at, payload, seen_by, udp_server};

macro_rules! matrix {
    ($($name:ident: $family:ident, $bridge_nf:literal, $firewall:expr, $attach:literal;)+) => {
        $(
            #[test]
            fn $name() {
                scenario(Family::$family, $bridge_nf, $firewall, $attach);
            }
        )+
    };
}

matrix! {
    v4_tcx: V4, false, None, "tcx";
    v4_tcx_with_firewall: V4, false, Some(FIREWALL), "tcx";
    v4_tcx_with_bridge_nf_and_firewall: V4, true, Some(FIREWALL), "tcx";
    v4_clsact: V4, false, None, "clsact";
    v4_clsact_with_bridge_nf: V4, true, None, "clsact";
    v4_clsact_with_bridge_nf_and_firewall: V4, true, Some(FIREWALL), "clsact";
    v6_tcx: V6, false, None, "tcx";
    v6_tcx_with_bridge_nf: V6, true, None, "tcx";
    v6_tcx_with_bridge_nf_and_firewall: V6, true, Some(FIREWALL), "tcx";
    v6_clsact: V6, false, None, "clsact";
    v6_clsact_with_firewall: V6, false, Some(FIREWALL), "clsact";
}

#[derive(Clone, Copy, Debug)]
enum Family {
    V4,
    V6,
}

/// Where everybody is.
struct Places {
    client: IpAddr,
    host: IpAddr,
    gateway: IpAddr,
    target: IpAddr,
    neighbour: IpAddr,
}

impl Family {
    /// The address that stands for all of the host's.
    fn any(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn places(self, lab: &Lab) -> Places {
        let [target, neighbour] = &lab.containers[..] else {
            panic!("two containers");
        };
        match self {
            Family::V4 => Places {
                client: Lab::CLIENT.into(),
                host: Lab::HOST.into(),
                gateway: lab.bridges[0].gateway.into(),
                target: target.address.into(),
                neighbour: neighbour.address.into(),
            },
            Family::V6 => Places {
                client: Lab::CLIENT_V6.into(),
                host: Lab::HOST_V6.into(),
                gateway: lab.bridges[0].gateway_v6.into(),
                target: target.address_v6.into(),
                neighbour: neighbour.address_v6.into(),
            },
        }
    }
}

fn scenario(family: Family, bridge_nf: bool, firewall: Option<&str>, attach: &str) {
    let lab = Lab::builder()
        .containers(2)
        .ipv6(true)
        .build()
        .expect("a lab");
    firewall::set_up(&lab.host, bridge_nf, firewall);
    let places = family.places(&lab);
    let [target, neighbour] = [&lab.containers[0].namespace, &lab.containers[1].namespace];
    let inside = udp_server(target, places.target, 53);
    let outside = udp_server(&lab.client, places.client, 53);
    let own = udp_server(&lab.host, places.host, 9);
    let published = at(places.host, 5353);
    let publish = format!("5353:53/udp@{}", places.target);
    let daemon = Daemon::run(&lab, &["--attach", attach, "-p", &publish]);

    let ways = [
        (
            "published",
            &lab.client,
            places.client,
            published,
            &inside,
            places.client,
        ),
        (
            "masqueraded",
            neighbour,
            places.neighbour,
            outside.address(),
            &outside,
            places.host,
        ),
        (
            "hairpin",
            neighbour,
            places.neighbour,
            published,
            &inside,
            places.gateway,
        ),
        (
            "the host's own",
            &lab.client,
            places.client,
            own.address(),
            &own,
            places.client,
        ),
    ];
    for (way, namespace, from, to, server, seen) in ways {
        in_any_order(way, namespace, from, to);
        as_the_kernel_cuts(way, namespace, from, to);
        assert_seen(way, server, seen);
    }
    ping(neighbour, places.client);
    if firewall.is_some() {
        firewall::assert_met(&lab.host);
    }

    let table = daemon.stop();
    let row = row(&table, &format!("{}/udp", at(family.any(), 5353)));
    // By two ways: six datagrams in three fragments, answered in two, and one in three, both ways.
    assert_eq!(row.flows, 2 * 2, "{table}");
    let packets = [2 * (6 * 3 + 3), 2 * (6 * 2 + 3)];
    assert_eq!([row.packets_in, row.packets_out], packets, "{table}");
    assert_nothing_lost(&table);
}

/// Three fragments in each order, the answer to each in whichever the kernel sends.
#[track_caller]
fn in_any_order(way: &str, namespace: &Namespace, from: IpAddr, to: SocketAddr) {
    let cutter = Cutter::new(namespace, from, to);
    for (number, order) in ORDERS.into_iter().enumerate() {
        let sent = payload(2600 + number);
        let answer = cutter.ask(&sent, order);
        assert!(
            answer == sent,
            "{way}, order {order:?}: something else came back"
        );
    }
}

/// A datagram of 4,000 bytes, that the kernel cuts.
#[track_caller]
fn as_the_kernel_cuts(way: &str, namespace: &Namespace, from: IpAddr, to: SocketAddr) {
    let socket = probe::udp_connect(namespace, Some(at(from, 0)), to).expect("a socket");
    let sent = payload(4000);
    socket.send(&sent).expect("sent");
    let mut answer = [0; 5000];
    let length = socket.recv(&mut answer).expect(way);
    assert!(answer[..length] == sent, "{way}: something else came back");
}

/// A server has seen each datagram of a way once, from this address.
#[track_caller]
fn assert_seen(way: &str, server: &Server, by: IpAddr) {
    let seen = seen_by(server);
    let new = &seen[seen.len() - (ORDERS.len() + 1)..];
    assert!(new.iter().all(|peer| *peer == by), "{way}: {seen:?}");
}

/// An ICMP echo with 4,000 bytes of data, in three fragments each way.
#[track_caller]
fn ping(namespace: &Namespace, destination: IpAddr) {
    let echo = IcmpEchoHeader { id: 77, seq: 1 };
    let data = payload(4000);
    let (domain, protocol, header) = match destination {
        IpAddr::V4(_) => {
            let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &data);
            (Domain::IPV4, Protocol::ICMPV4, header.to_bytes().to_vec())
        }
        // The kernel computes its checksum (RFC 3542 section 3.1).
        IpAddr::V6(_) => {
            let header = Icmpv6Header::new(Icmpv6Type::EchoRequest(echo));
            (Domain::IPV6, Protocol::ICMPV6, header.to_bytes().to_vec())
        }
    };
    let mut socket = namespace
        .run(|| Socket::new(domain, Type::RAW, Some(protocol)))
        .expect("a raw socket");
    socket.connect(&at(destination, 0).into()).expect("a route");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let request = [&header[..], &data].concat();
    socket.send(&request).expect("sent");
    let mut packet = [0; 5000];
    // Neighbour discovery comes here too.
    loop {
        let length = socket.read(&mut packet).expect("an answer");
        // The network header is there or not, and the reply's type and checksum are its own.
        if packet[..length].ends_with(&request[4..]) {
            return;
        }
    }
}

/// What waits in vain keeps nobody else waiting.
#[test]
fn a_datagram_without_its_first_fragment_stays_where_it_is() {
    let lab = Lab::builder().build().expect("a lab");
    let server = udp_server(&lab.containers[0].namespace, lab.containers[0].address, 53);
    let daemon = Daemon::run(&lab, &["-p", "5353:53/udp@172.17.0.2"]);
    let to = at(Lab::HOST, 5353);
    let cutter = Cutter::new(&lab.client, Lab::CLIENT, to);
    let sent = payload(2600);
    cutter.send(&sent, &[2, 1]);
    assert!(
        cutter.ask(&sent, ORDERS[5]) == sent,
        "something else came back"
    );
    assert_eq!(server.peers().len(), 1);
    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:5353/udp").packets_in, 3, "{table}");
    assert_nothing_lost(&table);
}
