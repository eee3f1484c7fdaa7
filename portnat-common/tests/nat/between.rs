//! Who reaches containers by their own addresses, by the modes of their networks.

mod isolated;

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::subnet::{CLOSED, MASQUERADED, ROUTED};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, DropReason, Table, V4, Verdict};

use crate::fixtures::{ACK, SYN, SYN_ACK, TARGET, becomes, egress, ingress, is_dropped};
use crate::support::packet::Carries::{
    self, EchoReply, EchoRequest, FragmentationNeeded, Protocol, Tcp, Udp,
};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;

const NAT: u32 = MASQUERADED | CLOSED;
/// Not masqueraded, and nobody has said anything of it.
const OPEN: u32 = 0;

/// A container of the other bridge, and who is outside.
const STRANGER: &str = "172.18.0.2:40000";
const CLIENT: &str = "198.51.100.7:40000";
/// Where the host is asked for the target's port 80.
const HOST: &str = "192.0.2.1:8080";

const ISOLATED: Verdict = Verdict::Drop(DropReason::Isolated);

/// A target of these modes, its own network's and the other's. Its port 80 is published, of TCP and
/// UDP.
fn world(own: u32, other: u32) -> World {
    let world = World::new().with_mode(0, own).with_mode(1, other);
    if own & ROUTED == 0 {
        return world
            .publish(protocol::TCP, "0.0.0.0", 8080, TARGET)
            .publish(protocol::UDP, "0.0.0.0", 8080, TARGET);
    }
    world
        .open(protocol::TCP, TARGET)
        .open(protocol::UDP, TARGET)
}

/// A packet goes from a container of one bridge by the host to what its address says: in by a port, out
/// by the other bridge.
fn crosses(world: &World, packet: &Packet) -> Verdict {
    let mut frame = packet.frame();
    let mut at = |hook, interface| {
        world.interface.set(interface);
        let sight = Sight {
            hook,
            l3: 14,
            forwarded: true,
        };
        nat::process::<V4, _, _>(&mut Bytes(&mut frame), sight, world)
    };
    let [from_first, to_first] =
        [packet.src, packet.dst].map(|end| end.to_string().starts_with("172.17."));
    let own = if from_first {
        World::BRIDGE
    } else {
        World::OTHER_BRIDGE
    };
    // The bridge sees what its port has seen, and counts nothing twice.
    let mut verdict = at(Hook::In, World::PORT);
    if matches!(verdict, Verdict::Pass | Verdict::Translated) {
        let again = at(Hook::In, own);
        assert!(matches!(again, Verdict::Pass), "{again:?}");
    }
    verdict = match verdict {
        Verdict::Pass => {
            let bridge = if to_first {
                World::BRIDGE
            } else {
                World::OTHER_BRIDGE
            };
            at(Hook::Inside, bridge)
        }
        verdict => verdict,
    };
    // The next is another packet.
    world.number.set(0);
    world.interface.set(World::UPLINK);
    if verdict == Verdict::Pass {
        assert_eq!(frame, packet.frame(), "what passes is not touched");
    }
    verdict
}

fn first(carries: Carries) -> Packet {
    packet(carries, STRANGER, TARGET)
}

#[test]
fn a_bridge_does_not_reach_another_ones_containers() {
    let world = world(NAT, NAT);
    for direct in [
        first(Tcp(SYN)),
        first(Tcp(ACK)),
        first(Udp),
        packet(EchoRequest, "172.18.0.2:7", "172.17.0.2:0"),
        first(Protocol(47)),
        first(Udp).fragment(0, true),
        // To a port that masquerade lends, and to one that is published elsewhere.
        packet(Udp, STRANGER, "172.17.0.2:5353"),
        packet(Udp, STRANGER, "172.17.0.2:8080"),
    ] {
        assert_eq!(crosses(&world, &direct), ISOLATED, "{direct:?}");
    }
    let later = crosses(&world, &first(Udp).fragment(9, false));
    assert_eq!(later, Verdict::Drop(DropReason::Fragment));
    assert!(world.records().is_empty());
    // The host's own addresses are not a container's, and its own bridge is not another one.
    for other in [
        packet(Tcp(SYN), STRANGER, "172.18.0.3:80"),
        packet(Tcp(SYN), "172.17.0.3:1", TARGET),
    ] {
        assert_eq!(crosses(&world, &other), Verdict::Pass, "{other:?}");
    }
}

#[test]
fn published_ports_are_reached_from_another_bridge_and_so_are_their_errors() {
    let world = world(NAT, NAT);
    let port_in = |packet: &Packet| {
        world.interface.set(World::PORT);
        let done = ingress(&world, packet);
        world.interface.set(World::UPLINK);
        done
    };
    let translated = packet(Udp, STRANGER, TARGET);
    becomes(port_in(&packet(Udp, STRANGER, HOST)), &translated);
    // The bridges see it as it is now.
    for (hook, interface) in [
        (Hook::In, World::OTHER_BRIDGE),
        (Hook::Inside, World::BRIDGE),
    ] {
        world.interface.set(interface);
        let sight = Sight {
            hook,
            l3: 14,
            forwarded: true,
        };
        let mut frame = translated.frame();
        let verdict = nat::process::<V4, _, _>(&mut Bytes(&mut frame), sight, &world);
        assert_eq!(verdict, Verdict::Pass);
    }
    world.number.set(0);
    assert_eq!(
        crosses(&world, &packet(Udp, TARGET, STRANGER)),
        Verdict::Translated
    );
    let error = |quoted: &Packet| {
        packet(FragmentationNeeded, "172.17.0.2:0", "172.18.0.2:0").saying(&quoted.network()[..28])
    };
    assert_eq!(crosses(&world, &error(&first(Udp))), Verdict::Translated);
    let of_nothing = error(&packet(Udp, STRANGER, "172.17.0.2:9"));
    assert_eq!(crosses(&world, &of_nothing), ISOLATED);
}

/// What the host's own netfilter has translated on its way through the host.
#[test]
fn answers_that_the_host_has_translated_pass() {
    let world = world(NAT, NAT);
    // It is asked for an address of its own, on whatever bridge, and makes it the target's.
    let translated = packet(Udp, STRANGER, "172.17.0.2:53");
    for own in ["192.0.2.1:9053", "172.17.0.1:9053", "172.18.0.1:9053"] {
        world.interface.set(World::PORT);
        assert_eq!(
            ingress(&world, &packet(Udp, STRANGER, own)).0,
            Verdict::Pass
        );
        for (hook, interface) in [
            (Hook::In, World::OTHER_BRIDGE),
            (Hook::Inside, World::BRIDGE),
        ] {
            world.interface.set(interface);
            let sight = Sight {
                hook,
                l3: 14,
                forwarded: true,
            };
            let mut frame = translated.frame();
            let verdict = nat::process::<V4, _, _>(&mut Bytes(&mut frame), sight, &world);
            assert_eq!(verdict, Verdict::Pass, "{own}");
        }
    }
    let answer = packet(Udp, "172.17.0.2:53", STRANGER);
    for own in ["192.0.2.1:9053", "172.17.0.1:9053"] {
        world.interface.set(World::PORT);
        assert_eq!(ingress(&world, &answer).0, Verdict::Pass);
        world.interface.set(World::OTHER_BRIDGE);
        let sight = Sight {
            hook: Hook::Inside,
            l3: 14,
            forwarded: true,
        };
        let mut frame = packet(Udp, own, STRANGER).frame();
        let verdict = nat::process::<V4, _, _>(&mut Bytes(&mut frame), sight, &world);
        assert_eq!(verdict, Verdict::Pass, "{own}");
    }
}

#[test]
fn an_open_network_is_reached_and_does_not_reach_others() {
    let world = world(OPEN, NAT);
    for (there, back) in [
        (first(Tcp(SYN)), packet(Tcp(SYN_ACK), TARGET, STRANGER)),
        (first(Udp), packet(Udp, TARGET, STRANGER)),
        (
            packet(EchoRequest, "172.18.0.2:7", "172.17.0.2:0"),
            packet(EchoReply, "172.17.0.2:0", "172.18.0.2:7"),
        ),
    ] {
        assert_eq!(crosses(&world, &back), ISOLATED, "before it is asked");
        assert_eq!(crosses(&world, &there), Verdict::Pass, "{there:?}");
        for _ in 0..2 {
            assert_eq!(crosses(&world, &back), Verdict::Pass, "{back:?}");
            assert_eq!(crosses(&world, &there), Verdict::Pass, "{there:?}");
        }
    }
    let flows = world.records_in(Table::Confirmed);
    assert_eq!(flows.len(), 6);
    let elsewhere = packet(Udp, TARGET, "172.18.0.3:53");
    assert_eq!(crosses(&world, &elsewhere), ISOLATED);
    // Both ways between two of them.
    let world = self::world(OPEN, OPEN);
    assert_eq!(crosses(&world, &elsewhere), Verdict::Pass);
    assert!(world.records().is_empty(), "nobody has to know");
}

#[test]
fn a_routed_network_is_reached_at_published_ports_and_by_ping() {
    for carries in [Tcp(SYN), Udp] {
        let world = world(ROUTED, NAT);
        let asks = |client: &str, to: &str| {
            let packet = packet(carries, client, to);
            match client == STRANGER {
                true => crosses(&world, &packet),
                false => ingress(&world, &packet).0,
            }
        };
        for (client, refusal) in [
            (STRANGER, DropReason::Isolated),
            (CLIENT, DropReason::DirectAccess),
        ] {
            assert_eq!(asks(client, TARGET), Verdict::Pass);
            assert_eq!(asks(client, "172.17.0.2:22"), Verdict::Drop(refusal));
        }
        let ping = |from: &str| packet(EchoRequest, from, "172.17.0.2:0");
        assert_eq!(crosses(&world, &ping("172.18.0.2:7")), Verdict::Pass);
        assert_eq!(ingress(&world, &ping("198.51.100.7:7")).0, Verdict::Pass);
        // Nothing is translated, and what outsiders ask needs no flow.
        let answer = packet(Udp, TARGET, CLIENT);
        assert_eq!(egress(&world, &answer).0, Verdict::Pass);
        assert_eq!(world.records().len(), 4, "the other bridge's");
    }
}

#[test]
fn what_a_routed_container_asks_outside_is_answered() {
    for (there, back) in [
        (Tcp(SYN), Tcp(SYN_ACK)),
        (Udp, Udp),
        (EchoRequest, EchoReply),
    ] {
        let world = world(ROUTED, NAT);
        let (container, remote) = match there {
            EchoRequest => ("172.17.0.2:40000", "198.51.100.7:0"),
            _ => ("172.17.0.2:40000", "198.51.100.7:53"),
        };
        let asks = packet(there, container, remote);
        let answers = packet(back, remote, container);
        // An echo reply is let in as ICMP is.
        if there != EchoRequest {
            is_dropped(ingress(&world, &answers), DropReason::DirectAccess);
        }
        for _ in 0..2 {
            let (verdict, frame) = egress(&world, &asks);
            assert_eq!((verdict, frame), (Verdict::Pass, asks.frame()));
            let (verdict, frame) = ingress(&world, &answers);
            assert_eq!((verdict, frame), (Verdict::Pass, answers.frame()));
        }
        assert_eq!(world.records_in(Table::Confirmed).len(), 2);
        // The flow lives as long as any other.
        world.pass(10_000);
        if there == Udp {
            is_dropped(ingress(&world, &answers), DropReason::DirectAccess);
        }
        // A reset or an answer that nobody knows of leaks no address: it is valid outside.
        let stray = packet(Tcp(tcp::RST), "172.17.0.2:1", remote);
        assert_eq!(egress(&world, &stray).0, Verdict::Pass);
    }
}
