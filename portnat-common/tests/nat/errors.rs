//! ICMP errors about translated packets.

use portnat_common::nat::{Hook, Sight};
use portnat_common::wire::tcp;
use portnat_common::{Bytes, DropReason, V4, Verdict, nat};

use crate::fixtures::{CLIENT, HOST, TARGET, becomes, egress, ingress, is_dropped, passes, web};
use crate::hairpin::bridge_out;
use crate::support::packet::Carries::{EchoRequest, FragmentationNeeded, Tcp, Udp, UdpUnchecked};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;

const ACK: u8 = tcp::ACK;
const REMOTE: &str = "203.0.113.5:53";
const ROUTER: &str = "198.51.100.254:0";

/// An error of `router` to the sender of `quoted`, with as much of it as the router cares to quote.
fn error(router: &str, quoted: &Packet, bytes: usize) -> Packet {
    let mut network = quoted.network();
    network.truncate(bytes);
    let dst = quoted.src.to_string();
    packet(FragmentationNeeded, router, &dst).saying(&network)
}

/// A world in which the client has spoken to the published port.
fn published() -> World {
    let world = web();
    for carries in [Tcp(tcp::SYN), Udp] {
        assert_eq!(
            ingress(&world, &packet(carries, CLIENT, HOST)).0,
            Verdict::Translated
        );
    }
    world
}

#[test]
fn an_error_about_an_answer_reaches_the_target() {
    let world = published();
    let before = world.records();
    // 20 + 8 bytes are the least that a router quotes (RFC 792).
    for (carries, bytes) in [(Tcp(ACK), 28), (Tcp(ACK), 36), (UdpUnchecked, 99)] {
        for options in [0, 1, 10] {
            let quoted = |src| packet(carries, src, CLIENT).with_options(options);
            let bytes = bytes + 4 * options;
            becomes(
                ingress(&world, &error(ROUTER, &quoted(HOST), bytes)),
                &error(ROUTER, &quoted(TARGET), bytes),
            );
        }
    }
    assert_eq!(
        world.records(),
        before,
        "an error counts and renews nothing"
    );
}

#[test]
fn an_error_of_the_target_comes_from_the_host() {
    let world = published();
    let quoted = |dst| packet(Tcp(ACK), CLIENT, dst);
    for bytes in [28, 36] {
        becomes(
            egress(&world, &error(TARGET, &quoted(TARGET), bytes)),
            &error(HOST, &quoted(HOST), bytes),
        );
    }
}

#[test]
fn an_error_of_the_host_itself_keeps_its_source() {
    let world = published();
    let quoted = |dst| packet(Tcp(ACK), CLIENT, dst);
    let mut frame = error("192.0.2.1:0", &quoted(TARGET), 28).frame();
    let verdict = nat::process::<V4, _, _>(
        &mut Bytes(&mut frame),
        Sight {
            hook: Hook::Outside,
            l3: 14,
            forwarded: false,
        },
        &world,
    );
    becomes((verdict, frame), &error("192.0.2.1:0", &quoted(HOST), 28));
}

#[test]
fn an_error_about_a_masqueraded_packet_reaches_the_container() {
    for carries in [Tcp(tcp::SYN), UdpUnchecked] {
        let world = web();
        let quoted = |src| packet(carries, src, REMOTE);
        becomes(
            egress(&world, &quoted("172.17.0.2:5353")),
            &quoted("192.0.2.1:5353"),
        );
        becomes(
            ingress(&world, &error(ROUTER, &quoted("192.0.2.1:5353"), 28)),
            &error(ROUTER, &quoted("172.17.0.2:5353"), 28),
        );
    }
    let world = web();
    let quoted = |src| packet(EchoRequest, src, "203.0.113.5:0");
    becomes(
        egress(&world, &quoted("172.17.0.2:7000")),
        &quoted("192.0.2.1:7000"),
    );
    // The quoted query's own checksum is left alone (RFC 5508 REQ-3).
    let mut expected = error(ROUTER, &quoted("172.17.0.2:7000"), 28);
    expected.payload[22..24].copy_from_slice(&quoted("192.0.2.1:7000").network()[22..24]);
    becomes(
        ingress(&world, &error(ROUTER, &quoted("192.0.2.1:7000"), 28)),
        &expected,
    );
}

#[test]
fn an_error_about_what_is_not_ours_passes_inwards_and_stays_inside_outwards() {
    let world = published();
    for stray in [
        error(ROUTER, &packet(Tcp(ACK), "192.0.2.1:9", CLIENT), 28),
        error(
            ROUTER,
            &packet(Tcp(ACK), HOST, CLIENT).fragment(9, true),
            28,
        ),
        error(ROUTER, &packet(Tcp(ACK), HOST, CLIENT), 27),
        // To another than the quoted packet's sender.
        Packet {
            dst: "192.0.2.9:0".parse().expect("an address"),
            ..error(ROUTER, &packet(Tcp(ACK), HOST, CLIENT), 28)
        },
    ] {
        passes(ingress(&world, &stray), &stray);
    }
    let out = error(
        "172.17.0.9:0",
        &packet(Tcp(ACK), CLIENT, "172.17.0.9:81"),
        28,
    );
    is_dropped(egress(&world, &out), DropReason::NoFlow);
}

#[test]
fn an_error_that_is_cut_anywhere_is_never_altered_by_half() {
    let whole = error(ROUTER, &packet(Tcp(ACK), HOST, CLIENT), 28).frame();
    for length in 0..whole.len() {
        let world = published();
        let mut frame = whole[..length].to_vec();
        let verdict = nat::process::<V4, _, _>(
            &mut Bytes(&mut frame),
            Sight {
                hook: Hook::In,
                l3: 14,
                forwarded: true,
            },
            &world,
        );
        assert_eq!((verdict, &frame[..]), (Verdict::Pass, &whole[..length]));
    }
}

#[test]
fn an_error_from_outside_reaches_the_container_by_the_bridge() {
    let world = web();
    let quoted = |src| packet(UdpUnchecked, src, REMOTE);
    egress(&world, &quoted("172.17.0.2:5353"));
    let translated = error(ROUTER, &quoted("172.17.0.2:5353"), 28);
    becomes(
        ingress(&world, &error(ROUTER, &quoted("192.0.2.1:5353"), 28)),
        &translated,
    );
    passes(bridge_out(&world, &translated), &translated);
    let stray = error(ROUTER, &quoted("172.17.0.2:9"), 28);
    is_dropped(ingress(&world, &stray), DropReason::DirectAccess);
}
