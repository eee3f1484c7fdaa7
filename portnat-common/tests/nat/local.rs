//! Both ends are rewritten: what the host asks of itself, and clients with an address of their link.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{DropReason, Family, Table, Tables, V4, V6, Verdict};

use crate::carrier::{BRIDGE_MTU, Carrier};
use crate::fixtures::{ACK, SYN, SYN_ACK, source_port};
use crate::support::packet::Carries::{self, FragmentationNeeded, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::{Hosts, TestFamily, World, World6};

/// The loopback interface.
const LOOPBACK: u32 = 1;
const PORT: u32 = World::PORT;

fn run<F: TestFamily>(
    world: &Hosts<F>,
    hook: Hook,
    interface: u32,
    packet: &Packet,
) -> (Verdict, u32, Packet)
where
    Hosts<F>: Tables<F>,
{
    world.interface.set(interface);
    let sight = Sight {
        hook,
        l3: 14,
        forwarded: true,
    };
    let mut carrier = Carrier::of(packet.frame());
    let verdict = nat::process::<F, _, _>(&mut carrier, sight, world);
    (verdict, carrier.by, rebuilt(packet, &carrier.frame))
}

/// The packet that a frame is, said again with fresh checksums; a frame must be just that.
fn rebuilt(packet: &Packet, frame: &[u8]) -> Packet {
    let address = |at: usize| -> std::net::IpAddr {
        if packet.src.is_ipv4() {
            let octets: [u8; 4] = frame[at..at + 4].try_into().expect("four bytes");
            octets.into()
        } else {
            let octets: [u8; 16] = frame[at..at + 16].try_into().expect("sixteen bytes");
            octets.into()
        }
    };
    let (src, dst, l4) = if packet.src.is_ipv4() {
        (26, 30, 34)
    } else {
        (22, 38, 54)
    };
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let ports = match packet.carries {
        FragmentationNeeded => (0, 0),
        _ => (port(l4), port(l4 + 2)),
    };
    let rebuilt = Packet {
        src: (address(src), ports.0).into(),
        dst: (address(dst), ports.1).into(),
        ..packet.clone()
    };
    if packet.carries != FragmentationNeeded {
        assert_eq!(
            rebuilt.frame(),
            frame,
            "the checksums are those of a fresh one"
        );
    }
    rebuilt
}

struct Ends {
    /// Who asks, whom it asks, where that leads.
    client: &'static str,
    host: &'static str,
    target: &'static str,
    /// The bridge's address.
    gateway: &'static str,
}

const V4_WAYS: [Ends; 3] = [
    Ends {
        client: "127.0.0.1:40000",
        host: "127.0.0.1:8080",
        target: "172.17.0.2:80",
        gateway: "172.17.0.1",
    },
    Ends {
        client: "127.0.0.2:40000",
        host: "127.0.0.3:8080",
        target: "172.17.0.2:80",
        gateway: "172.17.0.1",
    },
    Ends {
        client: "192.0.2.1:5000",
        host: "192.0.2.1:8080",
        target: "172.17.0.2:80",
        gateway: "172.17.0.1",
    },
];

const V6_WAY: Ends = Ends {
    client: "[::1]:40000",
    host: "[::1]:8080",
    target: "[fd00:17::2]:80",
    gateway: "fd00:17::1",
};

const LINK_LOCAL: Ends = Ends {
    client: "[fe80::7]:40000",
    host: "[fe80::1]:8080",
    target: "[fd00:17::2]:80",
    gateway: "fd00:17::1",
};

/// There and back: by the bridge as the bridge, and back to where it came from.
fn there_and_back<F: TestFamily>(
    world: &Hosts<F>,
    (hook, interface): (Hook, u32),
    (there, back): (Carries, Carries),
    ends: &Ends,
) where
    Hosts<F>: Tables<F>,
{
    let (verdict, by, inside) = run(
        world,
        hook,
        interface,
        &packet(there, ends.client, ends.host),
    );
    assert_eq!((verdict, by), (Verdict::Redirect, World::BRIDGE));
    assert_eq!(inside.dst.to_string(), ends.target);
    assert_eq!(inside.src.ip().to_string(), ends.gateway);
    let answer = packet(back, ends.target, &inside.src.to_string());
    let (verdict, by, outside) = run(world, Hook::In, PORT, &answer);
    assert_eq!((verdict, by), (Verdict::Redirect, interface));
    assert_eq!(outside.src.to_string(), ends.host);
    assert_eq!(outside.dst.to_string(), ends.client);
}

fn web4() -> World {
    World::new()
        .publish(protocol::TCP, "0.0.0.0", 8080, "172.17.0.2:80")
        .publish(protocol::UDP, "0.0.0.0", 8080, "172.17.0.2:80")
}

fn web6() -> World6 {
    World6::new()
        .with_address("fe80::1")
        .publish(protocol::TCP, "::", 8080, "[fd00:17::2]:80")
        .publish(protocol::UDP, "::", 8080, "[fd00:17::2]:80")
}

#[test]
fn the_host_reaches_published_ports_by_its_own_addresses() {
    for carries in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp)] {
        for ends in &V4_WAYS {
            let world = web4();
            for _ in 0..2 {
                there_and_back::<V4>(&world, (Hook::Local, LOOPBACK), carries, ends);
            }
            assert_eq!(world.records_in(Table::Confirmed).len(), 2);
        }
        there_and_back::<V6>(&web6(), (Hook::Local, LOOPBACK), carries, &V6_WAY);
    }
}

#[test]
fn a_client_with_an_address_of_its_link() {
    asks_with_an_address_of_its_link(&web6());
}

#[test]
fn such_a_client_needs_no_other_address_of_the_uplinks() {
    asks_with_an_address_of_its_link(&web6().without_egress_address());
}

fn asks_with_an_address_of_its_link(world: &World6) {
    for carries in [
        (Tcp(SYN), Tcp(SYN_ACK)),
        (Tcp(ACK), Tcp(ACK)),
        (Tcp(ACK), Tcp(ACK)),
    ] {
        there_and_back::<V6>(world, (Hook::In, World::UPLINK), carries, &LINK_LOCAL);
    }
    assert_eq!(
        world.records_in(Table::Confirmed).len(),
        2,
        "an outsider's, and confirmed like any"
    );
    // At a bridge's port, which has no neighbours, it waits for the bridge.
    let asked = packet(Tcp(SYN), "[fe80::9]:1", LINK_LOCAL.host);
    assert_eq!(run(world, Hook::In, PORT, &asked).0, Verdict::Pass);
    there_and_back::<V6>(
        world,
        (Hook::In, World::BRIDGE),
        (Udp, Udp),
        &Ends {
            client: "[fe80::9]:1",
            ..LINK_LOCAL
        },
    );
}

#[test]
fn what_the_host_asks_of_itself_otherwise_passes() {
    let world = web4();
    for other in [
        packet(Tcp(SYN), "127.0.0.1:40000", "127.0.0.1:80"),
        packet(Tcp(SYN_ACK), "127.0.0.1:8080", "127.0.0.1:40000"),
        packet(Tcp(tcp::RST), "127.0.0.1:40000", "127.0.0.1:8080"),
    ] {
        let (verdict, _, after) = run::<V4>(&world, Hook::Local, LOOPBACK, &other);
        assert_eq!(verdict, Verdict::Pass);
        assert_eq!(after.frame(), other.frame());
    }
    assert!(world.records().is_empty());
}

#[test]
fn a_port_on_a_loopback_address_is_for_the_host_itself() {
    let world = World::new().publish(protocol::TCP, "127.0.0.1", 8080, "172.17.0.2:80");
    there_and_back::<V4>(
        &world,
        (Hook::Local, LOOPBACK),
        (Tcp(SYN), Tcp(SYN_ACK)),
        &V4_WAYS[0],
    );
    for (dst, expected) in [
        ("127.0.0.1:8080", Verdict::Drop(DropReason::Loopback)),
        ("192.0.2.1:8080", Verdict::Pass),
    ] {
        for interface in [World::UPLINK, PORT, World::BRIDGE] {
            let asked = packet(Tcp(SYN), "198.51.100.7:40000", dst);
            let (verdict, ..) = run::<V4>(&world, Hook::In, interface, &asked);
            assert_eq!(verdict, expected, "{dst}");
        }
    }
}

/// An error of the target's, and one that the host makes itself for want of a neighbour.
#[test]
fn errors_about_what_the_host_asked_reach_it() {
    fn check<F: TestFamily + Family>(world: &Hosts<F>, ends: &Ends)
    where
        Hosts<F>: Tables<F>,
    {
        let asked = packet(Udp, ends.client, ends.host);
        let (.., inside) = run(world, Hook::Local, LOOPBACK, &asked);
        let from = |src: &str, quoted: &Packet, dst: &str| {
            packet(FragmentationNeeded, src, dst).saying(&quoted.network())
        };
        let target = ends.target.rsplit_once(':').expect("a port").0;
        for (hook, interface, src, verdict) in [
            (
                Hook::In,
                PORT,
                format!("{target}:0"),
                (Verdict::Redirect, LOOPBACK),
            ),
            (
                Hook::Local,
                LOOPBACK,
                format!(
                    "{}:0",
                    if asked.src.is_ipv4() {
                        ends.gateway.to_owned()
                    } else {
                        format!("[{}]", ends.gateway)
                    }
                ),
                (Verdict::Translated, 0),
            ),
        ] {
            let error = from(&src, &inside, &inside.src.to_string());
            world.interface.set(interface);
            let sight = Sight {
                hook,
                l3: 14,
                forwarded: true,
            };
            let mut carrier = Carrier::of(error.frame());
            let done = nat::process::<F, _, _>(&mut carrier, sight, world);
            assert_eq!((done, carrier.by), verdict);
            // The quoted transport checksum is left alone, RFC 5508 REQ-3.
            let host = ends.host.rsplit_once(':').expect("a port").0;
            let mut quoted = asked.network();
            let at = if asked.src.is_ipv4() { 26 } else { 46 };
            quoted[at..at + 2].copy_from_slice(&inside.network()[at..at + 2]);
            let expected =
                packet(FragmentationNeeded, &format!("{host}:0"), ends.client).saying(&quoted);
            assert_eq!(carrier.frame, expected.frame());
        }
    }
    check::<V4>(&web4(), &V4_WAYS[0]);
    check::<V6>(&web6(), &V6_WAY);
}

#[test]
fn a_port_of_the_pool_is_kept_where_it_is_free() {
    let world = web4();
    let asked = packet(Udp, "127.0.0.1:5000", "127.0.0.1:8080");
    let (.., inside) = run::<V4>(&world, Hook::Local, LOOPBACK, &asked);
    assert_eq!(inside.src.to_string(), "172.17.0.1:5000");
    let other = packet(Udp, "127.0.0.2:5000", "127.0.0.1:8080");
    let (.., inside) = run::<V4>(&world, Hook::Local, LOOPBACK, &other);
    assert_ne!(source_port(&inside.frame()), 5000, "it is taken");
}

/// The loopback interface takes more at once than a bridge: the host is told, as by a router, and its
/// packet is not altered.
#[test]
fn what_the_bridge_cannot_take_is_dropped_and_says_what_it_can() {
    fn check<F: TestFamily>(
        world: &Hosts<F>,
        (client, host): (&str, &str),
        headers: usize,
        told: usize,
    ) where
        Hosts<F>: Tables<F>,
    {
        // A first packet and one of the flow that there is then.
        for (payload, expected) in [
            (BRIDGE_MTU - headers + 1, Verdict::Drop(DropReason::TooBig)),
            (BRIDGE_MTU - headers, Verdict::Redirect),
            (BRIDGE_MTU - headers + 1, Verdict::Drop(DropReason::TooBig)),
        ] {
            let asked = packet(Udp, client, host).saying(&vec![7; payload]);
            let mut carrier = Carrier::of(asked.frame());
            world.interface.set(LOOPBACK);
            let sight = Sight {
                hook: Hook::Local,
                l3: 14,
                forwarded: true,
            };
            let verdict = nat::process::<F, _, _>(&mut carrier, sight, world);
            assert_eq!(verdict, expected, "{payload}");
            if expected != Verdict::Redirect {
                assert_eq!(carrier.at_most, told);
                assert_eq!(carrier.frame, asked.frame());
            }
        }
    }
    let v4 = World::new().publish(protocol::UDP, "0.0.0.0", 53, "172.17.0.2:53");
    for host in ["127.0.0.1:53", "192.0.2.1:53"] {
        check::<V4>(&v4, ("127.0.0.1:5000", host), 28, BRIDGE_MTU);
    }
    let v6 = World6::new().publish(protocol::UDP, "::", 53, "[fd00:17::2]:53");
    check::<V6>(&v6, ("[::1]:5000", "[::1]:53"), 48, BRIDGE_MTU);
    // Of another interface's address Linux keeps only less than what that interface takes.
    check::<V6>(&v6, ("[::1]:5001", "[2001:db8:1::1]:53"), 48, 1280);
}
