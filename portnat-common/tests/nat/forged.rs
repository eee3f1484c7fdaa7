//! Senders who say that they are inside, and come from elsewhere.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::subnet::{CLOSED, MASQUERADED};
use portnat_common::wire::tcp;
use portnat_common::{Bytes, DropReason, V4, V6, Verdict};

use crate::support::packet::Carries::{self, EchoRequest, Protocol, Tcp, Udp};
use crate::support::packet::packet;
use crate::support::world::{Hosts, TestFamily, World};

const NAT: u32 = MASQUERADED | CLOSED;

/// What a packet to a container becomes that comes in by an interface.
fn comes_in<F: TestFamily>(interface: u32, carries: Carries, src: &str, dst: &str) -> Verdict {
    let world = Hosts::<F>::new().with_mode(0, NAT).with_mode(1, NAT);
    world.interface.set(interface);
    let mut frame = packet(carries, src, dst).frame();
    let sight = Sight {
        hook: Hook::In,
        l3: 14,
        forwarded: true,
    };
    nat::process::<F, _, _>(&mut Bytes(&mut frame), sight, &world)
}

/// `gateway` is the host's own address in the container's network.
fn nobody_is_taken_for_a_neighbour<F: TestFamily>(container: &str, neighbour: &str, gateway: &str) {
    for carries in [Tcp(tcp::SYN), Udp, EchoRequest, Protocol(47)] {
        let port = |address: &str, port: u16| match carries {
            Tcp(_) | Udp => format!("{address}:{port}"),
            _ => format!("{address}:0"),
        };
        let to = port(container, 80);
        for sender in [neighbour, gateway] {
            let come = |interface| comes_in::<F>(interface, carries, &port(sender, 40_000), &to);
            for elsewhere in [World::UPLINK, World::OTHER_BRIDGE] {
                assert_eq!(
                    come(elsewhere),
                    Verdict::Drop(DropReason::DirectAccess),
                    "{sender} by {elsewhere}: {carries:?}"
                );
            }
            // Those are where neighbours are.
            for own in [World::BRIDGE, World::PORT] {
                assert_eq!(come(own), Verdict::Pass, "{sender} by {own}: {carries:?}");
            }
        }
    }
}

#[test]
fn nobody_outside_or_on_another_bridge_is_taken_for_a_neighbour() {
    nobody_is_taken_for_a_neighbour::<V4>("172.17.0.2", "172.17.0.3", "172.17.0.1");
    nobody_is_taken_for_a_neighbour::<V6>("[fd00:17::2]", "[fd00:17::3]", "[fd00:17::1]");
}
