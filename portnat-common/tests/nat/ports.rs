//! Which source ports masquerade lends.

use portnat_common::DropReason;

use crate::fixtures::{egress, is_dropped, source_port};
use crate::support::packet::Carries::{EchoRequest, Tcp, Udp};
use crate::support::packet::packet;
use crate::support::world::World;
use portnat_common::wire::tcp;

const REMOTE: &str = "203.0.113.5:443";

#[test]
fn a_reserved_port_is_not_lent_and_the_search_is_counted() {
    let mut world = World::new();
    world.reserved.insert(5000);
    for carries in [Tcp(tcp::SYN), Udp] {
        let kept = egress(&world, &packet(carries, "172.17.0.2:5001", REMOTE));
        assert_eq!(source_port(&kept.1), 5001);
        let other = egress(&world, &packet(carries, "172.17.0.2:5000", REMOTE));
        assert_ne!(source_port(&other.1), 5000);
    }
    // An identifier is no port.
    let ping = egress(&world, &packet(EchoRequest, "172.17.0.2:5000", REMOTE));
    assert_eq!(ping.1[38..40], 5000u16.to_be_bytes());
    assert_eq!(*world.probes.borrow(), [0, 1, 0, 1, 0]);

    // All but every eighth: some probes meet the others.
    let lendable = |port: u16| port.is_multiple_of(8);
    world
        .reserved
        .extend((0..=u16::MAX).filter(|port| !lendable(*port)));
    for sender in 40_000..40_050 {
        let sender = format!("172.17.0.2:{sender}");
        let (_, frame) = egress(&world, &packet(Tcp(tcp::SYN), &sender, REMOTE));
        assert!(lendable(source_port(&frame)), "{}", source_port(&frame));
    }
    let probes = world.probes.take();
    assert!(
        probes[5..].iter().all(|probes| (1..=8).contains(probes)),
        "{probes:?}"
    );
    assert!(probes.contains(&5), "{probes:?}");

    world.reserved.extend(0..=u16::MAX);
    let out = packet(Tcp(tcp::SYN), "172.17.0.3:40000", REMOTE);
    is_dropped(egress(&world, &out), DropReason::PortsExhausted);
    assert!(world.probes.take().is_empty());
}
