//! Published ranges of ports, in the tries of the kernel.

use portnat::spec::Protocol;
use portnat_common::wire::tcp;

use crate::Host;
use crate::fixtures::becomes;
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::packet;

const CLIENTS: [&str; 2] = ["198.51.100.7", "[2001:db8:9::7]"];
/// The host, a target and the unspecified address of either family.
const ENDS: [[&str; 3]; 2] = [
    ["192.0.2.1", "172.17.0.2", "0.0.0.0"],
    ["[2001:db8:1::1]", "[fd00:17::2]", "::"],
];

/// Ports lead to these and back again, and those `beside` do not, in either family, for clients on
/// this port.
fn lead(host: &mut Host, client: u16, ports: &[(u16, u16)], beside: &[u16]) {
    for (address, [own, target, _]) in CLIENTS.into_iter().zip(ENDS) {
        let client = &format!("{address}:{client}");
        for (there, back) in [(Tcp(tcp::SYN), Tcp(tcp::SYN | tcp::ACK)), (Udp, Udp)] {
            for (port, inside) in ports {
                let (own, target) = (format!("{own}:{port}"), format!("{target}:{inside}"));
                let sent = host.ingress(&packet(there, client, &own).frame());
                becomes(sent, &packet(there, client, &target));
                let answer = host.egress(&packet(back, &target, client).frame());
                becomes(answer, &packet(back, &own, client));
            }
            for port in beside {
                let beside = packet(there, client, &format!("{own}:{port}"));
                becomes(host.ingress(&beside.frame()), &beside);
            }
        }
    }
}

fn publish(mut host: Host, ports: (u16, u16), first_inside: u16) -> Host {
    for [_, target, any] in ENDS {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let target = format!("{target}:{first_inside}");
            host = host.publish_range(protocol, any, ports, &target);
        }
    }
    host
}

#[test]
fn each_port_of_a_range_and_none_beside_it() {
    let mut host = publish(Host::new(), (8001, 8010), 81);
    let ports = [
        (8001, 81),
        (8002, 82),
        (8005, 85),
        (8007, 87),
        (8008, 88),
        (8010, 90),
    ];
    lead(&mut host, 40_000, &ports, &[8000, 8011, 81, 85]);
}

#[test]
fn sixty_thousand_ports() {
    let mut host = publish(Host::new(), (5001, 65_000), 1);
    let ports = [
        (5001, 1),
        (5002, 2),
        (8192, 3192),
        (32_767, 27_767),
        (65_000, 60_000),
    ];
    lead(&mut host, 40_000, &ports, &[5000, 65_001, 1]);
    host.desired.v4.ranges.clear();
    host.desired.v6.ranges.clear();
    let mut host = host.applied();
    lead(&mut host, 40_000, &[], &[5003, 8193, 40_000]);
}

/// One after the other is published, by itself and in ranges that overlap those before; what is held
/// is always what is wanted.
#[test]
fn a_range_becomes_another() {
    let mut host = Host::new();
    let rounds = [
        ((8000, 8000), 80, vec![(8000, 80)], vec![7999, 8001]),
        ((8000, 8015), 80, vec![(8000, 80), (8015, 95)], vec![8016]),
        (
            (8000, 8007),
            180,
            vec![(8000, 180), (8007, 187)],
            vec![8008, 8015],
        ),
        ((8005, 8005), 80, vec![(8005, 80)], vec![8000, 8004, 8006]),
        (
            (7990, 8020),
            90,
            vec![(7990, 90), (8005, 105), (8020, 120)],
            vec![7989, 8021],
        ),
    ];
    // Clients of other ports: flows of those before go on.
    for (client, (range, inside, ports, beside)) in (40_000..).zip(rounds) {
        host.desired.v4.published.clear();
        host.desired.v6.published.clear();
        host.desired.v4.ranges.clear();
        host.desired.v6.ranges.clear();
        host = publish(host, range, inside);
        lead(&mut host, client, &ports, &beside);
    }
}

#[test]
fn a_target_speaks_first_from_a_port_of_a_range() {
    let mut host = publish(Host::new(), (8001, 8010), 81);
    for (address, [own, target, _]) in CLIENTS.into_iter().zip(ENDS) {
        let client = &format!("{address}:40000");
        for (port, inside) in [(8001, 81), (8006, 86), (8010, 90)] {
            let (own, target) = (format!("{own}:{port}"), format!("{target}:{inside}"));
            let said = host.egress(&packet(Udp, &target, client).frame());
            becomes(said, &packet(Udp, &own, client));
        }
    }
}
