//! What the host sends itself by an uplink: its own passes, and what it sends in a container's name, as
//! a firewall does that refuses, goes as the container's own would.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::tcp;
use portnat_common::{Bytes, DropReason, V4, Verdict};

use crate::fixtures::{
    ACK, CLIENT, HOST, SYN, SYN_ACK, TARGET, becomes, egress, ingress, is_dropped, passes, web,
};
use crate::support::packet::Carries::{EchoReply, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;

const RST: u8 = tcp::RST | tcp::ACK;

fn sends(world: &World, packet: &Packet) -> (Verdict, Vec<u8>) {
    let mut frame = packet.frame();
    let sight = Sight {
        hook: Hook::Outside,
        l3: 14,
        forwarded: false,
    };
    let verdict = nat::process::<V4, _, _>(&mut Bytes(&mut frame), sight, world);
    (verdict, frame)
}

#[test]
fn a_new_connection_is_refused_from_the_published_port() {
    let world = web();
    ingress(&world, &packet(Tcp(SYN), CLIENT, HOST));
    becomes(
        sends(&world, &packet(Tcp(RST), TARGET, CLIENT)),
        &packet(Tcp(RST), HOST, CLIENT),
    );
}

#[test]
fn a_connection_that_runs_is_refused_from_the_published_port() {
    let world = web();
    ingress(&world, &packet(Tcp(SYN), CLIENT, HOST));
    egress(&world, &packet(Tcp(SYN_ACK), TARGET, CLIENT));
    ingress(&world, &packet(Tcp(ACK), CLIENT, HOST));
    becomes(
        sends(&world, &packet(Tcp(RST), TARGET, CLIENT)),
        &packet(Tcp(RST), HOST, CLIENT),
    );
}

#[test]
fn a_masqueraded_connection_is_refused_from_its_port_outside() {
    let world = web();
    let (inside, outside, remote) = ("172.17.0.2:5353", "192.0.2.1:5353", "203.0.113.5:443");
    egress(&world, &packet(Tcp(SYN), inside, remote));
    becomes(
        sends(&world, &packet(Tcp(RST), inside, remote)),
        &packet(Tcp(RST), outside, remote),
    );
}

#[test]
fn in_a_containers_name_nothing_leaves_untranslated() {
    let world = web();
    is_dropped(
        sends(&world, &packet(Tcp(RST), "172.17.0.3:80", CLIENT)),
        DropReason::NoFlow,
    );
    becomes(
        sends(&world, &packet(Udp, "172.17.0.3:5000", "203.0.113.5:443")),
        &packet(Udp, "192.0.2.1:5000", "203.0.113.5:443"),
    );
}

#[test]
fn what_is_the_hosts_own_passes() {
    let world = web();
    for source in ["192.0.2.1", "172.17.0.1"] {
        for carries in [Tcp(SYN), Udp, EchoReply] {
            let own = packet(carries, &format!("{source}:5000"), "203.0.113.5:443");
            passes(sends(&world, &own), &own);
        }
    }
}
