//! What a container's UDP socket sends comes from one port, whomever it talks to (RFC 4787 REQ-1).

use std::collections::BTreeMap;

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::protocol;
use portnat_common::{Bytes, Tables, V4, Verdict};
use proptest::prelude::*;

use crate::fixtures::{egress, ingress, passes, source_port};
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::racing::Racing;
use crate::support::world::World;
use portnat_common::wire::tcp;

/// How long a mapping lives without use, in seconds.
const LIFETIME: u64 = 300;

fn out(container: u8, port: u16, remote: u8) -> Packet {
    packet(
        Udp,
        &format!("172.17.0.{container}:{port}"),
        &format!("203.0.113.{remote}:3478"),
    )
}

fn back(remote: u8, port: u16) -> Packet {
    packet(
        Udp,
        &format!("203.0.113.{remote}:3478"),
        &format!("192.0.2.1:{port}"),
    )
}

/// From which port a packet goes out.
#[track_caller]
fn port_of(world: &impl Tables<V4>, packet: &Packet) -> u16 {
    let (verdict, frame) = egress(world, packet);
    assert_eq!(verdict, Verdict::Translated, "{packet:?}");
    source_port(&frame)
}

#[test]
fn a_socket_has_one_port_for_all_remote_ends() {
    let world = World::new();
    // From outside the pool, and from inside where it is kept.
    for inside in [40_000, 5000] {
        let port = port_of(&world, &out(2, inside, 1));
        for remote in 2..20 {
            assert_eq!(port_of(&world, &out(2, inside, remote)), port);
            assert_eq!(ingress(&world, &back(remote, port)).0, Verdict::Translated);
        }
        // Who was not asked does not get in (RFC 4787 REQ-8 c).
        let stranger = back(77, port);
        passes(ingress(&world, &stranger), &stranger);
        // Nor has another socket that port, towards anybody.
        for remote in 1..40 {
            assert_ne!(port_of(&world, &out(3, inside, remote)), port);
        }
    }
    assert_eq!(port_of(&world, &out(2, 5000, 50)), 5000);
}

#[test]
fn dns_and_tcp_share_ports_as_before() {
    let world = World::new();
    let dns = |container: u8, remote: &str| {
        packet(
            Udp,
            &format!("172.17.0.{container}:5000"),
            &format!("{remote}:53"),
        )
    };
    assert_eq!(port_of(&world, &dns(2, "203.0.113.1")), 5000);
    assert_eq!(port_of(&world, &dns(3, "203.0.113.2")), 5000);
    let web = |container: u8, remote: &str| {
        let tcp = Tcp(tcp::SYN);
        packet(
            tcp,
            &format!("172.17.0.{container}:5000"),
            &format!("{remote}:443"),
        )
    };
    assert_eq!(port_of(&world, &web(2, "203.0.113.1")), 5000);
    assert_eq!(port_of(&world, &web(3, "203.0.113.2")), 5000);
    // And what is mapped is not in their way.
    assert_eq!(port_of(&world, &out(4, 5000, 1)), 5000);
}

#[test]
fn without_mappings_any_socket_may_use_a_port_towards_another_remote_end() {
    let world = World::new().without_mappings();
    assert_eq!(port_of(&world, &out(2, 5000, 1)), 5000);
    assert_eq!(port_of(&world, &out(3, 5000, 2)), 5000);
}

#[test]
fn a_mapping_lives_as_long_as_it_is_used_in_either_direction() {
    let world = World::new();
    let port = port_of(&world, &out(2, 40_000, 1));
    ingress(&world, &back(1, port));
    for _ in 0..5 {
        world.pass(LIFETIME - 1);
        assert_eq!(ingress(&world, &back(1, port)).0, Verdict::Translated);
        world.pass(LIFETIME - 1);
        assert_eq!(port_of(&world, &out(2, 40_000, 1)), port);
        ingress(&world, &back(1, port));
    }
    world.pass(LIFETIME);
    assert_eq!(port_of(&world, &out(2, 40_000, 9)), port, "another flow");
    // When it is over the port may be another's, a second later.
    let world = World::new();
    assert_eq!(port_of(&world, &out(2, 5000, 1)), 5000);
    world.pass(LIFETIME);
    assert_ne!(port_of(&world, &out(3, 5000, 2)), 5000);
    world.pass(2);
    assert_eq!(port_of(&world, &out(4, 5000, 3)), 5000);
    assert_ne!(port_of(&world, &out(2, 5000, 4)), 5000);
}

#[test]
fn when_no_port_is_anybodys_own_there_is_one_towards_the_remote_end() {
    let mut world = World::new();
    let spare = 5000..5004u16;
    world
        .reserved
        .extend((0..=u16::MAX).filter(|port| !spare.contains(port)));
    for (number, port) in spare.clone().enumerate() {
        assert_eq!(port_of(&world, &out(2, port, number as u8)), port);
    }
    // The loop does not find what its dice do not show: the sender's own is tried first.
    for container in 3..20 {
        let remote = container + 100;
        assert_eq!(port_of(&world, &out(container, 5001, remote)), 5001);
    }
    // It is shared, and so nobody's.
    assert_eq!(port_of(&world, &out(2, 5001, 200)), 5001);
}

#[test]
fn without_memory_for_owners_flows_begin_all_the_same() {
    let mut world = World::new();
    world.owners_capacity = 1;
    for container in 2..10 {
        assert_eq!(port_of(&world, &out(container, 5000, container)), 5000);
    }
}

#[test]
fn a_port_that_a_socket_of_the_host_uses_is_nobodys() {
    let mut world = World::new();
    world.sockets.insert((protocol::UDP, 5000));
    let port = port_of(&world, &out(2, 5000, 1));
    assert_ne!(port, 5000);
    assert_eq!(port_of(&world, &out(2, 5000, 2)), port);
}

#[test]
fn a_container_that_has_enough_gets_no_mapping_either() {
    let mut world = World::new();
    world.settings.flows_per_container = 1;
    port_of(&world, &out(2, 5000, 1));
    for port in 5001..5010 {
        assert_ne!(egress(&world, &out(2, port, 1)).0, Verdict::Translated);
    }
    for port in 5001..5010 {
        let container = (port - 5001 + 3) as u8;
        assert_eq!(port_of(&world, &out(container, port, 1)), port, "nobody's");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Out(u8, u16, u8),
    Back(u8, usize),
    Pass(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let port = prop::sample::select(vec![5000u16, 5001, 40_000]);
    prop_oneof![
        6 => (2u8..6, port, 1u8..5).prop_map(|(c, p, r)| Step::Out(c, p, r)),
        2 => (1u8..5, 0usize..12).prop_map(|(r, p)| Step::Back(r, p)),
        2 => prop::sample::select(vec![1u64, 2, 100, 119, 121, 299, 300, 301, 302]).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    /// As long as a mapping lives, all its socket's packets come from its port, and no other's do.
    #[test]
    fn a_port_is_one_sockets(steps in prop::collection::vec(step(), 1..150)) {
        let world = World::new();
        let mut now = 0;
        // By socket: its port, and when it was last used.
        let mut mappings: BTreeMap<(u8, u16), (u16, u64)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Out(container, inside, remote) => {
                    let (verdict, frame) = egress(&world, &out(container, inside, remote));
                    if verdict != Verdict::Translated {
                        continue;
                    }
                    let port = source_port(&frame);
                    for (socket, (other, used)) in &mappings {
                        if now - used <= LIFETIME {
                            prop_assert_eq!(
                                *socket == (container, inside), *other == port,
                                "{:?} has {}, and {:?} {}", socket, other, (container, inside), port
                            );
                        }
                    }
                    mappings.retain(|_, (other, _)| *other != port);
                    mappings.insert((container, inside), (port, now));
                }
                Step::Back(remote, number) => {
                    let Some((_, mapping)) = mappings.iter_mut().nth(number) else {
                        continue;
                    };
                    if ingress(&world, &back(remote, mapping.0)).0 == Verdict::Translated {
                        mapping.1 = now;
                    }
                }
                Step::Pass(seconds) => {
                    now += seconds;
                    world.pass(seconds);
                }
                Step::Sweep => world.sweep(),
            }
        }
        world.assert_tidy("at the end");
    }
}

/// Two CPUs open flows at the same time: wherever the one interrupts the other, a socket ends up with
/// one port and a port with one socket.
#[test]
fn two_cpus_make_mappings() {
    let send = |tables: &dyn Fn(&mut [u8]) -> Verdict, packet: &Packet| {
        let mut frame = packet.frame();
        (tables(&mut frame) == Verdict::Translated).then(|| source_port(&frame))
    };
    let sight = Sight {
        hook: Hook::Outside,
        l3: 14,
        forwarded: true,
    };
    let mut raced = 0;
    for age in [
        None,
        Some(2),
        Some(LIFETIME),
        Some(LIFETIME + 1),
        Some(LIFETIME + 2),
        Some(1000),
    ] {
        for inside in [5000, 40_000] {
            // Another socket of that number, or the same towards another remote end.
            for (container, remote) in [(3, 1), (3, 2), (2, 2)] {
                for access in 0.. {
                    let world = World::new();
                    if let Some(age) = age {
                        port_of(&world, &out(2, inside, 7));
                        world.pass(age);
                    }
                    let mut second = None;
                    let first = {
                        let racing = Racing::new(&world, access, || {
                            let process = |frame: &mut [u8]| {
                                nat::process::<V4, _, _>(&mut Bytes(frame), sight, &world)
                            };
                            second = Some(send(&process, &out(container, inside, remote)));
                        });
                        let process = |frame: &mut [u8]| {
                            nat::process::<V4, _, _>(&mut Bytes(frame), sight, &racing)
                        };
                        let first = send(&process, &out(2, inside, 1));
                        if !racing.took_place() {
                            break;
                        }
                        first
                    };
                    raced += 1;
                    let what = format!("{age:?} {inside} {container} {remote} {access}");
                    let second = second.expect("it took place");
                    world.assert_tidy(&what);
                    // Who lost a packet sends it again.
                    let again = |had: Option<u16>, packet: Packet| {
                        let now = port_of(&world, &packet);
                        assert!(had.is_none_or(|had| had == now), "{what}: {had:?} {now}");
                        now
                    };
                    let first = again(first, out(2, inside, 1));
                    let second = again(second, out(container, inside, remote));
                    assert_eq!(first == second, container == 2, "{what}: {first} {second}");
                }
            }
        }
    }
    assert!(raced > 300, "only {raced} interleavings");
}
