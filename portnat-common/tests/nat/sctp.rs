//! SCTP: ports, the CRC over the whole packet, and how an association begins and ends.

use portnat_common::nat::{Hook, Sight};
use portnat_common::wire::protocol;
use portnat_common::wire::sctp::chunk::{
    ABORT, COOKIE_ACK, COOKIE_ECHO, DATA, HEARTBEAT_ACK, INIT, INIT_ACK, SACK, SHUTDOWN,
    SHUTDOWN_ACK, SHUTDOWN_COMPLETE,
};
use portnat_common::{Bytes, DropReason, V4, Verdict, nat};

use crate::fixtures::{
    CLIENT, HOST, TARGET, becomes, egress, ingress, is_dropped, passes, source_port,
};
use crate::support::packet::Carries::{FragmentationNeeded, Sctp, SctpUnchecked};
use crate::support::packet::packet;
use crate::support::world::{World, World6};
use crate::v6;

const INSIDE: &str = "172.17.0.2:5353";
const OUTSIDE: &str = "192.0.2.1:5353";
const REMOTE: &str = "203.0.113.5:53";

fn association() -> World {
    World::new().publish(protocol::SCTP, "0.0.0.0", 8080, TARGET)
}

/// Runs a frame in from the uplink.
fn run(world: &World, frame: &mut [u8]) -> Verdict {
    let sight = Sight {
        hook: Hook::In,
        l3: 14,
        forwarded: true,
    };
    nat::process::<V4, _, _>(&mut Bytes(frame), sight, world)
}

#[test]
fn a_published_port_leads_to_its_target_and_the_answer_comes_from_the_host() {
    let world = association();
    let handshake = [(INIT, INIT_ACK), (COOKIE_ECHO, COOKIE_ACK), (DATA, SACK)];
    for (there, back) in handshake {
        for length in [0, 1, 2, 3, 7, 300, 1460] {
            let saying = |carries, src, dst| packet(carries, src, dst).saying(&vec![0xa5; length]);
            becomes(
                ingress(&world, &saying(Sctp(there), CLIENT, HOST)),
                &saying(Sctp(there), CLIENT, TARGET),
            );
            becomes(
                egress(&world, &saying(Sctp(back), TARGET, CLIENT)),
                &saying(Sctp(back), HOST, CLIENT),
            );
        }
    }
}

#[test]
fn a_published_port_and_masquerade_in_ipv6() {
    let world = World6::new().publish(protocol::SCTP, "::", 8080, v6::TARGET);
    becomes(
        v6::run(&world, Hook::In, &packet(Sctp(INIT), v6::CLIENT, v6::HOST)),
        &packet(Sctp(INIT), v6::CLIENT, v6::TARGET),
    );
    becomes(
        v6::run(
            &world,
            Hook::Outside,
            &packet(Sctp(INIT_ACK), v6::TARGET, v6::CLIENT),
        ),
        &packet(Sctp(INIT_ACK), v6::HOST, v6::CLIENT),
    );
    let (inside, outside) = ("[fd00:17::2]:5353", "[2001:db8:1::1]:5353");
    becomes(
        v6::run(
            &world,
            Hook::Outside,
            &packet(Sctp(INIT), inside, v6::CLIENT),
        ),
        &packet(Sctp(INIT), outside, v6::CLIENT),
    );
}

#[test]
fn what_a_container_sends_out_comes_from_the_host_and_answers_find_back() {
    let world = World::new();
    // The same port: addresses alone leave the CRC as it is.
    becomes(
        egress(&world, &packet(Sctp(INIT), INSIDE, REMOTE)),
        &packet(Sctp(INIT), OUTSIDE, REMOTE),
    );
    becomes(
        ingress(&world, &packet(Sctp(INIT_ACK), REMOTE, OUTSIDE)),
        &packet(Sctp(INIT_ACK), REMOTE, INSIDE),
    );
    // Another port.
    let there = |src: &str| packet(Sctp(INIT), src, REMOTE);
    let (verdict, frame) = egress(&world, &there("172.17.0.3:5353"));
    let port = source_port(&frame);
    assert_ne!(port, 5353);
    becomes((verdict, frame), &there(&format!("192.0.2.1:{port}")));
}

#[test]
fn a_published_port_is_not_lent() {
    let world = association();
    let (_, frame) = egress(&world, &packet(Sctp(INIT), "172.17.0.3:8080", REMOTE));
    assert_ne!(source_port(&frame), 8080);
}

#[test]
fn a_checksum_that_a_device_fills_in_is_left_alone_and_a_wrong_one_stays_wrong() {
    let world = association();
    becomes(
        ingress(&world, &packet(SctpUnchecked(INIT), CLIENT, HOST)),
        &packet(SctpUnchecked(INIT), CLIENT, TARGET),
    );
    let there = |dst| packet(Sctp(INIT), CLIENT, dst).frame();
    let mut frame = there(HOST);
    frame[42] ^= 1;
    let verdict = run(&world, &mut frame);
    assert_eq!(verdict, Verdict::Translated);
    let mut expected = there(TARGET);
    expected[42] ^= 1;
    assert_eq!(frame, expected);
}

#[test]
fn what_can_only_be_an_answer_opens_nothing() {
    let world = association();
    for chunk in [
        INIT_ACK,
        COOKIE_ACK,
        HEARTBEAT_ACK,
        ABORT,
        SHUTDOWN_ACK,
        SHUTDOWN_COMPLETE,
    ] {
        let inbound = packet(Sctp(chunk), CLIENT, HOST);
        passes(ingress(&world, &inbound), &inbound);
        is_dropped(
            egress(&world, &packet(Sctp(chunk), INSIDE, REMOTE)),
            DropReason::NoFlow,
        );
    }
    assert!(world.records().is_empty());
    // An association that is older than the datapath goes on.
    becomes(
        ingress(&world, &packet(Sctp(SACK), CLIENT, HOST)),
        &packet(Sctp(SACK), CLIENT, TARGET),
    );
}

/// A world with an association between a container and a remote, which lives 8000 s.
fn established() -> World {
    let world = World::new();
    for chunk in [INIT, COOKIE_ECHO] {
        egress(&world, &packet(Sctp(chunk), INSIDE, REMOTE));
        let answer = if chunk == INIT { INIT_ACK } else { COOKIE_ACK };
        ingress(&world, &packet(Sctp(answer), REMOTE, OUTSIDE));
    }
    world
}

#[test]
fn an_association_lives_by_what_both_sides_have_said() {
    let data = packet(Sctp(DATA), REMOTE, OUTSIDE);
    let finds_back = |world: &World| ingress(world, &data).0 == Verdict::Translated;

    let opening = World::new();
    egress(&opening, &packet(Sctp(INIT), INSIDE, REMOTE));
    opening.pass(61);
    assert!(!finds_back(&opening), "opening");

    let world = established();
    world.pass(7999);
    assert!(finds_back(&world), "established");
    world.pass(8001);
    assert!(!finds_back(&world), "silent for too long");

    for last in [ABORT, SHUTDOWN_COMPLETE] {
        let world = established();
        egress(&world, &packet(Sctp(SHUTDOWN), INSIDE, REMOTE));
        ingress(&world, &packet(Sctp(SHUTDOWN_ACK), REMOTE, OUTSIDE));
        world.pass(59);
        assert!(finds_back(&world), "until its last word an association");
        egress(&world, &packet(Sctp(last), INSIDE, REMOTE));
        world.pass(61);
        assert!(!finds_back(&world), "closing, {last}");
    }
}

#[test]
fn an_init_begins_an_ended_association_anew() {
    let world = established();
    egress(&world, &packet(Sctp(ABORT), INSIDE, REMOTE));
    world.pass(30);
    for (chunk, answer) in [(INIT, INIT_ACK), (COOKIE_ECHO, COOKIE_ACK)] {
        becomes(
            egress(&world, &packet(Sctp(chunk), INSIDE, REMOTE)),
            &packet(Sctp(chunk), OUTSIDE, REMOTE),
        );
        ingress(&world, &packet(Sctp(answer), REMOTE, OUTSIDE));
    }
    world.pass(7000);
    becomes(
        ingress(&world, &packet(Sctp(DATA), REMOTE, OUTSIDE)),
        &packet(Sctp(DATA), REMOTE, INSIDE),
    );
}

/// The CRC covers all of a packet, of which a fragment does not know the length.
#[test]
fn fragments_are_dropped() {
    let world = association();
    let first = |dst| packet(Sctp(DATA), CLIENT, dst).fragment(0, true);
    is_dropped(ingress(&world, &first(HOST)), DropReason::Fragment);
    ingress(&world, &packet(Sctp(DATA), CLIENT, HOST));
    is_dropped(ingress(&world, &first(HOST)), DropReason::Fragment);
    let out = packet(Sctp(DATA), INSIDE, REMOTE).fragment(0, true);
    is_dropped(egress(&world, &out), DropReason::Fragment);
    is_dropped(
        egress(&world, &out.fragment(9, false)),
        DropReason::Fragment,
    );
}

/// Of what an error quotes the CRC is left alone: the rest that it covers is not there.
#[test]
fn an_error_about_an_answer_reaches_the_target() {
    let world = association();
    ingress(&world, &packet(Sctp(INIT), CLIENT, HOST));
    let error = |src| {
        let quoted = packet(Sctp(DATA), src, CLIENT);
        packet(FragmentationNeeded, "198.51.100.254:0", src).saying(&quoted.network()[..28])
    };
    becomes(ingress(&world, &error(HOST)), &error(TARGET));
}

#[test]
fn less_than_a_header_and_a_chunk_is_malformed() {
    let world = association();
    let mut frame = packet(Sctp(INIT), CLIENT, HOST).saying(b"").frame();
    // An IP packet of 20 + 15 bytes.
    frame.truncate(frame.len() - 1);
    frame[17] -= 1;
    let before = frame.clone();
    let verdict = run(&world, &mut frame);
    assert_eq!((verdict, frame), (Verdict::Pass, before));
}
