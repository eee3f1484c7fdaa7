//! What masquerade lends, and to whom.

use std::net::Ipv4Addr;

use portnat_common::wire::tcp;
use portnat_common::{DropReason, Ip4, Ticks, nat};

use crate::fixtures::wait_until_gone;
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::packet;
use crate::{Host, NEXT, REDIRECT, standard_settings};

const REMOTE: &str = "203.0.113.5:443";

/// The source port of a translated packet.
fn source_port((verdict, frame): (i32, Vec<u8>)) -> u16 {
    assert_eq!(verdict, NEXT);
    u16::from_be_bytes([frame[34], frame[35]])
}

#[test]
fn a_reserved_port_is_not_lent_and_the_search_is_counted() {
    let mut host = Host::new();
    host.desired.reserved = vec![(5000, 5000)];
    host = host.applied();
    for carries in [Tcp(tcp::SYN), Udp] {
        for (port, kept) in [(5000, false), (5001, true)] {
            let out = packet(carries, &format!("172.17.0.2:{port}"), REMOTE);
            assert_eq!(source_port(host.egress(&out.frame())) == port, kept);
        }
    }
    let probes = host.datapath.probes().expect("reading");
    assert_eq!(probes.len(), nat::PROBES as usize + 1);
    assert_eq!(probes[..2], [2, 2]);

    // Reserved no more, and others instead.
    host.desired.reserved = vec![(1, 4999), (5001, u16::MAX)];
    host = host.applied();
    let kept = packet(Udp, "172.17.0.3:5000", REMOTE);
    assert_eq!(source_port(host.egress(&kept.frame())), 5000);
    let (verdict, _) = host.egress(&packet(Udp, "172.17.0.3:5001", REMOTE).frame());
    assert_ne!(verdict, NEXT);
    let drops = host.datapath.drops().expect("reading");
    assert_eq!(drops, [(DropReason::PortsExhausted, 1)]);
}

#[test]
fn a_container_has_so_many_flows_and_no_more() {
    let mut settings = standard_settings();
    settings.lifetimes.udp_unanswered = Ticks(0);
    let mut host = Host::with_limit(64, 3, settings);
    let out = |host: &mut Host, container: u8, port: u16| {
        let out = packet(Udp, &format!("172.17.0.{container}:{port}"), REMOTE);
        host.egress(&out.frame()).0
    };
    for _ in 0..2 {
        let verdicts = [5000, 5001, 5002, 5003].map(|port| out(&mut host, 2, port));
        assert_eq!(verdicts, [NEXT, NEXT, NEXT, REDIRECT]);
        assert_eq!(out(&mut host, 3, 5003), NEXT);
        let drops = host.datapath.drops().expect("reading");
        assert_eq!(drops[0].0, DropReason::ContainerLimit);
        assert_eq!(drops.len(), 1);
        // Also of what is refused each packet makes some room.
        wait_until_gone(&mut host);
        for _ in 0..2 {
            out(&mut host, 2, 5003);
        }
        let flows = host.datapath.flows::<Ip4>().expect("reading");
        let left = flows
            .keys()
            .filter(|key| key.src == Ipv4Addr::new(172, 17, 0, 2).into());
        assert!(left.count() <= 1, "{flows:#?}");
        wait_until_gone(&mut host);
        host.datapath.sweep().expect("sweeping");
        assert!(host.datapath.flows::<Ip4>().expect("reading").is_empty());
    }
}

#[test]
fn a_udp_socket_has_one_port_until_its_time_is_over() {
    let ends = |container: u8, remote: u8, v6: bool| match v6 {
        false => (
            format!("172.17.0.{container}:40000"),
            format!("203.0.113.{remote}:3478"),
        ),
        true => (
            format!("[fd00:17::{container}]:40000"),
            format!("[2001:db8:5::{remote}]:3478"),
        ),
    };
    let mut host = Host::new();
    for v6 in [false, true] {
        let mut ports = Vec::new();
        for (container, remote) in [(2, 1), (2, 2), (2, 3), (3, 1), (3, 4)] {
            let (inside, remote) = ends(container, remote, v6);
            let (verdict, frame) = host.egress(&packet(Udp, &inside, &remote).frame());
            assert_eq!(verdict, NEXT);
            let at = if v6 { 54 } else { 34 };
            ports.push(u16::from_be_bytes([frame[at], frame[at + 1]]));
        }
        assert_eq!(ports[..3], [ports[0]; 3]);
        assert_eq!(ports[3], ports[4]);
        assert_ne!(ports[0], ports[3]);
    }

    let mut settings = standard_settings();
    settings.lifetimes.udp_answered = Ticks(0);
    settings.lifetimes.udp_unanswered = Ticks(0);
    let mut host = Host::with(64, settings);
    let out = |container: u8| packet(Udp, &format!("172.17.0.{container}:5000"), REMOTE).frame();
    assert_eq!(source_port(host.egress(&out(2))), 5000);
    assert_ne!(source_port(host.egress(&out(3))), 5000);
    wait_until_gone(&mut host);
    assert_eq!(source_port(host.egress(&out(4))), 5000);
}
