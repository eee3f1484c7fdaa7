//! Containers that ask for published ports, and containers that talk to each other.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::{Bytes, DropReason, V4, Verdict};

use crate::fixtures::{
    ACK, HOST, SYN, SYN_ACK, TARGET, becomes, ingress, passes, source_port, web,
};
use crate::support::packet::Carries::{FragmentationNeeded, Protocol, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;

/// Runs a packet out by the bridge.
pub(crate) fn bridge_out(world: &World, packet: &Packet) -> (Verdict, Vec<u8>) {
    let mut frame = packet.frame();
    world.interface.set(World::BRIDGE);
    let verdict = nat::process::<V4, _, _>(
        &mut Bytes(&mut frame),
        Sight {
            hook: Hook::Inside,
            l3: 14,
            forwarded: true,
        },
        world,
    );
    world.interface.set(World::UPLINK);
    (verdict, frame)
}

/// Runs a packet in from a bridge's port.
pub(crate) fn port_in(world: &World, packet: &Packet) -> (Verdict, Vec<u8>) {
    world.interface.set(World::PORT);
    let result = ingress(world, packet);
    world.interface.set(World::UPLINK);
    result
}

#[test]
fn a_container_reaches_a_published_port_of_its_own_bridge_by_any_address_of_the_host() {
    for (there, back) in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp)] {
        // Another container of the bridge, and the target itself.
        for container in ["172.17.0.3:40000", "172.17.0.2:40000"] {
            for host in [HOST, "172.17.0.1:8080"] {
                let world = web();
                becomes(
                    port_in(&world, &packet(there, container, host)),
                    &packet(there, container, TARGET),
                );
                let (verdict, frame) = bridge_out(&world, &packet(there, container, TARGET));
                let gateway = format!("172.17.0.1:{}", source_port(&frame));
                becomes((verdict, frame), &packet(there, &gateway, TARGET));
                becomes(
                    port_in(&world, &packet(back, TARGET, &gateway)),
                    &packet(back, TARGET, container),
                );
                becomes(
                    bridge_out(&world, &packet(back, TARGET, container)),
                    &packet(back, host, container),
                );
            }
        }
    }
}

#[test]
fn a_container_of_another_bridge_keeps_its_address() {
    let world = web();
    let there = |dst| packet(Tcp(SYN), "172.18.0.2:40000", dst);
    becomes(port_in(&world, &there(HOST)), &there(TARGET));
    passes(bridge_out(&world, &there(TARGET)), &there(TARGET));
}

#[test]
fn what_containers_say_to_each_other_is_not_touched() {
    let world = web();
    for carries in [Tcp(SYN), Tcp(ACK), Udp, Protocol(47)] {
        let direct = packet(carries, "172.17.0.3:40000", TARGET);
        passes(port_in(&world, &direct), &direct);
        passes(bridge_out(&world, &direct), &direct);
        // To the target by the *published* port: the target refuses it.
        let published = packet(carries, "172.17.0.3:40000", "172.17.0.2:8080");
        passes(port_in(&world, &published), &published);
    }
    assert!(world.records().is_empty());
}

/// The host sees a packet come and go by one bridge, and says that there is a shorter way.
#[test]
fn the_hosts_own_redirect_about_such_a_packet_is_dropped_and_no_other() {
    let container = "172.17.0.3:40000";
    let redirect = |gateway, quoted: &Packet| {
        let address = quoted.src.to_string();
        let mut frame = packet(FragmentationNeeded, gateway, &address)
            .saying(&quoted.network()[..28])
            .frame();
        frame[34] = 5;
        frame
    };
    let sent = |world: &World, frame: &[u8], forwarded| {
        let mut frame = frame.to_vec();
        world.interface.set(World::BRIDGE);
        let sight = Sight {
            hook: Hook::Inside,
            l3: 14,
            forwarded,
        };
        nat::process::<V4, _, _>(&mut Bytes(&mut frame), sight, world)
    };
    let world = web();
    let asked = packet(Tcp(SYN), container, TARGET);
    port_in(&world, &packet(Tcp(SYN), container, HOST));
    let own = redirect("172.17.0.1:0", &asked);
    assert_eq!(
        sent(&world, &own, false),
        Verdict::Drop(DropReason::Redirect)
    );
    // Somebody else's, and one about what is not ours.
    assert_eq!(sent(&world, &own, true), Verdict::Pass);
    let other = packet(Tcp(SYN), container, "172.17.0.2:22");
    let other = redirect("172.17.0.1:0", &other);
    assert_eq!(sent(&world, &other, false), Verdict::Pass);
    // A later fragment does not tell whose it is.
    let later = packet(Udp, container, TARGET).fragment(1480, false);
    let later = redirect("172.17.0.1:0", &later.saying(&[7; 64]));
    assert_eq!(
        sent(&world, &later, false),
        Verdict::Drop(DropReason::Redirect)
    );
    assert_eq!(sent(&world, &later, true), Verdict::Pass);
}
