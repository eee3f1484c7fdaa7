//! The loaded programs against the native function: the same packets in the same order must come
//! out the same, byte for byte, and leave the same flows.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use portnat::datapath::FlowTable;
use portnat::spec::Protocol;
use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::sctp::chunk;
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, FlowRecord, Verdict};
use proptest::prelude::*;

use crate::support::packet::{Carries, Packet, packet};
use crate::support::world::{Hosts, TestFamily, World, World6};
use crate::{Host, NEXT, REDIRECT, SHOT};

/// A packet and the hook that it comes to.
#[derive(Clone, Debug)]
struct Step {
    inbound: bool,
    packet: Packet,
}

fn carries() -> impl Strategy<Value = Carries> {
    let flags = prop::sample::select(vec![
        tcp::SYN,
        tcp::SYN | tcp::ACK,
        tcp::ACK,
        tcp::FIN | tcp::ACK,
        tcp::RST,
        tcp::RST | tcp::ACK,
    ]);
    let chunks = prop::sample::select(vec![
        chunk::INIT,
        chunk::INIT_ACK,
        chunk::COOKIE_ECHO,
        chunk::COOKIE_ACK,
        chunk::DATA,
        chunk::ABORT,
        chunk::SHUTDOWN_COMPLETE,
        0xc1,
    ]);
    prop_oneof![
        4 => flags.prop_map(Carries::Tcp),
        3 => Just(Carries::Udp),
        1 => Just(Carries::UdpUnchecked),
        3 => chunks.prop_map(Carries::Sctp),
        1 => Just(Carries::SctpUnchecked(chunk::DATA)),
        1 => Just(Carries::EchoRequest),
        1 => Just(Carries::EchoReply),
        1 => Just(Carries::Protocol(47)),
    ]
}

/// Few outsiders, containers and ports, so that packets meet flows. Each container has ports of its
/// own in the pool, so that masquerade keeps them and dice are rarely thrown.
fn step() -> impl Strategy<Value = Step> {
    let outside = prop::sample::select(vec!["198.51.100.7", "203.0.113.5"]);
    let outside_port = prop::sample::select(vec![40000, 53]);
    let inside = prop_oneof![
        Just("172.17.0.2:8000"),
        Just("172.17.0.2:5353"),
        Just("172.17.0.3:5354"),
        Just("10.0.0.9:5355"),
    ];
    let host = prop_oneof![
        Just("192.0.2.1:8080"),
        Just("192.0.2.1:80"),
        Just("192.0.2.1:5353"),
        Just("192.0.2.1:5354"),
        Just("203.0.113.99:8080"),
    ];
    let shape = (
        0usize..=10,
        prop_oneof![4 => Just((0, false)), 1 => Just((0, true)), 1 => Just((9, false))],
    );
    let payload = prop::collection::vec(any::<u8>(), 1..64);
    (
        any::<bool>(),
        carries(),
        outside,
        outside_port,
        inside,
        host,
        shape,
        payload,
    )
        .prop_map(
            |(inbound, carries, outside, port, inside, host, (options, fragment), payload)| {
                let outside = format!("{outside}:{port}");
                let packet = if inbound {
                    packet(carries, &outside, host)
                } else {
                    packet(carries, inside, &outside)
                };
                let packet = packet
                    .with_options(options)
                    .fragment(fragment.0, fragment.1)
                    .saying(&payload);
                Step { inbound, packet }
            },
        )
}

fn verdict_of(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::Translated => NEXT,
        Verdict::Redirect(_) | Verdict::Convert => REDIRECT,
        Verdict::Drop(_) => SHOT,
    }
}

/// The IPv6 address that stands where an IPv4 address stood.
fn in_ipv6(address: SocketAddr) -> SocketAddr {
    let IpAddr::V4(ip) = address.ip() else {
        return address;
    };
    let [.., number] = ip.octets();
    let network = match ip.octets() {
        [172, 17, ..] => "fd00:17::",
        [192, ..] => "2001:db8:1::",
        [198, ..] => "2001:db8:9::",
        [203, ..] => "2001:db8:5::",
        _ => "2001:db8:a::",
    };
    let mut segments = network.parse::<Ipv6Addr>().expect("an address").segments();
    segments[7] = number.into();
    SocketAddr::new(Ipv6Addr::from(segments).into(), address.port())
}

/// Runs the steps through both and compares all that comes out, and the flows that are left.
fn compare<F>(steps: &[Step], world: &Hosts<F>, host: &mut Host) -> Result<(), TestCaseError>
where
    F: TestFamily<Address: FlowTable>,
{
    for Step { inbound, packet } in steps {
        let frame = packet.frame();
        let mut native = frame.clone();
        let hook = if *inbound { Hook::In } else { Hook::Outside };
        let sight = Sight {
            hook,
            l3: 14,
            forwarded: true,
        };
        let verdict = nat::process::<F, _, _>(&mut Bytes(&mut native), sight, world);
        let loaded = if *inbound {
            host.ingress(&frame)
        } else {
            host.egress(&frame)
        };
        prop_assert_eq!(verdict_of(verdict), loaded.0, "{:?}: {:?}", packet, verdict);
        if world.has_rolled_dice() {
            // A conflict over a source port: from here on the kernel's dice say otherwise.
            return Ok(());
        }
        // Of a packet that is dropped nobody sees how far it was translated.
        if loaded.0 == NEXT {
            prop_assert_eq!(native, loaded.1, "{:?}: {:?}", packet, verdict);
        }
    }
    let counted = |(key, flow): (_, FlowRecord)| {
        (
            key,
            flow.translation,
            flow.seen,
            flow.packets,
            flow.bytes,
            flow.port_id,
            flow.flags,
        )
    };
    let native: Vec<_> = world.records().into_iter().map(counted).collect();
    let flows = host.datapath.flows::<F::Address>().expect("reading flows");
    let loaded: Vec<_> = flows.into_iter().map(counted).collect();
    prop_assert_eq!(native, loaded);
    Ok(())
}

proptest! {
    // Each case loads the programs anew, for empty tables.
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_loaded_programs_do_what_the_native_function_says_in_ipv4(
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let world = World::new()
            .publish(protocol::TCP, "0.0.0.0", 8080, "172.17.0.2:8000")
            .publish(protocol::UDP, "192.0.2.1", 8080, "172.17.0.2:8000")
            .publish(protocol::SCTP, "0.0.0.0", 8080, "172.17.0.2:8000");
        let mut host = Host::new()
            .publish(Protocol::Tcp, "0.0.0.0", 8080, "172.17.0.2:8000")
            .publish(Protocol::Udp, "192.0.2.1", 8080, "172.17.0.2:8000")
            .publish(Protocol::Sctp, "0.0.0.0", 8080, "172.17.0.2:8000");
        compare(&steps, &world, &mut host)?;
    }

    #[test]
    fn the_loaded_programs_do_what_the_native_function_says_in_ipv6(
        mut steps in prop::collection::vec(step(), 1..160),
    ) {
        for Step { packet, .. } in &mut steps {
            (packet.src, packet.dst) = (in_ipv6(packet.src), in_ipv6(packet.dst));
        }
        let world = World6::new()
            .publish(protocol::TCP, "::", 8080, "[fd00:17::2]:8000")
            .publish(protocol::UDP, "2001:db8:1::1", 8080, "[fd00:17::2]:8000")
            .publish(protocol::SCTP, "::", 8080, "[fd00:17::2]:8000");
        let mut host = Host::new()
            .publish(Protocol::Tcp, "::", 8080, "[fd00:17::2]:8000")
            .publish(Protocol::Udp, "2001:db8:1::1", 8080, "[fd00:17::2]:8000")
            .publish(Protocol::Sctp, "::", 8080, "[fd00:17::2]:8000");
        compare(&steps, &world, &mut host)?;
    }
}
