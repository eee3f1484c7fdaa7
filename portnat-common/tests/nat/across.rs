//! IPv6 clients of IPv4 targets.

use std::net::Ipv4Addr;

use portnat_common::flow::OTHER_FAMILY;
use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{DropReason, Table, Tables as _, Tuple, V4, V6, Verdict};

use crate::carrier::{BRIDGE_MTU, Carrier, UPLINK_MTU};
use crate::fixtures::{ACK, SYN, SYN_ACK};
use crate::support::packet::Carries::{self, FragmentationNeeded, Sctp, Tcp, Udp, UdpUnchecked};
use crate::support::packet::{Packet, packet};
use crate::support::racing::Racing;
use crate::support::world::{World, World6};

const LOOPBACK: u32 = 1;
const CLIENT: &str = "[2001:db8:1::10]:5000";
const HOST: &str = "[2001:db8:1::1]:8080";
const GATEWAY: &str = "172.17.0.1:5000";
const TARGET: &str = "172.17.0.2:80";

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    /// It goes by the interface with this index.
    By(u32),
    Nowhere(Verdict),
}

impl Went {
    fn of(verdict: Verdict, carrier: &Carrier) -> Self {
        match verdict {
            Verdict::Redirect => Went::By(carrier.by),
            verdict => Went::Nowhere(verdict),
        }
    }
}

fn world(number: u8) -> World6 {
    World6::new().publish(number, "::", 8080, TARGET)
}

fn sight(hook: Hook) -> Sight {
    Sight {
        hook,
        l3: 14,
        forwarded: true,
    }
}

/// An IPv6 packet, and what becomes of it.
fn ask(world: &World6, (hook, interface): (Hook, u32), packet: &Packet) -> (Went, Vec<u8>) {
    world.interface.set(interface);
    let mut carrier = Carrier::of(packet.frame());
    let mut verdict = nat::process::<V6, _, _>(&mut carrier, sight(hook), world);
    if verdict == Verdict::Convert {
        assert_eq!(carrier.frame, packet.frame(), "not touched yet");
        verdict = nat::convert_v6(&mut carrier, sight(hook), world);
    }
    (Went::of(verdict, &carrier), carrier.frame)
}

/// An IPv4 packet at a bridge's port, and what becomes of it; `None` if it is not ours.
fn answer(world: &World6, packet: &Packet) -> (Option<Went>, Vec<u8>) {
    world.interface.set(World::PORT);
    let mut carrier = Carrier::of(packet.frame());
    let mut verdict = nat::answer(&carrier, sight(Hook::In), world);
    if verdict == Some(Verdict::Convert) {
        verdict = Some(nat::convert_v4(&mut carrier, sight(Hook::In), world));
    }
    let went = verdict.map(|verdict| Went::of(verdict, &carrier));
    (went, carrier.frame)
}

/// The frame as it would be after a hop, with the identification 0 where it is any number.
fn hopped(mut frame: Vec<u8>) -> Vec<u8> {
    let (ttl, v4) = if frame[12..14] == [8, 0] {
        (22, true)
    } else {
        (21, false)
    };
    frame[ttl] -= 1;
    if v4 {
        frame[18..20].fill(0);
        frame[24..26].fill(0);
        let sum = portnat_common::checksum::checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_ne_bytes());
    }
    frame
}

/// What came out, with the identification 0; its checksum must have been right.
fn normal(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[12..14] == [8, 0] {
        assert_eq!(portnat_common::checksum::checksum(&frame[14..34]), 0);
        frame[22] += 1;
        return hopped(frame);
    }
    frame
}

fn there_and_back(
    world: &World6,
    at: (Hook, u32),
    (client, host): (&str, &str),
    (there, back): (Carries, Carries),
) {
    let (verdict, frame) = ask(world, at, &packet(there, client, host));
    assert_eq!(verdict, Went::By(World::BRIDGE));
    assert_eq!(
        normal(frame),
        hopped(packet(there, GATEWAY, TARGET).frame())
    );
    let (verdict, frame) = answer(world, &packet(back, TARGET, GATEWAY));
    assert_eq!(verdict, Some(Went::By(at.1)));
    assert_eq!(frame, hopped(packet(back, host, client).frame()));
}

#[test]
fn there_and_back_from_outside_and_from_the_host() {
    for (number, there, back) in [
        (protocol::TCP, Tcp(SYN), Tcp(SYN_ACK)),
        (protocol::UDP, Udp, Udp),
        (protocol::SCTP, Sctp(1), Sctp(2)),
    ] {
        for (at, client, host) in [
            ((Hook::In, World::UPLINK), CLIENT, HOST),
            ((Hook::Local, LOOPBACK), "[::1]:5000", "[::1]:8080"),
        ] {
            let world = world(number);
            for _ in 0..2 {
                there_and_back(&world, at, (client, host), (there, back));
            }
            let records = world.records();
            assert_eq!(records.len(), 2);
            let across = |record: &portnat_common::FlowRecord| record.flags & OTHER_FAMILY != 0;
            assert!(records.values().all(across));
        }
    }
}

/// A client from outside has to acknowledge, as any.
#[test]
fn a_flow_is_confirmed_and_swept_like_any() {
    let world = world(protocol::TCP);
    let at = (Hook::In, World::UPLINK);
    there_and_back(&world, at, (CLIENT, HOST), (Tcp(SYN), Tcp(SYN_ACK)));
    assert_eq!(world.records_in(Table::HalfOpen).len(), 2);
    there_and_back(&world, at, (CLIENT, HOST), (Tcp(ACK), Tcp(ACK)));
    assert_eq!(world.records_in(Table::Confirmed).len(), 2);
    assert_eq!(world.records_in(Table::HalfOpen).len(), 0);
    there_and_back(&world, at, (CLIENT, HOST), (Tcp(tcp::RST), Tcp(ACK)));
    world.pass(242);
    world.sweep();
    assert_eq!(world.records().len(), 0);
    let total = world.total(1);
    assert_eq!((total.packets_in, total.packets_out), (3, 3));
    world.assert_tidy("swept");
}

/// Where IPv4's tables have the client's port already it gets another, and not one that they have too.
#[test]
fn a_port_that_a_flow_of_ipv4_has_is_not_given_again() {
    let mut taken = vec![5000];
    for _ in 0..3 {
        let world = world(protocol::UDP);
        world
            .across
            .borrow_mut()
            .extend(taken.iter().map(|port| Tuple {
                src: Ipv4Addr::new(172, 17, 0, 2).to_ipv6_mapped().into(),
                dst: World::GATEWAY.to_ipv6_mapped().into(),
                src_port: 80,
                dst_port: *port,
                protocol: protocol::UDP,
                ..Tuple::default()
            }));
        let request = packet(Udp, CLIENT, HOST);
        let (verdict, frame) = ask(&world, (Hook::In, World::UPLINK), &request);
        assert_eq!(verdict, Went::By(World::BRIDGE));
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        assert!(!taken.contains(&port), "{port} again");
        let back = packet(Udp, TARGET, &format!("172.17.0.1:{port}"));
        let (verdict, frame) = answer(&world, &back);
        assert_eq!(verdict, Some(Went::By(World::UPLINK)));
        assert_eq!(frame, hopped(packet(Udp, HOST, CLIENT).frame()));
        // The dice fall the same way in the next world.
        taken.push(port);
    }
}

#[test]
fn what_cannot_be_converted_is_dropped_and_says_why() {
    let world = world(protocol::UDP);
    let at = (Hook::In, World::UPLINK);
    there_and_back(&world, at, (CLIENT, HOST), (Udp, Udp));
    let request = || packet(Udp, CLIENT, HOST);
    let reply = || packet(Udp, TARGET, GATEWAY);
    let dropped = |reason| Went::Nowhere(Verdict::Drop(reason));
    let table = [
        (request().with_options(1), DropReason::Untranslatable),
        (request().fragment(0, true), DropReason::Fragment),
        (reply().with_options(1), DropReason::Untranslatable),
        (reply().fragment(0, true), DropReason::Fragment),
        (
            packet(UdpUnchecked, TARGET, GATEWAY),
            DropReason::NoChecksum,
        ),
    ];
    for (packet, reason) in table {
        let verdict = if packet.src.is_ipv6() {
            ask(&world, at, &packet).0
        } else {
            answer(&world, &packet).0.expect("it is ours")
        };
        assert_eq!(verdict, dropped(reason), "{packet:?}");
    }
    // The last hop.
    let mut frame = Carrier::of(request().frame());
    frame.frame[21] = 1;
    let verdict = nat::convert_v6(&mut frame, sight(Hook::In), &world);
    assert_eq!(verdict, Verdict::Drop(DropReason::HopLimit));
    let mut frame = Carrier::of(reply().frame());
    frame.frame[22] = 1;
    let verdict = nat::convert_v4(&mut frame, sight(Hook::In), &world);
    assert_eq!(verdict, Verdict::Drop(DropReason::HopLimit));
}

/// No packet may have an IPv4-mapped address, least of all one by which answers are found.
#[test]
fn nobody_speaks_as_the_target_over_ipv6() {
    let world = world(protocol::UDP);
    let at = (Hook::In, World::UPLINK);
    there_and_back(&world, at, (CLIENT, HOST), (Udp, Udp));
    let before = world.records();
    let forged = packet(Udp, "[::ffff:172.17.0.2]:80", "[::ffff:172.17.0.1]:5000");
    let (verdict, frame) = ask(&world, at, &forged);
    assert_eq!(
        (verdict, frame),
        (Went::Nowhere(Verdict::Pass), forged.frame())
    );
    assert_eq!(world.records(), before);
}

/// What is about a stranger's packets is not ours.
#[test]
fn answers_of_others_are_left_alone() {
    let world = world(protocol::UDP);
    let at = (Hook::In, World::UPLINK);
    there_and_back(&world, at, (CLIENT, HOST), (Udp, Udp));
    for stranger in [
        packet(Udp, TARGET, "172.17.0.1:5001"),
        packet(Udp, "172.17.0.3:80", GATEWAY),
        packet(Tcp(ACK), TARGET, GATEWAY),
    ] {
        let (verdict, frame) = answer(&world, &stranger);
        assert_eq!((verdict, frame), (None, stranger.frame()));
    }
}

/// "Too big", about the target's packet, and "fragmentation needed", about the client's.
#[test]
fn errors_quote_what_their_receiver_has_sent() {
    let world = world(protocol::UDP);
    let at = (Hook::In, World::UPLINK);
    there_and_back(&world, at, (CLIENT, HOST), (Udp, Udp));

    let sent = packet(Udp, HOST, CLIENT).network();
    let error = packet(
        FragmentationNeeded,
        "[2001:db8:9::1]:0",
        "[2001:db8:1::1]:0",
    );
    let mut frame = Carrier::of(error.saying(&sent).frame());
    let verdict = nat::error_v6(&mut frame, sight(Hook::In), &world);
    assert_eq!(
        (verdict, frame.by),
        (Some(Verdict::Redirect), World::BRIDGE)
    );
    assert_eq!(frame.frame.len(), 14 + 20 + 8 + 20 + 8);
    assert_eq!(frame.frame[12..15], [8, 0, 0x45]);
    assert_eq!(frame.frame[26..34], [172, 17, 0, 1, 172, 17, 0, 2]);
    // MTU 1380.
    assert_eq!(frame.frame[34..36], [3, 4]);
    assert_eq!(frame.frame[38..42], [0, 0, 5, 100]);
    let as_sent = packet(Udp, TARGET, GATEWAY).network();
    assert_eq!(frame.frame[54..66], as_sent[12..24], "addresses and ports");

    let sent = packet(Udp, GATEWAY, TARGET).network();
    let error = packet(FragmentationNeeded, "172.17.0.2:0", "172.17.0.1:0");
    let mut frame = Carrier::of(error.saying(&sent).frame());
    let verdict = nat::error_v4(&mut frame, sight(Hook::In), &world);
    assert_eq!(
        (verdict, frame.by),
        (Some(Verdict::Redirect), World::UPLINK)
    );
    assert_eq!(frame.frame.len(), 14 + 40 + 8 + 40 + 8);
    assert_eq!(frame.frame[12..15], [0x86, 0xdd, 0x60]);
    // MTU 1420.
    assert_eq!(frame.frame[54..56], [2, 0]);
    assert_eq!(frame.frame[58..62], [0, 0, 5, 140]);
    let as_sent = packet(Udp, CLIENT, HOST).network();
    assert_eq!(frame.frame[70..106], as_sent[8..44], "addresses and ports");
    assert_eq!(frame.frame[22..38], as_sent[24..40], "from the host");
    assert_eq!(frame.frame[38..54], as_sent[8..24], "to the client");

    // About nobody's packet.
    let sent = packet(Udp, GATEWAY, "172.17.0.3:80").network();
    let error = packet(FragmentationNeeded, "172.17.0.2:0", "172.17.0.1:0").saying(&sent);
    let mut frame = Carrier::of(error.frame());
    assert_eq!(nat::error_v4(&mut frame, sight(Hook::In), &world), None);
    assert_eq!(frame.frame, error.frame());
}

/// A target behind no bridge that is known cannot be reached this way.
#[test]
fn without_a_bridge_there_is_no_flow() {
    let world = World6::new().publish(protocol::UDP, "::", 8080, "10.9.8.7:80");
    let (verdict, _) = ask(
        &world,
        (Hook::In, World::UPLINK),
        &packet(Udp, CLIENT, HOST),
    );
    assert_eq!(verdict, Went::Nowhere(Verdict::Pass));
    assert_eq!(world.records().len(), 0);
    assert!(world.settings().is_some());
}

/// The host opens a flow of IPv4 while another CPU opens one of both families that wants the same
/// port of the bridge's address: whenever that is, one of them gives way.
#[test]
fn two_families_that_open_at_once_never_share_a_port() {
    let frame = packet(Udp, "192.0.2.1:5000", "192.0.2.1:8080").frame();
    let key = Tuple {
        src: Ipv4Addr::new(172, 17, 0, 2).into(),
        dst: World::GATEWAY.into(),
        src_port: 80,
        dst_port: 5000,
        protocol: protocol::UDP,
        ..Tuple::default()
    };
    let mut turns = 0;
    loop {
        let world = World::new().publish(protocol::UDP, "0.0.0.0", 8080, TARGET);
        world.interface.set(LOOPBACK);
        let other = || {
            world.across.borrow_mut().insert(key);
            if world.records().contains_key(&key) {
                world.across.borrow_mut().remove(&key);
            }
        };
        let racing = Racing::new(&world, turns, other);
        let mut carrier = Carrier::of(frame.clone());
        let verdict = nat::process::<V4, _, _>(&mut carrier, sight(Hook::Local), &racing);
        if !racing.took_place() {
            break;
        }
        let records = world.records();
        let (ours, theirs) = (
            records.contains_key(&key),
            world.across.borrow().contains(&key),
        );
        assert!(!(ours && theirs), "before access {turns}");
        let expected = match records.len() {
            0 => Went::Nowhere(Verdict::Drop(DropReason::FlowEnding)),
            2 => Went::By(World::BRIDGE),
            halves => panic!("{halves} entries are left, before access {turns}"),
        };
        assert_eq!(
            Went::of(verdict, &carrier),
            expected,
            "before access {turns}"
        );
        turns += 1;
    }
    assert!(turns > 10);
}

/// IPv6's header is longer: what the target can send and the client's link cannot take.
#[test]
fn a_target_is_told_what_fits() {
    let world = world(protocol::UDP);
    let at = (Hook::In, World::UPLINK);
    there_and_back(&world, at, (CLIENT, HOST), (Udp, Udp));
    let reply = |length: usize| packet(Udp, TARGET, GATEWAY).saying(&vec![0; length]);
    let (verdict, frame) = answer(&world, &reply(UPLINK_MTU - 48));
    assert_eq!(verdict, Some(Went::By(World::UPLINK)));
    assert_eq!(frame.len(), 14 + UPLINK_MTU);

    let mut carrier = Carrier::of(reply(UPLINK_MTU - 48 + 1).frame());
    let verdict = nat::convert_v4(&mut carrier, sight(Hook::In), &world);
    assert_eq!(verdict, Verdict::Drop(DropReason::TooBig));
    assert_eq!(carrier.at_most, UPLINK_MTU - 20);
    assert_eq!(carrier.frame, reply(UPLINK_MTU - 48 + 1).frame());
}

/// The other way round a client may send more than its target's link takes.
#[test]
fn a_client_is_told_what_fits() {
    let world = world(protocol::UDP);
    let request = |length: usize| packet(Udp, CLIENT, HOST).saying(&vec![0; length]);
    let at = (Hook::In, World::UPLINK);
    let (verdict, frame) = ask(&world, at, &request(BRIDGE_MTU - 28));
    assert_eq!(verdict, Went::By(World::BRIDGE));
    assert_eq!(frame.len(), 14 + BRIDGE_MTU);
    let (verdict, frame) = ask(&world, at, &request(BRIDGE_MTU - 28 + 1));
    assert_eq!(verdict, Went::Nowhere(Verdict::Drop(DropReason::TooBig)));
    assert_eq!(frame, request(BRIDGE_MTU - 28 + 1).frame());
}
