//! Senders who say that they are inside, and come from elsewhere.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::tcp;
use portnat_common::{Bytes, DropReason, V4, V6, Verdict};

use crate::support::packet::Carries::{EchoRequest, Protocol, Tcp, Udp};
use crate::support::packet::packet;
use crate::support::world::{Hosts, TestFamily, World};

const DIRECT: Verdict = Verdict::Drop(DropReason::DirectAccess);

/// What any packet from one address to another becomes that comes in by an interface.
fn comes_in<F: TestFamily>(world: &Hosts<F>, interface: u32, src: &str, dst: &str) -> Verdict {
    world.interface.set(interface);
    let mut verdicts = Vec::new();
    for carries in [Tcp(tcp::SYN), Udp, EchoRequest, Protocol(47)] {
        let ports = match carries {
            Tcp(_) | Udp => (40_000, 80),
            _ => (0, 0),
        };
        let (src, dst) = (format!("{src}:{}", ports.0), format!("{dst}:{}", ports.1));
        let mut frame = packet(carries, &src, &dst).frame();
        let sight = Sight {
            hook: Hook::In,
            l3: 14,
            forwarded: true,
        };
        world.number.set(0);
        verdicts.push(nat::process::<F, _, _>(
            &mut Bytes(&mut frame),
            sight,
            world,
        ));
    }
    verdicts.dedup();
    assert_eq!(verdicts.len(), 1, "{src} to {dst}: {verdicts:?}");
    verdicts[0]
}

/// A host, and one whose uplink and second bridge have no address of the family.
fn hosts<F: TestFamily>() -> [Hosts<F>; 2] {
    [Hosts::new(), Hosts::new().without_egress_address()]
}

/// `gateway` is the host's own address in the container's network.
fn nobody_is_taken_for_a_neighbour<F: TestFamily>(container: &str, neighbour: &str, gateway: &str) {
    for world in hosts::<F>() {
        for sender in [neighbour, gateway] {
            for elsewhere in [World::UPLINK, World::OTHER_BRIDGE] {
                let verdict = comes_in(&world, elsewhere, sender, container);
                assert_eq!(verdict, DIRECT, "{sender} by {elsewhere}");
            }
            // Those are where neighbours are.
            for own in [World::BRIDGE, World::PORT] {
                let verdict = comes_in(&world, own, sender, container);
                assert_eq!(verdict, Verdict::Pass, "{sender} by {own}");
            }
        }
    }
}

#[test]
fn nobody_outside_or_on_another_bridge_is_taken_for_a_neighbour() {
    nobody_is_taken_for_a_neighbour::<V4>("172.17.0.2", "172.17.0.3", "172.17.0.1");
    nobody_is_taken_for_a_neighbour::<V6>("[fd00:17::2]", "[fd00:17::3]", "[fd00:17::1]");
}

/// Whoever they say that they are: an address of their own, or of the link as for unicast solicitations.
fn neighbours_are_where_they_come_from<F: TestFamily>(container: &str, nobodys: &[&str]) {
    for world in hosts::<F>() {
        for address in nobodys {
            for own in [World::BRIDGE, World::PORT] {
                let verdict = comes_in(&world, own, address, container);
                assert_eq!(verdict, Verdict::Pass, "{address} by {own}");
            }
            for elsewhere in [World::UPLINK, World::OTHER_BRIDGE] {
                let verdict = comes_in(&world, elsewhere, address, container);
                assert_eq!(verdict, DIRECT, "{address} by {elsewhere}");
            }
        }
    }
}

#[test]
fn who_is_on_the_bridge_is_a_neighbour_whatever_its_address() {
    neighbours_are_where_they_come_from::<V4>("172.17.0.2", &["198.51.100.7"]);
    let nobodys = ["[2001:db8::7]", "[fe80::7]"];
    neighbours_are_where_they_come_from::<V6>("[fd00:17::2]", &nobodys);
}

/// Where packets come in the host has not translated any yet.
fn nobody_is_taken_for_the_host<F: TestFamily>(container: &str, neighbour: &str, gateway: &str) {
    for world in hosts::<F>() {
        for interface in [World::UPLINK, World::BRIDGE, World::PORT] {
            let verdict = comes_in(&world, interface, gateway, container);
            assert_eq!(verdict, DIRECT, "by {interface}");
        }
        // Who is no more than a container of another network is judged where it comes out.
        assert_eq!(
            comes_in(&world, World::PORT, neighbour, container),
            Verdict::Pass
        );
        assert_ne!(world.number.get(), 0);
    }
}

#[test]
fn nobody_on_another_bridge_is_taken_for_the_host() {
    nobody_is_taken_for_the_host::<V4>("172.18.0.2", "172.17.0.3", "172.17.0.1");
    nobody_is_taken_for_the_host::<V6>("[fd00:18::2]", "[fd00:17::3]", "[fd00:17::1]");
}
