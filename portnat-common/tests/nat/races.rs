//! What happens between the steps: other CPUs, restarts, addresses that change.

use std::cell::RefCell;

use portnat_common::wire::{protocol, tcp};
use portnat_common::{
    DropReason, Flow, Ip4, Published, PublishedKey, Refusal, Scratch, Settings, Subnet, Tables,
    Ticks, Tuple, V4, Verdict,
};

use crate::fixtures::{
    ACK, CLIENT, HOST, SYN, TARGET, becomes, egress, ingress, is_dropped, passes, source_port, web,
};
use crate::hairpin::bridge_out;
use crate::support::packet::Carries::{EchoRequest, FragmentationNeeded, Protocol, Tcp, Udp};
use crate::support::packet::packet;
use crate::support::world::World;

/// Tables behind whose first removal another CPU has its turn.
struct Racing<'w> {
    world: &'w World,
    other_cpu: RefCell<Option<Box<dyn FnOnce() + 'w>>>,
}

impl Tables<V4> for Racing<'_> {
    fn remove_flow(&self, key: &Tuple<Ip4>) {
        self.world.remove_flow(key);
        let turn = self.other_cpu.borrow_mut().take();
        if let Some(turn) = turn {
            turn();
        }
    }

    fn settings(&self) -> Option<&Settings> {
        self.world.settings()
    }

    fn flow(&self, key: &Tuple<Ip4>) -> Option<&Flow> {
        self.world.flow(key)
    }

    fn scratch(&self, room: Scratch) -> Option<&mut Flow> {
        self.world.scratch(room)
    }

    fn insert_flow(&self, key: &Tuple<Ip4>, flow: &Flow) -> Result<(), Refusal> {
        self.world.insert_flow(key, flow)
    }

    fn published(&self, key: &PublishedKey<Ip4>) -> Option<&Published> {
        self.world.published(key)
    }

    fn published_back(&self, key: &PublishedKey<Ip4>) -> Option<&Published> {
        self.world.published_back(key)
    }

    fn is_in_use(&self, tuple: &Tuple<Ip4>) -> bool {
        self.world.is_in_use(tuple)
    }

    fn port_is_published(&self, protocol: u8, port: u16) -> bool {
        self.world.port_is_published(protocol, port)
    }

    fn is_local(&self, address: &Ip4) -> bool {
        self.world.is_local(address)
    }

    fn subnet(&self, address: &Ip4) -> Option<&Subnet> {
        self.world.subnet(address)
    }

    fn interface(&self) -> u32 {
        self.world.interface()
    }

    fn egress_address(&self) -> Option<Ip4> {
        self.world.egress_address()
    }

    fn now(&self) -> Ticks {
        self.world.now()
    }

    fn random(&self) -> u32 {
        self.world.random()
    }
}

/// A target speaks on an expired flow while its client does so on another CPU.
#[test]
fn no_flow_stays_without_its_reply_direction() {
    let world = web();
    ingress(&world, &packet(Udp, CLIENT, HOST));
    world.pass(1000);
    let racing = Racing {
        world: &world,
        other_cpu: RefCell::new(Some(Box::new(|| {
            ingress(&world, &packet(Udp, CLIENT, HOST));
        }))),
    };
    egress(&racing, &packet(Udp, TARGET, CLIENT));
    assert!(racing.other_cpu.borrow().is_none(), "the race took place");
    for _ in 0..3 {
        world.pass(25);
        ingress(&world, &packet(Udp, CLIENT, HOST));
        egress(&world, &packet(Udp, TARGET, CLIENT));
    }
    becomes(
        egress(&world, &packet(Udp, TARGET, CLIENT)),
        &packet(Udp, HOST, CLIENT),
    );
}

#[test]
fn a_masqueraded_flow_follows_the_uplinks_address() {
    let mut world = World::new();
    let out = packet(Udp, "172.17.0.2:5353", "203.0.113.5:53");
    becomes(
        egress(&world, &out),
        &packet(Udp, "192.0.2.1:5353", "203.0.113.5:53"),
    );
    world.egress = Some(std::net::Ipv4Addr::new(192, 0, 2, 99).into());
    world.pass(1);
    becomes(
        egress(&world, &out),
        &packet(Udp, "192.0.2.99:5353", "203.0.113.5:53"),
    );
    assert_eq!(world.records().len(), 2, "nothing is left of the old one");
}

#[test]
fn a_published_connection_survives_a_restart_whoever_speaks_first() {
    for carries in [Tcp(ACK), Udp] {
        let world = web();
        let from = |src| packet(carries, src, CLIENT);
        becomes(egress(&world, &from(TARGET)), &from(HOST));
        let to = |dst| packet(carries, CLIENT, dst);
        becomes(ingress(&world, &to(HOST)), &to(TARGET));
        becomes(egress(&world, &from(TARGET)), &from(HOST));
    }
}

#[test]
fn a_target_of_two_ports_that_spoke_first_is_found_by_its_client() {
    // Neither port is *the* one, so the target was taken for a client of its own.
    let world = web().publish(protocol::UDP, "0.0.0.0", 8081, TARGET);
    let (_, frame) = egress(&world, &packet(Udp, TARGET, CLIENT));
    assert!(![8080, 8081].contains(&source_port(&frame)));
    becomes(
        ingress(&world, &packet(Udp, CLIENT, HOST)),
        &packet(Udp, CLIENT, TARGET),
    );
    becomes(
        egress(&world, &packet(Udp, TARGET, CLIENT)),
        &packet(Udp, HOST, CLIENT),
    );
}

#[test]
fn a_reset_begins_the_end_and_does_not_put_it_off() {
    let world = web();
    for (inwards, flags) in [
        (true, SYN),
        (false, SYN | ACK),
        (true, ACK),
        (true, tcp::RST),
    ] {
        let verdict = if inwards {
            ingress(&world, &packet(Tcp(flags), CLIENT, HOST)).0
        } else {
            egress(&world, &packet(Tcp(flags), TARGET, CLIENT)).0
        };
        assert_eq!(verdict, Verdict::Translated);
    }
    world.pass(200);
    assert_eq!(
        ingress(&world, &packet(Tcp(tcp::RST), CLIENT, HOST)).0,
        Verdict::Translated
    );
    world.pass(50);
    assert_eq!(
        ingress(&world, &packet(Tcp(tcp::RST), CLIENT, HOST)).0,
        Verdict::Pass
    );
}

#[test]
fn a_port_that_a_socket_of_the_host_uses_is_not_lent() {
    let mut world = World::new();
    world.sockets.insert((protocol::UDP, 4500));
    let (_, frame) = egress(&world, &packet(Udp, "172.17.0.2:4500", "203.0.113.5:4500"));
    assert_ne!(source_port(&frame), 4500);
    // Nor one that chance finds: here every port of the pool but the published ones is in use.
    world
        .sockets
        .extend((1024..=u16::MAX).map(|port| (protocol::UDP, port)));
    let other = packet(Udp, "172.17.0.2:4501", "203.0.113.5:4500");
    is_dropped(egress(&world, &other), DropReason::PortsExhausted);
}

#[test]
fn an_outsider_does_not_reach_a_container_by_its_own_address() {
    let world = web();
    for direct in [
        packet(Tcp(SYN), CLIENT, "172.17.0.2:22"),
        packet(Udp, CLIENT, "172.17.0.2:8080"),
        packet(Udp, CLIENT, "172.17.0.2:5353"),
        packet(EchoRequest, CLIENT, "172.17.0.2:0"),
        packet(Protocol(47), CLIENT, TARGET),
        packet(Udp, CLIENT, TARGET).fragment(9, false),
        packet(FragmentationNeeded, CLIENT, TARGET),
    ] {
        is_dropped(ingress(&world, &direct), DropReason::DirectAccess);
    }
    // The host's own address on the bridge is the host's, and other containers are inside.
    for other in [
        packet(Tcp(SYN), CLIENT, "172.17.0.1:22"),
        packet(Tcp(SYN), "172.18.0.2:40000", "172.17.0.2:22"),
    ] {
        passes(ingress(&world, &other), &other);
    }
    // What the host's own netfilter has translated passes the bridge: that is all we see of it.
    for foreign in [
        packet(Tcp(SYN), CLIENT, TARGET),
        packet(Udp, CLIENT, "172.17.0.2:40000"),
    ] {
        passes(bridge_out(&world, &foreign), &foreign);
    }
}
