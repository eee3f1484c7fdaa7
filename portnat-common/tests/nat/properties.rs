//! What holds for any packets in any order.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::support::packet::{Carries, Packet, packet};
use crate::support::world::World;
use portnat_common::nat::{Hook, Sight};
use portnat_common::ports::PortPool;
use portnat_common::wire::sctp::chunk;
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, Side, V4, Verdict, nat};
use proptest::prelude::*;

fn world() -> World {
    World::new()
        .publish(protocol::TCP, "0.0.0.0", 8080, "172.17.0.2:80")
        .publish(protocol::TCP, "0.0.0.0", 8081, "172.17.0.2:80")
        .publish(protocol::UDP, "192.0.2.1", 5353, "172.17.0.3:53")
        .publish(protocol::SCTP, "0.0.0.0", 8080, "172.17.0.2:80")
}

fn carries() -> impl Strategy<Value = Carries> {
    prop_oneof![
        (0u8..32).prop_map(Carries::Tcp),
        Just(Carries::Udp),
        Just(Carries::UdpUnchecked),
        (0u8..16).prop_map(Carries::Sctp),
        Just(Carries::EchoRequest),
        Just(Carries::EchoReply),
    ]
}

/// Many clients' worth of ports on few addresses, so that they collide.
fn outward() -> impl Strategy<Value = Packet> {
    let port = prop_oneof![Just(40000u16), Just(5353), Just(8080), 1u16..6];
    (carries(), 2u8..6, port, 1u8..3).prop_map(|(carries, container, port, remote)| {
        packet(
            carries,
            &format!("172.17.0.{container}:{port}"),
            &format!("203.0.113.{remote}:53"),
        )
    })
}

fn inward() -> impl Strategy<Value = Packet> {
    let port = prop_oneof![
        Just(8080u16),
        Just(8081),
        Just(5353),
        Just(80),
        1024u16..1030
    ];
    (carries(), 1u8..4, 1u16..4, port).prop_map(|(carries, client, client_port, port)| {
        packet(
            carries,
            &format!("203.0.113.{client}:{client_port}"),
            &format!("192.0.2.1:{port}"),
        )
    })
}

#[derive(Clone, Debug)]
enum Step {
    In(Packet),
    Out(Packet),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => inward().prop_map(Step::In),
        4 => outward().prop_map(Step::Out),
        1 => prop_oneof![Just(1u64), Just(61), Just(241), Just(9000)].prop_map(Step::Pass),
    ]
}

/// Runs a frame through the hook at `side`.
fn run(world: &World, side: Side, frame: &mut [u8]) -> Verdict {
    match side {
        Side::Ingress => nat::process::<V4, _, _>(
            &mut Bytes(frame),
            Sight {
                hook: Hook::In,
                l3: 14,
                forwarded: true,
            },
            world,
        ),
        Side::Egress => nat::process::<V4, _, _>(
            &mut Bytes(frame),
            Sight {
                hook: Hook::Outside,
                l3: 14,
                forwarded: true,
            },
            world,
        ),
    }
}

/// The packet that a frame is, said again by etherparse with fresh checksums.
fn rebuilt(packet: &Packet, frame: &[u8]) -> Packet {
    let address = |at: usize| -> [u8; 4] { frame[at..at + 4].try_into().expect("four bytes") };
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let (src, dst) = (Ipv4Addr::from(address(26)), Ipv4Addr::from(address(30)));
    let (src_port, dst_port) = match packet.carries {
        Carries::EchoRequest => (port(38), packet.dst.port()),
        Carries::EchoReply => (packet.src.port(), port(38)),
        _ => (port(34), port(36)),
    };
    let (src, dst) = ((src, src_port), (dst, dst_port));
    let socket = |(ip, port): (Ipv4Addr, u16)| std::net::SocketAddr::new(ip.into(), port);
    Packet {
        src: socket(src),
        dst: socket(dst),
        ..packet.clone()
    }
}

/// What answers a packet.
fn answer(packet: &Packet) -> Packet {
    let carries = match packet.carries {
        Carries::Tcp(flags) if flags & tcp::SYN != 0 => Carries::Tcp(tcp::SYN | tcp::ACK),
        Carries::Sctp(chunk::INIT) => Carries::Sctp(chunk::INIT_ACK),
        Carries::EchoRequest => Carries::EchoReply,
        Carries::EchoReply => Carries::EchoRequest,
        other => other,
    };
    Packet {
        src: packet.dst,
        dst: packet.src,
        carries,
        ..packet.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// No bytes make it panic, and what passes is not touched.
    #[test]
    fn any_bytes(
        mut frame in prop::collection::vec(any::<u8>(), 0..96),
        ihl in 0u8..16,
        number in prop_oneof![Just(1u8), Just(6), Just(17), Just(132), any::<u8>()],
        l3 in prop_oneof![Just(0usize), Just(14)],
    ) {
        let world = world();
        // Mostly IPv4 of a likely protocol, or it is refused at the first look.
        if frame.len() > l3 + 9 {
            frame[l3] = 0x40 | ihl;
            frame[l3 + 2] = 0;
            frame[l3 + 9] = number;
        }
        for ingress in [true, false] {
            let mut bytes = frame.clone();
            let verdict = if ingress {
                nat::process::<V4, _, _>(&mut Bytes(&mut bytes), Sight { hook: Hook::In, l3, forwarded: true }, &world)
            } else {
                nat::process::<V4, _, _>(&mut Bytes(&mut bytes), Sight { hook: Hook::Outside, l3, forwarded: true }, &world)
            };
            if verdict == Verdict::Pass {
                prop_assert_eq!(&bytes, &frame);
            }
        }
    }

    /// Whatever comes: checksums are what a full computation gives, the answer to a translated
    /// packet goes back to where it came from, no reserved port is handed out, every half of a flow
    /// has its twin, and no two flows look alike to an outsider.
    #[test]
    fn any_packets(steps in prop::collection::vec(step(), 1..64)) {
        let world = world();
        let pool = PortPool::outside((32768, 60999));
        for step in steps {
            let (side, packet) = match step {
                Step::In(packet) => (Side::Ingress, packet),
                Step::Out(packet) => (Side::Egress, packet),
                Step::Pass(seconds) => {
                    world.pass(seconds);
                    continue;
                }
            };
            let mut frame = packet.frame();
            if run(&world, side, &mut frame) != Verdict::Translated {
                continue;
            }
            let translated = rebuilt(&packet, &frame);
            prop_assert_eq!(&frame, &translated.frame(), "checksums of {:?}", translated);
            if side == Side::Egress && translated.src.port() != packet.src.port() {
                let port = translated.src.port();
                prop_assert!(pool.contains(port) || port == 8080 || port == 8081 || port == 5353
                    || port == 80 || port == 53, "{port}");
            }

            // reverse(translate(p)) = p
            let back = answer(&translated);
            let mut frame = back.frame();
            let verdict = run(&world, side.other(), &mut frame);
            prop_assert_eq!(verdict, Verdict::Translated, "answer {:?}", back);
            prop_assert_eq!(frame, answer(&packet).frame());

            let records = world.records();
            let mut outside = BTreeMap::new();
            for (key, flow) in &records {
                let twin = flow.twin(key);
                prop_assert!(records.contains_key(&twin), "{:?} has no twin", key);
                prop_assert_eq!(records[&twin].twin(&twin), *key);
                // As the outsider sees it: what leaves, or what comes in before translation.
                if key.side == Side::Ingress {
                    let seen = (key.src, key.src_port, key.dst, key.dst_port, key.protocol);
                    prop_assert_eq!(outside.insert(seen, key), None, "two flows look alike");
                }
            }
        }
    }
}
