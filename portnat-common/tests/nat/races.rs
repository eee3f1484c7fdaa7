//! What happens between the steps: other CPUs, restarts, addresses that change.

use portnat_common::wire::{protocol, tcp};
use portnat_common::{DropReason, Verdict};

use crate::fixtures::{
    ACK, CLIENT, HOST, SYN, TARGET, becomes, egress, ingress, is_dropped, passes, source_port, web,
};
use crate::hairpin::bridge_out;
use crate::support::packet::Carries::{EchoRequest, FragmentationNeeded, Protocol, Tcp, Udp};
use crate::support::packet::packet;
use crate::support::world::World;

#[test]
fn a_masqueraded_flow_follows_the_uplinks_address() {
    let mut world = World::new();
    let out = packet(Udp, "172.17.0.2:5353", "203.0.113.5:53");
    becomes(
        egress(&world, &out),
        &packet(Udp, "192.0.2.1:5353", "203.0.113.5:53"),
    );
    world.egress = Some(std::net::Ipv4Addr::new(192, 0, 2, 99).into());
    world.pass(1);
    // The old one ends first, so that nobody holds a pointer to it any more when it goes.
    is_dropped(egress(&world, &out), DropReason::FlowEnding);
    world.pass(2);
    becomes(
        egress(&world, &out),
        &packet(Udp, "192.0.2.99:5353", "203.0.113.5:53"),
    );
    assert_eq!(world.records().len(), 2, "nothing is left of the old one");
}

#[test]
fn a_published_connection_survives_a_restart_whoever_speaks_first() {
    for carries in [Tcp(ACK), Udp] {
        let world = web();
        let from = |src| packet(carries, src, CLIENT);
        becomes(egress(&world, &from(TARGET)), &from(HOST));
        let to = |dst| packet(carries, CLIENT, dst);
        becomes(ingress(&world, &to(HOST)), &to(TARGET));
        becomes(egress(&world, &from(TARGET)), &from(HOST));
    }
}

#[test]
fn a_target_of_two_ports_that_spoke_first_is_found_by_its_clients() {
    // It speaks by the first of them, and by the other it is another flow, with another port.
    let world = web().publish(protocol::UDP, "0.0.0.0", 8081, TARGET);
    let from = |src| packet(Udp, src, CLIENT);
    becomes(egress(&world, &from(TARGET)), &from(HOST));
    becomes(
        ingress(&world, &packet(Udp, CLIENT, HOST)),
        &packet(Udp, CLIENT, TARGET),
    );
    let other = "192.0.2.1:8081";
    let (verdict, frame) = ingress(&world, &packet(Udp, CLIENT, other));
    let client = format!("198.51.100.7:{}", source_port(&frame));
    assert_ne!(client, CLIENT);
    becomes((verdict, frame), &packet(Udp, &client, TARGET));
    becomes(
        egress(&world, &packet(Udp, TARGET, &client)),
        &packet(Udp, other, CLIENT),
    );
}

#[test]
fn a_reset_begins_the_end_and_does_not_put_it_off() {
    let world = web();
    for (inwards, flags) in [
        (true, SYN),
        (false, SYN | ACK),
        (true, ACK),
        (true, tcp::RST),
    ] {
        let verdict = if inwards {
            ingress(&world, &packet(Tcp(flags), CLIENT, HOST)).0
        } else {
            egress(&world, &packet(Tcp(flags), TARGET, CLIENT)).0
        };
        assert_eq!(verdict, Verdict::Translated);
    }
    world.pass(200);
    assert_eq!(
        ingress(&world, &packet(Tcp(tcp::RST), CLIENT, HOST)).0,
        Verdict::Translated
    );
    world.pass(50);
    assert_eq!(
        ingress(&world, &packet(Tcp(tcp::RST), CLIENT, HOST)).0,
        Verdict::Pass
    );
}

#[test]
fn a_port_that_a_socket_of_the_host_uses_is_not_lent() {
    let mut world = World::new();
    world.sockets.insert((protocol::UDP, 4500));
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.2:4500", "203.0.113.5:4500"));
    assert_ne!(source_port(&frame), 4500);
    // Nor one that chance finds: here every port of the pool but the published ones is in use.
    world
        .sockets
        .extend((1024..=u16::MAX).map(|port| (protocol::UDP, port)));
    let other = packet(Udp, "172.17.0.2:4501", "203.0.113.5:4500");
    is_dropped(egress(&world, &other), DropReason::PortsExhausted);
}

#[test]
fn an_outsider_does_not_reach_a_container_by_its_own_address() {
    let world = web();
    for direct in [
        packet(Tcp(SYN), CLIENT, "172.17.0.2:22"),
        packet(Udp, CLIENT, "172.17.0.2:8080"),
        packet(Udp, CLIENT, "172.17.0.2:5353"),
        packet(EchoRequest, CLIENT, "172.17.0.2:0"),
        packet(Protocol(47), CLIENT, TARGET),
        packet(Udp, CLIENT, TARGET).fragment(9, false),
        packet(FragmentationNeeded, CLIENT, TARGET),
    ] {
        is_dropped(ingress(&world, &direct), DropReason::DirectAccess);
    }
    // The host's own address on the bridge is the host's, and other containers are inside.
    for other in [
        packet(Tcp(SYN), CLIENT, "172.17.0.1:22"),
        packet(Tcp(SYN), "172.18.0.2:40000", "172.17.0.2:22"),
    ] {
        passes(ingress(&world, &other), &other);
    }
    // What the host's own netfilter has translated passes the bridge: that is all we see of it.
    for foreign in [
        packet(Tcp(SYN), CLIENT, TARGET),
        packet(Udp, CLIENT, "172.17.0.2:40000"),
    ] {
        passes(bridge_out(&world, &foreign), &foreign);
    }
}
