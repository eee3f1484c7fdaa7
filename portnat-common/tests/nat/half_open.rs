//! What outsiders open is half-open until they have shown that they get the answers.

use portnat_common::conntrack::State;
use portnat_common::wire::{protocol, tcp};
use portnat_common::{DropReason, Table, Total, Verdict};

use crate::fixtures::{
    ACK, CLIENT, HOST, SYN, SYN_ACK, TARGET, becomes, egress, ingress, is_dropped, source_port, web,
};
use crate::hairpin::bridge_out;
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;

fn to(flags: u8) -> Packet {
    packet(Tcp(flags), CLIENT, HOST)
}

fn from(flags: u8) -> Packet {
    packet(Tcp(flags), TARGET, CLIENT)
}

fn confirmed(world: &World) -> usize {
    world.records_in(Table::Confirmed).len() / 2
}

fn half_open(world: &World) -> usize {
    world.records_in(Table::HalfOpen).len() / 2
}

#[test]
fn tcp_is_confirmed_by_the_acknowledgement_of_the_syn_ack() {
    let world = web();
    ingress(&world, &to(SYN));
    egress(&world, &from(SYN_ACK));
    assert_eq!((half_open(&world), confirmed(&world)), (1, 0));
    becomes(ingress(&world, &to(ACK)), &packet(Tcp(ACK), CLIENT, TARGET));
    assert_eq!((half_open(&world), confirmed(&world)), (0, 1));
    // It has taken with it what it has seen and counted.
    let records = world.records_in(Table::Confirmed);
    let seen: Vec<_> = records.values().map(|flow| flow.seen).collect();
    assert_eq!(
        State::of(protocol::TCP, seen[0], seen[1]),
        State::TCP_ESTABLISHED
    );
    let packets: u64 = records.values().map(|flow| flow.packets).sum();
    assert_eq!(packets, 3);
    assert_eq!(world.total(1), Total::default());
    becomes(egress(&world, &from(ACK)), &packet(Tcp(ACK), HOST, CLIENT));
    world.pass(7000);
    becomes(ingress(&world, &to(ACK)), &packet(Tcp(ACK), CLIENT, TARGET));
}

#[test]
fn a_guessed_acknowledgement_confirms_nothing() {
    let world = web();
    ingress(&world, &to(SYN));
    egress(&world, &from(SYN_ACK));
    let right = to(ACK).acknowledges;
    for guess in [0, 1, right - 1, right + 1, !right] {
        ingress(&world, &to(ACK).acknowledging(guess));
    }
    // Nor what looks like one: before an answer, after a refusal, with a reset.
    ingress(&world, &to(ACK | tcp::RST));
    assert_eq!((half_open(&world), confirmed(&world)), (1, 0));

    let world = web();
    ingress(&world, &to(SYN));
    ingress(&world, &to(ACK).acknowledging(0));
    egress(&world, &from(tcp::RST | ACK));
    ingress(&world, &to(ACK).acknowledging(0));
    assert_eq!((half_open(&world), confirmed(&world)), (1, 0));
}

#[test]
fn a_connection_that_is_picked_up_is_confirmed_by_its_next_acknowledgement() {
    let world = web();
    becomes(ingress(&world, &to(ACK)), &packet(Tcp(ACK), CLIENT, TARGET));
    egress(&world, &from(ACK).saying(b"12345678"));
    assert_eq!(confirmed(&world), 0);
    ingress(&world, &to(ACK));
    assert_eq!((half_open(&world), confirmed(&world)), (0, 1));
}

#[test]
fn udp_is_confirmed_by_the_client_that_speaks_again_after_an_answer() {
    let world = web();
    for _ in 0..3 {
        ingress(&world, &packet(Udp, CLIENT, HOST));
    }
    egress(&world, &packet(Udp, TARGET, CLIENT));
    assert_eq!((half_open(&world), confirmed(&world)), (1, 0));
    assert_eq!(
        (world.total(2).packets_in, world.total(2).packets_out),
        (3, 1),
        "counted at once: it may be evicted any time"
    );
    becomes(
        ingress(&world, &packet(Udp, CLIENT, HOST)),
        &packet(Udp, CLIENT, TARGET),
    );
    assert_eq!((half_open(&world), confirmed(&world)), (0, 1));
    assert_eq!(world.total(2), Total::default(), "the flow has taken it");
}

#[test]
fn half_open_flows_live_for_a_while_and_begin_anew() {
    for (first, answer, seconds) in [
        (to(SYN), from(SYN_ACK), 61),
        (packet(Udp, CLIENT, HOST), packet(Udp, TARGET, CLIENT), 31),
    ] {
        let world = web();
        ingress(&world, &first);
        world.pass(seconds);
        ingress(&world, &first);
        egress(&world, &answer);
        world.pass(seconds - 2);
        // The answer was for the second: its time counts from there.
        let back = Packet {
            src: HOST.parse().expect("an address"),
            ..answer.clone()
        };
        becomes(egress(&world, &answer), &back);
        assert_eq!(half_open(&world), 1);
    }
}

#[test]
fn a_flood_leaves_confirmed_flows_and_masquerade_alone() {
    let mut world = web();
    world.half_open_capacity = 64;
    ingress(&world, &to(SYN));
    egress(&world, &from(SYN_ACK));
    ingress(&world, &to(ACK));
    for client in 0..1000 {
        let spoofed = format!("203.0.113.{}:{}", client % 250, 1000 + client);
        for carries in [Tcp(SYN), Tcp(ACK), Udp] {
            let to_target = packet(carries, &spoofed, TARGET);
            becomes(
                ingress(&world, &packet(carries, &spoofed, HOST)),
                &to_target,
            );
        }
        egress(&world, &packet(Tcp(SYN_ACK), TARGET, &spoofed));
        let guess = packet(Tcp(ACK), &spoofed, HOST).acknowledging(client);
        ingress(&world, &guess);
    }
    assert_eq!(confirmed(&world), 1);
    assert!(half_open(&world) <= 64);
    becomes(egress(&world, &from(ACK)), &packet(Tcp(ACK), HOST, CLIENT));
    let out = packet(Udp, "172.17.0.2:5353", "203.0.113.5:53");
    becomes(
        egress(&world, &out),
        &packet(Udp, "192.0.2.1:5353", "203.0.113.5:53"),
    );
}

#[test]
fn without_room_among_the_confirmed_a_connection_goes_on_half_open() {
    let mut world = web();
    world.capacity = 1;
    ingress(&world, &to(SYN));
    egress(&world, &from(SYN_ACK));
    for _ in 0..3 {
        becomes(ingress(&world, &to(ACK)), &packet(Tcp(ACK), CLIENT, TARGET));
        becomes(egress(&world, &from(ACK)), &packet(Tcp(ACK), HOST, CLIENT));
    }
    assert_eq!((half_open(&world), world.records().len()), (1, 2));
    // Others are refused until one has had time to end.
    let other = packet(Tcp(SYN), "203.0.113.7:40000", HOST);
    is_dropped(ingress(&world, &other), DropReason::FlowTableFull);
    world.pass(1);
    becomes(
        ingress(&world, &other),
        &packet(Tcp(SYN), "203.0.113.7:40000", TARGET),
    );
    // A container's own is refused, and nothing of it is left.
    let out = packet(Udp, "172.17.0.2:5353", "203.0.113.5:53");
    is_dropped(egress(&world, &out), DropReason::FlowTableFull);
    assert_eq!(world.records_in(Table::Confirmed).len(), 0);
}

/// Both ends send a SYN (RFC 9293 section 3.5): RFC 5382 REQ-2.
#[test]
fn a_masqueraded_simultaneous_open() {
    let world = World::new();
    let (inside, remote) = ("172.17.0.2:5353", "203.0.113.5:5353");
    let out = |flags| packet(Tcp(flags), inside, remote);
    let back = |flags, dst| packet(Tcp(flags), remote, dst);
    egress(&world, &out(SYN));
    for flags in [SYN, SYN_ACK, ACK] {
        becomes(
            ingress(&world, &back(flags, "192.0.2.1:5353")),
            &back(flags, inside),
        );
        egress(&world, &out(SYN_ACK));
    }
    world.pass(7000);
    assert_eq!(
        ingress(&world, &back(ACK, "192.0.2.1:5353")).1,
        back(ACK, inside).frame()
    );
}

/// A server that answers later than the half-open flows are turned over.
#[test]
fn late_answers_to_a_flood_begin_no_confirmed_flows() {
    // With one published port of the target, and with two, of which neither is *the* one.
    let two = || web().publish(protocol::UDP, "0.0.0.0", 8081, TARGET);
    for mut world in [web(), two()] {
        world.half_open_capacity = 64;
        let spoofed = |number: u32| format!("203.0.113.{}:{}", number % 250, 1024 + number);
        for number in 0..1000 {
            ingress(&world, &packet(Udp, &spoofed(number), "192.0.2.1:8080"));
        }
        for number in 0..1000 {
            egress(&world, &packet(Udp, TARGET, &spoofed(number)));
        }
        assert_eq!(confirmed(&world), 0, "nobody has been shown to be there");
    }
}

/// From outside, but with sources in a bridge's subnet. Reverse path filtering that is loose, or off,
/// lets them pass.
#[test]
fn a_flood_that_claims_to_be_of_containers_begins_no_confirmed_flows() {
    let world = web();
    for number in 0..1000u32 {
        let spoofed = format!("172.17.{}.{}:40000", 1 + number / 250, 1 + number % 250);
        let (verdict, _) = ingress(&world, &packet(Tcp(SYN), &spoofed, "192.0.2.1:8080"));
        if verdict == Verdict::Translated {
            bridge_out(&world, &packet(Tcp(SYN), &spoofed, TARGET));
        }
    }
    assert_eq!(confirmed(&world), 0, "nobody has been shown to be there");
}

/// "A packet of who opened it may revive it, if it would begin the same flow now."
#[test]
fn a_flow_is_not_revived_on_a_port_that_is_reserved_by_now() {
    let out = packet(Udp, "172.17.0.2:5353", "203.0.113.5:53");
    let world = web();
    egress(&world, &out);
    world.pass(122);
    let world = world.publish(protocol::UDP, "0.0.0.0", 5353, "172.17.0.9:53");
    let (verdict, frame) = egress(&world, &out);
    assert!(
        verdict == Verdict::Drop(DropReason::FlowEnding) || source_port(&frame) != 5353,
        "5353 is published"
    );
}
