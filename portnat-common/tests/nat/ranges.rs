//! Published ranges of ports.

use portnat_common::nat::Hook;
use portnat_common::wire::protocol;

use crate::fixtures::{ACK, SYN, SYN_ACK, becomes, egress, ingress, passes, source_port};
use crate::support::packet::Carries::{FragmentationNeeded, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::{World, World6};
use crate::v6;

const CLIENT: &str = "198.51.100.7:40000";

/// 8000 to 8010 lead to 80 to 90.
fn range() -> World {
    World::new()
        .publish_range(protocol::TCP, "0.0.0.0", (8000, 8010), "172.17.0.2:80")
        .publish_range(protocol::UDP, "0.0.0.0", (8000, 8010), "172.17.0.2:80")
}

fn host(port: u16) -> String {
    format!("192.0.2.1:{port}")
}

fn target(port: u16) -> String {
    format!("172.17.0.2:{port}")
}

#[test]
fn each_port_leads_to_its_own_and_the_answer_comes_from_it() {
    let world = range();
    for (there, back) in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp)] {
        for (port, inside) in [(8000, 80), (8005, 85), (8010, 90)] {
            let (host, target) = (host(port), target(inside));
            becomes(
                ingress(&world, &packet(there, CLIENT, &host)),
                &packet(there, CLIENT, &target),
            );
            becomes(
                egress(&world, &packet(back, &target, CLIENT)),
                &packet(back, &host, CLIENT),
            );
        }
    }
    // They are counted together.
    assert_eq!(
        (world.total(1).packets_in, world.total(1).packets_out),
        (3, 3)
    );
    assert_eq!(world.total(2).packets_in, 3);
}

#[test]
fn beside_the_range_nothing_is_published() {
    let world = range();
    for port in [7999, 8011, 80, 85] {
        let outside = packet(Tcp(SYN), CLIENT, &host(port));
        passes(ingress(&world, &outside), &outside);
    }
    assert!(world.records().is_empty());
}

#[test]
fn in_ipv6_too() {
    let world = World6::new().publish_range(
        protocol::UDP,
        "2001:db8:1::1",
        (65_530, 65_535),
        "[fd00:17::2]:1",
    );
    for (port, inside) in [(65_530, 1), (65_533, 4), (65_535, 6)] {
        let host = format!("[2001:db8:1::1]:{port}");
        let target = format!("[fd00:17::2]:{inside}");
        let there = |dst| packet(Udp, v6::CLIENT, dst);
        becomes(v6::run(&world, Hook::In, &there(&host)), &there(&target));
        let back = |src| packet(Udp, src, v6::CLIENT);
        becomes(v6::run(&world, Hook::Outside, &back(&target)), &back(&host));
    }
    let beside = packet(Udp, v6::CLIENT, "[2001:db8:1::1]:65529");
    passes(v6::run(&world, Hook::In, &beside), &beside);
}

/// What a target says first comes from the port that leads there, and its client finds it.
#[test]
fn a_target_speaks_first_from_any_of_its_ports() {
    for (port, inside) in [(8000, 80), (8007, 87), (8010, 90)] {
        let world = range();
        let (host, target) = (host(port), target(inside));
        becomes(
            egress(&world, &packet(Udp, &target, CLIENT)),
            &packet(Udp, &host, CLIENT),
        );
        becomes(
            ingress(&world, &packet(Udp, CLIENT, &host)),
            &packet(Udp, CLIENT, &target),
        );
    }
    // From others it is masqueraded.
    for inside in [79, 91] {
        let (_, frame) = egress(&range(), &packet(Udp, &target(inside), CLIENT));
        assert!(!(8000..=8010).contains(&source_port(&frame)));
    }
}

#[test]
fn of_two_ports_for_a_target_one_by_itself_speaks_for_it() {
    let world = range().publish(protocol::UDP, "0.0.0.0", 9000, "172.17.0.2:85");
    becomes(
        egress(&world, &packet(Udp, "172.17.0.2:85", CLIENT)),
        &packet(Udp, "192.0.2.1:9000", CLIENT),
    );
    for (port, inside) in [(9000, 85), (8006, 86)] {
        becomes(
            ingress(&world, &packet(Udp, "198.51.100.8:1000", &host(port))),
            &packet(Udp, "198.51.100.8:1000", &target(inside)),
        );
    }
}

#[test]
fn masquerade_lends_none_of_them() {
    let world = range();
    for sender in [8000, 8003, 8010] {
        let out = packet(Tcp(SYN), &format!("172.17.0.3:{sender}"), "203.0.113.5:443");
        let (_, frame) = egress(&world, &out);
        assert!(!(8000..=8010).contains(&source_port(&frame)), "{sender}");
    }
}

#[test]
fn fragments_and_errors_follow_their_flow() {
    let world = range();
    let (host, target) = (host(8006), target(86));
    let parts = |dst: &str| {
        let part = |offset, more| {
            packet(Udp, CLIENT, dst)
                .fragment(offset, more)
                .with_id(7)
                .saying(&[1; 64])
        };
        [part(0, true), part(9, false)]
    };
    for (sent, expected) in parts(&host).iter().zip(&parts(&target)) {
        becomes(ingress(&world, sent), expected);
    }
    let error = |src: &str| -> Packet {
        let mut quoted = packet(Tcp(ACK), src, CLIENT).frame()[14..].to_vec();
        quoted.truncate(28);
        let dst = src
            .parse::<std::net::SocketAddr>()
            .expect("an address")
            .to_string();
        packet(FragmentationNeeded, "203.0.113.1:0", &dst).saying(&quoted)
    };
    let syn = |dst| packet(Tcp(SYN), CLIENT, dst);
    becomes(ingress(&world, &syn(&*host)), &syn(&*target));
    becomes(ingress(&world, &error(&host)), &error(&target));
}
