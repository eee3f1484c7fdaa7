//! Networks that are kept from others, whatever else they let in: `nat-unprotected`, and without communication
//! among their own.

use portnat_common::subnet::{self, APART};

use super::*;

const UNPROTECTED: u32 = MASQUERADED | subnet::ISOLATED;

#[test]
fn an_unprotected_network_is_reached_from_outside_and_from_no_other_bridge() {
    for other in [NAT, UNPROTECTED, OPEN, ROUTED] {
        let world = world(UNPROTECTED, other);
        for there in [
            first(Tcp(SYN)),
            first(Udp),
            packet(EchoRequest, "172.18.0.2:7", "172.17.0.2:0"),
            first(Protocol(47)),
        ] {
            assert_eq!(crosses(&world, &there), ISOLATED, "{other} {there:?}");
        }
        assert!(world.records().is_empty());
    }
    // Nor in another's name, and not either by a port that is published elsewhere.
    for (source, target) in [
        (CLIENT, TARGET),
        (CLIENT, "172.17.0.2:8080"),
        ("172.17.0.3:40000", TARGET),
    ] {
        for carries in [Tcp(SYN), Udp, EchoRequest] {
            let forged = packet(carries, source, target);
            for (interface, expected) in [
                (World::OTHER_BRIDGE, Verdict::Drop(DropReason::DirectAccess)),
                // Where neighbours are.
                (World::BRIDGE, Verdict::Pass),
                // The bridge sees it too.
                (World::PORT, Verdict::Pass),
            ] {
                let world = world(UNPROTECTED, NAT);
                world.interface.set(interface);
                let verdict = ingress(&world, &forged).0;
                assert_eq!(verdict, expected, "{interface} {forged:?}");
                assert!(world.records().is_empty(), "{interface} {forged:?}");
            }
        }
    }
    for other in [NAT, UNPROTECTED] {
        let world = world(UNPROTECTED, other);
        let [one, two] = [first(Udp).fragment(0, true), first(Udp).fragment(9, false)];
        assert_eq!(crosses(&world, &one), ISOLATED);
        let two = crosses(&world, &two);
        assert_eq!(two, Verdict::Drop(DropReason::Fragment));
    }
    // Whom it may ask itself answers.
    for asked in [OPEN, ROUTED] {
        let world = world(asked, UNPROTECTED);
        let (there, back) = (first(Udp), packet(Udp, TARGET, STRANGER));
        assert_eq!(crosses(&world, &back), ISOLATED, "before it is asked");
        for _ in 0..2 {
            assert_eq!(crosses(&world, &there), Verdict::Pass, "{asked}");
            assert_eq!(crosses(&world, &back), Verdict::Pass, "{asked}");
        }
    }
    let world = world(UNPROTECTED, NAT);
    for (there, back) in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp), (Tcp(ACK), Tcp(ACK))] {
        for target in ["172.17.0.2:22", TARGET] {
            let (there, back) = (packet(there, CLIENT, target), packet(back, target, CLIENT));
            assert_eq!(ingress(&world, &there), (Verdict::Pass, there.frame()));
            // As whom it was asked, and not as the host.
            assert_eq!(egress(&world, &back), (Verdict::Pass, back.frame()));
            assert_eq!(ingress(&world, &there), (Verdict::Pass, there.frame()));
        }
    }
}

/// What becomes of a flow is decided where it begins.
#[test]
fn what_outsiders_have_begun_goes_on_when_a_network_closes() {
    for carries in [Tcp(SYN), Udp] {
        let mut world = world(UNPROTECTED, NAT);
        let asks = |world: &World, port: u16| {
            let there = packet(carries, CLIENT, &format!("172.17.0.2:{port}"));
            ingress(world, &there).0
        };
        for port in [80, 8080, 5000] {
            assert_eq!(asks(&world, port), Verdict::Pass, "{port}");
        }
        world = world.with_mode(0, NAT);
        for port in [80, 8080, 5000] {
            assert_eq!(asks(&world, port), Verdict::Pass, "{port}");
            let new = Verdict::Drop(DropReason::DirectAccess);
            assert_eq!(asks(&world, port + 1), new, "{port}");
        }
    }
}

/// The bridge itself passes nothing from one of its ports to another; this came to the host, to be forwarded.
#[test]
fn containers_of_a_network_that_are_kept_apart_do_not_reach_each_other_by_the_host() {
    let world = world(NAT | APART, NAT);
    let neighbour = "172.17.0.3:40000";
    for direct in [
        packet(Tcp(SYN), neighbour, TARGET),
        packet(Udp, neighbour, TARGET),
        packet(EchoRequest, "172.17.0.3:7", "172.17.0.2:0"),
        packet(Protocol(47), neighbour, TARGET),
        packet(Udp, "172.17.0.1:9", TARGET),
    ] {
        assert_eq!(crosses(&world, &direct), ISOLATED, "{direct:?}");
    }
    // Nor from whatever address: the bridge is where that is judged.
    let at = |interface, packet: &Packet| {
        world.interface.set(interface);
        let done = ingress(&world, packet).0;
        world.interface.set(World::UPLINK);
        done
    };
    for interface in [World::PORT, World::BRIDGE] {
        let forged = at(interface, &packet(Udp, CLIENT, TARGET));
        assert_eq!(forged, Verdict::Drop(DropReason::DirectAccess));
    }
    // By a published port they do, and talk with the host.
    let translated = packet(Udp, neighbour, TARGET);
    world.interface.set(World::PORT);
    becomes(ingress(&world, &packet(Udp, neighbour, HOST)), &translated);
    assert_eq!(at(World::BRIDGE, &translated), Verdict::Pass);
    let gateway = packet(Udp, neighbour, "172.17.0.1:53");
    assert_eq!(at(World::PORT, &gateway), Verdict::Pass);
}
