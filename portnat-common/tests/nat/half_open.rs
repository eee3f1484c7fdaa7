//! What outsiders open is half-open until they have shown that they get the answers.

use portnat_common::conntrack::State;
use portnat_common::wire::{protocol, tcp};
use portnat_common::{DropReason, Table, Total};

use crate::fixtures::{
    ACK, CLIENT, HOST, SYN, SYN_ACK, TARGET, becomes, egress, ingress, is_dropped, web,
};
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
