//! How many flows a container may have.

use std::net::Ipv4Addr;

use portnat_common::wire::tcp;
use portnat_common::{DropReason, Verdict};
use proptest::prelude::*;

use crate::fixtures::{ACK, CLIENT, HOST, SYN, SYN_ACK, TARGET, egress, ingress, is_dropped, web};
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;

const LIMIT: u64 = 3;

fn limited() -> World {
    let mut world = web();
    world.settings.flows_per_container = LIMIT;
    world
}

fn out(container: u8, port: u16) -> Packet {
    packet(
        Udp,
        &format!("172.17.0.{container}:{port}"),
        "203.0.113.5:443",
    )
}

#[test]
fn a_container_has_so_many_flows_and_no_more() {
    let world = limited();
    for port in 5000..5003 {
        assert_eq!(egress(&world, &out(2, port)).0, Verdict::Translated);
    }
    is_dropped(egress(&world, &out(2, 5003)), DropReason::ContainerLimit);
    // What it has goes on, others have their own, and what is asked of it is not counted.
    assert_eq!(egress(&world, &out(2, 5000)).0, Verdict::Translated);
    assert_eq!(egress(&world, &out(3, 5003)).0, Verdict::Translated);
    for (inwards, flags) in [(true, SYN), (false, SYN_ACK), (true, ACK)] {
        let verdict = match inwards {
            true => ingress(&world, &packet(Tcp(flags), CLIENT, HOST)).0,
            false => egress(&world, &packet(Tcp(flags), TARGET, CLIENT)).0,
        };
        assert_eq!(verdict, Verdict::Translated);
    }
    world.assert_tidy("a container that is asked");
    // What is over counts until it is removed.
    world.pass(122);
    is_dropped(egress(&world, &out(2, 5003)), DropReason::ContainerLimit);
    world.sweep();
    assert_eq!(egress(&world, &out(2, 5003)).0, Verdict::Translated);
    world.assert_tidy("afterwards");
}

#[test]
fn containers_beyond_those_that_can_be_counted_are_served() {
    let mut world = limited();
    world.containers_capacity = 1;
    for container in 2..5 {
        for port in 5000..5003 {
            assert_eq!(egress(&world, &out(container, port)).0, Verdict::Translated);
        }
    }
    is_dropped(egress(&world, &out(2, 5003)), DropReason::ContainerLimit);
    assert_eq!(egress(&world, &out(3, 5003)).0, Verdict::Translated);
    world.pass(1000);
    world.sweep();
    world.assert_tidy("beyond those that can be counted");
    assert!(world.records().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Out(u8, u16, bool),
    Back(u16, bool),
    Asked(u8),
    Pass(u64),
    Sweep,
    Move(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (2u8..5, 5000u16..5006, any::<bool>()).prop_map(|(c, p, udp)| Step::Out(c, p, udp)),
        3 => (5000u16..5006, any::<bool>()).prop_map(|(p, udp)| Step::Back(p, udp)),
        2 => prop::sample::select(vec![SYN, ACK, tcp::FIN | ACK]).prop_map(Step::Asked),
        2 => prop::sample::select(vec![1u64, 2, 61, 122, 302]).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        1 => (1u8..3).prop_map(Step::Move),
    ]
}

proptest! {
    /// Whatever happens, and also where the table is full half-way: a container's number is that of
    /// its flows.
    #[test]
    fn a_containers_number_is_that_of_its_flows(
        steps in prop::collection::vec(step(), 1..120),
        capacity in prop_oneof![Just(1usize << 20), 1usize..12],
    ) {
        let mut world = limited();
        world.capacity = capacity;
        let carries = |udp| if udp { Udp } else { Tcp(ACK) };
        for step in steps {
            match step {
                Step::Out(container, port, udp) => {
                    let there = Packet { carries: carries(udp), ..out(container, port) };
                    egress(&world, &there);
                }
                Step::Back(port, udp) => {
                    let to = format!("192.0.2.1:{port}");
                    ingress(&world, &packet(carries(udp), "203.0.113.5:443", &to));
                }
                Step::Asked(flags) => {
                    ingress(&world, &packet(Tcp(flags), CLIENT, HOST));
                    egress(&world, &packet(Tcp(SYN_ACK), TARGET, CLIENT));
                }
                Step::Pass(seconds) => world.pass(seconds),
                Step::Sweep => world.sweep(),
                Step::Move(number) => {
                    world.egress = Some(Ipv4Addr::new(192, 0, 2, number).into());
                }
            }
            world.assert_counted("after a step");
        }
        world.pass(10_000);
        world.sweep();
        world.assert_tidy("at the end");
        prop_assert!(world.records_in(portnat_common::Table::Confirmed).is_empty());
    }
}
