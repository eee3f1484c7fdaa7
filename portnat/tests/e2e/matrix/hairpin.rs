//! From container to container by the host's addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

use portnat::lab::{Container, Namespace, probe};
use socket2::{Domain, Protocol, Socket, Type};

use crate::icmp::heard_mtu;
use crate::support::{MEGABYTE, PATIENCE, at, counter, counter_v6, payload};

use super::NARROW;
use super::scene::{BEHIND_NARROW, PORTS, Scene, Side, UNSERVED, answer};

/// A neighbour, the target itself and one of another bridge are answered by whatever address of the
/// host they ask for.
pub(super) fn published_ports_answer(scene: &Scene, side: &Side) {
    // On the same bridge the answers must come by the host too.
    let ways: [(&Container, IpAddr, IpAddr); 8] = [
        (scene.neighbour, side.host, side.gateway),
        (scene.neighbour, side.gateway, side.gateway),
        (scene.neighbour, side.other_gateway, side.gateway),
        (scene.target, side.host, side.gateway),
        (scene.target, side.gateway, side.gateway),
        (scene.stranger, side.host, side.stranger),
        (scene.stranger, side.gateway, side.stranger),
        (scene.stranger, side.other_gateway, side.stranger),
    ];
    let ask = || {
        for (client, address, source) in ways {
            answer(&client.namespace, address, PORTS);
            let [web, dns] = side.news();
            let way = format!("{} by {address}", client.address);
            assert_eq!(web, [source; 2], "{way}");
            assert!(dns.iter().all(|peer| *peer == source), "{way}");
        }
    };
    let rows = scene.during(side.any(), PORTS, ask);
    // One byte and many, by each way.
    assert_eq!(rows.map(|row| row.flows), [2 * ways.len() as u64; 2]);

    // Nobody was told of a shorter way, by which the answers would come from elsewhere.
    for container in [scene.target, scene.neighbour, scene.stranger] {
        let namespace = &container.namespace;
        assert_eq!(counter(namespace, "Icmp", "InRedirects"), 0);
        assert_eq!(counter_v6(namespace, "Icmp6InRedirects"), 0);
    }
}

/// ICMP errors about hairpinned packets (RFC 5508 REQ-7). A socket hears of them only if they quote
/// what it has sent.
pub(super) fn errors_come_back(scene: &Scene, side: &Side) {
    // The target's own come from where it was asked.
    for client in [scene.neighbour, scene.target, scene.stranger] {
        for address in [side.host, side.gateway] {
            let errors = Errors::of(&client.namespace, address);
            let asked = at(address, UNSERVED[1]);
            let refusal = probe::udp_echo(&client.namespace, asked, b"?").expect_err("nobody");
            let way = format!("{} by {address}", client.address);
            assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "{way}");
            assert_eq!(errors.next_from(), address, "{way}");
        }
    }
    // And those of a router, the host, on the way to the target and back.
    let [there, back] = [scene.neighbour, scene.stranger].map(|it| &it.namespace);
    assert_eq!(heard_mtu(there, side.host), None);
    let sent = payload(MEGABYTE);
    let answer = probe::tcp_echo(there, at(side.host, BEHIND_NARROW), &sent);
    let answer = answer.expect("what is too long is told of");
    assert!(answer == sent, "something else");
    assert_eq!(heard_mtu(there, side.host), Some(NARROW));
    assert_eq!(heard_mtu(back, side.neighbour), None);
    assert_eq!(side.behind_narrow.news(), [side.neighbour]);
}

/// What arrives of ICMP errors about ports that nobody serves.
struct Errors {
    socket: UdpSocket,
    kind: u8,
    code: u8,
}

impl Errors {
    /// From now on.
    fn of(namespace: &Namespace, family: IpAddr) -> Self {
        let (domain, protocol, kind, code) = match family {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 3, 3),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 1, 4),
        };
        let socket = namespace.run(|| Socket::new(domain, Type::RAW, Some(protocol)));
        let socket = socket.expect("a raw socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        // A datagram is a datagram to recvfrom(2).
        let socket = socket.into();
        Errors { socket, kind, code }
    }

    /// Who has sent the next.
    fn next_from(&self) -> IpAddr {
        loop {
            let mut packet = [0; 2048];
            let (length, from) = self.socket.recv_from(&mut packet).expect("an error");
            // IPv4 tells the network header too (raw(7)).
            let header = if from.is_ipv4() { 20 } else { 0 };
            if packet[header..length].starts_with(&[self.kind, self.code]) {
                return from.ip();
            }
        }
    }
}
