//! What happens to named packets, one by one.

use crate::support::packet::Carries::{EchoReply, EchoRequest, Protocol, Tcp, Udp, UdpUnchecked};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;
use portnat_common::nat::{Hook, Sight};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, DropReason, Tables, V4, Verdict, nat};

pub(crate) const SYN: u8 = tcp::SYN;
pub(crate) const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
pub(crate) const ACK: u8 = tcp::ACK;
pub(crate) const CLIENT: &str = "198.51.100.7:40000";
pub(crate) const HOST: &str = "192.0.2.1:8080";
pub(crate) const TARGET: &str = "172.17.0.2:80";

pub(crate) fn web() -> World {
    World::new()
        .publish(protocol::TCP, "0.0.0.0", 8080, TARGET)
        .publish(protocol::UDP, "0.0.0.0", 8080, TARGET)
}

/// Runs a packet in from the uplink.
pub(crate) fn ingress(world: &impl Tables<V4>, packet: &Packet) -> (Verdict, Vec<u8>) {
    let mut frame = packet.frame();
    // It has not been seen elsewhere.
    world.number(0);
    let verdict = nat::process::<V4, _, _>(
        &mut Bytes(&mut frame),
        Sight {
            hook: Hook::In,
            l3: 14,
            forwarded: true,
        },
        world,
    );
    (verdict, frame)
}

/// Runs a packet out by the uplink.
pub(crate) fn egress(world: &impl Tables<V4>, packet: &Packet) -> (Verdict, Vec<u8>) {
    let mut frame = packet.frame();
    let verdict = nat::process::<V4, _, _>(
        &mut Bytes(&mut frame),
        Sight {
            hook: Hook::Outside,
            l3: 14,
            forwarded: true,
        },
        world,
    );
    (verdict, frame)
}

#[track_caller]
pub(crate) fn becomes((verdict, frame): (Verdict, Vec<u8>), expected: &Packet) {
    assert_eq!(verdict, Verdict::Translated);
    assert_eq!(frame, expected.frame(), "expected {expected:?}");
}

#[track_caller]
pub(crate) fn passes((verdict, frame): (Verdict, Vec<u8>), packet: &Packet) {
    assert_eq!(verdict, Verdict::Pass);
    assert_eq!(frame, packet.frame(), "a packet that passes is not touched");
}

#[track_caller]
pub(crate) fn is_dropped((verdict, _): (Verdict, Vec<u8>), reason: DropReason) {
    assert_eq!(verdict, Verdict::Drop(reason));
}

/// The source port of a translated packet, as its frame has it.
pub(crate) fn source_port(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

#[test]
fn a_published_port_leads_to_its_target_and_the_answer_comes_from_the_host() {
    for (there, back) in [
        (Tcp(SYN), Tcp(SYN_ACK)),
        (Udp, Udp),
        (UdpUnchecked, UdpUnchecked),
        (Udp, UdpUnchecked),
    ] {
        let world = web();
        becomes(
            ingress(&world, &packet(there, CLIENT, HOST)),
            &packet(there, CLIENT, TARGET),
        );
        becomes(
            egress(&world, &packet(back, TARGET, CLIENT)),
            &packet(back, HOST, CLIENT),
        );
    }
}

#[test]
fn ip_options_are_carried_along() {
    for options in [1, 10] {
        let world = web();
        let there = |dst| packet(Tcp(SYN), CLIENT, dst).with_options(options);
        becomes(ingress(&world, &there(HOST)), &there(TARGET));
    }
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    // The last two bytes are chosen so that the translated packet's checksum is zero.
    let zero_at_target = (0..=u16::MAX)
        .map(|last| packet(Udp, CLIENT, TARGET).saying(&last.to_be_bytes()))
        .find(|packet| {
            let frame = packet.frame();
            // etherparse, too, sends 0xffff for a computed zero.
            frame[40..42] == [0xff, 0xff]
        })
        .expect("one of all values");
    let there = Packet {
        dst: HOST.parse().expect("an address"),
        ..zero_at_target.clone()
    };
    becomes(ingress(&web(), &there), &zero_at_target);
}

#[test]
fn what_is_not_published_passes_untouched() {
    let world = web();
    for other in [
        packet(Tcp(SYN), CLIENT, "192.0.2.1:80"),
        packet(Tcp(SYN), CLIENT, "203.0.113.5:8080"),
        packet(EchoRequest, CLIENT, "192.0.2.1:0"),
        packet(Protocol(47), CLIENT, HOST),
    ] {
        passes(ingress(&world, &other), &other);
    }
    assert!(world.records().is_empty());
}

#[test]
fn a_port_on_one_address_is_not_published_on_another() {
    let world = World::new().publish(protocol::TCP, "192.0.2.1", 8080, TARGET);
    becomes(
        ingress(&world, &packet(Tcp(SYN), CLIENT, HOST)),
        &packet(Tcp(SYN), CLIENT, TARGET),
    );
    let other = packet(Tcp(SYN), CLIENT, "192.0.2.2:8080");
    passes(ingress(&world, &other), &other);
}

#[test]
fn a_port_on_a_loopback_address_is_for_the_host_itself() {
    let world = web().publish(protocol::TCP, "127.0.0.1", 9090, TARGET);
    for port in [8080, 9090] {
        let asked = packet(Tcp(SYN), CLIENT, &format!("127.0.0.1:{port}"));
        is_dropped(ingress(&world, &asked), DropReason::Loopback);
    }
    // The stack drops these, or has been told not to.
    for martian in [
        packet(Tcp(SYN), CLIENT, "127.0.0.1:9091"),
        packet(Tcp(SYN), CLIENT, "127.0.0.2:8080"),
        packet(Tcp(SYN), "127.0.0.1:40000", HOST),
    ] {
        passes(ingress(&world, &martian), &martian);
    }
}

#[test]
fn an_answer_without_a_question_opens_nothing() {
    let world = web();
    for flags in [tcp::RST, SYN_ACK] {
        let stray = packet(Tcp(flags), CLIENT, HOST);
        passes(ingress(&world, &stray), &stray);
        let stray = packet(Tcp(flags), "172.17.0.2:5000", CLIENT);
        is_dropped(egress(&world, &stray), DropReason::NoFlow);
    }
    let stray = packet(EchoReply, "172.17.0.2:0", "198.51.100.7:9");
    is_dropped(egress(&world, &stray), DropReason::NoFlow);
    assert!(world.records().is_empty());
}

#[test]
fn what_a_container_sends_out_comes_from_the_host_and_answers_find_back() {
    for (there, back) in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp), (UdpUnchecked, Udp)] {
        let world = web();
        let (verdict, frame) = egress(&world, &packet(there, "172.17.0.2:40000", "203.0.113.5:53"));
        let outside = format!("192.0.2.1:{}", source_port(&frame));
        becomes((verdict, frame), &packet(there, &outside, "203.0.113.5:53"));
        becomes(
            ingress(&world, &packet(back, "203.0.113.5:53", &outside)),
            &packet(back, "203.0.113.5:53", "172.17.0.2:40000"),
        );
    }
}

#[test]
fn a_container_pings_outside() {
    let world = web();
    let request = packet(EchoRequest, "172.17.0.2:77", "203.0.113.5:0");
    let (verdict, frame) = egress(&world, &request);
    let identifier = u16::from_be_bytes([frame[38], frame[39]]);
    let outside = format!("192.0.2.1:{identifier}");
    becomes(
        (verdict, frame),
        &packet(EchoRequest, &outside, "203.0.113.5:0"),
    );
    becomes(
        ingress(&world, &packet(EchoReply, "203.0.113.5:0", &outside)),
        &packet(EchoReply, "203.0.113.5:0", "172.17.0.2:77"),
    );
}

#[test]
fn a_source_port_is_kept_where_it_is_free_and_in_the_pool() {
    let world = web();
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.2:5353", "203.0.113.5:53"));
    assert_eq!(source_port(&frame), 5353);
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.3:5353", "203.0.113.5:53"));
    assert_ne!(source_port(&frame), 5353, "taken towards this remote");
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.3:5353", "203.0.113.6:53"));
    assert_eq!(source_port(&frame), 5353, "free towards another");
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.3:8080", "203.0.113.5:53"));
    assert_ne!(source_port(&frame), 8080, "published");
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.3:40000", "203.0.113.5:53"));
    assert_ne!(source_port(&frame), 40000, "the host's own range");
    assert!(world.has_rolled_dice());
}

#[test]
fn an_inside_address_never_leaks() {
    let world = web();
    let out = |carries| packet(carries, "172.17.0.2:5000", "203.0.113.5:53");
    is_dropped(
        egress(&world, &out(Protocol(47))),
        DropReason::UnsupportedProtocol,
    );
    let mut truncated = out(Tcp(SYN)).frame();
    truncated.truncate(14 + 20 + 10);
    truncated[17] = 30;
    let verdict = nat::process::<V4, _, _>(
        &mut Bytes(&mut truncated),
        Sight {
            hook: Hook::Outside,
            l3: 14,
            forwarded: true,
        },
        &world,
    );
    assert_eq!(verdict, Verdict::Drop(DropReason::Malformed));
    let world = web().without_egress_address();
    is_dropped(egress(&world, &out(Udp)), DropReason::NoEgressAddress);
}

#[test]
fn what_the_host_forwards_for_others_passes() {
    let world = web();
    let routed = packet(Udp, "10.0.0.5:5000", "203.0.113.5:53");
    passes(egress(&world, &routed), &routed);
}

#[test]
fn one_client_port_to_two_published_ports_of_one_target_is_two_flows() {
    // The target could not tell them apart: the second gets another source port.
    let world = web().publish(protocol::TCP, "0.0.0.0", 8081, TARGET);
    ingress(&world, &packet(Tcp(SYN), CLIENT, HOST));
    let (verdict, frame) = ingress(&world, &packet(Tcp(SYN), CLIENT, "192.0.2.1:8081"));
    let other = format!("198.51.100.7:{}", source_port(&frame));
    assert_ne!(other, CLIENT);
    becomes((verdict, frame), &packet(Tcp(SYN), &other, TARGET));
    becomes(
        egress(&world, &packet(Tcp(SYN_ACK), TARGET, &other)),
        &packet(Tcp(SYN_ACK), "192.0.2.1:8081", CLIENT),
    );
    becomes(
        egress(&world, &packet(Tcp(SYN_ACK), TARGET, CLIENT)),
        &packet(Tcp(SYN_ACK), HOST, CLIENT),
    );
}

#[test]
fn replies_find_their_flow_though_the_port_was_published_since() {
    let world = web();
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.2:5353", "203.0.113.5:53"));
    assert_eq!(source_port(&frame), 5353);
    let world = world.publish(protocol::UDP, "0.0.0.0", 5353, "172.17.0.9:53");
    becomes(
        ingress(&world, &packet(Udp, "203.0.113.5:53", "192.0.2.1:5353")),
        &packet(Udp, "203.0.113.5:53", "172.17.0.2:5353"),
    );
    becomes(
        ingress(&world, &packet(Udp, "203.0.113.6:53", "192.0.2.1:5353")),
        &packet(Udp, "203.0.113.6:53", "172.17.0.9:53"),
    );
}

#[test]
fn packets_and_bytes_are_counted_in_each_direction() {
    let world = web();
    ingress(&world, &packet(Udp, CLIENT, HOST));
    ingress(&world, &packet(Udp, CLIENT, HOST));
    egress(&world, &packet(Udp, TARGET, CLIENT));
    let mut counts: Vec<_> = world
        .records()
        .values()
        .map(|flow| (flow.packets, flow.bytes, flow.port_id))
        .collect();
    counts.sort();
    assert_eq!(counts, [(1, 35, 2), (2, 70, 2)], "20 + 8 + 7 bytes each");
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_old_ones() {
    let mut world = web();
    world.capacity = 3;
    let (old, new) = ("172.17.0.2:5353", "172.17.0.2:5354");
    let remote = "203.0.113.5:53";
    let out = |src| packet(Udp, src, remote);
    becomes(egress(&world, &out(old)), &out("192.0.2.1:5353"));
    is_dropped(egress(&world, &out(new)), DropReason::FlowTableFull);
    assert_eq!(
        world.records().len(),
        2,
        "no half of the refused flow is left"
    );
    becomes(
        ingress(&world, &packet(Udp, remote, "192.0.2.1:5353")),
        &packet(Udp, remote, old),
    );
}

#[test]
fn an_outsider_cannot_revive_a_mapping_and_the_insider_can() {
    let world = web();
    egress(&world, &packet(Udp, "172.17.0.2:5353", "203.0.113.5:53"));
    let answer = packet(Udp, "203.0.113.5:53", "192.0.2.1:5353");
    world.pass(119);
    assert_eq!(ingress(&world, &answer).0, Verdict::Translated);
    world.pass(299);
    assert_eq!(
        ingress(&world, &answer).0,
        Verdict::Translated,
        "answered flows live longer"
    );
    world.pass(301);
    passes(ingress(&world, &answer), &answer);
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.2:5353", "203.0.113.5:53"));
    assert_eq!(source_port(&frame), 5353);
    assert_eq!(ingress(&world, &answer).0, Verdict::Translated);
}

#[test]
fn a_closed_connection_begins_anew_with_a_fresh_syn() {
    let world = web();
    let to = |flags| packet(Tcp(flags), CLIENT, HOST);
    let from = |flags| packet(Tcp(flags), TARGET, CLIENT);
    ingress(&world, &to(SYN));
    egress(&world, &from(SYN_ACK));
    ingress(&world, &to(ACK));
    ingress(&world, &to(tcp::FIN | ACK));
    egress(&world, &from(tcp::FIN | ACK));
    world.pass(10);
    becomes(ingress(&world, &to(SYN)), &packet(Tcp(SYN), CLIENT, TARGET));
    egress(&world, &from(SYN_ACK));
    ingress(&world, &to(ACK));
    // Established again: it outlives what a closing one would.
    world.pass(7000);
    becomes(egress(&world, &from(ACK)), &packet(Tcp(ACK), HOST, CLIENT));
}

#[test]
fn an_expired_flow_gives_its_source_port_to_another() {
    let world = web();
    egress(&world, &packet(Udp, "172.17.0.2:5353", "203.0.113.5:53"));
    // A second after its time is over nobody holds a pointer to it any more.
    world.pass(122);
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.3:5353", "203.0.113.5:53"));
    assert_eq!(source_port(&frame), 5353);
    becomes(
        ingress(&world, &packet(Udp, "203.0.113.5:53", "192.0.2.1:5353")),
        &packet(Udp, "203.0.113.5:53", "172.17.0.3:5353"),
    );
    assert_eq!(
        world.records().len(),
        2,
        "nothing of the expired flow is left"
    );
}
