//! Datagrams in fragments, in any order (RFC 4787 REQ-14).

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};
use portnat::lab::{Namespace, probe};
use socket2::{Domain, Protocol, Socket, Type};

use crate::pieces::{Cutter, ORDERS};
use crate::support::{PATIENCE, at, payload, udp_server};

use super::scene::{PORTS, Scene, Side, Witness};

pub(super) fn arrive_in_any_order(scene: &Scene, side: &Side) {
    let (client, neighbour) = (&scene.lab.client, &scene.neighbour.namespace);
    let outside = Witness::new(udp_server(client, side.client, 53));
    let own = Witness::new(udp_server(&scene.lab.host, side.host, 9));
    let (published, dns) = (at(side.host, PORTS[1]), &side.dns);
    // Who asks, where, who answers, and whom that one sees.
    let ways = [
        (client, side.client, published, dns, side.client),
        (
            neighbour,
            side.neighbour,
            outside.address(),
            &outside,
            side.host,
        ),
        (neighbour, side.neighbour, published, dns, side.gateway),
        (client, side.client, own.address(), &own, side.client),
    ];
    let ask = || {
        for (namespace, from, to, server, seen) in ways {
            in_any_order(namespace, from, to);
            as_the_kernel_cuts(namespace, from, to);
            assert_eq!(server.news(), [seen; ORDERS.len() + 1], "{from} to {to}");
        }
        ping(neighbour, side.client);
    };
    let [_, udp] = scene.during(side.any(), PORTS, ask);
    // By two ways: six datagrams in three fragments, answered in two, and one in three, both ways.
    assert_eq!(udp.flows, 2 * 2);
    let packets = [2 * (6 * 3 + 3), 2 * (6 * 2 + 3)];
    assert_eq!([udp.packets_in, udp.packets_out], packets);
}

/// Three fragments in each order, the answer to each in whichever the kernel sends.
#[track_caller]
fn in_any_order(namespace: &Namespace, from: IpAddr, to: SocketAddr) {
    let cutter = Cutter::new(namespace, from, to);
    for (number, order) in ORDERS.into_iter().enumerate() {
        let sent = payload(2600 + number);
        let answer = cutter.ask(&sent, order);
        assert!(
            answer == sent,
            "{from} to {to}, order {order:?}: something else came back"
        );
    }
}

/// A datagram of 4,000 bytes, that the kernel cuts.
#[track_caller]
fn as_the_kernel_cuts(namespace: &Namespace, from: IpAddr, to: SocketAddr) {
    let socket = probe::udp_connect(namespace, Some(at(from, 0)), to).expect("a socket");
    let sent = payload(4000);
    socket.send(&sent).expect("sent");
    let mut answer = [0; 5000];
    let length = socket.recv(&mut answer);
    let length = length.unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    assert!(
        answer[..length] == sent,
        "{from} to {to}: something else came back"
    );
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
