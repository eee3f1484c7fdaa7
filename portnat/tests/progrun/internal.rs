//! The programs of a bridge whose network leads nowhere.

use portnat::spec::Protocol;
use portnat_common::DropReason;
use portnat_common::wire::tcp;

use crate::support::packet::Carries::{EchoRequest, Protocol as Other, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::{ELSEWHERE, Host, INTERFACE, NEXT, SHOT};

/// A host whose subnets are behind the interface that packets come in by.
fn host() -> Host {
    let mut host = Host::new()
        .publish(Protocol::Tcp, "0.0.0.0", 8080, "10.1.0.2:80")
        .publish(Protocol::Tcp, "::", 8080, "[2001:db8:a::2]:80");
    let (v4, v6) = (&mut host.desired.v4, &mut host.desired.v6);
    for subnet in v4.subnets.values_mut().chain(v6.subnets.values_mut()) {
        subnet.bridge = INTERFACE;
    }
    host.applied()
}

impl Host {
    fn assert_leaves(&mut self, packet: &Packet, expected: i32) {
        let frame = packet.frame();
        let came = self.run("internal_in", &frame, INTERFACE);
        assert_eq!(came, (expected, frame), "{packet:?}");
    }
}

#[test]
fn what_the_host_would_forward_is_dropped_and_all_else_passes() {
    let mut host = host();
    // A container and a neighbour, the host, somebody outside, and many.
    const FAMILIES: [[&str; 5]; 2] = [
        [
            "172.17.0.2",
            "172.17.0.3",
            "192.0.2.1",
            "203.0.113.5",
            "224.0.0.1",
        ],
        [
            "[fd00:17::2]",
            "[fd00:17::3]",
            "[2001:db8:1::1]",
            "[2001:db8:5::5]",
            "[ff02::1]",
        ],
    ];
    let mut dropped = 0;
    for [own, neighbour, itself, outside, many] in FAMILIES {
        for carries in [Tcp(tcp::SYN), Udp, EchoRequest, Other(47)] {
            // Without ports the addresses have none either.
            let ports = match carries {
                Tcp(_) | Udp => [40_000, 53],
                _ => [0, 0],
            };
            let to = |dst: &str| {
                let (src, dst) = (format!("{own}:{}", ports[0]), format!("{dst}:{}", ports[1]));
                packet(carries, &src, &dst)
            };
            for near in [neighbour, itself, many] {
                host.assert_leaves(&to(near), NEXT);
                host.assert_leaves(&to(near).with_options(1), NEXT);
            }
            host.assert_leaves(&to(outside), SHOT);
            host.assert_leaves(&to(outside).with_options(1), SHOT);
            dropped += 2;
        }
        let asks = packet(
            Tcp(tcp::SYN),
            &format!("{own}:40000"),
            &format!("{itself}:8080"),
        );
        host.assert_leaves(&asks, SHOT);
        host.assert_leaves(&asks.with_options(2), SHOT);
        dropped += 2;
    }
    let drops = host.datapath.drops().expect("the counters");
    assert_eq!(drops, [(DropReason::Isolated, dropped)]);
}

#[test]
fn what_the_host_forwards_does_not_get_in() {
    let mut host = host();
    for (src, dst) in [
        ("198.51.100.7:40000", "172.17.0.2:80"),
        ("[2001:db8:9::7]:40000", "[fd00:17::2]:80"),
    ] {
        let frame = packet(Tcp(tcp::SYN), src, dst).frame();
        for (came_in, expected) in [(0, NEXT), (INTERFACE, NEXT), (ELSEWHERE, SHOT)] {
            let came = host.run("internal_out", &frame, came_in);
            assert_eq!(came, (expected, frame.clone()), "{came_in}");
        }
    }
}
